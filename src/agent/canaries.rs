//! What tries changes in each audited root, and what is missing for that.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::doctor::{Examined, attend, good};
use crate::domain::canary::Kind;
use crate::domain::foreign_text::display_line;
use crate::store::config::AuditRoot;
use crate::sys::host;

/// Names that are looked at in one root.
const MOST_NAMES: usize = 50_000;

/// What a root is tried by.
pub(super) fn examine(root: &AuditRoot) -> Vec<Examined> {
    let shown = display_line(&root.path.to_string_lossy());
    if !root.path.is_dir() {
        return vec![attend("root", format!("{shown} is not there"), "mend or remove it in the config")];
    }
    let shadow = root.shadow.as_ref();
    let named = [
        ("check", Some(&root.check)),
        ("canary", Some(&root.canary)),
        ("shadow", shadow.map(|shadow| &shadow.start)),
        ("shadow", shadow.map(|shadow| &shadow.probe)),
    ];
    let named: Vec<(&str, &String)> =
        named.into_iter().filter_map(|(name, argv)| Some((name, argv?.first()?))).collect();
    if let Some((name, program)) = named.iter().find(|(_, program)| !host::can_run(program, &root.path)) {
        let says = format!("{shown}: the program {} of its {name} is not found", display_line(program));
        return vec![attend("root", says, format!("install it, or correct `{name}`"))];
    }
    let mut examined = Vec::new();
    if !named.is_empty() {
        let mut names: Vec<&str> = named.iter().map(|(name, _)| *name).collect();
        names.dedup();
        examined.push(good("root", format!("{shown} is tried by its {}", names.join(" and "))));
    }
    // A canary of the root's own takes the place of every checker.
    let kinds = if root.canary.is_empty() { kinds_in(&root.path) } else { BTreeMap::new() };
    for (kind, example) in kinds.into_values() {
        let file = display_line(&example.to_string_lossy());
        examined.push(if host::can_run(kind.program(), &root.path) {
            good("root", format!("{shown}: {} files such as {file} are tried by `{}`", kind.name, kind.argv.join(" ")))
        } else {
            attend(
                "root",
                format!("{shown}: {file} has no canary: `{}` is not installed", kind.program()),
                format!("apt-get install {}, or name a `canary` with {{file}} in its [[audit.root]]", kind.package),
            )
        });
    }
    if examined.is_empty() {
        examined.push(attend(
            "root",
            format!("{shown} has no check and no canary: fixes are unchecked, and those of risk medium and above wait"),
            "name the project's own test command as `check` in its [[audit.root]]",
        ));
    }
    examined
}

/// The kinds of configuration files below `root` by name, each with one file of it. What cannot be read is left out.
fn kinds_in(root: &Path) -> BTreeMap<&'static str, (&'static Kind, PathBuf)> {
    let mut found = BTreeMap::new();
    let (mut folders, mut names) = (vec![root.to_owned()], 0);
    while let Some(folder) = folders.pop() {
        for entry in folder.read_dir().into_iter().flatten().flatten() {
            names += 1;
            if names > MOST_NAMES {
                return found;
            }
            let (path, kind) = (entry.path(), entry.file_type());
            if kind.as_ref().is_ok_and(|kind| kind.is_dir()) && entry.file_name() != ".git" {
                folders.push(path);
            } else if kind.is_ok_and(|kind| kind.is_file())
                && let Some(kind) = Kind::of(&path)
            {
                let inside = path.strip_prefix(root).unwrap_or(&path).to_owned();
                found.entry(kind.name).or_insert((kind, inside));
            }
        }
    }
    found
}
