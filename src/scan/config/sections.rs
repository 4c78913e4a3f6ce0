//! Reads systemd units and INI files line by line, keeping where everything stands.

use crate::domain::detect::ConfigFormat;
use crate::scan::place::Lines;

use super::{Entry, join};

/// The sections and keys in order. systemd: keys repeat, an empty value takes back the ones before it, a
/// line that ends in `\` goes on in the next. INI: `=` or `:`, a line that is
/// indented further goes on with the value.
pub(super) fn read(format: ConfigFormat, text: &str, lines: &Lines<'_>) -> Vec<Entry> {
    let systemd = format == ConfigFormat::Systemd;
    let mut entries: Vec<Entry> = Vec::new();
    let mut section = String::new();
    let mut section_at: Option<usize> = None;
    // The key whose value goes on in this line.
    let mut open: Option<usize> = None;
    let mut key_indent = 0;
    for (start, line) in lines.each() {
        let trimmed = line.trim();
        let first = start + (line.len() - line.trim_start().len());
        let last = first + trimmed.len();
        if trimmed.starts_with(['#', ';']) {
            continue;
        }
        if trimmed.is_empty() {
            open = None;
            continue;
        }
        if let Some(at) = open
            && (systemd || first - start > key_indent)
        {
            let goes_on = systemd && trimmed.ends_with('\\');
            let part = if goes_on { trimmed.trim_end_matches('\\').trim_end() } else { trimmed };
            if let Some(value) = &mut entries[at].value {
                value.push(' ');
                value.push_str(part);
            }
            entries[at].range.end = last;
            entries[at].written.end = last;
            entries[at].end = line_end(text, last);
            extend(&mut entries, section_at, line_end(text, last));
            if systemd && !goes_on {
                open = None;
            }
            continue;
        }
        open = None;
        if let Some(name) = trimmed.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = name.trim().to_owned();
            section_at = Some(entries.len());
            entries.push(Entry {
                path: section.clone(),
                value: None,
                range: first..last,
                written: last..last,
                end: line_end(text, last),
            });
            continue;
        }
        let separator = if systemd { trimmed.find('=') } else { trimmed.find(['=', ':']) };
        let Some(at) = separator else { continue };
        let value = trimmed[at + 1..].trim();
        let goes_on = systemd && value.ends_with('\\');
        let path = join(&section, trimmed[..at].trim_end());
        if systemd && value.is_empty() {
            entries.retain(|entry| entry.value.is_none() || entry.path != path);
            section_at = entries.iter().rposition(|entry| entry.value.is_none());
            extend(&mut entries, section_at, line_end(text, last));
            continue;
        }
        open = (goes_on || !systemd).then_some(entries.len());
        key_indent = first - start;
        let shown = if goes_on { value.trim_end_matches('\\').trim_end() } else { value };
        entries.push(Entry {
            path,
            value: Some(shown.to_owned()),
            range: first..last,
            written: last - value.len()..last,
            end: line_end(text, last),
        });
        extend(&mut entries, section_at, line_end(text, last));
    }
    entries
}

/// After the line break that follows, or the end of the text.
fn line_end(text: &str, at: usize) -> usize {
    text[at..].find('\n').map_or(text.len(), |offset| at + offset + 1)
}

fn extend(entries: &mut [Entry], section: Option<usize>, end: usize) {
    if let Some(section) = section.and_then(|at| entries.get_mut(at)) {
        section.end = end;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(format: ConfigFormat, text: &str) -> Vec<(String, Option<String>)> {
        read(format, text, &Lines::of(text)).into_iter().map(|entry| (entry.path, entry.value)).collect()
    }

    fn pair(path: &str, value: &str) -> (String, Option<String>) {
        (path.to_owned(), Some(value.to_owned()))
    }

    #[test]
    fn a_unit_has_repeated_keys_continued_lines_and_resets() {
        let unit = "# c\n[Service]\nExecStart=/bin/a \\\n# not a part\n  --flag\nEnvironment=A=1\nEnvironment=B=2\n\
                    ExecStartPre=x\nExecStartPre=\n; c\n[Install]\n";
        assert_eq!(
            values(ConfigFormat::Systemd, unit),
            [
                ("Service".to_owned(), None),
                pair("Service.ExecStart", "/bin/a --flag"),
                pair("Service.Environment", "A=1"),
                pair("Service.Environment", "B=2"),
                ("Install".to_owned(), None),
            ]
        );
    }

    #[test]
    fn an_ini_file_has_colons_and_indented_continuations() {
        let text = "top = 1\n[a b]\nx: 1\r\ny = 2\n  3\n\n z\n";
        assert_eq!(
            values(ConfigFormat::Ini, text),
            [pair("top", "1"), ("a b".to_owned(), None), pair("a b.x", "1"), pair("a b.y", "2 3")]
        );
        let indented = "[core]\n\ta = 1\n\tb = 2\n";
        assert_eq!(
            values(ConfigFormat::Ini, indented),
            [("core".to_owned(), None), pair("core.a", "1"), pair("core.b", "2")]
        );
    }

    #[test]
    fn t19_no_bytes_make_the_readers_fail() {
        for text in ["[", "]", "=", "[]\n=\\", "\\\n\\", "\u{feff}[a]\n=b", "a=\\\n", "[a]\nb=\\\n\\\n", " \n\t=\n"] {
            values(ConfigFormat::Systemd, text);
            values(ConfigFormat::Ini, text);
        }
    }
}
