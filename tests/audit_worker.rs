//! The audit worker as a real process: what it finds, what it is limited to, and what its death costs.

#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use mesh::domain::lesson::Lesson;
use mesh::ports::{Admission, Auditor, Mended, ScanReport};
use mesh::sys::auditor::WorkerAuditor;
use mesh::sys::clock::SystemClock;
use proptest::prelude::*;
use serde_json::{Value, json};

/// A home of its own, with a root to audit.
struct Place {
    temp: tempfile::TempDir,
    root: PathBuf,
    program: PathBuf,
}

impl Place {
    fn new() -> Self {
        let temp = tempfile::tempdir().unwrap();
        let root = temp.path().canonicalize().unwrap().join("root");
        fs::create_dir(&root).unwrap();
        Self { temp, root, program: PathBuf::from(env!("CARGO_BIN_EXE_mesh")) }
    }

    /// A worker that misbehaves: `<lesson>:<path>:<how>`.
    fn misbehaving(mut self, order: &str) -> Self {
        let script = self.temp.path().join("misbehaving-mesh");
        let text = format!("#!/bin/sh\nMESH_TEST_MISBEHAVE='{order}' exec '{}' \"$@\"\n", self.program.display());
        fs::write(&script, text).unwrap();
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
        self.program = script;
        self
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn auditor(&self) -> WorkerAuditor<SystemClock> {
        WorkerAuditor::new(self.program.clone(), self.temp.path().join("state"), SystemClock)
    }

    fn scan(&self, lessons: &[Lesson]) -> ScanReport {
        self.auditor().scan(&self.root, lessons, &mut |_| ()).unwrap()
    }

    /// As [`Self::scan`] with nothing remembered.
    fn scan_afresh(&self, lessons: &[Lesson]) -> ScanReport {
        let state = self.temp.path().join("fresh");
        let report = WorkerAuditor::new(self.program.clone(), state.clone(), SystemClock)
            .scan(&self.root, lessons, &mut |_| ())
            .unwrap();
        fs::remove_dir_all(state).unwrap();
        report
    }
}

fn lesson_of(id: &str, rules: &Value, more: &Value) -> Lesson {
    let mut detect = json!({ "engine": "ast-grep/0.51", "rules": rules });
    for (key, value) in more.as_object().into_iter().flatten() {
        detect[key] = value.clone();
    }
    let example = |code: &str| json!({ "path": "a.py", "code": code });
    serde_json::from_value(json!({
        "id": id, "rev": 1, "title": "t", "scope": "python/io", "severity": "warning", "risk": "low",
        "when": "w", "prefer": "p", "because": "b",
        "falsifiable": { "claim": "c", "expr": "true", "within": "7d" },
        "retired_when": { "claim": "c", "expr": "false", "after": "2030-01-01T00:00:00Z" },
        "detect": detect, "fix": { "class": "none" },
        "tests": { "positive": [example("eval(a)\n"), example("eval(b)\n")], "negative": [example("a\n"), example("b\n")] },
    }))
    .unwrap()
}

/// Calls of `name` in Python.
fn calls(id: &str, name: &str) -> Lesson {
    let rule = json!([{ "id": "call", "mode": "ast", "language": "python", "rule": { "pattern": format!("{name}($$$A)") },
        "message": "found" }]);
    lesson_of(id, &rule, &json!({}))
}

fn lines(id: &str, pattern: &str) -> Lesson {
    lesson_of(id, &json!([{ "id": "line", "mode": "regex", "pattern": pattern, "message": "found" }]), &json!({}))
}

/// Findings as `path:line lesson`.
fn places(report: &ScanReport) -> Vec<String> {
    report.findings.iter().map(|f| format!("{}:{} {}", f.path, f.line, f.lesson)).collect()
}

fn overruns(report: &ScanReport) -> Vec<String> {
    report.overruns.iter().map(|(lesson, file)| format!("{lesson} at {file}")).collect()
}

/// The parts of a report that do not depend on what was remembered.
fn content(report: &ScanReport) -> Value {
    json!([
        report.findings,
        report.skipped,
        report.idle_suppressions,
        report.overruns,
        report.refused,
        report.capped,
        report.files
    ])
}

/// Makes every file old enough that an unchanged one is known as such at the next look.
fn age(root: &Path) {
    let old = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_600_000_000);
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_dir() {
                folders.push(entry.path());
            } else if entry.file_type().unwrap().is_file() {
                fs::File::open(entry.path()).unwrap().set_modified(old).unwrap();
            }
        }
    }
}

#[test]
fn findings_come_by_path_and_line() {
    let place = Place::new();
    place.write("b.py", "eval(a)\n\nexec(b)\n");
    place.write("a/c.py", "x = 1\neval(x)\n");
    place.write(".gitignore", "ignored.py\n");
    place.write("ignored.py", "eval(x)\n");
    let report = place.scan(&[calls("no-exec", "exec"), calls("no-eval", "eval")]);
    assert_eq!(places(&report), ["a/c.py:2 no-eval", "b.py:1 no-eval", "b.py:3 no-exec"]);
    assert_eq!((report.files, report.parsed), (3, 2));
}

#[test]
fn t20_links_and_secrets_are_not_read_but_loose_modes_are_seen() {
    let place = Place::new();
    place.write("host.key", "BEGIN eval(x)\n");
    fs::set_permissions(place.root.join("host.key"), fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(place.temp.path().join("outside.py"), "eval(x)\n").unwrap();
    symlink("../outside.py", place.root.join("link.py")).unwrap();
    symlink("..", place.root.join("up")).unwrap();
    let report = place.scan(&[calls("no-eval", "eval"), lines("keys", "BEGIN"), lines("loose", "^mode 0..[4-7]$")]);
    assert_eq!(places(&report), ["host.key:1 loose"]);
    let skipped: Vec<_> = report.skipped.iter().map(|s| s.path.as_str()).collect();
    assert_eq!(skipped, ["host.key", "link.py", "up"]);
}

#[test]
fn a_condition_on_the_repository_and_the_most_findings_hold_over_all_files() {
    let place = Place::new();
    place.write("a.py", &"eval(x)\n".repeat(150));
    place.write("b.py", &"eval(x)\n".repeat(150));
    place.write("c.py", &"eval(x)\n".repeat(300));
    let rules = json!([
        { "id": "call", "mode": "ast", "language": "python", "rule": { "pattern": "eval($A)" }, "message": "m" },
        { "id": "guard", "mode": "ast", "language": "python", "rule": { "pattern": "exec($A)" }, "message": "m" },
    ]);
    let absent = lesson_of(
        "absent",
        &rules,
        &json!({ "when_repo": { "no_file": ["guard"] }, "limits": { "max_findings_per_repo": 3 } }),
    );
    let present = lesson_of("present", &rules, &json!({ "when_repo": { "any_file": ["guard"] } }));
    let lessons = [absent, present, calls("all", "eval")];
    let count = |report: &ScanReport, id: &str| report.findings.iter().filter(|f| f.lesson.as_str() == id).count();
    let report = place.scan(&lessons);
    assert_eq!((count(&report, "absent"), count(&report, "present"), count(&report, "all")), (3, 0, 200));
    assert_eq!(report.capped.iter().map(|(id, _)| id.as_str()).collect::<Vec<_>>(), ["absent", "all"]);
    place.write("z.py", "exec(x)\n");
    let report = place.scan(&lessons);
    assert_eq!((count(&report, "absent"), count(&report, "present")), (0, 200));
    // What was beyond the most comes forward when there is room.
    fs::remove_file(place.root.join("a.py")).unwrap();
    fs::remove_file(place.root.join("b.py")).unwrap();
    assert_eq!(content(&place.scan(&lessons)), content(&place.scan_afresh(&lessons)));
}

#[test]
fn t19_a_lesson_that_stops_the_worker_costs_the_others_nothing() {
    for how in ["spin", "overflow", "bomb", "abort", "panic"] {
        let place = Place::new().misbehaving(&format!("guilty:bad.py:{how}"));
        for n in 0..40 {
            place.write(&format!("f{n:02}.py"), "eval(x)\n");
        }
        place.write("bad.py", "eval(x)\n");
        let lessons = [calls("no-eval", "eval"), calls("guilty", "exec"), lines("text", "x\\)")];
        let report = place.scan(&lessons);
        assert_eq!(overruns(&report), ["guilty at bad.py"], "{how}");
        let count = |id: &str| report.findings.iter().filter(|f| f.lesson.as_str() == id).count();
        assert_eq!((count("no-eval"), count("text")), (41, 41), "{how}");
    }
}

#[test]
fn t19_a_lesson_that_stops_the_worker_three_times_is_disabled_and_stays_so() {
    let place = Place::new().misbehaving("guilty:.py:abort");
    for n in 0..8 {
        place.write(&format!("f{n}.py"), "eval(x)\n");
    }
    let lessons = [calls("no-eval", "eval"), calls("guilty", "eval")];
    let report = place.scan(&lessons);
    assert_eq!(report.overruns.len(), 3);
    assert!(report.overruns.iter().all(|(lesson, _)| lesson.as_str() == "guilty"));
    assert_eq!(report.findings.iter().filter(|f| f.lesson.as_str() == "no-eval").count(), 8);
    assert_eq!(content(&place.scan(&lessons)), content(&report));
}

#[test]
fn t19_a_lesson_that_stops_the_worker_before_any_file_is_refused_alone() {
    let place = Place::new().misbehaving("guilty:(compile):overflow");
    place.write("a.py", "eval(x)\n");
    let lessons = [calls("no-eval", "eval"), calls("guilty", "exec")];
    let report = place.scan(&lessons);
    assert_eq!(places(&report), ["a.py:1 no-eval"]);
    let [(lesson, why)] = report.refused.as_slice() else { panic!("{:?}", report.refused) };
    assert_eq!(lesson.as_str(), "guilty");
    assert!(why.contains("compiling it stopped the audit worker") && why.contains("overflow"), "{why}");

    let place = Place::new().misbehaving("guilty:(admit):bomb");
    let mut auditor = place.auditor();
    let Admission::Refused(why) = auditor.admit(&calls("guilty", "eval")).unwrap() else { panic!("it is admitted") };
    assert!(why.contains("memory allocation"), "{why}");
    assert_eq!(auditor.admit(&calls("no-eval", "eval")).unwrap(), Admission::Admitted);
}

#[test]
fn t19_a_rule_that_is_slow_by_itself_is_stopped_and_named() {
    let place = Place::new();
    place.write("long.py", &"f(x)\n".repeat(600));
    place.write("short.py", "f(x)\neval(y)\n");
    let after = |inner: Value| json!({ "kind": "expression_statement", "stopBy": "end", "precedes": inner });
    let rule = json!({ "kind": "expression_statement",
        "precedes": after(after(json!({ "kind": "global_statement", "stopBy": "end" }))) });
    let slow = lesson_of(
        "slow",
        &json!([{ "id": "r", "mode": "ast", "language": "python", "rule": rule, "message": "m" }]),
        &json!({}),
    );
    let report = place.scan(&[slow, calls("no-eval", "eval"), lines("text", "^f")]);
    assert_eq!(report.refused, []);
    assert_eq!(overruns(&report), ["slow at long.py"]);
    assert!(places(&report).contains(&"short.py:2 no-eval".to_owned()));
    assert!(places(&report).contains(&"long.py:1 text".to_owned()));
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the worker is looked at from outside, as a process")]
fn t12_the_worker_is_limited_before_it_reads_a_request() {
    use std::io::{BufRead, BufReader, Write};
    use std::process::{Command, Stdio};
    let mut worker = Command::new(env!("CARGO_BIN_EXE_mesh"))
        .arg("audit-worker")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut requests = worker.stdin.take().unwrap();
    requests.write_all(b"{\"round\":1,\"request\":{\"Hello\":{\"root\":null}}}\n").unwrap();
    let mut line = String::new();
    BufReader::new(worker.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "\"Ready\"\n");
    let of = |file: &str| fs::read_to_string(format!("/proc/{}/{file}", worker.id())).unwrap();
    let limits = of("limits");
    let limit = |name: &str| {
        let line = limits.lines().find(|line| line.starts_with(name)).unwrap();
        line[name.len()..].split_whitespace().take(2).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(limit("Max address space"), ["536870912"; 2]);
    assert_eq!(limit("Max core file size"), ["0"; 2]);
    assert_eq!(limit("Max open files"), ["64"; 2]);
    assert!(of("status").contains("NoNewPrivs:\t1"));
    assert_eq!(of("stat").rsplit(')').next().unwrap().split_whitespace().nth(16), Some("19"));
    drop(requests);
    assert!(worker.wait().unwrap().success());
}

#[test]
fn a_worker_that_is_killed_in_a_scan_is_started_again() {
    let place = Place::new();
    for n in 0..20 {
        place.write(&format!("f{n:02}.py"), "eval(x)\n");
    }
    let lessons = [lines("text", "^eval")];
    let expected = content(&place.scan_afresh(&lessons));
    let place = place.misbehaving("text:.py:dawdle");
    // Once in a scan of all files, once while the files in flight then are run again.
    let mut killed = 0;
    let mut kill = |_| {
        if killed < 2 {
            killed += u32::from(kill_my_worker());
        }
    };
    let report = place.auditor().scan(&place.root, &lessons, &mut kill).unwrap();
    assert_eq!(killed, 2);
    assert_eq!(content(&report), expected);
}

/// Kills one worker that this thread started.
fn kill_my_worker() -> bool {
    let own = rustix::thread::gettid().as_raw_nonzero().get();
    let children = fs::read_to_string(format!("/proc/self/task/{own}/children")).unwrap();
    let Some(child) = children.split_whitespace().next().and_then(|pid| pid.parse().ok()) else { return false };
    let child = rustix::process::Pid::from_raw(child).unwrap();
    rustix::process::kill_process(child, rustix::process::Signal::KILL).is_ok()
}

#[test]
fn an_unchanged_tree_under_known_lessons_starts_no_worker() {
    let place = Place::new();
    place.write("a.py", "eval(a)\n");
    let lessons = [calls("no-eval", "eval")];
    let first = place.scan(&lessons);
    let state = place.temp.path().join("state");
    let mut later = WorkerAuditor::new(place.program.clone(), state, Later(10));
    // The first files are too young to be trusted; the second look is from well after.
    let second = later.scan(&place.root, &lessons, &mut |_| ()).unwrap();
    assert_eq!(content(&second), content(&first));
    let mut asked = false;
    let third = later.scan(&place.root, &lessons, &mut |_| asked = true).unwrap();
    assert_eq!(content(&third), content(&first));
    assert_eq!((third.parsed, third.unchanged), (0, 1));
    assert!(!asked);
    let both = [calls("no-eval", "eval"), calls("no-exec", "exec")];
    let fourth = later.scan(&place.root, &both, &mut |_| ()).unwrap();
    assert_eq!(content(&fourth), content(&first));
}

/// A clock that is ahead by seconds.
struct Later(i64);

impl mesh::ports::Clock for Later {
    fn now(&self) -> jiff::Timestamp {
        SystemClock.now() + jiff::SignedDuration::from_secs(self.0)
    }
}

#[test]
fn a_new_lesson_reads_only_files_that_hold_its_words_and_finds_what_a_first_audit_finds() {
    let place = Place::new();
    place.write("a.py", "eval(a)\n");
    place.write("b.py", "exec(b)\n");
    place.write("c.py", "print(c)\n");
    place.write("d.py", "x = 1  # mesh-ignore\n");
    let state = place.temp.path().join("state");
    let mut later = WorkerAuditor::new(place.program.clone(), state, Later(10));
    let mut lessons = vec![calls("no-eval", "eval")];
    let first = later.scan(&place.root, &lessons, &mut |_| ()).unwrap();
    assert_eq!((places(&first), first.unread), (vec!["a.py:1 no-eval".to_owned()], 0));
    lessons.push(calls("no-exec", "exec"));
    let second = later.scan(&place.root, &lessons, &mut |_| ()).unwrap();
    assert_eq!(places(&second), ["a.py:1 no-eval", "b.py:1 no-exec"]);
    assert_eq!(
        second.unread, 2,
        "a.py and c.py hold no such word; a comment that suppresses nothing is looked for again"
    );
    place.write("c.py", "exec(c); compile(c)\n");
    lessons.push(calls("no-compile", "compile"));
    let third = later.scan(&place.root, &lessons, &mut |_| ()).unwrap();
    assert_eq!(third.unread, 2, "a.py and b.py, since c.py has changed");
    let fresh = WorkerAuditor::new(place.program.clone(), place.temp.path().join("fresh"), Later(10))
        .scan(&place.root, &lessons, &mut |_| ())
        .unwrap();
    assert_eq!(content(&third), content(&fresh));
    assert_eq!(places(&third).len(), 4);
}

#[test]
fn a_damaged_snapshot_means_a_full_audit() {
    let place = Place::new();
    place.write("a.py", "eval(a)\n");
    let lessons = [calls("no-eval", "eval")];
    let first = place.scan(&lessons);
    let state = place.temp.path().join("state");
    let files = fs::read_dir(&state).unwrap().map(|entry| entry.unwrap().path());
    let mut snapshots = files.filter(|file| file.extension().is_some_and(|end| end == "snapshot"));
    let file = snapshots.next().expect("a snapshot");
    for text in ["", "mesh-snapshot-1\n", "something else altogether"] {
        fs::write(&file, text).unwrap();
        assert_eq!(content(&place.scan(&lessons)), content(&first));
    }
}

#[test]
fn a_lesson_is_admitted_or_refused_in_the_worker() {
    let place = Place::new();
    let mut auditor = place.auditor();
    assert_eq!(auditor.admit(&calls("no-eval", "eval")).unwrap(), Admission::Admitted);
    let Admission::Refused(why) = auditor.admit(&calls("no-exec", "exec")).unwrap() else {
        panic!("its examples do not hold")
    };
    assert!(why.contains("tests.positive[0]"), "{why}");
    assert_eq!(auditor.mend(&calls("no-eval", "eval"), "a.py", "eval(x)\n", None).unwrap(), Mended::Nothing);
}

#[test]
fn a_program_that_is_no_worker_is_an_error_and_not_a_hang() {
    let mut place = Place::new();
    place.write("a.py", "eval(a)\n");
    for program in ["/nonexistent/mesh", "/bin/false", "/bin/cat"] {
        place.program = PathBuf::from(program);
        let error = place.auditor().scan(&place.root, &[calls("no-eval", "eval")], &mut |_| ()).unwrap_err();
        assert!(error.to_string().starts_with("audit worker failed"), "{error}");
    }
}

#[test]
fn a_root_that_is_not_there_is_named() {
    let place = Place::new();
    let error = place.auditor().scan(&place.root.join("gone"), &[], &mut |_| ()).unwrap_err();
    assert!(error.to_string().ends_with("root/gone"), "{error}");
}

const TEXTS: [&str; 6] = [
    "eval(x)\n",
    "exec(y)\n",
    "eval(1)\nexec(2)\n",
    "x = 1\n",
    "eval(x)  # mesh-ignore: no-eval -- known\n",
    "# mesh-ignore\n",
];
const PATHS: [&str; 6] = ["a.py", "b.py", "d/a.py", "d/e/b.py", "e/.gitignore", ".gitignore"];

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn an_audit_that_remembers_finds_what_a_fresh_one_finds(
        rounds in prop::collection::vec(
            (prop::collection::vec((0..5_u8, 0..6_usize, 0..6_usize), 0..5), 1..8_u8), 2..4),
    ) {
        let place = Place::new();
        let all = [calls("no-eval", "eval"), calls("no-exec", "exec"), lines("ones", "1")];
        for (changes, mask) in rounds {
            for (what, at, text) in changes {
                let path = place.root.join(PATHS[at]);
                let _may_fail = match what {
                    0 | 1 => {
                        place.write(PATHS[at], if at < 4 { TEXTS[text] } else { "b.py\n" });
                        Ok(())
                    }
                    2 => fs::remove_file(&path),
                    3 => fs::rename(&path, place.root.join(PATHS[text % 4])),
                    _ => fs::rename(place.root.join("d"), place.root.join("g")),
                };
            }
            age(&place.root);
            let lessons: Vec<_> = all.iter().enumerate().filter(|(n, _)| mask >> n & 1 == 1).map(|(_, l)| l.clone()).collect();
            let state = place.temp.path().join("state");
            let remembered =
                WorkerAuditor::new(place.program.clone(), state, Later(10)).scan(&place.root, &lessons, &mut |_| ()).unwrap();
            prop_assert_eq!(content(&remembered), content(&place.scan_afresh(&lessons)));
        }
    }
}
