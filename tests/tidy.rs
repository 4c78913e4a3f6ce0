//! The shape of the source, held to what ARCHITECTURE.md says.

use std::fs;
use std::path::{Path, PathBuf};

/// Floors from the bottom; a module may name only modules of lower floors.
const FLOORS: [&[&str]; 6] =
    [&["domain"], &["ports"], &["sys", "store", "scan", "founding"], &["loops", "http"], &["agent"], &["cli"]];

fn source_files() -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("src is readable") {
            let path = entry.expect("src is readable").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ext| ext == "rs") {
                files.push(path);
            }
        }
    }
    files
}

fn relative(path: &Path) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    path.strip_prefix(root).expect("below src").to_string_lossy().into_owned()
}

fn floor_of(module: &str) -> Option<usize> {
    FLOORS.iter().position(|floor| floor.contains(&module))
}

/// The top-level modules that a source text names by `crate::`.
fn named_modules(text: &str) -> Vec<(usize, String)> {
    let mut named = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let code = line.split("//").next().unwrap_or_default();
        for part in code.split("crate::").skip(1) {
            let list = part.strip_prefix('{').map_or_else(|| vec![part], |list| list.split(',').collect());
            for name in list {
                let name: String = name.trim().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                named.push((number + 1, name));
            }
        }
    }
    named
}

#[test]
fn arrows_point_down_only() {
    let mut wrong = Vec::new();
    for file in source_files() {
        let path = relative(&file);
        let module = path.split(['/', '.']).next().unwrap_or_default().to_owned();
        if module == "lib" || module == "main" {
            continue;
        }
        let own = floor_of(&module).unwrap_or_else(|| panic!("{path} is on no floor: add `{module}` to FLOORS"));
        for (line, name) in named_modules(&fs::read_to_string(&file).expect("readable")) {
            let floor = floor_of(&name).unwrap_or_else(|| panic!("{path}:{line} names `{name}`, which is on no floor"));
            if floor > own || (floor == own && name != module) {
                wrong.push(format!("{path}:{line}: `{module}` may not name `{name}`"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_is_absent_stays_absent() {
    // (text, where it may stand, why nowhere else)
    let bans = [
        ("git2::", "sys/", "git types stay in sys"),
        ("rusqlite", "store/", "SQL stays in store"),
        ("println!", "cli/out.rs", "words for people go through cli::out"),
        ("std::fs", "sys/ store/ agent/", "files are touched in sys and store"),
        ("Arc<Mutex", "", "one owner per thing; talk by message"),
        ("mod util", "", "name the subject"),
        ("mod common", "", "name the subject"),
    ];
    let mut wrong = Vec::new();
    for file in source_files() {
        let path = relative(&file);
        let text = fs::read_to_string(&file).expect("readable");
        let product = text.split("#[cfg(test)]").next().unwrap_or_default();
        for (number, line) in product.lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            for (ban, allowed, why) in bans {
                if code.contains(ban) && !allowed.split(' ').any(|a| !a.is_empty() && path.starts_with(a)) {
                    wrong.push(format!("{path}:{}: {ban}: {why}", number + 1));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
