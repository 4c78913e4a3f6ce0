//! What lets an operator sleep: budgets, freezes and pauses that hold, a ledger that tells, and changes that are refused.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use mesh::domain::fix::{ActionHash, FixId, FixState};
use mesh::domain::guard::{ActionKind, Check, Standing};
use mesh::domain::id::HostId;
use mesh::domain::intervention::{Actor, Event, InterventionId, State};
use mesh::domain::ledger::{Entry, Note};
use mesh::domain::outcome::{Mark, Measured};
use mesh::domain::pace::Pace;
use mesh::domain::running::Moment;
use mesh::loops::seed::{Hand, Mode, apply, rehearse, rollback, seed, validate};
use mesh::store::authored;
use mesh::store::db::Db;
use mesh::store::home::Home;
use mesh::store::ledger::{Happening, LedgerError, Proposal};
use mesh::sys::apply::SystemApplier;
use mesh::sys::host::find_program;
use mesh::sys::strain::PLAYED;
use serde_json::Value;

use crate::seeding::{Host, refused_by};
use crate::support::homes;
use crate::support::project::{Project, git};

const HOUR: u64 = 3_600;
const AREA: &str = "/srv/app";

/// A database on disk and the clocks of its machine.
struct Desk {
    dir: tempfile::TempDir,
    db: Db,
    moment: Moment,
    made: u32,
}

impl Desk {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a temp dir");
        let db = Db::open(&dir.path().join("mesh.db")).expect("made");
        let wall = Timestamp::from_second(1_800_000_000).expect("a time");
        let mut desk = Self { dir, db, moment: Moment { wall, boot: "a".to_owned(), uptime: Duration::ZERO }, made: 0 };
        desk.db.count_on(&desk.moment).expect("counted");
        desk
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("mesh.db")
    }

    /// The program ends and starts again.
    fn restart(&mut self) {
        self.db = Db::open(&self.file()).expect("opened");
    }

    /// The machine runs for this long, with a clock that keeps pace.
    fn run_for(&mut self, seconds: u64) {
        self.moment.uptime += Duration::from_secs(seconds);
        self.jump(i64::try_from(seconds).expect("small"));
    }

    /// The wall clock jumps.
    fn jump(&mut self, seconds: i64) {
        self.moment.wall += SignedDuration::from_secs(seconds);
    }

    /// The machine is off for as long as the wall clock claims, and starts again.
    fn reboot(&mut self, off: i64) {
        self.moment.boot.push('a');
        self.moment.uptime = Duration::ZERO;
        self.jump(off);
        self.restart();
    }

    fn propose(&mut self, action: u8) -> InterventionId {
        self.made += 1;
        let fix: FixId = format!("{:08x}", self.made).parse().expect("an id");
        let action = ActionHash([action; 32]);
        let proposal = Proposal { fix: &fix, area: Path::new(AREA), kind: ActionKind::Commit, action };
        self.db.propose(&self.moment, &proposal, Actor::Agent, &Note::default()).expect("proposed")
    }

    fn happen(&mut self, id: &InterventionId, events: &[Event]) -> Result<State, LedgerError> {
        let happenings: Vec<_> =
            events.iter().map(|event| Happening::new(*event, Actor::Agent, Note::default())).collect();
        self.db.happen(&self.moment, id, &happenings, &Pace::default())
    }

    /// One intervention up to where it is in place.
    fn applied(&mut self, action: u8) -> InterventionId {
        let id = self.propose(action);
        self.happen(&id, &[Event::Ask, Event::Approve, Event::Prove, Event::Apply, Event::Watch]).expect("applied");
        id
    }

    fn standing(&mut self, action: u8) -> Standing {
        self.db.standing(&self.moment, Path::new(AREA), ActionHash([action; 32]), None).expect("read")
    }

    fn faults(&self) -> Vec<String> {
        self.db.audit_ledger().expect("read").faults
    }
}

#[test]
fn d21_a_fix_whose_validation_cannot_fail_is_refused() {
    let project = Project::new(&[("a.py", "BAD\n")]);
    let mut host = Host::beside(&project);
    host.change = |lesson| lesson.falsifiable.expr = "true".to_owned();
    assert_eq!(refused_by(&host.one(&project.root, "a.py")), [Check::CanFail]);
    host.change = |lesson| lesson.falsifiable.expr = String::new();
    assert!(refused_by(&host.one(&project.root, "a.py")).contains(&Check::CanFail));
    host.change = |lesson| lesson.tests.positive.clear();
    assert!(refused_by(&host.one(&project.root, "a.py")).contains(&Check::CanFail));
    assert!(project.mesh_branches().is_empty());
    host.change = |_| ();
    assert_eq!(host.one(&project.root, "a.py").state, FixState::Seeded);
}

#[test]
fn d11_a_lesson_with_a_command_field_is_rejected() {
    let (name, sound) = mesh::founding::ALL[0];
    let parse = |text: &str| authored::parse(Path::new(name), text);
    parse(sound).expect("sound as it is");
    for (at, with) in [
        ("[fix]\n", "[fix]\ncommand = [\"sh\", \"-c\", \"id\"]\n"),
        ("[fix]\n", "[fix]\nrun = \"id\"\n"),
        ("title = ", "command = \"id\"\ntitle = "),
        ("[falsifiable]\n", "[falsifiable]\ncommand = \"id\"\n"),
    ] {
        assert!(sound.contains(at), "{at}");
        let refused = parse(&sound.replacen(at, with, 1)).expect_err(with);
        let refused = mesh::domain::foreign_text::error_line(&refused);
        assert!(refused.contains("unknown field"), "{refused}");
    }
}

#[test]
fn d20_a_dirty_tree_is_refused() {
    let project = Project::new(&[("a.py", "BAD\n")]);
    project.write("a.py", "BAD\nmine\n");
    let before = project.everything();
    assert_eq!(refused_by(&Host::beside(&project).one(&project.root, "a.py")), [Check::Clean]);
    assert_eq!(project.everything(), before);
}

#[test]
fn d5_three_reverts_freeze_and_a_restart_keeps_the_freeze() {
    let mut desk = Desk::new();
    for action in 1..=3 {
        assert_eq!(desk.standing(0).frozen, None);
        let id = desk.applied(action);
        assert_eq!(desk.happen(&id, &[Event::RollBack]).expect("taken back"), State::Reverted);
    }
    desk.restart();
    assert_eq!(desk.standing(0).frozen.as_deref(), Some("3 reverts in a row"));
    // The clock claims that ten years have passed, or that it is 1970; the machine is said to have been off for a week.
    desk.jump(10 * 365 * 24 * 3_600);
    assert!(desk.standing(0).frozen.is_some());
    desk.jump(-40 * 365 * 24 * 3_600);
    assert!(desk.standing(0).frozen.is_some());
    desk.reboot(7 * 24 * 3_600);
    desk.run_for(24 * HOUR - 1);
    assert!(desk.standing(0).frozen.is_some());
    desk.run_for(1);
    assert_eq!(desk.standing(0).frozen, None);
    assert_eq!(desk.faults(), Vec::<String>::new());
    // The three are behind: it takes three new ones.
    for action in 4..=5 {
        let id = desk.applied(action);
        desk.happen(&id, &[Event::RollBack]).expect("taken back");
    }
    assert_eq!(desk.standing(0).frozen, None);
}

#[test]
fn a_frozen_area_gets_nothing_until_a_person_lifts_it() {
    let project = Project::new(&[("a.py", "BAD\n")]);
    let mut host = Host::beside(&project);
    let pace = Pace::default();
    for fix in ["00000001", "00000002", "00000003"] {
        let fix: FixId = fix.parse().expect("an id");
        let (area, action) = (project.root.as_path(), ActionHash([9; 32]));
        let proposal = Proposal { fix: &fix, area, kind: ActionKind::Commit, action };
        let id = host.db.propose(&host.moment, &proposal, Actor::Agent, &Note::default()).expect("proposed");
        let events = [Event::Ask, Event::Approve, Event::Prove, Event::Apply, Event::RollBack];
        let happenings = events.map(|event| Happening::new(event, Actor::Agent, Note::default()));
        host.db.happen(&host.moment, &id, &happenings, &pace).expect("taken back");
    }
    let held = host.one(&project.root, "a.py");
    assert_eq!(held.state, FixState::Backlog);
    assert!(held.reason.as_ref().expect("said").contains("frozen: 3 reverts in a row"), "{:?}", held.reason);
    // A person who asks is told the same.
    let asked = host.with(&project.root, |parts, area, known, now| apply(parts, area, known, &held.id, now));
    assert_eq!(asked.expect("judged").state, FixState::Backlog);
    assert!(project.mesh_branches().is_empty());
    host.db.thaw(&host.moment, &project.root, "looked at it").expect("lifted");
    assert_eq!(host.one(&project.root, "a.py").state, FixState::Seeded);
}

#[test]
fn d6_the_budget_holds_over_restarts_and_clock_jumps() {
    let mut desk = Desk::new();
    for action in 1..=5 {
        let id = desk.applied(action);
        desk.happen(&id, &[Event::Validate]).expect("judged");
        desk.run_for(HOUR);
    }
    assert_eq!((desk.standing(0).interventions, desk.standing(0).area_interventions), (5, 5));
    desk.restart();
    for jump in [25 * 3_600, 10 * 365 * 24 * 3_600, -20 * 365 * 24 * 3_600, 2 * 24 * 3_600] {
        desk.jump(jump);
        assert_eq!(desk.standing(0).interventions, 5, "after a jump of {jump} s");
    }
    // Each round counts on; then the machine is off for a month, says the clock that came up after it.
    desk.db.count_on(&desk.moment).expect("counted");
    desk.reboot(30 * 24 * 3_600);
    assert_eq!(desk.standing(0).interventions, 5);
    // The first was five hours before the others ended: its day is over first.
    desk.run_for(19 * HOUR);
    assert_eq!(desk.standing(0).interventions, 4);
    desk.run_for(5 * HOUR);
    assert_eq!(desk.standing(0).interventions, 0);
    assert_eq!(desk.faults(), Vec::<String>::new());
}

#[test]
fn d7_what_is_in_place_and_not_judged_is_counted() {
    let mut desk = Desk::new();
    let one = desk.applied(1);
    desk.applied(2);
    desk.restart();
    assert_eq!(desk.standing(0).under_way, 2);
    desk.happen(&one, &[Event::FindNoEffect]).expect("judged");
    assert_eq!(desk.standing(0).under_way, 1);
}

#[test]
fn d8_a_duplicate_within_two_hours_is_known() {
    let mut desk = Desk::new();
    let id = desk.applied(7);
    desk.happen(&id, &[Event::RollBack]).expect("taken back");
    desk.run_for(HOUR);
    desk.jump(100 * 24 * 3_600);
    desk.restart();
    assert_eq!(desk.standing(7).same_action, Some(Duration::from_secs(HOUR)));
    assert_eq!(desk.standing(8).same_action, None);
    // The words around it differ and the lines have moved: it is the same action.
    let action = |before: &str, after: &str| {
        let project = Project::new(&[]);
        let mut host = Host::beside(&project);
        let plan = host.with(Path::new("/r"), |_, area, known, _| {
            let mends = vec![crate::seeding::finding("a.py", 1).fingerprint];
            let (before, after) = (before.to_owned(), after.to_owned());
            mesh::domain::fix::FixPlan::new(&known[0], &area.root, "a.py", before, after, mends).expect("a plan")
        });
        plan.action()
    };
    let first = action("BAD x\n", "GOOD x\n");
    assert_eq!(first, action("more\nmore\nBAD   x\n", "more\nmore\nGOOD  x\n"));
    assert_ne!(first, action("BAD x\n", "BETTER x\n"));
}

#[test]
fn the_ledger_takes_no_illegal_step_and_no_half_of_one() {
    let mut desk = Desk::new();
    let id = desk.propose(1);
    for events in [&[Event::Apply][..], &[Event::Ask, Event::Approve, Event::Apply], &[Event::Approve]] {
        let refused = desk.happen(&id, events);
        assert!(matches!(refused, Err(LedgerError::Illegal { .. })), "{events:?}");
    }
    let known = desk.db.intervention(&id.fix).expect("read").expect("there");
    assert_eq!(known.state, State::Proposed);
    let unknown = InterventionId { attempt: 9, ..id.clone() };
    assert!(matches!(desk.happen(&unknown, &[Event::Ask]), Err(LedgerError::Unknown(_))));
    // An attempt that ended is followed by another one.
    desk.happen(&id, &[Event::Ask, Event::Approve, Event::Prove, Event::Abandon]).expect("given up");
    let proposal =
        Proposal { fix: &id.fix, area: Path::new(AREA), kind: ActionKind::Commit, action: ActionHash([1; 32]) };
    let next = desk.db.propose(&desk.moment, &proposal, Actor::Agent, &Note::default()).expect("proposed");
    assert_eq!(next.attempt, 2);
    assert_eq!(desk.faults(), Vec::<String>::new());
}

#[test]
fn a_row_that_was_changed_moved_or_taken_away_is_named() {
    let damage = |sql: &str, what: &str| {
        let mut desk = Desk::new();
        desk.applied(1);
        desk.db.note_host(&desk.moment, &Entry::Resume { why: "x".to_owned() }).expect("noted");
        let other = rusqlite::Connection::open(desk.file()).expect("opened");
        other.execute_batch("DROP TRIGGER ledger_is_not_changed; DROP TRIGGER ledger_is_not_shortened;").expect("gone");
        other.execute_batch(sql).expect("damaged");
        let faults = desk.faults();
        assert!(faults.iter().any(|fault| fault.contains(what)), "{sql}: {faults:?}");
    };
    damage("UPDATE ledger SET body = replace(body, 'agent', 'person') WHERE seq = 3", "row 3: it was changed");
    damage("UPDATE ledger SET at = at + 1 WHERE seq = 5", "row 5: it was changed");
    damage("DELETE FROM ledger WHERE seq = 4", "row 5: 1 rows before it are missing");
    damage("DELETE FROM ledger WHERE seq = 7", "rows 7 to 7 are missing at its end");
    damage(
        "UPDATE ledger SET seq = 99 WHERE seq = 2; UPDATE ledger SET seq = 2 WHERE seq = 3; \
         UPDATE ledger SET seq = 3 WHERE seq = 99",
        "row 2: it was changed",
    );
    damage("UPDATE ledger SET hash = x'00' WHERE seq = 6", "row 6 cannot be read");
    damage("UPDATE interventions SET state = 'validated'", "does not say that intervention 00000001.1 is validated");
    damage("DELETE FROM interventions", "intervention 00000001.1 is in it and not remembered");
}

#[test]
fn the_database_itself_refuses_to_change_the_ledger() {
    let mut desk = Desk::new();
    desk.applied(1);
    let other = rusqlite::Connection::open(desk.file()).expect("opened");
    for sql in ["UPDATE ledger SET at = 0", "DELETE FROM ledger", "DELETE FROM ledger WHERE seq = 1"] {
        let refused = other.execute_batch(sql).expect_err(sql).to_string();
        assert!(refused.contains("only added to"), "{refused}");
    }
}

#[test]
fn what_is_done_with_a_fix_is_in_the_ledger_once() {
    let project = Project::new(&[("a.py", "BAD\n")]);
    let mut host = Host::beside(&project);
    let fix = host.one(&project.root, "a.py");
    host.one(&project.root, "a.py");
    let states = |host: &Host| -> Vec<State> {
        let history = host.db.history(&fix.id).expect("read");
        let state = |entry| if let Entry::Step { state, .. } = entry { Some(state) } else { None };
        history.into_iter().filter_map(|(_, entry)| state(entry)).collect()
    };
    let seeded = [State::Proposed, State::Guarded, State::Approved, State::Proved];
    assert_eq!(states(&host), seeded);
    host.with(&project.root, |parts, _, _, now| rollback(parts, &fix.id, now)).expect("taken back");
    assert_eq!(states(&host)[4..], [State::Refused]);
    assert_eq!(host.db.audit_ledger().expect("read").faults, Vec::<String>::new());

    // Merged by a person, and the finding comes back in another text: that attempt has not helped.
    let project = Project::new(&[("a.py", "BAD\n")]);
    let mut host = Host::beside(&project);
    let fix = host.one(&project.root, "a.py");
    project.git(&["merge", "-q", fix.branch.as_deref().expect("a branch")]);
    host.with(&project.root, |parts, area, known, now| seed(parts, area, known, &[], Mode::Seed, now)).expect("seen");
    project.git(&["branch", "-q", "-D", fix.branch.as_deref().expect("a branch")]);
    project.write("a.py", "BAD\nagain\n");
    project.commit_all("again");
    assert_eq!(host.one(&project.root, "a.py").state, FixState::Validating, "it is judged first");
    let applier = SystemApplier::new(&host.home.join("state"), HostId::from_bytes([0xab; 32]), |_| ());
    let lock = Home::at(&host.home).lock_changes().expect("free");
    let measure = |_: &Db, _: &str| Ok(Measured::nothing());
    let hand = Hand { applier: &applier, measure: &measure, lock: &lock };
    let ended = host.with(&project.root, |parts, area, known, now| {
        let areas = [area.clone()];
        validate(parts, hand, &areas, known, now)
    });
    assert_eq!(ended.expect("judged")[0].marks, [Mark::Unknown]);
    host.one(&project.root, "a.py");
    let history = host.db.history(&fix.id).expect("read");
    let words: Vec<&str> = history.iter().map(|(row, _)| row.word.as_str()).collect();
    let first = ["proposed", "guarded", "approved", "seeded", "merged", "validating", "no_effect"];
    assert_eq!(words[..7], first);
    assert_eq!(words[7..], ["proposed", "guarded", "approved", "seeded"]);
    // What a person merged is no intervention of mesh.
    let standing = host.db.standing(&host.moment, &project.root, ActionHash([0; 32]), None).expect("read");
    assert_eq!((standing.interventions, standing.under_way, standing.branches), (0, 0, 2));
    assert_eq!(host.db.audit_ledger().expect("read").faults, Vec::<String>::new());
}

#[test]
fn d4_risk_without_a_canary_goes_to_the_backlog() {
    let project = Project::new(&[("a.py", "BAD\n")]);
    let mut host = Host::beside(&project);
    host.change = |lesson| lesson.risk = mesh::domain::lesson::Risk::Medium;
    let fix = host.one(&project.root, "a.py");
    assert_eq!(fix.state, FixState::Backlog);
    assert!(fix.reason.as_ref().expect("said").starts_with("blocked on missing canary"), "{:?}", fix.reason);
    assert!(project.mesh_branches().is_empty());
    host.check = vec!["true".to_owned()];
    assert_eq!(host.one(&project.root, "a.py").state, FixState::Seeded);
}

#[test]
fn a_rehearsal_tells_everything_and_does_nothing() {
    let project = Project::new(&[("a.py", "BAD\n")]);
    let mut host = Host { class: "review", ..Host::beside(&project) };
    let fix = host.one(&project.root, "a.py");
    let rows = host.db.history(&fix.id).expect("read").len();
    let told = host.with(&project.root, |parts, area, known, now| rehearse(parts, area, known, &fix.id, now));
    let told = told.expect("told");
    assert!(told.verdicts.iter().all(mesh::domain::guard::Verdict::passes), "{:?}", told.verdicts);
    assert_eq!(host.db.fix(&fix.id).expect("read"), Some(fix.clone()));
    assert_eq!(host.db.history(&fix.id).expect("read").len(), rows);
    assert!(project.mesh_branches().is_empty());
}

/// A home with one project in it that needs mending.
struct Station {
    project: Project,
    host: homes::Host,
    _above: tempfile::TempDir,
}

const SAVE: &str =
    "import json\n\n\ndef save(path, state):\n    with open(path, \"w\") as f:\n        json.dump(state, f)\n";

impl Station {
    fn new() -> Self {
        let project = Project::new(&[("save.py", SAVE)]);
        let above = tempfile::tempdir().expect("a temp dir");
        git(above.path(), &["init", "-q", "--bare", "remote.git"]);
        let remote = above.path().join("remote.git");
        let host = homes::Host::new(above.path(), "a", remote.to_str().expect("UTF-8"));
        let station = Self { project, host, _above: above };
        station
            .configure(&format!("[[audit.root]]\npath = \"{}\"\ncheck = [\"true\"]\n", station.project.root.display()));
        station
    }

    fn configure(&self, more: &str) {
        fs::write(self.host.home.join("config/conf.d/10.toml"), more).expect("written");
    }

    fn json(&self, arguments: &[&str]) -> (Option<i32>, Value) {
        let Output { status, stdout, stderr } = self.host.run(&[&["--json"], arguments].concat());
        let text = if stdout.is_empty() { stderr } else { stdout };
        let text = String::from_utf8(text).expect("UTF-8");
        (status.code(), serde_json::from_str(&text).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {text}")))
    }
}

#[test]
fn d15_a_pause_stops_seeding_and_not_auditing_and_survives_a_restart() {
    let station = Station::new();
    station.host.ok(&["pause", "--for", "2h", "--reason", "backup runs"]);
    let (_, found) = station.json(&["audit", "--seed"]);
    assert_eq!(found["summary"]["findings"], 1, "{found:#}");
    assert_eq!(found["fixes"][0]["state"], "backlog");
    assert!(found["fixes"][0]["reason"].as_str().expect("said").contains("backup runs"), "{found:#}");
    assert!(station.project.mesh_branches().is_empty());
    let id = found["fixes"][0]["id"].as_str().expect("an id").to_owned();
    assert_eq!(station.json(&["fix", "apply", &id]).0, Some(1));
    let (_, status) = station.json(&["status"]);
    assert!(status["paused"].as_str().expect("paused").contains("backup runs"), "{status:#}");
    assert_eq!(station.json(&["doctor"]).0, Some(1));
    station.host.ok(&["resume"]);
    assert_eq!(station.json(&["status"]).1["paused"], Value::Null);
    assert_eq!(station.json(&["audit", "--seed"]).1["fixes"][0]["state"], "seeded");
    station.host.ok(&["fsck"]);

    // A pause ends by itself.
    let mut desk = Desk::new();
    let until = desk.moment.wall.as_millisecond() + 7_200_000;
    desk.db.note_host(&desk.moment, &Entry::Pause { until: Some(until), why: String::new() }).expect("noted");
    desk.run_for(2 * HOUR - 1);
    desk.restart();
    assert!(desk.standing(0).paused.is_some());
    desk.run_for(1);
    assert_eq!(desk.standing(0).paused, None);
}

#[test]
fn d16_a_paused_area_is_audited_and_not_changed_and_its_end_comes() {
    let station = Station::new();
    let root = station.project.root.to_str().expect("UTF-8");
    let refused = station.host.run(&["pause", "--area", root]);
    assert_eq!(refused.status.code(), Some(2), "an area is paused with an end: {refused:?}");
    station.host.ok(&["pause", "--area", root, "--for", "2h", "--reason", "a release"]);
    // Each command opens the home anew.
    let (_, found) = station.json(&["audit", "--seed"]);
    assert_eq!((found["summary"]["findings"].clone(), &found["fixes"][0]["state"]), (1.into(), &"backlog".into()));
    assert!(found["fixes"][0]["reason"].as_str().expect("said").contains("is paused until"), "{found:#}");
    assert!(station.project.mesh_branches().is_empty());
    let (_, status) = station.json(&["status"]);
    assert_eq!(status["paused"], Value::Null, "the host is not paused");
    assert!(status["paused_areas"][0].as_str().expect("said").contains("a release"), "{status:#}");
    assert_eq!(station.json(&["doctor"]).0, Some(1));
    let id = found["fixes"][0]["id"].as_str().expect("an id");
    assert!(station.host.ok(&["why", id]).contains("a release"));
    // The end of a pause of the host is not that of the area, nor the other way round.
    station.host.ok(&["resume"]);
    assert_eq!(station.json(&["audit", "--seed"]).1["fixes"][0]["state"], "backlog");
    station.host.ok(&["pause"]);
    station.host.ok(&["resume", "--area", root]);
    assert_eq!(station.json(&["status"]).1["paused_areas"], serde_json::json!([]));
    assert!(station.json(&["status"]).1["paused"].is_string());
    station.host.ok(&["resume"]);
    assert_eq!(station.json(&["audit", "--seed"]).1["fixes"][0]["state"], "seeded");
    station.host.ok(&["fsck"]);

    let mut desk = Desk::new();
    let until = desk.moment.wall.as_millisecond() + 7_200_000;
    let pause = |why: &str| Entry::Pause { until: Some(until), why: why.to_owned() };
    // A folder in the area, the area itself, and a part of it; a name that only begins the same is another folder.
    for (paused, holds) in [("/srv", true), (AREA, true), ("/srv/app/data", true), ("/srv/ap", false), ("/opt", false)]
    {
        let mut desk = Desk::new();
        desk.db.note_area(&desk.moment, Path::new(paused), &pause("")).expect("noted");
        assert_eq!(desk.standing(0).area_paused.is_some(), holds, "{paused}");
        assert_eq!(desk.standing(0).paused, None);
    }
    desk.db.note_area(&desk.moment, Path::new(AREA), &pause("x")).expect("noted");
    desk.run_for(2 * HOUR - 1);
    desk.restart();
    assert!(desk.standing(0).area_paused.expect("paused").contains("/srv/app is paused until"));
    desk.run_for(1);
    assert_eq!(desk.standing(0).area_paused, None);
    assert_eq!(desk.faults(), Vec::<String>::new());
}

#[test]
fn d14_the_approval_of_a_risk_is_obeyed_and_shown() {
    let station = Station::new();
    let root = format!("[[audit.root]]\npath = \"{}\"\ncheck = [\"true\"]\n", station.project.root.display());
    let every = |mode: &str| format!("[approve]\nlow = \"{mode}\"\nmedium = \"{mode}\"\nhigh = \"{mode}\"\n{root}");
    station.configure(&every("never"));
    let (_, found) = station.json(&["audit", "--seed"]);
    assert_eq!(found["fixes"][0]["state"], "refused", "{found:#}");
    assert!(station.project.mesh_branches().is_empty());
    let id = found["fixes"][0]["id"].as_str().expect("an id").to_owned();
    assert!(station.host.ok(&["fix", "show", &id]).contains("approval"), "{}", station.host.ok(&["fix", "show", &id]));
    let lesson = found["fixes"][0]["lesson"].as_str().expect("a lesson");
    assert!(station.host.ok(&["why", lesson]).contains("`[approve]` says never"));
    // A person who asks is told the same.
    assert_eq!(station.json(&["fix", "apply", &id]).0, Some(1));
    assert!(station.project.mesh_branches().is_empty());
    // The ban has ended: a branch, which nobody uses yet, is made.
    let ended = "low_until = \"2020-01-01T00:00:00Z\"\nmedium_until = \"2020-01-01T00:00:00Z\"\n";
    station.configure(&every("never").replacen("[approve]\n", &format!("[approve]\n{ended}"), 1));
    assert_eq!(station.json(&["audit", "--seed"]).1["fixes"][0]["state"], "seeded");
}

#[test]
fn d23_a_round_on_a_full_disk_leaves_out_scans_first_and_says_so() {
    let station = Station::new();
    let round = |free: u64| {
        let mut command = station.host.command(&["--json", "up", "--once"]);
        let played = format!("{free},1000000000,0.5");
        let output = command.current_dir(&station.project.root).env(PLAYED, played).output().expect("runs");
        assert!(output.status.success(), "{output:?}");
        serde_json::from_slice::<Value>(&output.stdout).expect("JSON")
    };
    let entries = || station.json(&["status"]).1["synced_at"].clone();
    // Too little even for a sync.
    let told = round(1_000_000);
    assert!(told["strain"].as_str().expect("said").starts_with("sync, scans and seeding are left out"), "{told:#}");
    assert_eq!(entries(), Value::Null);
    // Little: the small documents are exchanged all the same.
    let told = round(18_000_000);
    assert!(told["strain"].as_str().expect("said").starts_with("scans and seeding are left out"), "{told:#}");
    assert!(entries().is_string());
    assert_eq!(told["audit"]["summary"]["findings"], 0, "{told:#}");
    assert!(station.project.mesh_branches().is_empty());
    assert!(station.json(&["status"]).1["strain"].as_str().expect("said").contains("17 MiB (1.8 %)"));
    // Enough.
    let told = round(900_000_000);
    assert_eq!((&told["strain"], &told["audit"]["summary"]["findings"]), (&Value::Null, &1.into()), "{told:#}");
    assert_eq!(station.json(&["status"]).1["strain"], Value::Null);
    assert_eq!(station.project.mesh_branches().len(), 1);
}

#[test]
fn a_failed_rollback_stops_every_change_until_a_person_has_looked() {
    let station = Station::new();
    let mut db = Db::open(&station.host.home.join("state/mesh.db")).expect("opened");
    let moment = Moment { wall: Timestamp::UNIX_EPOCH, boot: "a".to_owned(), uptime: Duration::ZERO };
    db.note_host(&moment, &Entry::ReadOnly { why: "revert of c0ffee failed".to_owned() }).expect("noted");
    let (_, found) = station.json(&["audit", "--seed"]);
    assert_eq!(found["fixes"][0]["state"], "refused", "{found:#}");
    assert!(station.project.mesh_branches().is_empty());
    assert_eq!(station.json(&["status"]).0, Some(5));
    assert_eq!(station.json(&["resume"]).0, Some(5));
    station.host.ok(&["resume", "--reason", "reverted by hand"]);
    assert_eq!(station.json(&["audit", "--seed"]).1["fixes"][0]["state"], "seeded");
}

#[test]
fn a_freeze_is_listed_shown_and_lifted_with_a_reason() {
    let station = Station::new();
    let mut db = Db::open(&station.host.home.join("state/mesh.db")).expect("opened");
    let moment = Moment { wall: Timestamp::UNIX_EPOCH, boot: "a".to_owned(), uptime: Duration::ZERO };
    let root = &station.project.root;
    for fix in ["00000001", "00000002", "00000003"] {
        let fix: FixId = fix.parse().expect("an id");
        let proposal = Proposal { fix: &fix, area: root, kind: ActionKind::Commit, action: ActionHash([1; 32]) };
        let id = db.propose(&moment, &proposal, Actor::Agent, &Note::default()).expect("proposed");
        let events = [Event::Ask, Event::Approve, Event::Prove, Event::Apply, Event::RollBack];
        let happenings = events.map(|event| Happening::new(event, Actor::Agent, Note::default()));
        db.happen(&moment, &id, &happenings, &Pace::default()).expect("taken back");
    }
    let area = root.to_str().expect("UTF-8");
    let (_, listed) = station.json(&["freeze", "list"]);
    assert_eq!(listed["frozen"][0]["area"], area, "{listed:#}");
    let (code, status) = station.json(&["status"]);
    assert_eq!((code, &status["frozen_areas"][0]), (Some(5), &area.into()));
    assert_eq!(station.json(&["freeze", "lift", area, "--reason", " "]).0, Some(2));
    assert_eq!(station.json(&["freeze", "lift", "/elsewhere", "--reason", "x"]).0, Some(2));
    station.host.ok(&["freeze", "lift", area, "--reason", "the test was wrong"]);
    assert_eq!(station.json(&["freeze", "list"]).1["frozen"], serde_json::json!([]));
    assert_eq!(station.json(&["status"]).0, Some(0));
    station.host.ok(&["fsck"]);
}

#[test]
fn a_fix_reads_as_a_story() {
    let station = Station::new();
    let (_, found) = station.json(&["audit"]);
    let id = found["fixes"][0]["id"].as_str().expect("an id").to_owned();
    let told = station.host.ok(&["fix", "apply", &id, "--dry-run"]);
    assert!(told.contains("nothing was:") && told.contains("`true` in a scratch copy"), "{told}");
    assert!(station.project.mesh_branches().is_empty());
    station.host.ok(&["fix", "apply", &id]);
    let story = station.host.ok(&["fix", "show", &id]);
    let words =
        ["trigger", "diagnosis", "plan", "guard", "proof", "commit", "predicted", "observed", "outcome", "lesson"];
    for word in words {
        assert!(story.lines().any(|line| line.starts_with(&format!("{word:<11}"))), "{word}: {story}");
    }
    let (_, value) = station.json(&["fix", "show", &id]);
    for key in ["trigger", "diagnosis", "verdicts", "commit", "predicted", "lesson", "diff", "history"] {
        assert!(!value[key].is_null(), "{key}: {value:#}");
    }
    let (_, list) = station.json(&["fix", "list"]);
    assert_eq!(list["fixes"][0]["state"], "seeded");
    assert_eq!(list["fixes"][0]["intervention"]["state"], "proved");
}

#[test]
fn the_backlog_says_what_is_missing_and_a_dry_run_what_would_be_done() {
    let station = Station::new();
    station.host.ok(&["pause", "--reason", "moving house"]);
    station.json(&["audit", "--seed"]);
    let list = station.host.ok(&["fix", "list"]);
    assert!(
        list.contains("backlog") && list.contains("waits: mesh is paused") && list.contains("moving house"),
        "{list}"
    );
    station.host.ok(&["resume"]);
    let up = |arguments: &[&str]| {
        let output = station.host.command(arguments).current_dir(&station.project.root).output().expect("it starts");
        String::from_utf8(output.stdout).expect("UTF-8")
    };
    let told = up(&["up", "--once", "--dry-run"]);
    assert!(
        told.contains("What would be done; nothing was:") && told.contains("1. the guard lets it through"),
        "{told}"
    );
    assert!(told.contains("`true` in a scratch copy of it"), "{told}");
    assert!(station.project.mesh_branches().is_empty());
    up(&["up", "--once"]);
    assert_eq!(station.project.mesh_branches().len(), 1);
}

#[test]
fn limits_are_configured_and_the_unsafe_direction_warns() {
    let station = Station::new();
    assert_eq!(station.json(&["config", "check"]).1["warnings"], serde_json::json!([]));
    station.configure("[limits]\nvalidate_window = \"10m\"\nconcurrent = 1\n");
    let (code, checked) = station.json(&["config", "check"]);
    assert_eq!((code, checked["warnings"].as_array().map(Vec::len)), (Some(0), Some(1)), "{checked:#}");
    assert!(checked["warnings"][0].as_str().expect("text").contains("short-window"));
    for bad in ["[limits]\nfreeze_after = 0\n", "[limits]\nnothing = 1\n", "[limits]\nblocked_kinds = [\"shell\"]\n"] {
        station.configure(bad);
        assert_eq!(station.json(&["config", "check"]).0, Some(2), "{bad}");
    }
    let root = station.project.root.display();
    station.configure(&format!(
        "[limits]\nblocked_kinds = [\"branch\"]\n[[audit.root]]\npath = \"{root}\"\ncanary = [\"true\"]\nlimit_per_day = 1\n"
    ));
    let (_, found) = station.json(&["audit", "--seed"]);
    assert_eq!(found["fixes"][0]["state"], "refused", "{found:#}");
    assert!(found["fixes"][0]["reason"].as_str().expect("said").contains("blocked_kinds"));
}

#[test]
fn the_doctor_says_what_needs_attention() {
    let station = Station::new();
    let (code, sound) = station.json(&["doctor"]);
    assert_eq!((code, &sound["attend"]), (Some(0), &0.into()), "{sound:#}");
    let says = |examined: &Value, subject: &str| -> String {
        let all = examined["examined"].as_array().expect("a list");
        let of = all.iter().filter(|one| one["subject"] == subject);
        of.map(|one| format!("{} {}", one["health"].as_str().unwrap_or(""), one["says"].as_str().unwrap_or("")))
            .collect()
    };
    for subject in ["disk", "home", "config", "database", "clock", "root", "remote", "worker", "agent", "changes"] {
        assert!(!says(&sound, subject).is_empty(), "{subject}: {sound:#}");
    }
    let root = station.project.root.display();
    station.configure(&format!("[[audit.root]]\npath = \"{root}\"\n[remote]\nurl = \"/no/such/repository.git\"\n"));
    let (code, ill) = station.json(&["doctor"]);
    assert_eq!(code, Some(1));
    assert!(says(&ill, "root").contains("attend") && says(&ill, "root").contains("no check"), "{ill:#}");
    assert!(says(&ill, "remote").starts_with("attend"), "{ill:#}");
    let text = String::from_utf8(station.host.run(&["doctor"]).stdout).expect("UTF-8");
    assert!(text.ends_with("things need attention.\n") && text.contains("do: name the project's own"), "{text}");

    // Files of a kind that mesh knows have their checker without a word in the configuration.
    station.project.write("sudoers.d/deploy", "deploy ALL=(ALL) ALL\n");
    station.project.write("postfix/main.cf", "");
    station.configure(&format!("[[audit.root]]\npath = \"{root}\"\n"));
    let kinds = says(&station.json(&["doctor"]).1, "root");
    assert!(kinds.contains("sudo files such as sudoers.d/deploy are tried by `visudo -c -f {file}`"), "{kinds}");
    let there = find_program("postfix", Path::new("/")).is_some();
    let postfix = if there { "postfix files such as" } else { "`postfix` is not installed" };
    assert!(kinds.contains(postfix) && !kinds.contains("no check"), "{kinds}");

    station.configure(&format!("[[audit.root]]\npath = \"{root}\"\ncheck = [\"no-such-program\"]\n"));
    assert!(says(&station.json(&["doctor"]).1, "root").contains("no-such-program"));
    let key = station.host.home.join("keys/host.key");
    fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o644)).expect("set");
    let (code, loose) = station.json(&["doctor"]);
    assert!(code == Some(1) && says(&loose, "home").contains("host.key"), "{loose:#}");
}
