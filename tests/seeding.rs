//! From findings to branches, on real repositories, with an audit worker that does as it is told.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use mesh::domain::finding::{Finding, Fingerprint, Suppression};
use mesh::domain::fix::{CheckResult, Fix, FixState, KnownLesson};
use mesh::domain::guard::{Answer, Approvals, Check};
use mesh::domain::id::{HostId, Slug};
use mesh::domain::lesson::Lesson;
use mesh::domain::pace::Pace;
use mesh::domain::running::Moment;
use mesh::domain::trust::Grant;
use mesh::loops::seed::{Area, House, Mode, Parts, PersonError, Seeding, apply, rollback, seed};
use mesh::ports::{Admission, Auditor, AuditorError, Exec, Mended, RepoError, ScanProgress, ScanReport};
use mesh::store::db::Db;
use mesh::sys::exec::SystemExec;
use mesh::sys::repo::{GitRepo, identities};

use crate::support::project::{Project, git};

/// A path and a text to what becomes of it.
type Mend = dyn FnMut(&str, &str) -> Mended + Send;

/// Mends by a function, and records what it was asked.
pub(crate) struct Told {
    mend: Box<Mend>,
    asked: Vec<(String, Option<Fingerprint>)>,
}

impl Told {
    fn new(mend: impl FnMut(&str, &str) -> Mended + Send + 'static) -> Self {
        Self { mend: Box::new(mend), asked: Vec::new() }
    }

    /// Turns every `BAD` into `GOOD`.
    fn replacing() -> Self {
        Self::new(|_, text| match text.replace("BAD", "GOOD") {
            mended if mended == text => Mended::Nothing,
            mended => Mended::Text(mended),
        })
    }
}

impl Auditor for Told {
    fn admit(&mut self, _: &Lesson) -> Result<Admission, AuditorError> {
        Ok(Admission::Admitted)
    }

    fn scan(&mut self, _: &Path, _: &[Lesson], _: &mut dyn FnMut(ScanProgress)) -> Result<ScanReport, AuditorError> {
        Ok(ScanReport::default())
    }

    fn mend(&mut self, _: &Lesson, path: &str, text: &str, only: Option<Fingerprint>) -> Result<Mended, AuditorError> {
        self.asked.push((path.to_owned(), only));
        Ok((self.mend)(path, text))
    }
}

pub(crate) fn lesson(class: &str) -> Lesson {
    serde_json::from_value(serde_json::json!({
        "id": "no-bad", "rev": 3, "title": "Say GOOD, not BAD", "scope": "text", "severity": "warning", "risk": "low",
        "when": "BAD is written", "prefer": "GOOD", "because": "BAD is bad. It cannot see bad in disguise.",
        "falsifiable": { "claim": "c", "expr": "last(\"log.records\") > 0", "within": "7d" },
        "retired_when": { "claim": "c", "expr": "last(\"log.records\") > 1", "after": "2030-01-01T00:00:00Z" },
        "detect": {
            "engine": "ast-grep/0.51",
            "rules": [{ "mode": "regex", "id": "bad", "pattern": "BAD", "message": "BAD is written" }]
        },
        "fix": { "class": class, "edits": [{ "for": "bad", "template": "GOOD" }], "max_files": 2, "max_lines": 6 },
        "tests": {
            "positive": [
                { "path": "a.txt", "code": "BAD\n", "fixed": "GOOD\n" },
                { "path": "b.txt", "code": "is BAD\n", "fixed": "is GOOD\n" }
            ],
            "negative": [{ "path": "a.txt", "code": "GOOD\n" }, { "path": "b.txt", "code": "fine\n" }]
        }
    }))
    .expect("a lesson")
}

fn slug(text: &str) -> Slug {
    text.parse().expect("a slug")
}

pub(crate) fn finding(path: &str, line: u32) -> Finding {
    Finding {
        lesson: slug("no-bad"),
        rule: slug("bad"),
        severity: mesh::domain::lesson::Severity::Warning,
        confidence: mesh::domain::detect::Confidence::High,
        path: path.to_owned(),
        line,
        column: 1,
        end_line: line,
        message: "BAD is written".to_owned(),
        fingerprint: Fingerprint::of(&slug("no-bad"), &slug("bad"), path, "BAD", line),
        suppressed: None,
    }
}

/// A host of mesh beside a project.
pub(crate) struct Host {
    pub(crate) db: Db,
    pub(crate) repo: GitRepo,
    pub(crate) house: House,
    pub(crate) home: PathBuf,
    pub(crate) auditor: Told,
    pub(crate) check: Vec<String>,
    pub(crate) class: &'static str,
    pub(crate) grant: Grant,
    /// What is different about the lesson.
    pub(crate) change: fn(&mut Lesson),
    /// The clocks.
    pub(crate) moment: Moment,
    /// What looks for programs.
    pub(crate) exec: &'static dyn Exec,
}

/// When every test begins.
const START: Timestamp = Timestamp::constant(1_800_000_000, 0);

impl Host {
    pub(crate) fn beside(project: &Project) -> Self {
        let home = project.root.parent().expect("a directory above").join("home");
        for folder in ["keys", "config", "state"] {
            fs::create_dir_all(home.join(folder)).expect("made");
        }
        fs::write(home.join("keys/host.key"), "BAD\n").expect("written");
        fs::write(home.join("config/mesh.toml"), "BAD\n").expect("written");
        let blocked = vec![home.clone()];
        Self {
            db: Db::in_memory().expect("a database"),
            repo: GitRepo::new(HostId::from_bytes([0xab; 32]), home.join("state/worktrees")),
            house: House {
                blocked_ids: identities(&blocked),
                blocked,
                max_lines: 100,
                max_open: 10,
                blocked_kinds: Vec::new(),
                approvals: Approvals::default(),
                pace: Pace::default(),
            },
            home,
            auditor: Told::replacing(),
            check: Vec::new(),
            class: "safe",
            grant: Grant::Propose,
            change: |_| (),
            moment: Moment { wall: START, boot: "a".to_owned(), uptime: Duration::ZERO },
            exec: &SystemExec,
        }
    }

    pub(crate) fn with<T>(
        &mut self,
        root: &Path,
        run: impl FnOnce(&mut Parts<'_>, &Area, &[KnownLesson], Timestamp) -> T,
    ) -> T {
        let bare = Area::bare(root.to_owned());
        let area = Area { check: self.check.clone(), check_timeout: Duration::from_secs(60), ..bare };
        let mut lesson = lesson(self.class);
        (self.change)(&mut lesson);
        let known = KnownLesson { lesson, entry: None, grant: self.grant, waits: false };
        let mut parts = Parts {
            auditor: &mut self.auditor,
            repo: &self.repo,
            exec: self.exec,
            db: &mut self.db,
            house: &self.house,
            moment: self.moment.clone(),
        };
        run(&mut parts, &area, &[known], self.moment.wall)
    }

    fn seed_mode(&mut self, root: &Path, findings: &[Finding], mode: Mode) -> Seeding {
        self.with(root, |parts, area, known, now| seed(parts, area, known, findings, mode, now)).expect("seeded")
    }

    fn seed(&mut self, root: &Path, findings: &[Finding]) -> Seeding {
        self.seed_mode(root, findings, Mode::Seed)
    }

    /// Seeds one finding and returns its fix.
    pub(crate) fn one(&mut self, root: &Path, path: &str) -> Fix {
        let mut seeding = self.seed(root, &[finding(path, 1)]);
        assert_eq!(seeding.unplanned, []);
        assert_eq!(seeding.outcomes.len(), 1);
        seeding.outcomes.remove(0).fix
    }

    /// Whether the scratch copies hold files of the project and nothing that a check has left.
    fn scratch_is_tidy(&self, project: &Project) -> bool {
        let tracked = project.git(&["ls-files"]);
        let tracked: Vec<&str> = tracked.lines().collect();
        let mut folders: Vec<PathBuf> = fs::read_dir(self.home.join("state/worktrees"))
            .expect("readable")
            .map(|slot| slot.expect("readable").path().join("files"))
            .collect();
        let (tops, mut names) = (folders.clone(), Vec::new());
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).expect("readable") {
                let path = entry.expect("readable").path();
                let top = tops.iter().find(|top| path.starts_with(top)).expect("below one");
                names.push(path.strip_prefix(top).expect("below").display().to_string());
                if path.is_dir() && !path.is_symlink() {
                    folders.push(path);
                }
            }
        }
        let known = |name: &String| {
            tracked.iter().any(|path| path == name || path.strip_prefix(name).is_some_and(|rest| rest.starts_with('/')))
        };
        names.iter().all(known)
    }
}

/// The checks that refused.
pub(crate) fn refused_by(fix: &Fix) -> Vec<Check> {
    assert_eq!(fix.state, FixState::Refused, "{fix:?}");
    assert_eq!((&fix.branch, &fix.commit), (&None, &None));
    fix.verdicts.iter().filter(|verdict| verdict.answer == Answer::Refuse).map(|verdict| verdict.check).collect()
}

#[test]
fn a_safe_fix_becomes_one_commit_and_nothing_of_the_users_changes() {
    let project = Project::new(&[("src/a.py", "x\nBAD\ny\n"), ("other.py", "1\n"), ("run.sh", "#!/bin/sh\n")]);
    project.write("other.py", "uncommitted\n");
    project.write("staged.py", "staged\n");
    project.git(&["add", "staged.py"]);
    project.write("untracked.py", "untracked\n");
    project.git(&["tag", "v1"]);
    let before = project.everything();

    let mut host = Host::beside(&project);
    let fix = host.one(&project.root, "src/a.py");

    assert_eq!(project.everything(), before);
    assert_eq!(fix.state, FixState::Seeded, "{:?}", fix.reason);
    let branch = fix.branch.expect("a branch");
    assert_eq!(branch, format!("mesh/fix/no-bad-{}", fix.id));
    assert_eq!(project.mesh_branches(), [branch.as_str()]);
    assert_eq!(project.git(&["rev-parse", &branch]), fix.commit.expect("a commit"));
    assert_eq!(project.git(&["rev-parse", &format!("{branch}^")]), project.git(&["rev-parse", "main"]));
    assert_eq!(project.git(&["diff", "--raw", "--no-abbrev", &format!("main..{branch}")]).lines().count(), 1);
    assert_eq!(project.git(&["diff", "--name-status", &format!("main..{branch}")]), "M\tsrc/a.py");
    assert_eq!(project.git(&["show", &format!("{branch}:src/a.py")]), "x\nGOOD\ny");
    assert_eq!(project.git(&["log", "-1", "--format=%an <%ae> %at", &branch]), "mesh <mesh@abababab> 1800000000");
    let trailers = project.git(&["log", "-1", "--format=%(trailers)", &branch]);
    assert_eq!(trailers, format!("Mesh-Lesson: no-bad rev 3\nMesh-Intervention: {}", fix.id));
    project.git(&["fsck", "--strict", "--no-dangling"]);
    assert_eq!(fix.check, CheckResult::Unchecked);
    assert!(fix.reason.expect("said").contains("unchecked"));
    assert!(fix.diff.contains("-BAD\n+GOOD\n"));
}

#[test]
fn the_mode_of_a_program_is_kept() {
    let project = Project::new(&[("run.sh", "BAD\n")]);
    fs::set_permissions(project.root.join("run.sh"), fs::Permissions::from_mode(0o755)).expect("set");
    project.commit_all("x");
    let fix = Host::beside(&project).one(&project.root, "run.sh");
    let tree = project.git(&["ls-tree", &fix.commit.expect("a commit"), "run.sh"]);
    assert!(tree.starts_with("100755 blob"), "{tree}");
}

#[test]
fn a_review_fix_waits_for_a_person_and_can_be_taken_back_once_and_for_all() {
    let project = Project::new(&[("a.py", "BAD\n")]);
    let mut host = Host { class: "review", ..Host::beside(&project) };
    let fix = host.one(&project.root, "a.py");
    assert_eq!(fix.state, FixState::Proposed);
    assert!(project.mesh_branches().is_empty());
    assert!(fix.diff.contains("+GOOD"));

    let made =
        host.with(&project.root, |parts, area, known, now| apply(parts, area, known, &fix.id, now)).expect("applied");
    assert_eq!(made.state, FixState::Seeded, "{:?}", made.reason);
    assert_eq!(project.mesh_branches().len(), 1);
    let again = host.with(&project.root, |parts, area, known, now| apply(parts, area, known, &fix.id, now));
    assert!(matches!(again, Err(PersonError::State { state: FixState::Seeded, .. })));

    let back = host.with(&project.root, |parts, _, _, now| rollback(parts, &fix.id, now)).expect("rolled back");
    assert_eq!(back.state, FixState::Refused);
    assert!(project.mesh_branches().is_empty());
    host.class = "safe";
    assert_eq!(host.one(&project.root, "a.py").state, FixState::Refused);
    assert!(project.mesh_branches().is_empty());
    let twice = host.with(&project.root, |parts, _, _, now| rollback(parts, &fix.id, now));
    assert!(matches!(twice, Err(PersonError::State { state: FixState::Refused, .. })));
}

#[test]
fn a_listing_makes_nothing() {
    let project = Project::new(&[("a.py", "BAD\n")]);
    let mut host = Host::beside(&project);
    let seeding = host.seed_mode(&project.root, &[finding("a.py", 1)], Mode::List);
    assert_eq!(seeding.outcomes[0].fix.state, FixState::Proposed);
    assert!(!seeding.outcomes[0].new);
    assert!(project.mesh_branches().is_empty());
    assert_eq!(host.one(&project.root, "a.py").state, FixState::Seeded);
}

#[test]
fn a_person_gets_what_was_shown_or_nothing() {
    let project = Project::new(&[("a.py", "BAD\n")]);
    let mut host = Host { class: "review", ..Host::beside(&project) };
    let fix = host.one(&project.root, "a.py");
    host.auditor = Told::new(|_, _| Mended::Text("WORSE\n".to_owned()));
    let other = host.with(&project.root, |parts, area, known, now| apply(parts, area, known, &fix.id, now));
    assert!(matches!(other, Err(PersonError::Changed { .. })), "{other:?}");

    host.auditor = Told::replacing();
    project.write("a.py", "more\nBAD\n");
    let changed = host.with(&project.root, |parts, area, known, now| apply(parts, area, known, &fix.id, now));
    assert!(matches!(changed, Err(PersonError::Changed { .. })), "{changed:?}");
    assert!(project.mesh_branches().is_empty());
    let unknown = "00000000".parse().expect("an id");
    let unknown = host.with(&project.root, |parts, area, known, now| apply(parts, area, known, &unknown, now));
    assert!(matches!(unknown, Err(PersonError::Unknown(_))));
}

#[test]
fn t22_meshs_own_files_and_secrets_are_never_changed() {
    let paths = [
        "mesh.service",
        "deploy/mesh.service.d/override.conf",
        ".env",
        ".env.production",
        "tls/server.pem",
        "id_ed25519",
        "sub/.git/config",
        ".GIT/hooks/pre-commit",
        "home/.ssh/config",
        ".gitmodules",
    ];
    for path in paths {
        let project = Project::new(&[("a.py", "x\n")]);
        project.write(path, "BAD\n");
        let fix = Host::beside(&project).one(&project.root, path);
        assert!(refused_by(&fix).contains(&Check::BlockedPath), "{path}: {:?}", fix.verdicts);
        assert!(project.mesh_branches().is_empty());
    }
}

#[test]
fn t22_the_home_is_blocked_by_whatever_name() {
    // The home inside the audited project: the worst case.
    let project = Project::new(&[("a.py", "x\n"), ("home/keys/host.key", "BAD\n"), ("home/config/mesh.toml", "BAD\n")]);
    let home = project.root.join("home");
    symlink("home", project.root.join("linked")).expect("linked");
    symlink("home/config/mesh.toml", project.root.join("linked.toml")).expect("linked");
    fs::create_dir(project.root.join("d")).expect("made");
    fs::hard_link(home.join("config/mesh.toml"), project.root.join("d/hard.toml")).expect("linked");
    project.commit_all("links");
    let paths = [
        "home/keys/host.key",
        "home/config/mesh.toml",
        "./home/config/mesh.toml",
        "home/./config/mesh.toml",
        "home//config/mesh.toml",
        "d/../home/config/mesh.toml",
        "linked/config/mesh.toml",
        "linked.toml",
        "d/hard.toml",
    ];
    for path in paths {
        let mut host = Host::beside(&project);
        host.house.blocked = vec![home.clone()];
        host.house.blocked_ids = identities(&host.house.blocked);
        let fix = host.one(&project.root, path);
        assert!(refused_by(&fix).contains(&Check::BlockedPath), "{path}: {:?}", fix.verdicts);
        // A person is refused just the same.
        let asked = host
            .with(&project.root, |parts, area, known, now| apply(parts, area, known, &fix.id, now))
            .expect("judged");
        assert!(refused_by(&asked).contains(&Check::BlockedPath), "{path}");
    }
    assert!(project.mesh_branches().is_empty());
}

#[test]
fn t22_another_name_for_the_same_directory_does_not_help() {
    // As a bind mount would: the blocked list knows the directory by another path only.
    let project = Project::new(&[("conf/a.toml", "BAD\n")]);
    let mut host = Host::beside(&project);
    host.house.blocked = vec!["/elsewhere".into()];
    host.house.blocked_ids = identities(&[project.root.join("conf")]);
    let fix = host.one(&project.root, "conf/a.toml");
    assert_eq!(refused_by(&fix), [Check::BlockedPath]);
}

#[test]
fn t21_a_path_cannot_leave_the_root() {
    let project = Project::new(&[("a.py", "x\n")]);
    let outside = project.root.parent().expect("above").join("outside.py");
    fs::write(&outside, "BAD\n").expect("written");
    symlink(&outside, project.root.join("link.py")).expect("linked");
    let mut host = Host::beside(&project);
    for path in ["../outside.py", "link.py", "/etc/passwd"] {
        let seeding = host.seed(&project.root, &[finding(path, 1)]);
        assert_eq!(seeding.outcomes.len(), 0, "{path}");
        assert!(seeding.unplanned[0].reason.contains("leads out of the root"), "{:?}", seeding.unplanned);
    }
    assert_eq!(fs::read_to_string(outside).expect("still there"), "BAD\n");
}

#[test]
fn t21_template_tricks_end_as_text() {
    let project = Project::new(&[("a.py", "BAD\n")]);
    let witness = project.root.join("witness");
    let trick = format!("$(touch {0}) `touch {0}` {{{{other}}}} ${{HOME}} ../../x; touch {0}\n", witness.display());
    let mut host = Host::beside(&project);
    host.check = vec!["sh".to_owned(), "-c".to_owned(), "true".to_owned()];
    let text = trick.clone();
    host.auditor = Told::new(move |_, _| Mended::Text(text.clone()));
    let fix = host.one(&project.root, "a.py");
    assert_eq!(fix.state, FixState::Seeded, "{:?}", fix.reason);
    assert_eq!(project.git(&["show", &format!("{}:a.py", fix.branch.expect("a branch"))]), trick.trim_end());
    assert!(!witness.exists());
}

#[test]
fn a_fix_that_only_silences_a_checker_is_refused() {
    let project = Project::new(&[("a.py", "BAD\n")]);
    let mut host = Host::beside(&project);
    host.auditor = Told::new(|_, text| Mended::Text(text.replace("BAD", "BAD  # mesh-ignore: no-bad -- hush")));
    assert_eq!(refused_by(&host.one(&project.root, "a.py")), [Check::NoSuppression]);
}

#[test]
fn a_change_larger_than_the_lesson_says_is_refused() {
    let project = Project::new(&[("a.py", &"BAD\n".repeat(4))]);
    assert_eq!(refused_by(&Host::beside(&project).one(&project.root, "a.py")), [Check::DiffSize]);
}

#[test]
fn a_file_that_changes_while_it_is_planned_is_refused() {
    let project = Project::new(&[("a.py", "BAD\n")]);
    let mut host = Host::beside(&project);
    let file = project.root.join("a.py");
    host.auditor = Told::new(move |_, text| {
        fs::write(&file, "somebody saved\nBAD\n").expect("written");
        Mended::Text(text.replace("BAD", "GOOD"))
    });
    assert!(refused_by(&host.one(&project.root, "a.py")).contains(&Check::Unchanged));
    assert!(project.mesh_branches().is_empty());
}

#[test]
fn uncommitted_work_in_the_file_is_never_taken_along() {
    let project = Project::new(&[("a.py", "BAD\n")]);
    let mut host = Host::beside(&project);
    project.write("a.py", "half done\nBAD\n");
    assert_eq!(refused_by(&host.one(&project.root, "a.py")), [Check::Clean]);
    // Staged and then taken back in the work tree: the index still holds it.
    project.git(&["add", "a.py"]);
    project.write("a.py", "BAD\n");
    assert_eq!(refused_by(&host.one(&project.root, "a.py")), [Check::Clean]);
    project.git(&["reset", "-q"]);
    assert_eq!(host.one(&project.root, "a.py").state, FixState::Seeded);
}

#[test]
fn files_that_are_not_the_users_own_text_are_refused() {
    let project = Project::new(&[
        (".gitignore", "ignored.py\n"),
        (".gitattributes", "made.py linguist-generated\n"),
        ("made.py", "BAD\n"),
        ("gen.py", "# Code generated by x. DO NOT EDIT.\nBAD\n"),
        ("vendor/lib.py", "BAD\n"),
    ]);
    project.write("ignored.py", "BAD\n");
    project.write("untracked.py", "BAD\n");
    let mut host = Host::beside(&project);
    for path in ["made.py", "gen.py", "vendor/lib.py", "ignored.py", "untracked.py"] {
        assert!(refused_by(&host.one(&project.root, path)).contains(&Check::Tracked), "{path}");
    }
    assert!(project.mesh_branches().is_empty());
}

#[test]
fn an_issuer_that_may_only_audit_gets_nothing_seeded() {
    let project = Project::new(&[("a.py", "BAD\n")]);
    let mut host = Host { grant: Grant::Audit, ..Host::beside(&project) };
    assert_eq!(refused_by(&host.one(&project.root, "a.py")), [Check::Grant]);
}

#[test]
fn a_failed_check_leaves_no_branch_and_is_not_run_again_until_head_moves() {
    let project = Project::new(&[("a.py", "BAD\n")]);
    let mut host = Host::beside(&project);
    let count = host.home.join("count");
    let script = format!("echo run >> {}; grep -q GOOD a.py && echo it saw the fix; exit 7", count.display());
    host.check = vec!["sh".to_owned(), "-c".to_owned(), script];
    let runs = || fs::read_to_string(&count).unwrap_or_default().lines().count();

    let fix = host.one(&project.root, "a.py");
    assert_eq!(refused_by(&fix), []);
    let reason = fix.reason.expect("said");
    assert!(reason.contains("ended with 7") && reason.contains("it saw the fix"), "{reason}");
    assert!(matches!(fix.check, CheckResult::Failed { .. }));
    assert!(project.mesh_branches().is_empty());
    assert!(host.scratch_is_tidy(&project));
    host.one(&project.root, "a.py");
    assert_eq!(runs(), 1);
    project.git(&["commit", "-q", "--allow-empty", "-m", "moved"]);
    host.one(&project.root, "a.py");
    assert_eq!(runs(), 2);
    host.check = vec!["true".to_owned()];
    let made =
        host.with(&project.root, |parts, area, known, now| apply(parts, area, known, &fix.id, now)).expect("applied");
    assert_eq!((made.state, made.check), (FixState::Seeded, CheckResult::Passed));
}

#[test]
fn a_check_sees_the_whole_mended_project_and_a_repository_of_its_own() {
    let project = Project::new(&[("sub/a.py", "BAD\n"), ("sub/b.py", "b\n"), ("top.txt", "t\n")]);
    symlink("b.py", project.root.join("sub/link.py")).expect("linked");
    project.commit_all("link");
    let before = project.everything();
    let mut host = Host::beside(&project);
    // Run below the audited root, which is a folder of the repository. Left behind: a folder without rights.
    let script = "set -e; grep -q GOOD a.py; test -f b.py; test -L link.py; test -f ../top.txt
        test -z \"$(git status --porcelain)\"; git ls-files --error-unmatch a.py >/dev/null
        git commit -q --allow-empty -m x --author 'a <a@b>' 2>/dev/null || true
        mkdir locked; touch locked/file; chmod 0 locked";
    host.check = vec!["sh".to_owned(), "-c".to_owned(), script.to_owned()];
    let fix = host.one(&project.root.join("sub"), "a.py");
    assert_eq!((fix.state, &fix.check), (FixState::Seeded, &CheckResult::Passed), "{:?}", fix.reason);
    assert_eq!(project.git(&["diff", "--name-only", "main", &fix.branch.expect("a branch")]), "sub/a.py");
    assert!(host.scratch_is_tidy(&project));
    assert_eq!(project.everything(), before);
    assert!(!project.root.join(".git/worktrees").exists());
}

#[test]
fn a_second_run_seeds_nothing() {
    let project = Project::new(&[("a.py", "BAD\n")]);
    let mut host = Host::beside(&project);
    let count = host.home.join("count");
    host.check = ["sh", "-c", &format!("echo run >> {}", count.display())].map(str::to_owned).to_vec();
    let first = host.seed(&project.root, &[finding("a.py", 1)]);
    assert!(first.outcomes[0].new);
    project.git(&["commit", "-q", "--allow-empty", "-m", "elsewhere"]);
    let second = host.seed(&project.root, &[finding("a.py", 1)]);
    assert!(!second.outcomes[0].new);
    assert_eq!(second.outcomes[0].fix, first.outcomes[0].fix);
    assert_eq!(fs::read_to_string(count).expect("written"), "run\n");
}

#[test]
fn a_branch_made_just_before_a_crash_is_taken_as_it_is() {
    let project = Project::new(&[("a.py", "BAD\n")]);
    let first = Host::beside(&project).one(&project.root, "a.py");
    // A fresh database: the record was lost.
    let second = Host::beside(&project).one(&project.root, "a.py");
    assert_eq!(second.state, FixState::Seeded);
    assert_eq!(second.commit, first.commit);
}

#[test]
fn when_the_file_moves_on_the_branch_follows_unless_somebody_works_on_it() {
    let project = Project::new(&[("a.py", "BAD\n")]);
    let mut host = Host::beside(&project);
    let first = host.one(&project.root, "a.py");
    let branch = first.branch.clone().expect("a branch");

    project.write("a.py", "BAD\nmore\n");
    let waiting = host.one(&project.root, "a.py");
    assert_eq!((waiting.state, &waiting.commit), (FixState::Seeded, &first.commit));
    assert!(waiting.reason.expect("said").contains("uncommitted work"));
    project.commit_all("more");
    let second = host.one(&project.root, "a.py");
    assert_eq!(second.state, FixState::Seeded, "{:?}", second.reason);
    assert_ne!(second.commit, first.commit);
    assert_eq!(project.git(&["show", &format!("{branch}:a.py")]), "GOOD\nmore");

    project.git(&["switch", "-q", &branch]);
    project.git(&["commit", "-q", "--allow-empty", "-m", "mine"]);
    project.git(&["switch", "-q", "main"]);
    let mine = project.git(&["rev-parse", &branch]);
    project.write("a.py", "BAD\nmore\nand more\n");
    project.commit_all("and more");
    host.one(&project.root, "a.py");
    assert_eq!(project.git(&["rev-parse", &branch]), mine);
    let back = host.with(&project.root, |parts, _, _, now| rollback(parts, &first.id, now));
    assert!(matches!(back, Err(PersonError::Repo { cause: RepoError::Moved { .. }, .. })), "{back:?}");
    assert_eq!(project.git(&["rev-parse", &branch]), mine);
}

#[test]
fn a_branch_that_is_checked_out_is_neither_moved_nor_deleted() {
    let project = Project::new(&[("a.py", "BAD\n")]);
    let mut host = Host::beside(&project);
    let fix = host.one(&project.root, "a.py");
    let tree = project.root.parent().expect("above").join("look");
    project.git(&["worktree", "add", "-q", &tree.to_string_lossy(), fix.branch.as_deref().expect("a branch")]);
    let back = host.with(&project.root, |parts, _, _, now| rollback(parts, &fix.id, now));
    assert!(matches!(back, Err(PersonError::Repo { cause: RepoError::CheckedOut { .. }, .. })), "{back:?}");
    assert_eq!(project.mesh_branches().len(), 1);
}

#[test]
fn what_a_person_does_with_the_branch_is_noticed() {
    let project = Project::new(&[("a.py", "BAD\n"), ("b.py", "BAD\n")]);
    let mut host = Host::beside(&project);
    let seeding = host.seed(&project.root, &[finding("a.py", 1), finding("b.py", 1)]);
    let [merged, deleted] = [0, 1].map(|at: usize| seeding.outcomes[at].fix.clone());
    project.git(&["merge", "-q", merged.branch.as_deref().expect("a branch")]);
    project.git(&["branch", "-q", "-D", deleted.branch.as_deref().expect("a branch")]);
    let again = host.seed(&project.root, &[finding("b.py", 1)]);
    assert_eq!(again.outcomes[0].fix.state, FixState::Refused);
    assert!(!project.mesh_branches().contains(&deleted.branch.expect("a branch")));
    let state = |fix: &Fix| host.db.fix(&fix.id).expect("read").expect("kept").state;
    assert_eq!(state(&merged), FixState::Validating);
}

#[test]
fn hooks_of_the_users_repository_never_run() {
    let project = Project::new(&[("a.py", "BAD\n")]);
    let witness = project.root.join(".git/witness");
    let hooks = project.root.join("hooks");
    let names = "applypatch-msg commit-msg post-checkout post-commit post-index-change pre-commit prepare-commit-msg \
                 reference-transaction update post-rewrite";
    fs::create_dir(&hooks).expect("made");
    for folder in [project.root.join(".git/hooks"), hooks] {
        for name in names.split_whitespace() {
            let path = folder.join(name);
            fs::write(&path, format!("#!/bin/sh\necho {name} >> {}\n", witness.display())).expect("written");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("set");
        }
    }
    for hooks_path in [None, Some("hooks")] {
        if let Some(path) = hooks_path {
            project.git(&["config", "core.hooksPath", path]);
        }
        fs::remove_file(&witness).ok();
        let mut host = Host::beside(&project);
        host.check = vec!["true".to_owned()];
        let fix = host.one(&project.root, "a.py");
        assert_eq!(fix.state, FixState::Seeded, "{:?}", fix.reason);
        host.with(&project.root, |parts, _, _, now| rollback(parts, &fix.id, now)).expect("rolled back");
        assert!(!witness.exists(), "{}", fs::read_to_string(&witness).expect("readable"));
    }
}

#[test]
fn filters_of_the_users_repository_never_run() {
    let project = Project::new(&[("a.py", "BAD\n")]);
    let witness = project.root.join(".git/witness");
    for kind in ["clean", "smudge"] {
        project.git(&["config", &format!("filter.x.{kind}"), &format!("sh -c 'echo x >> {}; cat'", witness.display())]);
    }
    project.write(".gitattributes", "*.py filter=x\n");
    project.git(&["add", ".gitattributes"]);
    project.git(&["commit", "-q", "-m", "filter"]);
    fs::remove_file(&witness).ok();
    let mut host = Host::beside(&project);
    host.check = vec!["true".to_owned()];
    assert_eq!(host.one(&project.root, "a.py").state, FixState::Seeded);
    assert!(!witness.exists());
}

#[test]
fn detached_linked_and_nested_work_trees_are_seeded_where_they_stand() {
    let project = Project::new(&[("a.py", "BAD\n"), ("sub/b.py", "BAD\n")]);
    let tree = project.root.parent().expect("above").join("linked");
    project.git(&["worktree", "add", "-q", "-b", "topic", &tree.to_string_lossy()]);
    git(&tree, &["commit", "-q", "--allow-empty", "-m", "topic"]);
    let linked = Host::beside(&project).one(&tree, "a.py");
    assert_eq!(linked.state, FixState::Seeded, "{:?}", linked.reason);
    assert_eq!(linked.base.expect("a base"), project.git(&["rev-parse", "topic"]));

    project.git(&["switch", "-q", "--detach"]);
    let detached = Host::beside(&project).one(&project.root.join("sub"), "b.py");
    assert_eq!(detached.state, FixState::Seeded, "{:?}", detached.reason);
    assert_eq!(project.mesh_branches().len(), 2);
}

#[test]
fn repositories_that_cannot_take_a_branch_say_why() {
    let said = |fix: &Fix| {
        assert_eq!(refused_by(fix)[0], Check::Repository);
        fix.reason.clone().expect("said")
    };
    let above = tempfile::tempdir().expect("a temp dir");
    let above = above.path().canonicalize().expect("it exists");

    let unborn = above.join("unborn");
    fs::create_dir(&unborn).expect("made");
    git(&unborn, &["init", "-q"]);
    fs::write(unborn.join("a.py"), "BAD\n").expect("written");
    git(&unborn, &["add", "."]);
    let project = Project::new(&[("a.py", "BAD\n")]);
    let mut host = Host::beside(&project);
    let fix = host.one(&unborn, "a.py");
    assert!(fix.reason.as_ref().expect("said").contains("no commit yet"), "{:?}", fix.reason);
    assert!(refused_by(&fix).contains(&Check::Repository));

    let bare = above.join("bare.git");
    git(&above, &["init", "-q", "--bare", "bare.git"]);
    fs::write(bare.join("a.py"), "BAD\n").expect("written");
    assert!(said(&host.one(&bare, "a.py")).contains("bare"));

    project.git(&["submodule", "--quiet", "add", &project.root.to_string_lossy(), "inner"]);
    project.commit_all("submodule");
    assert!(said(&host.one(&project.root, "inner/a.py")).contains("submodule"));

    project.git(&["switch", "-q", "-c", "side"]);
    project.write("c.py", "1\n");
    project.commit_all("side");
    project.git(&["switch", "-q", "main"]);
    project.write("c.py", "2\n");
    project.commit_all("main");
    fs::write(project.root.join(".git/MERGE_HEAD"), project.git(&["rev-parse", "side"])).expect("written");
    assert!(said(&host.one(&project.root, "a.py")).contains("a merge is going on"));
    assert!(project.mesh_branches().is_empty());
}

#[test]
fn a_file_outside_git_is_listed_and_not_changed() {
    let above = tempfile::tempdir().expect("a temp dir");
    let root = above.path().canonicalize().expect("it exists");
    fs::write(root.join("a.py"), "BAD\n").expect("written");
    let project = Project::new(&[]);
    let mut host = Host::beside(&project);
    let fix = host.one(&root, "a.py");
    assert_eq!(fix.state, FixState::Proposed);
    assert!(fix.reason.as_ref().expect("said").contains("in no git repository"));
    let asked = host.with(&root, |parts, area, known, now| apply(parts, area, known, &fix.id, now)).expect("judged");
    assert_eq!(refused_by(&asked), [Check::Repository, Check::RollbackDefined]);
    assert_eq!(fs::read_to_string(root.join("a.py")).expect("readable"), "BAD\n");
}

#[test]
fn a_branch_in_the_way_is_named() {
    let project = Project::new(&[("a.py", "BAD\n")]);
    project.git(&["branch", "mesh"]);
    let fix = Host::beside(&project).one(&project.root, "a.py");
    assert_eq!(refused_by(&fix), []);
    assert!(fix.reason.expect("said").contains("branch mesh is in the way"));
}

#[test]
fn a_lesson_has_no_more_branches_waiting_than_it_asked_for() {
    let project = Project::new(&[("a.py", "BAD\n"), ("b.py", "BAD\n"), ("c.py", "BAD\n")]);
    let mut host = Host::beside(&project);
    let findings = ["a.py", "b.py", "c.py"].map(|path| finding(path, 1));
    let states: Vec<_> = host.seed(&project.root, &findings).outcomes.iter().map(|o| o.fix.state).collect();
    assert_eq!(states, [FixState::Seeded, FixState::Seeded, FixState::Proposed]);
    let states: Vec<_> = host.seed(&project.root, &findings).outcomes.iter().map(|o| o.fix.state).collect();
    assert_eq!(states, [FixState::Seeded, FixState::Seeded, FixState::Proposed]);
    assert_eq!(project.mesh_branches().len(), 2);
}

#[test]
fn suppressed_findings_stay_as_they_are_and_the_rest_is_mended_from_below() {
    let project = Project::new(&[("a.py", "BAD\nBAD\nBAD\n")]);
    let mut host = Host::beside(&project);
    let mut findings = [1, 2, 3].map(|line| finding("a.py", line));
    findings[1].suppressed = Some(Suppression::Baseline);
    host.seed(&project.root, &findings);
    let asked: Vec<_> = host.auditor.asked.iter().map(|(_, only)| *only).collect();
    assert_eq!(asked, [Some(findings[2].fingerprint), Some(findings[0].fingerprint)]);

    findings.iter_mut().for_each(|finding| finding.suppressed = Some(Suppression::Baseline));
    assert_eq!(host.seed(&project.root, &findings).outcomes.len(), 0);
}

#[test]
fn plans_whose_findings_are_gone_are_forgotten() {
    let project = Project::new(&[("a.py", "BAD\n")]);
    let mut host = Host { class: "review", ..Host::beside(&project) };
    host.one(&project.root, "a.py");
    assert_eq!(host.db.fixes().expect("read").len(), 1);
    host.seed(&project.root, &[]);
    assert_eq!(host.db.fixes().expect("read"), []);
}

#[test]
fn a_fix_is_remembered_as_it_was() {
    let project = Project::new(&[("a.py", "BAD\n")]);
    let mut host = Host::beside(&project);
    host.check = vec!["true".to_owned()];
    let fix = host.one(&project.root, "a.py");
    assert_eq!(host.db.fix(&fix.id).expect("read"), Some(fix));
}
