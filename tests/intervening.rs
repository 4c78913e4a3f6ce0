//! A change of what people use, from the guard to its verdict, with a hand that commits by git and does as it is told.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use mesh::domain::attest::{Environment, Outcome};
use mesh::domain::fix::{Fix, FixPlan, FixState, KnownLesson};
use mesh::domain::guard::{ActionKind, Approved, AskedBy, Check, Proof, Proved, StateHash, Trial};
use mesh::domain::intervention::{InterventionId, State};
use mesh::domain::ledger::Entry;
use mesh::domain::outcome::{Mark, Measured, Observed};
use mesh::domain::trust::Grant;
use mesh::loops::seed::{Area, Finished, Hand, Parts, intervene, recover, validate};
use mesh::ports::{AppliedAs, Applier, ApplyError, Recovered, Trials};
use mesh::store::db::Db;
use mesh::store::home::Home;

use crate::seeding::{Host, finding};
use crate::support::project::{Project, git};

const WEEK: u64 = 7 * 24 * 3_600;

/// Commits on the branch that is checked out, and reverts.
struct Told<'a> {
    project: &'a Project,
    pending: RefCell<BTreeSet<InterventionId>>,
    over: RefCell<BTreeSet<InterventionId>>,
    restores: Cell<bool>,
    fails: Cell<Option<fn() -> ApplyError>>,
    recovers: RefCell<Recovered>,
    applied: Cell<u32>,
}

impl<'a> Told<'a> {
    fn new(project: &'a Project) -> Self {
        Self {
            project,
            pending: RefCell::default(),
            over: RefCell::default(),
            restores: Cell::new(true),
            fails: Cell::new(None),
            recovers: RefCell::new(Recovered::Undone),
            applied: Cell::new(0),
        }
    }

    fn failing(&self) -> Result<(), ApplyError> {
        self.fails.take().map_or(Ok(()), |error| Err(error()))
    }
}

impl Applier for Told<'_> {
    fn prove(&self, _: &InterventionId, _: &Approved<FixPlan>, _: &Trials) -> Result<Proof, ApplyError> {
        let restored = if self.restores.get() { 1 } else { 3 };
        Ok(Proof {
            before: StateHash([1; 32]),
            applied: StateHash([2; 32]),
            restored: StateHash([restored; 32]),
            trial: Trial::None,
            finding_gone: false,
        })
    }

    fn apply(&self, id: &InterventionId, plan: &Proved<FixPlan>, _: Timestamp) -> Result<AppliedAs, ApplyError> {
        self.failing()?;
        let plan = plan.approved();
        assert_eq!((plan.kind(), plan.head()), (ActionKind::Commit, self.project.git(&["rev-parse", "HEAD"]).as_str()));
        self.pending.borrow_mut().insert(id.clone());
        self.project.write(&plan.path, &plan.after);
        self.project.commit_all("mended");
        self.applied.set(self.applied.get() + 1);
        let commit = self.project.git(&["rev-parse", "HEAD"]);
        Ok(AppliedAs { way_back: format!("git revert {commit}"), commit: Some(commit) })
    }

    fn rollback(&self, _: &InterventionId, _: Timestamp) -> Result<(), ApplyError> {
        self.failing()?;
        git(&self.project.root, &["revert", "--no-edit", "HEAD"]);
        Ok(())
    }

    fn pending(&self) -> Result<Vec<InterventionId>, ApplyError> {
        Ok(self.pending.borrow().iter().cloned().collect())
    }

    fn recover(&self, id: &InterventionId, _: Timestamp) -> Result<Recovered, ApplyError> {
        self.failing()?;
        self.pending.borrow_mut().remove(id);
        Ok(self.recovers.borrow().clone())
    }

    fn settle(&self, id: &InterventionId) -> Result<(), ApplyError> {
        self.pending.borrow_mut().remove(id);
        self.over.borrow_mut().insert(id.clone());
        Ok(())
    }

    fn settled(&self) -> Result<Vec<InterventionId>, ApplyError> {
        Ok(self.over.borrow().iter().cloned().collect())
    }

    fn forget(&self, id: &InterventionId) -> Result<(), ApplyError> {
        assert!(self.over.borrow_mut().remove(id), "{id} is over");
        Ok(())
    }
}

/// A host, and what its signals say.
struct Stage<'a> {
    host: Host,
    hand: Told<'a>,
    project: &'a Project,
    claim: Observed,
}

impl<'a> Stage<'a> {
    fn new(project: &'a Project) -> Self {
        let host = Host { grant: Grant::Apply, ..Host::beside(project) };
        Self { host, hand: Told::new(project), project, claim: Observed::False }
    }

    fn with<T>(&mut self, run: impl FnOnce(&mut Parts<'_>, Hand<'_>, &Area, &[KnownLesson], Timestamp) -> T) -> T {
        let claim = self.claim;
        let measure = move |_: &Db, _: &str| Ok(Measured { says: claim, ..Measured::nothing() });
        let lock = Home::at(&self.host.home).lock_changes().expect("free");
        let hand = Hand { applier: &self.hand, measure: &measure, lock: &lock };
        self.host.with(&self.project.root, |parts, area, known, now| run(parts, hand, area, known, now))
    }

    /// Intervenes in one file that holds `BAD`.
    fn intervene(&mut self, path: &str) -> Fix {
        let before = fs::read_to_string(self.project.root.join(path)).expect("readable");
        self.with(|parts, hand, area, known, now| {
            let (after, mends) = (before.replace("BAD", "GOOD"), vec![finding(path, 1).fingerprint]);
            let plan = FixPlan::new(&known[0], &area.root, path, before, after, mends).expect("a plan");
            intervene(parts, hand, area, &known[0], &plan, (ActionKind::Commit, AskedBy::Audit), now)
        })
        .expect("judged")
    }

    fn validate(&mut self) -> Vec<Finished> {
        self.with(|parts, hand, area, known, now| {
            let areas = [area.clone()];
            validate(parts, hand, &areas, known, now)
        })
        .expect("looked")
    }

    fn pass(&mut self, seconds: u64) {
        self.host.moment.uptime += Duration::from_secs(seconds);
        self.host.moment.wall += SignedDuration::from_secs(i64::try_from(seconds).expect("small"));
    }

    fn state(&self, fix: &Fix) -> State {
        self.host.db.intervention(&fix.id).expect("read").expect("there").state
    }
}

#[test]
fn e4_a_change_is_validated_after_its_window_and_not_before() {
    let project = Project::new(&[("a.py", "BAD\n")]);
    let mut stage = Stage::new(&project);
    let fix = stage.intervene("a.py");
    assert_eq!(fix.state, FixState::Validating, "{:?}", fix.reason);
    assert_eq!(fs::read_to_string(project.root.join("a.py")).expect("readable"), "GOOD\n");
    stage.claim = Observed::True;
    stage.pass(WEEK - 1);
    assert_eq!(stage.validate(), []);
    // A clock that jumps a year ahead brings it no nearer.
    stage.host.moment.wall += SignedDuration::from_hours(24 * 365);
    assert_eq!(stage.validate(), []);
    stage.pass(1);
    let ended = stage.validate();
    assert_eq!((ended.len(), ended[0].state), (1, State::Validated));
    assert_eq!((ended[0].predicted.before, ended[0].observed.claim), (Observed::False, Observed::True));
    assert_eq!(stage.state(&fix), State::Validated);
    assert_eq!(stage.host.db.fix(&fix.id).expect("read").expect("kept").state, FixState::Validated);
    assert!(stage.hand.pending.borrow().is_empty(), "the way back is forgotten");
    assert_eq!(stage.validate(), []);
    assert_eq!(stage.host.db.audit_ledger().expect("read").faults, Vec::<String>::new());

    let environment = Environment::of(&std::collections::BTreeMap::new());
    assert_eq!(ended[0].attestation(environment.clone()), None, "nobody signed the lesson");
    let mut signed = ended[0].clone();
    signed.planned.entry = Some(mesh::domain::id::EntryId::from_bytes([7; 32]));
    let attestation = signed.attestation(environment).expect("told");
    attestation.check().expect("acceptable");
    assert_eq!((attestation.outcome, attestation.intervention), (Outcome::Validated, format!("{}.1", fix.id)));
}

#[test]
fn without_signals_nothing_is_validated() {
    let project = Project::new(&[("a.py", "BAD\n")]);
    let mut stage = Stage::new(&project);
    stage.claim = Observed::Unknown;
    let fix = stage.intervene("a.py");
    stage.pass(WEEK);
    let ended = stage.validate();
    assert_eq!((ended[0].state, &ended[0].marks[..]), (State::NoEffect, &[Mark::Unknown][..]));
    assert_eq!(stage.state(&fix), State::NoEffect);
}

#[test]
fn d5_three_changes_that_do_harm_are_taken_back_and_the_fourth_is_not_made() {
    let project = Project::new(&[("a.py", "BAD\n"), ("b.py", "BAD\n"), ("c.py", "BAD\n"), ("d.py", "BAD\n")]);
    let mut stage = Stage::new(&project);
    for path in ["a.py", "b.py", "c.py"] {
        stage.claim = Observed::True;
        let fix = stage.intervene(path);
        assert_eq!(fix.state, FixState::Validating, "{:?}", fix.reason);
        stage.claim = Observed::False;
        stage.pass(WEEK);
        assert_eq!(stage.validate()[0].state, State::Reverted);
        assert_eq!(fs::read_to_string(project.root.join(path)).expect("readable"), "BAD\n");
    }
    let fourth = stage.intervene("d.py");
    assert_eq!((fourth.state, stage.hand.applied.get()), (FixState::Backlog, 3));
    assert!(fourth.reason.expect("said").contains("frozen"));
}

#[test]
fn a_finding_that_is_back_is_harm_at_once() {
    let project = Project::new(&[("a.py", "BAD\n")]);
    let mut stage = Stage::new(&project);
    stage.intervene("a.py");
    project.write("a.py", "BAD BAD\n");
    project.commit_all("worse");
    assert_eq!(stage.validate()[0].state, State::Reverted);
}

#[test]
fn d2_a_rollback_that_does_not_restore_is_refused_before_anything_is_made() {
    let project = Project::new(&[("a.py", "BAD\n")]);
    let before = project.everything();
    let mut stage = Stage::new(&project);
    stage.hand.restores.set(false);
    let fix = stage.intervene("a.py");
    assert_eq!((fix.state, stage.hand.applied.get()), (FixState::Refused, 0));
    assert_eq!(project.everything(), before);
    let history = stage.host.db.history(&fix.id).expect("read");
    let refused = history.iter().find_map(|(_, entry)| match entry {
        Entry::Step { state: State::Refused, note, .. } => note.verdicts.iter().find(|verdict| !verdict.passes()),
        _ => None,
    });
    assert_eq!(refused.expect("kept").check, Check::RollbackProved);
}

#[test]
fn d3_a_failed_rollback_stops_every_change() {
    let project = Project::new(&[("a.py", "BAD\n"), ("b.py", "BAD\n")]);
    let mut stage = Stage::new(&project);
    stage.claim = Observed::True;
    stage.intervene("a.py");
    stage.claim = Observed::False;
    stage.pass(WEEK);
    stage.hand.fails.set(Some(|| ApplyError::Broken { what: "main".to_owned(), why: "no space".to_owned() }));
    assert_eq!(stage.validate(), []);
    assert!(stage.host.db.read_only().expect("read").expect("stopped").contains("no space"));
    let next = stage.intervene("b.py");
    assert_eq!((next.state, stage.hand.applied.get()), (FixState::Refused, 1));
    // The way back is still there for whoever looks.
    assert_eq!(stage.hand.pending.borrow().len(), 1);
}

#[test]
fn what_somebody_works_on_is_not_taken_back_from_them() {
    let project = Project::new(&[("a.py", "BAD\n")]);
    let mut stage = Stage::new(&project);
    stage.claim = Observed::True;
    stage.intervene("a.py");
    stage.claim = Observed::False;
    stage.pass(WEEK);
    stage.hand.fails.set(Some(|| ApplyError::Moved { what: "a.py".to_owned() }));
    let ended = stage.validate();
    assert_eq!((ended[0].state, &ended[0].marks[..]), (State::NoEffect, &[Mark::Unknown][..]));
    assert_eq!(stage.host.db.read_only().expect("read"), None);
}

#[test]
fn e3_only_what_may_apply_by_itself_does() {
    let project = Project::new(&[("a.py", "BAD\n")]);
    let mut stage = Stage::new(&project);
    stage.host.grant = Grant::Propose;
    assert_eq!((stage.intervene("a.py").state, stage.hand.applied.get()), (FixState::Proposed, 0));
    stage.host.grant = Grant::Apply;
    stage.hand.fails.set(Some(|| ApplyError::Moved { what: "main".to_owned() }));
    assert_eq!((stage.intervene("a.py").state, stage.hand.applied.get()), (FixState::Refused, 0));
    // It was tried a moment ago.
    let again = stage.intervene("a.py");
    assert!(again.reason.expect("said").contains("the same action"));
    stage.pass(2 * 3_600);
    assert_eq!((stage.intervene("a.py").state, stage.hand.applied.get()), (FixState::Validating, 1));
}

#[test]
fn d3_what_a_killed_process_began_is_finished_or_undone() {
    for finished in [false, true] {
        let project = Project::new(&[("a.py", "BAD\n")]);
        let mut stage = Stage::new(&project);
        // Killed between the proof and the row that says that the change is in place.
        stage.hand.fails.set(Some(|| panic!("killed")));
        let killed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| stage.intervene("a.py")));
        assert!(killed.is_err());
        let fix = stage.host.db.interventions_in(&[State::Proved]).expect("read").remove(0).id;
        stage.hand.pending.borrow_mut().insert(fix.clone());
        if finished {
            let applied = AppliedAs { commit: Some("c0ffee".to_owned()), way_back: String::new() };
            *stage.hand.recovers.borrow_mut() = Recovered::Finished(applied);
        }
        for _ in 0..2 {
            stage.with(|parts, hand, _, _, now| recover(parts, hand, now)).expect("settled");
        }
        let state = stage.host.db.intervention(&fix.fix).expect("read").expect("there").state;
        assert_eq!(state, if finished { State::Validating } else { State::Aborted });
        assert_eq!(stage.host.db.audit_ledger().expect("read").faults, Vec::<String>::new());
    }
}
