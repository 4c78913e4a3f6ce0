//! What a peer's lesson may do by itself, with real programs: grants, verdicts by stored samples, words to the peers.

use std::cell::Cell;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use mesh::ports::Clock as _;
use mesh::store::db::Db;
use mesh::store::samples::Sample;
use mesh::sys::clock::{AHEAD, SystemClock};
use serde_json::Value;

use crate::support::homes::Host;
use crate::support::project::{Project, git};

pub(crate) const LESSON: &str = "state-in-one-step";
pub(crate) const SAVE: &str =
    "import json\n\n\ndef save(path, state):\n    with open(path, \"w\") as f:\n        json.dump(state, f)\n";
const GOOD: &str = "os.replace";
/// Fails when the queue of the app is long.
const CLAIM: &str = r#"last("check.value/app") < 5.0"#;

/// One host that knows a fix, and one with a project that needs it.
pub(crate) struct Two {
    teacher: Host,
    pub(crate) pupil: Host,
    project: Project,
    /// How far the pupil's clocks are ahead.
    pub(crate) ahead: Cell<u32>,
    _above: tempfile::TempDir,
}

/// The founding lesson of state files under another name, with a claim that can be measured here.
pub(crate) fn lesson(change: impl Fn(String) -> String) -> String {
    let (_, text) = mesh::founding::ALL.iter().find(|(name, _)| *name == "non-atomic-state-write.toml").expect("ships");
    let text = text.replacen("id = \"non-atomic-state-write\"", &format!("id = \"{LESSON}\""), 1);
    let text = text.replacen("expr = 'rate(\"state.parse_failures\", \"7d\") == 0.0'", &format!("expr = '{CLAIM}'"), 1);
    change(text.replacen("within = \"7d\"", "within = \"1s\"", 1))
}

impl Two {
    /// The pupil trusts the teacher with `grant`.
    pub(crate) fn new(grant: &str, limits: &str, change: impl Fn(String) -> String) -> Self {
        let above = tempfile::tempdir().expect("a temp dir");
        let project = Project::new_in(above.path(), &[("save.py", SAVE), ("other.py", "x = 1\n")]);
        git(above.path(), &["init", "-q", "--bare", "remote.git"]);
        let remote = above.path().join("remote.git");
        let remote = remote.to_str().expect("UTF-8");
        let teacher = Host::new(above.path(), "teacher", remote);
        let pupil = Host::new(above.path(), "pupil", remote);
        teacher.enroll("pupil", &pupil);
        pupil.enroll("teacher", &teacher);
        pupil.ok(&["grant", "teacher", grant]);
        fs::write(teacher.home.join(format!("config/lessons/{LESSON}.toml")), lesson(change)).expect("written");
        teacher.ok(&["outbox", "publish", LESSON]);
        teacher.ok(&["sync", "--once"]);
        let two = Self { teacher, pupil, project, ahead: Cell::new(0), _above: above };
        two.configure(limits);
        two
    }

    fn configure(&self, limits: &str) {
        let root = self.project.root.display();
        let config =
            format!("{limits}\n[lessons]\nfounding = false\n[[audit.root]]\npath = \"{root}\"\ncheck = [\"true\"]\n");
        fs::write(self.pupil.home.join("config/conf.d/10.toml"), config).expect("written");
    }

    pub(crate) fn round(&self) -> Vec<String> {
        self.pupil.one_round_ahead(&["run"], self.ahead.get())
    }

    /// A round that is killed before its commit is part of the branch; whether it was.
    fn killed(&self) -> bool {
        let mut agent = self.pupil.command(&["run"]);
        agent.env(AHEAD, self.ahead.get().to_string()).env("MESH_CRASH_AT", "apply.object-written");
        let mut agent = agent.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("it starts");
        let mut said = BufReader::new(agent.stdout.take().expect("piped")).lines();
        let outlived = said.any(|line| line.expect("UTF-8").starts_with("Next round in "));
        if outlived {
            agent.kill().expect("it runs");
        }
        agent.wait().expect("it ends").signal() == Some(9) && !outlived
    }

    fn text(&self) -> String {
        fs::read_to_string(self.project.root.join("save.py")).expect("there")
    }

    pub(crate) fn fix(&self) -> Value {
        let listed = self.pupil.json(&["fix", "list"]);
        listed["fixes"].as_array().and_then(|fixes| fixes.first()).cloned().unwrap_or_else(|| panic!("{listed:#}"))
    }

    fn shown(&self) -> Value {
        self.pupil.json(&["fix", "show", self.fix()["id"].as_str().expect("an id")])
    }

    /// What the teacher has heard of its lesson, once everything that waits has been exchanged.
    pub(crate) fn heard(&self) -> Vec<&'static str> {
        self.pupil.ok(&["sync", "--once"]);
        self.teacher.ok(&["sync", "--once"]);
        let inbox = self.pupil.json(&["inbox", "list"]);
        let entry = inbox["entries"][0]["entry"].as_str().expect("an entry").parse().expect("an id");
        let db = Db::open(&self.teacher.home.join("state/mesh.db")).expect("opened");
        db.words_on(entry).expect("read").iter().map(|word| word.outcome.name()).collect()
    }

    /// Lets the pupil's window pass.
    pub(crate) fn wait(&self) {
        self.ahead.set(self.ahead.get() + HOUR_AND_MORE);
    }

    /// What the app's queue is now.
    pub(crate) fn measure(&self, value: f64) {
        record(&self.pupil.home.join("state/mesh.db"), value, self.ahead.get());
    }
}

pub(crate) fn record(database: &Path, value: f64, ahead: u32) {
    let mut db = Db::open(database).expect("opened");
    let name = "check.value/app".parse::<mesh::domain::signal::SeriesName>().expect("a name");
    let now = SystemClock.now().as_second() + i64::from(ahead);
    let sample = |ago| Sample { name: name.clone(), every: Duration::from_secs(60), at: now - ago, value: Some(value) };
    db.record(&[sample(1), sample(0)], &[]).expect("stored");
}

/// A text that was folded to the width of a terminal.
fn unfolded(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// More than the 60 minutes of the window.
pub(crate) const HOUR_AND_MORE: u32 = 3_700;

#[test]
fn e3_a_peers_lesson_with_the_grant_to_apply_is_applied_validated_and_attested_back() {
    let two = Two::new("apply", "", |text| text);
    // Work in progress, which must stay as it is.
    two.project.write("other.py", "x = 2\n");
    two.project.write("new.py", "y = 1\n");
    let before = two.project.git(&["rev-parse", "main"]);
    two.measure(9.0);
    let said = two.round();
    assert!(said.iter().any(|line| line.starts_with("Applied ") && line.contains("mesh fix rollback")), "{said:?}");
    assert!(two.text().contains(GOOD));
    assert_eq!(two.project.git(&["rev-parse", "main^"]), before, "one commit on the branch that is checked out");
    assert_eq!(two.project.git(&["symbolic-ref", "HEAD"]), "refs/heads/main");
    assert_eq!(two.project.git(&["status", "--porcelain"]), " M other.py\n?? new.py");
    let message = two.project.git(&["log", "-1", "--format=%B"]);
    assert!(message.contains("Mesh-Lesson: ") && message.contains("Mesh-Intervention: "), "{message}");
    assert!(two.project.mesh_branches().is_empty());
    assert_eq!(two.fix()["state"], "validating");
    let history = two.shown();
    let proved = history["history"].as_array().expect("rows").iter().find(|row| row["state"] == "proved");
    assert_eq!(proved.expect("proved")["verdicts"].as_array().map(Vec::len), Some(3), "{history:#}");
    let inbox = two.pupil.json(&["inbox", "list"]);
    assert_eq!(inbox["entries"][0]["state"], "applied", "{inbox:#}");

    // The queue is short now, and the window has passed.
    two.wait();
    two.measure(1.0);
    let said = two.round();
    assert!(said.iter().any(|line| line.contains("ended: validated")), "{said:?}");
    let shown = two.shown();
    assert_eq!(shown["predicted"]["before"], "false", "{shown:#}");
    assert_eq!(
        (
            &shown["predicted"]["readings"][r#"last("check.value/app")"#],
            &shown["observed"]["readings"][r#"last("check.value/app")"#]
        ),
        (&"9".into(), &"1".into()),
        "{shown:#}"
    );
    assert_eq!(shown["outcome"]["marks"], serde_json::json!([]));
    let story = two.pupil.ok(&["fix", "show", two.fix()["id"].as_str().expect("an id")]);
    assert!(story.contains("9 before, 1 after"), "{story}");

    // Attested: signed by the next sync, and heard by the teacher.
    assert_eq!(two.heard(), ["validated"]);
    let told = two.pupil.ok(&["inbox", "show", LESSON]);
    assert!(told.contains("1 of 1 on 1 host"), "{told}");
    two.pupil.ok(&["fsck"]);

    // Taken back after its verdict: a revert, and the peers hear that, too.
    let id = two.fix()["id"].as_str().expect("an id").to_owned();
    two.pupil.ok(&["fix", "rollback", &id]);
    assert_eq!(
        (two.text().as_str(), two.project.git(&["rev-list", "--count", &format!("{before}..main")]).as_str()),
        (SAVE, "2")
    );
    assert_eq!(two.project.git(&["status", "--porcelain"]), " M other.py\n?? new.py");
    two.round();
    assert_eq!(two.text(), SAVE, "what a person took back is not made again");
    assert_eq!(two.heard(), ["reverted"]);
    let told = two.pupil.ok(&["inbox", "show", LESSON]);
    assert!(told.contains("0 of 1 on 1 host"), "{told}");
    two.pupil.ok(&["fsck"]);
}

/// More than the two hours in which the same action is not taken again.
const TWO_HOURS_AND_MORE: u32 = 7_300;

#[test]
fn a21_a_change_in_the_middle_of_which_mesh_was_killed_is_tried_again_once_it_may_be() {
    let two = Two::new("apply", "[limits]\ninterventions_per_day = 1", |text| text);
    two.measure(9.0);
    assert!(two.killed());
    two.round();
    assert_eq!((two.text().as_str(), &two.fix()["state"]), (SAVE, &"aborted".into()), "undone, and not at once again");
    two.ahead.set(two.ahead.get() + TWO_HOURS_AND_MORE);
    two.measure(9.0);
    two.round();
    assert!(two.text().contains(GOOD), "what was undone has cost no budget: {:#}", two.shown());
    assert_eq!(two.fix()["state"], "validating");
    let shown = two.shown();
    let states: Vec<&str> =
        shown["history"].as_array().expect("rows").iter().filter_map(|row| row["state"].as_str()).collect();
    assert_eq!(states.iter().filter(|state| **state == "applied").count(), 1, "once: {states:?}");
    two.pupil.ok(&["fsck"]);
}

#[test]
fn a21_what_mesh_does_not_outlive_three_times_is_left_to_a_person_who_need_not_wait() {
    let two = Two::new("apply", "", |text| text);
    two.measure(9.0);
    for time in 1..=3 {
        assert!(two.killed(), "{time}: it is tried again");
        // It is undone at the next start, and from then on the time counts.
        two.round();
        assert_eq!(two.text(), SAVE);
        two.ahead.set(two.ahead.get() + TWO_HOURS_AND_MORE);
        two.measure(9.0);
    }
    two.round();
    assert_eq!((two.text().as_str(), &two.fix()["state"]), (SAVE, &"aborted".into()));
    let id = two.fix()["id"].as_str().expect("an id").to_owned();
    two.pupil.ok(&["fix", "apply", &id, "--to-branch"]);
    assert!(two.text().contains(GOOD));
    two.pupil.ok(&["fsck"]);
}

#[test]
fn e3_a_lower_grant_never_applies() {
    for (grant, limits, branches) in [("propose", "", 1), ("apply", "max_grant = \"propose\"\n", 1), ("audit", "", 0)] {
        let two = Two::new(grant, limits, |text| text);
        let before = two.project.everything();
        two.round();
        assert_eq!(two.project.everything(), before, "{grant} {limits}");
        assert_eq!(two.project.mesh_branches().len(), branches, "{grant} {limits}");
    }
}

#[test]
fn e3_class_and_risk_keep_a_person_in_between() {
    let review = |text: String| text.replacen("class = \"safe\"", "class = \"review\"", 1);
    let high = |text: String| text.replacen("risk = \"low\"", "risk = \"high\"", 1);
    for (change, branches) in [(&review as &dyn Fn(String) -> String, 0), (&high, 1)] {
        let two = Two::new("apply", "", change);
        let before = two.project.everything();
        two.round();
        assert_eq!(two.project.everything(), before);
        assert_eq!(two.project.mesh_branches().len(), branches);
    }
}

#[test]
fn e4_without_samples_the_outcome_is_unknown_and_never_validated() {
    let two = Two::new("apply", "", |text| text);
    two.round();
    two.wait();
    two.round();
    let shown = two.shown();
    assert_eq!(
        (&shown["state"], &shown["outcome"]["marks"]),
        (&"no_effect".into(), &serde_json::json!(["unknown"])),
        "{shown:#}"
    );
    assert_eq!(two.heard(), ["unknown"]);
}

#[test]
fn a21_kill_9_inside_the_window_still_undoes() {
    let two = Two::new("apply", "", |text| text);
    two.measure(1.0);
    let mut agent = two
        .pupil
        .command(&["run"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("starts");
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(agent.stdout.take().expect("piped")));
    assert!(lines.any(|line| line.expect("UTF-8").starts_with("Next round in ")));
    assert_eq!(two.fix()["state"], "validating");
    agent.kill().expect("killed");
    agent.wait().expect("gone");
    // Meanwhile it turns out to do harm.
    assert!(two.text().contains(GOOD));
    two.wait();
    two.measure(9.0);
    let said = two.round();
    assert!(said.iter().any(|line| line.contains("ended: reverted")), "{said:?}");
    assert_eq!((two.text().as_str(), two.project.git(&["status", "--porcelain"]).as_str()), (SAVE, ""));
    assert!(two.project.git(&["log", "-1", "--format=%s"]).starts_with("Revert "));
    two.pupil.ok(&["fsck"]);
}

#[test]
fn a_dry_run_changes_no_byte_no_ref_and_no_row() {
    let two = Two::new("apply", "", |text| text);
    two.measure(9.0);
    let ledger = || Db::open(&two.pupil.home.join("state/mesh.db")).expect("opened").audit_ledger().expect("read").rows;
    let before = (two.project.everything(), two.project.mesh_branches(), ledger());
    let said = two.pupil.one_round_ahead(&["run", "--dry-run"], two.ahead.get());
    let told = unfolded(&said.join("\n"));
    assert!(
        told.contains("What would be done; nothing was:")
            && told.contains("one commit on the branch that is checked out"),
        "{told}"
    );
    assert!(told.contains("`true` in a scratch copy"), "{told}");
    assert_eq!((two.project.everything(), two.project.mesh_branches(), ledger()), before);
    assert_eq!(two.pupil.json(&["fix", "list"])["fixes"], serde_json::json!([]));

    // A listed fix, asked for by a person.
    two.pupil.run(&["audit"]);
    let id = two.fix()["id"].as_str().expect("an id").to_owned();
    let before = (two.project.everything(), two.project.mesh_branches(), ledger());
    let told = unfolded(&two.pupil.ok(&["fix", "apply", &id, "--to-branch", "--dry-run"]));
    assert!(told.contains("one commit on the branch that is checked out"), "{told}");
    assert_eq!((two.project.everything(), two.project.mesh_branches(), ledger()), before);

    // What is in place is not judged by a dry run, only told.
    two.round();
    two.wait();
    two.measure(1.0);
    let before = (two.project.everything(), ledger());
    let told = two.pupil.one_round_ahead(&["run", "--dry-run"], two.ahead.get()).join("\n");
    assert!(told.contains("would be validated"), "{told}");
    assert_eq!((two.project.everything(), ledger()), before);
}

#[test]
fn e4_a_branch_that_a_person_merged_is_validated_too() {
    for (squash, good) in [(false, true), (true, true), (false, false)] {
        let two = Two::new("propose", "", |text| text);
        two.round();
        let branch = two.project.mesh_branches().remove(0);
        if squash {
            two.project.git(&["merge", "-q", "--squash", &branch]);
            two.project.commit_all("taken over");
            two.project.git(&["branch", "-q", "-D", &branch]);
        } else {
            two.project.git(&["merge", "-q", "--no-ff", "-m", "taken", &branch]);
        }
        two.round();
        assert_eq!(two.fix()["state"], "validating", "{squash}");
        two.wait();
        two.measure(if good { 1.0 } else { 9.0 });
        two.round();
        // A person's merge is never taken back by mesh.
        assert!(two.text().contains(GOOD));
        assert_eq!(two.fix()["state"], if good { "validated" } else { "no_effect" }, "{:#}", two.shown());
        assert_eq!(two.heard(), [if good { "validated" } else { "no_effect" }]);
        two.pupil.ok(&["fsck"]);
    }
}

#[test]
fn e3_a_waiting_branch_stays_a_persons_when_the_grant_is_raised() {
    let two = Two::new("propose", "", |text| text);
    two.round();
    assert_eq!(two.project.mesh_branches().len(), 1);
    let before = two.project.everything();
    two.pupil.ok(&["grant", "teacher", "apply"]);
    two.round();
    assert_eq!((two.project.everything(), two.fix()["state"].clone()), (before, "seeded".into()));
}

#[test]
fn why_says_what_a_lesson_may_do_and_what_stands_in_the_way() {
    let two = Two::new("apply", "", |text| text);
    two.pupil.ok(&["pause", "--reason", "moving house"]);
    two.round();
    let id = two.fix()["id"].as_str().expect("an id").to_owned();
    assert_eq!(two.text(), SAVE);
    let why = two.pupil.ok(&["why", &id]);
    for said in [
        "is by teacher, whose grant comes to apply now",
        "not-paused: mesh is paused",
        "moving house",
        "0 of 5 changes within 24 h",
    ] {
        assert!(unfolded(&why).contains(said), "{said}: {why}");
    }
    let why = two.pupil.ok(&["why", LESSON]);
    assert!(why.contains("changes what people use") && why.contains(&id), "{why}");
    two.pupil.ok(&["resume"]);
    two.pupil.ok(&["grant", "teacher", "propose"]);
    let why = two.pupil.ok(&["why", LESSON]);
    assert!(why.contains("a branch that a person merges"), "{why}");
    let parts = two.pupil.json(&["why", &id]);
    assert_eq!(parts["subject"], id.as_str());
    assert_eq!(two.pupil.run(&["why", "no-such-thing"]).status.code(), Some(2));
}
