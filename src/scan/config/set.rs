//! Sets a key in a configuration file, changing nothing else of it.

use crate::domain::detect::{ConfigFormat, SetKey};
use crate::scan::hit::Splice;

use super::Entry;

/// The edit that sets a key: its last value is replaced, or it is added at the end of its section, or the
/// section with it at the end of the file.
pub(super) fn splice(
    format: ConfigFormat,
    entries: &[Entry],
    text: &str,
    key: &SetKey,
) -> Result<Splice, &'static str> {
    let joint = match format {
        ConfigFormat::Systemd => "=",
        ConfigFormat::Ini | ConfigFormat::Toml => " = ",
        ConfigFormat::Yaml | ConfigFormat::Json => return Err("keys are set in systemd, ini and toml files only"),
    };
    if let Some(entry) = entries.iter().rev().find(|entry| entry.path == key.path) {
        return if entry.value.is_some() {
            Ok(Splice { range: entry.written.clone(), text: key.value.clone() })
        } else {
            Err("it is a section or a list here")
        };
    }
    let (section, name) = key.path.rsplit_once('.').ok_or("its path names no section")?;
    let line_break = if text.contains("\r\n") { "\r\n" } else { "\n" };
    let line = format!("{name}{joint}{}", key.value);
    let last = entries.iter().rev().find(|entry| entry.path == section && entry.value.is_none());
    let (at, line) = match last {
        Some(entry) => (entry.end, line),
        None if text.is_empty() => (0, format!("[{section}]{line_break}{line}")),
        None => (text.len(), format!("{line_break}[{section}]{line_break}{line}")),
    };
    // A TOML section ends right after its last value, the others after the line break.
    let at = text[at..].find('\n').filter(|_| !text[..at].ends_with('\n')).map_or(at, |offset| at + offset + 1);
    let before = if at == 0 || text[..at].ends_with('\n') { "" } else { line_break };
    Ok(Splice { range: at..at, text: format!("{before}{line}{line_break}") })
}
