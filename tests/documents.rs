//! The documents say what the code does: tables and examples are made again from the code and compared.
//!
//! `UPDATE_DOCS=1 cargo test --test main documents` writes them anew; look at the difference before it is committed.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use mesh::cli::ExitKind;
use mesh::domain::chain::PeerState;
use mesh::domain::detect::{Confidence, FixClass};
use mesh::domain::expr::{Claim, FUNCTIONS};
use mesh::domain::lesson::{Lesson, Severity};
use mesh::domain::signal::{CATALOGUE, Direction};
use mesh::store::config::Config;
use mesh::store::home::Home;

pub(crate) fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

pub(crate) fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn updating() -> bool {
    std::env::var_os("UPDATE_DOCS").is_some()
}

/// Compares a file with what the code says, or writes it.
pub(crate) fn demand(path: &str, wanted: &str) {
    if updating() {
        fs::create_dir_all(root().join(path).parent().expect("below the root")).expect("made");
        fs::write(root().join(path), wanted).expect("written");
        return;
    }
    let found = read(path);
    let differs = found.lines().zip(wanted.lines()).position(|(found, wanted)| found != wanted);
    let at = differs.unwrap_or_else(|| found.lines().count().min(wanted.lines().count()));
    assert!(
        found == wanted,
        "{path}:{} is not what the code says\n  here:   {}\n  wanted: {}\nrun: UPDATE_DOCS=1 cargo test --test main documents",
        at + 1,
        found.lines().nth(at).unwrap_or("(end)"),
        wanted.lines().nth(at).unwrap_or("(end)"),
    );
}

/// `text` with the part between `<!-- generated: name -->` and the next `<!-- end -->` replaced.
pub(crate) fn with_part(text: &str, name: &str, part: &str) -> String {
    let start = format!("<!-- generated: {name} -->\n");
    let (before, rest) = text.split_once(&start).unwrap_or_else(|| panic!("the document has no `{}`", start.trim()));
    let (_, after) = rest.split_once("<!-- end -->").expect("a generated part ends in <!-- end -->");
    format!("{before}{start}{}\n<!-- end -->{after}", part.trim_end())
}

/// The first fenced block after `<!-- example: name -->`.
pub(crate) fn example(path: &str, name: &str) -> String {
    let text = read(path);
    let mark = format!("<!-- example: {name} -->");
    let (_, rest) = text.split_once(&mark).unwrap_or_else(|| panic!("{path} has no {mark}"));
    let body = rest.split_once("```").and_then(|(_, fenced)| fenced.split_once('\n')).expect("a fence").1;
    body.split_once("\n```").expect("the fence ends").0.to_owned() + "\n"
}

/// The first sentence of a module's `//!` comment, without its period.
fn subject(path: &Path) -> String {
    let text = fs::read_to_string(path).expect("readable");
    let lines = text.lines().map_while(|line| line.strip_prefix("//!")).map(str::trim);
    let paragraph: Vec<&str> = lines.take_while(|line| !line.is_empty()).collect();
    assert!(!paragraph.is_empty(), "{} starts without a //! line that says what it is", path.display());
    let paragraph = paragraph.join(" ");
    paragraph.split(". ").next().unwrap_or_default().trim_end_matches('.').to_owned()
}

/// Source modules directly below `folder`: name as the map shows it, and the file that says what it is.
fn modules(folder: &Path) -> Vec<(String, PathBuf)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("readable") {
        let path = entry.expect("readable").path();
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        if path.is_dir() && path.join("mod.rs").is_file() {
            found.push((format!("{name}/"), path.join("mod.rs")));
        } else if let Some(stem) = name.strip_suffix(".rs").filter(|stem| *stem != "mod" && !stem.ends_with("_tests")) {
            found.push((stem.to_owned(), path));
        }
    }
    found.sort();
    found
}

/// The map of ARCHITECTURE.md: floors from the top, and what stands on each.
fn module_map() -> String {
    const FROM_THE_TOP: [&str; 10] =
        ["cli/", "agent/", "loops/", "http/", "sys/", "store/", "scan/", "founding/", "ports", "domain/"];
    let src = root().join("src");
    let mut top = modules(&src);
    top.sort_by_key(|(name, _)| FROM_THE_TOP.iter().position(|known| known == name));
    let mut map = String::new();
    for (name, file) in top {
        let shown = name.strip_suffix('/').map_or_else(|| format!("{name}.rs"), |folder| format!("{folder}/"));
        writeln!(map, "- `{shown}` {}", subject(&file)).expect("a string");
        if let Some(folder) = name.strip_suffix('/') {
            for (module, file) in modules(&src.join(folder)) {
                writeln!(map, "  - `{module}` {}", subject(&file)).expect("a string");
            }
        }
    }
    map
}

#[test]
fn architecture_names_every_module_and_no_other() {
    let text = read("ARCHITECTURE.md");
    demand("ARCHITECTURE.md", &with_part(&text, "modules", &module_map()));
}

/// The limits module as a table; its own comments are the words.
fn limits_table() -> String {
    let mut table = String::from("| limit | value | what |\n|---|---|---|\n");
    let mut words = String::new();
    for line in read("src/domain/limits.rs").lines() {
        if let Some(word) = line.strip_prefix("/// ") {
            words = format!("{words} {word}").trim_start().to_owned();
        } else if let Some(constant) = line.strip_prefix("pub const ") {
            let (name, rest) = constant.split_once(':').expect("a type");
            let value = rest.split_once(" = ").expect("a value on the same line").1.trim_end_matches(';');
            writeln!(table, "| `{name}` | {} | {} |", shown(value), words.trim_end_matches('.')).expect("a string");
            words.clear();
        }
    }
    table
}

/// A constant's expression as people write the number.
fn shown(expression: &str) -> String {
    let number = |text: &str| text.trim().replace('_', "").parse::<u64>().ok();
    for (start, unit) in [("Duration::from_secs(", "s"), ("Duration::from_millis(", "ms")] {
        if let Some(n) = expression.strip_prefix(start).and_then(|rest| rest.strip_suffix(')')) {
            return format!("{} {unit}", n.trim());
        }
    }
    let factors: Option<Vec<u64>> = expression.split('*').map(number).collect();
    match factors.as_deref() {
        Some([n]) => thousands(*n),
        Some(many) => {
            let bytes: u64 = many.iter().product();
            let (unit, name) = if bytes.is_multiple_of(1 << 20) { (1 << 20, "MiB") } else { (1 << 10, "KiB") };
            format!("{} {name}", thousands(bytes / unit))
        }
        None if expression == "(1 << 53) - 1" => "2^53-1".to_owned(),
        None => format!("as `{expression}`"),
    }
}

fn thousands(n: u64) -> String {
    if n < 1_000 { n.to_string() } else { format!("{},{:03}", thousands(n / 1_000), n % 1_000) }
}

#[test]
fn the_threat_model_states_every_limit() {
    let text = read("docs/threat-model.md");
    demand("docs/threat-model.md", &with_part(&text, "limits", &limits_table()));
}

fn all_test_names() -> String {
    let mut names = String::new();
    let mut folders = vec![root().join("src"), root().join("tests")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("readable") {
            let path = entry.expect("readable").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ext| ext == "rs") {
                let text = fs::read_to_string(&path).expect("readable");
                names.extend(text.lines().filter_map(|line| line.trim().strip_prefix("fn ")).map(|f| format!("{f}\n")));
            }
        }
    }
    names
}

#[test]
fn the_threat_model_has_every_row_and_names_only_tests_that_exist() {
    let text = read("docs/threat-model.md");
    let names = all_test_names();
    for row in 1..=35 {
        let line = text.lines().find(|line| line.starts_with(&format!("| T{row} |")));
        let line = line.unwrap_or_else(|| panic!("docs/threat-model.md has no row T{row}"));
        let tests = line.rsplit('|').nth(1).expect("a last column").trim();
        assert!(!tests.is_empty(), "T{row}: name a test, or write `not yet`");
        for test in tests.split('`').skip(1).step_by(2) {
            let exists = names.lines().any(|name| name.starts_with(test));
            assert!(exists, "T{row}: there is no test `{test}...`");
        }
    }
}

#[test]
fn the_lesson_guide_lists_every_signal_function_and_word() {
    let mut signals = String::from("| signal | unit | better |\n|---|---|---|\n");
    for signal in CATALOGUE {
        let better = match signal.direction {
            Direction::Up => "more",
            Direction::Down => "less",
        };
        writeln!(signals, "| `{}` | {} | {better} |", signal.name, signal.unit).expect("a string");
    }
    let text = read("docs/lessons.md");
    demand("docs/lessons.md", &with_part(&text, "signals", &signals));
    for (name, ..) in FUNCTIONS {
        assert!(text.contains(&format!("| `{name}(")), "docs/lessons.md does not say what `{name}` is");
    }
    let words = [Severity::Hint, Severity::Info, Severity::Warning, Severity::Error].map(Severity::name);
    let classes = [FixClass::Safe, FixClass::Review, FixClass::None].map(FixClass::name);
    for word in words.iter().chain(&classes) {
        assert!(text.contains(&format!("`{word}`")), "docs/lessons.md does not name `{word}`");
    }
    assert_eq!(Confidence::default(), Confidence::Medium, "docs/lessons.md says so");
}

/// The full example of the lesson guide.
pub(crate) fn example_lesson() -> Lesson {
    toml::from_str(&example("docs/lessons.md", "lesson")).expect("docs/lessons.md holds a lesson")
}

#[test]
fn the_example_lesson_is_acceptable_and_proves_itself() {
    let lesson = example_lesson();
    lesson.check().expect("within the static limits");
    Claim::compile(&lesson.falsifiable.expr).expect("a claim that can fail");
    Claim::compile(&lesson.retired_when.expr).expect("a claim that can fail");
    mesh::scan::prove(&lesson).expect("its own examples hold");
}

#[test]
fn the_operations_page_names_every_state_and_exit_code() {
    let text = read("docs/operations.md");
    for state in PeerState::ALL {
        assert!(text.contains(&format!("| `{}` |", state.name())), "docs/operations.md has no row `{}`", state.name());
    }
    let kinds =
        [ExitKind::Ok, ExitKind::Error, ExitKind::Usage, ExitKind::Verification, ExitKind::Quarantine, ExitKind::Stale];
    for (code, kind) in kinds.into_iter().enumerate() {
        let row = format!("| {code} | `{}` |", kind.name());
        assert!(text.contains(&row), "docs/operations.md has no row {row}");
    }
}

#[test]
fn the_example_config_loads_and_shows_the_defaults() {
    let dir = tempfile::tempdir().expect("a temp dir");
    let home = Home::at(dir.path());
    home.create().expect("made");
    let text = read("config/mesh.toml.example");
    let load = |text: &str| {
        fs::write(home.config_file(), text).expect("written");
        Config::load(&home).expect("the example loads")
    };
    let plain = load(&text);
    // Every `# key = value` line is a key with its default, but for those that have none.
    let without_default =
        ["token", "ssh_options", "check ", "canary", "shadow", "limit_per_day", "api", "name ", "url", "remote"];
    let spelled: Vec<String> = text
        .lines()
        .map(|line| match line.strip_prefix("# ") {
            Some(key) if key.contains(" = ") && !without_default.iter().any(|name| key.starts_with(name)) => {
                key.to_owned()
            }
            _ => line.to_owned(),
        })
        .collect();
    assert_ne!(spelled.join("\n"), text.trim_end());
    assert_eq!(load(&spelled.join("\n")), plain, "a commented-out key does not show its default");
    let all: Vec<&str> = text
        .lines()
        .map(|line| line.strip_prefix("# ").filter(|key| key.contains(" = ") && !key.contains(". ")).unwrap_or(line))
        .collect();
    load(&all.join("\n"));
}

/// Every `mesh ...` line in a fenced block: the one or two words that name the command, and its options.
fn documented_commands() -> Vec<(String, Vec<String>)> {
    let mut commands = Vec::new();
    for page in ["README.md", "docs/operations.md", "docs/kaizen.md"] {
        for line in read(page).lines() {
            let command = line.strip_prefix("mesh ").or_else(|| line.strip_prefix("cargo run --release -- "));
            let Some(command) = command else { continue };
            let flags = command.split(' ').filter(|word| word.starts_with("--"));
            let words = command.split(' ').take_while(|word| !word.starts_with(['-', '"', '.']));
            let words: Vec<String> = words.take(2).chain(flags).map(str::to_owned).collect();
            commands.push((format!("{page}: {line}"), words));
        }
    }
    commands
}

#[test]
fn commands_in_the_documents_exist_with_their_options() {
    let commands = documented_commands();
    assert!(commands.len() > 10, "{commands:?}");
    for (place, words) in commands {
        let (flags, names): (Vec<_>, Vec<_>) = words.iter().partition(|word| word.starts_with("--"));
        #[expect(clippy::disallowed_methods, reason = "a test runs the program itself")]
        let output = Command::new(env!("CARGO_BIN_EXE_mesh"))
            .args(names)
            .arg("--help")
            .output()
            .expect("the program was built with this test");
        assert!(output.status.success(), "{place}\n{}", String::from_utf8_lossy(&output.stderr));
        let help = String::from_utf8_lossy(&output.stdout);
        for flag in flags {
            assert!(help.contains(flag.as_str()), "{place}: there is no {flag}");
        }
    }
}

#[test]
fn links_between_documents_lead_somewhere() {
    let pages =
        ["README.md", "ARCHITECTURE.md", "CHANGELOG.md", "keys/README.md", "outbox/README.md", "inbox/README.md"];
    let docs = fs::read_dir(root().join("docs")).expect("docs").map(|entry| entry.expect("readable").path());
    let docs = docs.filter(|path| path.extension().is_some_and(|ext| ext == "md"));
    let mut broken = Vec::new();
    for page in pages.iter().map(|page| root().join(page)).chain(docs) {
        let text = fs::read_to_string(&page).expect("readable");
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if link.contains("://") {
                continue;
            }
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() { page.clone() } else { page.parent().expect("a folder").join(file) };
            let headings = fs::read_to_string(&target).unwrap_or_default();
            let anchored =
                anchor.is_empty() || headings.lines().any(|line| line.starts_with('#') && slug(line) == anchor);
            if !target.exists() || !anchored {
                broken.push(format!("{}: {link}", page.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

/// The anchor that a heading gets.
fn slug(heading: &str) -> String {
    let words = heading.trim_start_matches('#').trim().to_lowercase();
    words
        .chars()
        .filter_map(|c| if c == ' ' { Some('-') } else { (c.is_alphanumeric() || c == '-').then_some(c) })
        .collect()
}
