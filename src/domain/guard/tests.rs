use std::path::Path;
use std::time::Duration;

use super::place::is_blocked_name;
use super::*;
use crate::domain::detect::FixClass;
use crate::domain::finding::Fingerprint;
use crate::domain::fix::FixId;
use crate::domain::id::Slug;
use crate::domain::lesson::Risk;
use crate::domain::trust::Grant;

fn plan() -> FixPlan {
    let slug: Slug = "l".parse().expect("a slug");
    let first = Fingerprint::of(&slug, &slug, "src/a.py", "x", 0);
    FixPlan {
        id: FixId::of(Path::new("/r"), first),
        lesson: slug,
        rev: 1,
        title: "t".to_owned(),
        entry: None,
        grant: Grant::Apply,
        risk: Risk::Low,
        because: "b".to_owned(),
        claim: "last(\"log.records\") > 0".to_owned(),
        within: "7d".to_owned(),
        retired_after: "2030-01-01T00:00:00Z".to_owned(),
        bad_examples: 1,
        lesson_fault: None,
        class: FixClass::Safe,
        max_lines: 4,
        root: "/r".into(),
        path: "src/a.py".to_owned(),
        before: "a\n".to_owned().into(),
        after: "b\n".to_owned().into(),
        mends: vec![first],
    }
}

fn policy() -> Policy {
    let home = FileId { device: 1, inode: 99 };
    Policy {
        asked_by: AskedBy::Audit,
        blocked: vec!["/home".into()],
        blocked_ids: vec![home],
        max_lines: 100,
        kind: ActionKind::Commit,
        blocked_kinds: Vec::new(),
        canary: Canary::None,
        approvals: Approvals::default(),
        pace: Pace::default(),
        now: "2026-06-01T00:00:00Z".parse().expect("a time"),
    }
}

fn file() -> FileFacts {
    FileFacts {
        real_root: "/r".into(),
        real_path: "/r/src/a.py".into(),
        regular: true,
        links: 1,
        lineage: vec![FileId { device: 1, inode: 1 }],
        hash: TextHash::of(b"a\n"),
    }
}

fn inside() -> RepoFacts {
    RepoFacts::Inside {
        head: Some("c0ffee".to_owned()),
        busy: None,
        tracked: true,
        ignored: false,
        generated: false,
        staged: false,
        at_head: Some(TextHash::of(b"a\n")),
    }
}

/// What is right in everything, to be changed in one thing.
struct Case {
    plan: FixPlan,
    file: FileFacts,
    repo: RepoFacts,
    policy: Policy,
    standing: Standing,
    drill: Drill,
}

impl Case {
    fn sound() -> Self {
        let (plan, file, repo, policy) = (plan(), file(), inside(), policy());
        Self { plan, file, repo, policy, standing: Standing::default(), drill: Drill::Held }
    }

    fn judged(self) -> Result<Approved<FixPlan>, Refusal> {
        let facts = Facts { file: Ok(self.file), repo: self.repo };
        let scene = Scene { facts: &facts, policy: &self.policy, standing: &self.standing, drill: &self.drill };
        approve(self.plan, scene)
    }
}

/// The checks that do not pass, after `change` has been made to what is right in everything.
fn held_up_by(change: impl FnOnce(&mut Case)) -> Vec<(Check, Answer)> {
    let mut case = Case::sound();
    change(&mut case);
    match case.judged() {
        Ok(approved) => {
            assert!(approved.verdicts().iter().all(Verdict::passes));
            assert_eq!(approved.verdicts().len(), 23);
            Vec::new()
        }
        Err(refusal) => {
            assert_eq!(refusal.verdicts.len(), 23, "every check is evaluated");
            let stopped = refusal.verdicts.iter().filter(|verdict| !verdict.passes());
            stopped
                .map(|verdict| {
                    assert!(!verdict.why.is_empty(), "{verdict:?}");
                    (verdict.check, verdict.answer)
                })
                .collect()
        }
    }
}

/// The same for what concerns the place.
fn stopped_by(change: impl FnOnce(&mut FixPlan, &mut FileFacts, &mut RepoFacts, &mut Policy)) -> Vec<(Check, Answer)> {
    held_up_by(|case| {
        case.policy.kind = ActionKind::Branch;
        change(&mut case.plan, &mut case.file, &mut case.repo, &mut case.policy);
    })
}

fn refused(check: Check) -> Vec<(Check, Answer)> {
    vec![(check, Answer::Refuse)]
}

/// Where there is no repository to use there is no way back either.
fn both(check: Check) -> Vec<(Check, Answer)> {
    vec![(check, Answer::Refuse), (Check::RollbackDefined, Answer::Refuse)]
}

macro_rules! repo_with {
    ($field:ident: $value:expr) => {
        |_: &mut FixPlan, _: &mut FileFacts, repo: &mut RepoFacts, _: &mut Policy| {
            if let RepoFacts::Inside { $field, .. } = repo {
                *$field = $value;
            }
        }
    };
}

#[test]
fn what_is_right_in_everything_passes_every_check() {
    assert_eq!(stopped_by(|_, _, _, _| ()), []);
}

#[test]
fn each_check_refuses_alone() {
    assert_eq!(stopped_by(|_, file, _, _| file.real_path = "/r/other.py".into()), refused(Check::InsideRoot));
    assert_eq!(stopped_by(|_, file, _, _| file.regular = false), refused(Check::InsideRoot));
    assert_eq!(stopped_by(|plan, _, _, _| plan.path = "./src/a.py".to_owned()), refused(Check::InsideRoot));
    assert_eq!(stopped_by(|_, _, _, policy| policy.blocked = vec!["/r".into()]), refused(Check::BlockedPath));
    assert_eq!(stopped_by(|_, file, _, policy| policy.blocked_ids = file.lineage.clone()), refused(Check::BlockedPath));
    assert_eq!(stopped_by(|_, file, _, _| file.links = 2), refused(Check::BlockedPath));
    assert_eq!(stopped_by(|plan, _, _, _| plan.grant = Grant::Audit), refused(Check::Grant));
    assert_eq!(stopped_by(|plan, _, _, _| plan.class = FixClass::None), refused(Check::Class));
    assert_eq!(stopped_by(|plan, _, _, _| plan.max_lines = 1), refused(Check::DiffSize));
    assert_eq!(stopped_by(|_, _, _, policy| policy.max_lines = 1), refused(Check::DiffSize));
    assert_eq!(stopped_by(|_, file, _, _| file.hash = TextHash::of(b"other")), refused(Check::Unchanged));
    assert_eq!(stopped_by(|plan, _, _, _| plan.after = "a  # noqa\n".to_owned().into()), refused(Check::NoSuppression));
    assert_eq!(stopped_by(|_, _, repo, _| *repo = RepoFacts::Unusable("x".to_owned())), both(Check::Repository));
    assert_eq!(stopped_by(repo_with!(head: None)), both(Check::Repository));
    assert_eq!(stopped_by(repo_with!(busy: Some("merge".to_owned()))), refused(Check::Repository));
    assert_eq!(stopped_by(repo_with!(tracked: false)), refused(Check::Tracked));
    assert_eq!(stopped_by(repo_with!(generated: true)), refused(Check::Tracked));
    assert_eq!(stopped_by(repo_with!(staged: true)), refused(Check::Clean));
    assert_eq!(stopped_by(repo_with!(at_head: None)), refused(Check::Clean));
    assert_eq!(stopped_by(repo_with!(at_head: Some(TextHash::of(b"x")))), refused(Check::Clean));
    // Tracked by force: an ignore rule does not matter then.
    assert_eq!(stopped_by(repo_with!(ignored: true)), []);
}

#[test]
fn a_review_fix_is_asked_for_and_a_person_may_have_it() {
    let review = |plan: &mut FixPlan, policy: &mut Policy, asked_by| {
        plan.class = FixClass::Review;
        policy.asked_by = asked_by;
    };
    let asked = stopped_by(|plan, _, _, policy| review(plan, policy, AskedBy::Audit));
    assert_eq!(asked, [(Check::Class, Answer::Ask)]);
    assert_eq!(stopped_by(|plan, _, _, policy| review(plan, policy, AskedBy::Person)), []);
}

#[test]
fn outside_git_there_is_nothing_that_even_a_person_may_have() {
    let outside = |repo: &mut RepoFacts, policy: &mut Policy, asked_by| {
        *repo = RepoFacts::Outside;
        policy.asked_by = asked_by;
    };
    let asked = stopped_by(|_, _, repo, policy| outside(repo, policy, AskedBy::Audit));
    assert_eq!(asked, [(Check::Repository, Answer::Ask), (Check::RollbackDefined, Answer::Ask)]);
    assert_eq!(stopped_by(|_, _, repo, policy| outside(repo, policy, AskedBy::Person)), both(Check::Repository));
}

#[test]
fn a_file_outside_git_may_be_replaced_and_one_inside_may_not() {
    let file = |repo: RepoFacts| held_up_by(|case| (case.policy.kind, case.repo) = (ActionKind::File, repo));
    assert_eq!(file(RepoFacts::Outside), []);
    assert_eq!(file(inside()), both(Check::Repository));
}

/// Each check of the host and of the lesson: what makes it hold the change up, and how hard. With a branch, which nobody
/// uses yet, those that are named `free` pass.
#[test]
fn each_guard_holds_up_and_lets_through() {
    type Change = fn(&mut Case);
    let table: [(Check, Answer, bool, Change, Change); 22] = [
        (
            Check::ActionKind,
            Answer::Refuse,
            false,
            |case| case.policy.blocked_kinds = vec![case.policy.kind],
            |case| {
                case.policy.blocked_kinds = vec![ActionKind::File];
            },
        ),
        (
            Check::DailyBudget,
            Answer::Block,
            true,
            |case| case.standing.interventions = 5,
            |case| {
                case.standing.interventions = 4;
            },
        ),
        (
            Check::AreaBudget,
            Answer::Block,
            true,
            |case| (case.standing.area_interventions, case.standing.area_limit) = (1, Some(1)),
            |case| (case.standing.area_interventions, case.standing.area_limit) = (1, Some(2)),
        ),
        (Check::AreaBudget, Answer::Block, true, |case| case.standing.area_limit = Some(0), |_| ()),
        (
            Check::Concurrency,
            Answer::Block,
            true,
            |case| case.standing.under_way = 2,
            |case| {
                case.standing.under_way = 1;
            },
        ),
        (
            Check::Duplicate,
            Answer::Refuse,
            true,
            |case| case.standing.same_action = Some(Duration::from_secs(2 * 3_600 - 1)),
            |case| case.standing.same_action = Some(Duration::from_secs(2 * 3_600)),
        ),
        (Check::RollbackDefined, Answer::Refuse, false, |case| case.plan.after = case.plan.before.clone(), |_| ()),
        (
            Check::Canary,
            Answer::Block,
            false,
            |case| case.plan.risk = Risk::Medium,
            |case| {
                (case.plan.risk, case.policy.canary) = (Risk::Medium, Canary::There);
            },
        ),
        (
            Check::Approval,
            Answer::Ask,
            true,
            |case| (case.plan.risk, case.policy.canary) = (Risk::High, Canary::There),
            |case| {
                (case.plan.risk, case.policy.canary) = (Risk::High, Canary::There);
                case.policy.asked_by = AskedBy::Person;
            },
        ),
        (Check::NotFrozen, Answer::Block, false, |case| case.standing.frozen = Some("x".to_owned()), |_| ()),
        (
            Check::CanFail,
            Answer::Refuse,
            false,
            |case| case.plan.claim = "true".to_owned(),
            |case| {
                case.plan.claim = "last(\"log.records\") > 1".to_owned();
            },
        ),
        (Check::CanFail, Answer::Refuse, false, |case| case.plan.claim = String::new(), |_| ()),
        (Check::CanFail, Answer::Refuse, false, |case| case.plan.bad_examples = 0, |case| case.plan.bad_examples = 2),
        (Check::CanFail, Answer::Refuse, false, |case| case.drill = Drill::Failed("x".to_owned()), |_| ()),
        (
            Check::LessonInForce,
            Answer::Refuse,
            false,
            |case| case.plan.retired_after = "2026-05-31T23:59:59Z".to_owned(),
            |case| case.plan.retired_after = "2026-06-01T00:00:00Z".to_owned(),
        ),
        (Check::NotPaused, Answer::Block, false, |case| case.standing.paused = Some("x".to_owned()), |_| ()),
        (Check::NotPaused, Answer::Block, false, |case| case.standing.area_paused = Some("x".to_owned()), |_| ()),
        (
            Check::Approval,
            Answer::Refuse,
            false,
            |case| case.policy.approvals.low.mode = ApprovalMode::Never,
            |case| case.policy.approvals.high.mode = ApprovalMode::Never,
        ),
        (
            Check::Approval,
            Answer::Ask,
            true,
            |case| case.policy.approvals.low.mode = ApprovalMode::Ask,
            |case| {
                (case.policy.approvals.low.mode, case.policy.asked_by) = (ApprovalMode::Ask, AskedBy::Person);
            },
        ),
        (
            Check::Approval,
            Answer::Ask,
            true,
            |case| case.policy.approvals.low.until = Some(case.policy.now),
            |case| {
                case.policy.approvals.low.until = Some(case.policy.now + Duration::from_secs(1));
            },
        ),
        (Check::Writable, Answer::Refuse, false, |case| case.standing.read_only = Some("x".to_owned()), |_| ()),
        (
            Check::Grant,
            Answer::Ask,
            true,
            |case| case.plan.grant = Grant::Propose,
            |case| {
                (case.plan.grant, case.policy.asked_by) = (Grant::Propose, AskedBy::Person);
            },
        ),
    ];
    for (check, answer, free, holds, passes) in table {
        assert_eq!(held_up_by(holds), [(check, answer)], "{}", check.name());
        assert_eq!(held_up_by(passes), [], "{}", check.name());
        let branch = held_up_by(|case| {
            case.policy.kind = ActionKind::Branch;
            holds(case);
        });
        assert_eq!(branch.is_empty(), free, "{}: {branch:?}", check.name());
    }
}

/// Spoils what is right in everything so that `check` is against it. None: the check belongs to the proof, or to proposals
/// alone.
fn spoil(check: Check, case: &mut Case) -> Option<()> {
    match check {
        Check::InsideRoot => case.file.regular = false,
        Check::BlockedPath => case.plan.path = ".git/config".to_owned(),
        Check::Grant => case.plan.grant = Grant::Observe,
        Check::Class => case.plan.class = FixClass::None,
        Check::DiffSize => case.policy.max_lines = 0,
        Check::Unchanged => case.file.hash = TextHash::of(b"another"),
        Check::NoSuppression => case.plan.after = "a  # noqa\n".to_owned().into(),
        Check::Repository => case.repo = RepoFacts::Unusable("x".to_owned()),
        Check::Tracked => case.plan.before = "// Code generated by x. DO NOT EDIT.\na\n".to_owned().into(),
        Check::Clean => {
            if let RepoFacts::Inside { staged, .. } = &mut case.repo {
                *staged = true;
            }
        }
        Check::ActionKind => case.policy.blocked_kinds = vec![case.policy.kind],
        Check::DailyBudget => case.standing.interventions = 5,
        Check::AreaBudget => case.standing.area_limit = Some(0),
        Check::Concurrency => case.standing.under_way = 2,
        Check::Duplicate => case.standing.same_action = Some(Duration::ZERO),
        Check::RollbackDefined => case.plan.after = case.plan.before.clone(),
        Check::Canary => case.plan.risk = Risk::Medium,
        Check::NotFrozen => case.standing.frozen = Some("x".to_owned()),
        Check::CanFail => case.plan.claim = "true".to_owned(),
        Check::LessonInForce => case.plan.lesson_fault = Some("x".to_owned()),
        Check::Approval => case.policy.approvals.low.mode = ApprovalMode::Never,
        Check::NotPaused => case.standing.paused = Some("x".to_owned()),
        Check::Writable => case.standing.read_only = Some("x".to_owned()),
        Check::RollbackProved | Check::TrialPassed | Check::FindingGone | Check::Cites => return None,
    }
    Some(())
}

/// A check that is added without a case that it is against does not compile, and one that is against nothing fails here.
#[test]
fn every_one_of_the_23_checks_passes_something_and_refuses_something() {
    let sound = Case::sound().judged().expect("approved");
    assert_eq!(sound.verdicts().len(), 23);
    for passed in sound.verdicts() {
        assert!(passed.passes());
        let mut case = Case::sound();
        spoil(passed.check, &mut case).unwrap_or_else(|| panic!("{} is a check of the guard", passed.check.name()));
        let refusal = case.judged().expect_err(passed.check.name());
        let against = refusal.verdicts.iter().find(|verdict| verdict.check == passed.check).expect("evaluated");
        assert!(!against.passes() && !against.why.is_empty(), "{against:?}");
    }
}

#[test]
fn a_checker_that_is_not_installed_is_named_with_its_package() {
    let missing = Canary::Missing { program: "nginx".to_owned(), package: "nginx-light".to_owned() };
    let mut case = Case::sound();
    (case.plan.risk, case.policy.canary) = (Risk::Medium, missing);
    let why = case.judged().expect_err("blocked").why();
    assert!(why.starts_with("blocked on missing canary") && why.ends_with("apt-get install nginx-light"), "{why}");
}

/// Each mode with each risk, before its end and from then on: what the check says to the audit and to a person.
#[test]
fn d14_each_mode_of_each_risk_and_its_end() {
    use ApprovalMode::{Ask, Auto, Never};
    let said = |risk, mode, ended: bool, asked_by, kind| {
        let stopped = held_up_by(|case| {
            (case.plan.risk, case.policy.canary) = (risk, Canary::There);
            (case.policy.asked_by, case.policy.kind) = (asked_by, kind);
            let second = Duration::from_secs(1);
            let until = if ended { case.policy.now } else { case.policy.now + second };
            let approval = Approval { mode, until: Some(until) };
            match risk {
                Risk::Low => case.policy.approvals.low = approval,
                Risk::Medium => case.policy.approvals.medium = approval,
                Risk::High => case.policy.approvals.high = approval,
            }
        });
        assert!(stopped.iter().all(|(check, _)| *check == Check::Approval), "{stopped:?}");
        stopped.first().map_or(Answer::Pass, |(_, answer)| *answer)
    };
    let (audit, person) = (AskedBy::Audit, AskedBy::Person);
    let (commit, branch) = (ActionKind::Commit, ActionKind::Branch);
    for risk in [Risk::Low, Risk::Medium, Risk::High] {
        for (mode, by_itself, for_a_person) in [
            (Auto, Answer::Pass, Answer::Pass),
            (Ask, Answer::Ask, Answer::Pass),
            (Never, Answer::Refuse, Answer::Refuse),
        ] {
            assert_eq!(said(risk, mode, false, audit, commit), by_itself, "{risk:?} {mode:?}");
            assert_eq!(said(risk, mode, false, person, commit), for_a_person, "{risk:?} {mode:?}");
            assert_eq!(said(risk, mode, false, audit, branch), for_a_person, "{risk:?} {mode:?}");
            // From its end on it asks, whatever it was.
            assert_eq!(said(risk, mode, true, audit, commit), Answer::Ask, "{risk:?} {mode:?}");
            assert_eq!(said(risk, mode, true, person, commit), Answer::Pass, "{risk:?} {mode:?}");
        }
    }
    let mut approvals = Approvals::default();
    assert_eq!(approvals.weaknesses(), Vec::<String>::new());
    approvals.high.mode = Auto;
    assert_eq!(approvals.weaknesses().len(), 1);
}

#[test]
fn a_trial_that_cannot_tell_is_as_good_as_none() {
    let proof = Proof {
        before: StateHash([1; 32]),
        applied: StateHash([2; 32]),
        restored: StateHash([1; 32]),
        trial: Trial::Cannot("it is blind".to_owned()),
        finding_gone: true,
    };
    let told = |demands| prove(Case::sound().judged().expect("approved"), &proof, demands);
    assert!(told(false).is_ok());
    let verdicts = told(true).expect_err("blocked");
    assert_eq!(
        (hardest(&verdicts), why(&verdicts).as_str()),
        (Answer::Block, "blocked on missing canary: it is blind")
    );
}

#[test]
fn branches_have_a_budget_of_their_own() {
    let branches = |made: u32| {
        held_up_by(|case| {
            case.policy.kind = ActionKind::Branch;
            (case.standing.branches, case.standing.interventions) = (made, 99);
        })
    };
    assert_eq!(branches(199), []);
    assert_eq!(branches(200), [(Check::DailyBudget, Answer::Block)]);
    assert_eq!(held_up_by(|case| case.standing.branches = 999), []);
}

#[test]
fn only_a_proof_that_rolls_back_is_believed() {
    let sound = Proof {
        before: StateHash([1; 32]),
        applied: StateHash([2; 32]),
        restored: StateHash([1; 32]),
        trial: Trial::Passed,
        finding_gone: true,
    };
    let told = |proof: &Proof| {
        let approved = Case::sound().judged().expect("approved");
        prove(approved, proof, true).map_err(|verdicts| {
            assert_eq!(verdicts.len(), 3);
            let failed = verdicts.into_iter().filter(|verdict| !verdict.passes());
            failed.map(|verdict| verdict.check).collect::<Vec<_>>()
        })
    };
    assert_eq!(told(&sound).expect("proved").approved().path, "src/a.py");
    assert!(told(&Proof { trial: Trial::None, ..sound.clone() }).is_ok());
    let left = Proof { restored: StateHash([3; 32]), ..sound.clone() };
    assert_eq!(told(&left).expect_err("it left something"), [Check::RollbackProved]);
    let idle = Proof { applied: StateHash([1; 32]), ..sound.clone() };
    assert_eq!(told(&idle).expect_err("nothing was shown"), [Check::RollbackProved]);
    let failing = Proof { trial: Trial::Failed("1".to_owned()), ..sound.clone() };
    assert_eq!(told(&failing).expect_err("it fails"), [Check::TrialPassed]);
    let there = Proof { finding_gone: false, ..sound };
    assert_eq!(told(&there).expect_err("it is there"), [Check::FindingGone]);
}

#[test]
fn a_file_that_cannot_be_read_is_refused_by_all_that_need_it() {
    let facts = Facts { file: Err("gone\u{1b}".to_owned()), repo: RepoFacts::Outside };
    let (policy, standing) = (Policy { kind: ActionKind::Branch, ..policy() }, Standing::default());
    let scene = Scene { facts: &facts, policy: &policy, standing: &standing, drill: &Drill::Held };
    let refusal = approve(plan(), scene).expect_err("refused");
    assert_eq!(refusal.hardest(), Answer::Refuse);
    assert_eq!(refusal.why(), "file cannot be read: gone\\u{1b} (and 3 more)");
}

#[test]
fn d8_a_person_need_not_wait_for_what_was_undone_and_mesh_by_itself_does() {
    let tried = |asked_by, undone| {
        held_up_by(|case| {
            case.policy.asked_by = asked_by;
            case.standing.same_action = Some(Duration::from_secs(60));
            case.standing.same_undone = undone;
        })
    };
    let duplicate = [(Check::Duplicate, Answer::Refuse)];
    assert_eq!(tried(AskedBy::Audit, true), duplicate);
    assert_eq!(tried(AskedBy::Person, false), duplicate);
    assert_eq!(tried(AskedBy::Person, true), []);
}

#[test]
fn t22_names_of_secrets_are_known_in_any_case() {
    for path in [".GIT/config", "a/.git./x", "GIT~1/x", ".Env", "a/ID_RSA", "x/Server.PEM", "mesh.service.d/a.conf"] {
        assert!(is_blocked_name(Path::new(path)).is_some(), "{path}");
    }
    for path in ["a.py", "git/x.py", "environment.py", "keys.py", "deploy/web.service", ".github/workflows/ci.yml"] {
        assert_eq!(is_blocked_name(Path::new(path)), None, "{path}");
    }
}

#[test]
fn d2_an_edit_that_is_proposed_is_held_up_by_each_check_of_its_place_alone() {
    let facts = |change: fn(&mut FileFacts)| {
        let mut file = file();
        change(&mut file);
        Facts { file: Ok(file), repo: inside() }
    };
    let against = |path: &str, facts: &Facts, (before, after): (&str, &str)| {
        let edited = Edited { root: Path::new("/r"), path, facts, before, after };
        let suggestion = Suggestion {
            risk: Risk::Low,
            needs_person: None,
            way_back: "git revert",
            claim: "last(\"log.records\") > 0",
            uncited: &[],
            edited: Some(edited),
        };
        let verdicts = weigh(&suggestion, &policy(), &Standing::default());
        let no = verdicts.into_iter().filter(|verdict| !verdict.passes());
        no.map(|verdict| (verdict.check, verdict.answer)).collect::<Vec<_>>()
    };
    let (sound, small) = (facts(|_| {}), ("a\n", "b\n"));
    assert_eq!(against("src/a.py", &sound, small), []);
    let blocked = [(Check::BlockedPath, Answer::Refuse)];
    assert_eq!(
        against("src/a.py", &facts(|file| file.real_root = "/elsewhere".into()), small),
        [(Check::InsideRoot, Answer::Refuse)]
    );
    let secret = facts(|file| file.real_path = "/r/.env".into());
    assert_eq!(against(".env", &secret, small), blocked);
    assert_eq!(against("src/a.py", &facts(|file| file.links = 2), small), blocked);
    let own = facts(|file| file.lineage.push(FileId { device: 1, inode: 99 }));
    assert_eq!(against("src/a.py", &own, small), blocked);
    assert_eq!(against("src/a.py", &sound, ("x\n", "b\n")), [(Check::Unchanged, Answer::Refuse)]);
    assert_eq!(against("src/a.py", &sound, ("a\n", "a  # noqa\n")), [(Check::NoSuppression, Answer::Refuse)]);
    assert_eq!(against("src/a.py", &sound, ("a\n", &"b\n".repeat(200))), [(Check::DiffSize, Answer::Refuse)]);
}

#[test]
fn e2_each_check_on_a_proposal_holds_it_up_alone() {
    let lesson: Slug = "l".parse().expect("a slug");
    let sound = Suggestion {
        risk: Risk::Low,
        needs_person: None,
        way_back: "remove the file",
        claim: "last(\"log.records\") > 0",
        uncited: &[],
        edited: None,
    };
    let against = |suggestion: &Suggestion<'_>, policy: &Policy, standing: &Standing| {
        let verdicts = weigh(suggestion, policy, standing);
        assert_eq!(verdicts.len(), 12);
        let no = verdicts.into_iter().filter(|verdict| !verdict.passes());
        no.map(|verdict| (verdict.check, verdict.answer)).collect::<Vec<_>>()
    };
    let (policy, free) = (policy(), Standing::default());
    assert_eq!(against(&sound, &policy, &free), []);
    let uncited = [lesson];
    let suggestions = [
        (Suggestion { needs_person: Some("x"), ..sound.clone() }, Check::BlockedPath, Answer::Block),
        (Suggestion { uncited: &uncited, ..sound.clone() }, Check::Cites, Answer::Refuse),
        (Suggestion { way_back: "", ..sound.clone() }, Check::RollbackDefined, Answer::Refuse),
        (Suggestion { risk: Risk::Medium, ..sound.clone() }, Check::Canary, Answer::Block),
        (Suggestion { claim: "1 < 2", ..sound.clone() }, Check::CanFail, Answer::Refuse),
    ];
    for (suggestion, check, answer) in suggestions {
        assert_eq!(against(&suggestion, &policy, &free), [(check, answer)]);
    }
    let tried = Policy { canary: Canary::There, ..policy.clone() };
    assert_eq!(against(&Suggestion { risk: Risk::High, ..sound.clone() }, &tried, &free), []);
    let kinds = Policy { blocked_kinds: vec![policy.kind], ..policy.clone() };
    assert_eq!(against(&sound, &kinds, &free), [(Check::ActionKind, Answer::Refuse)]);
    let x = || Some("x".to_owned());
    let standings = [
        (Standing { interventions: 5, ..free.clone() }, Check::DailyBudget, Answer::Block),
        (Standing { under_way: 2, ..free.clone() }, Check::Concurrency, Answer::Block),
        (Standing { same_action: Some(Duration::ZERO), ..free.clone() }, Check::Duplicate, Answer::Refuse),
        (Standing { frozen: x(), ..free.clone() }, Check::NotFrozen, Answer::Block),
        (Standing { paused: x(), ..free.clone() }, Check::NotPaused, Answer::Block),
        (Standing { read_only: x(), ..free.clone() }, Check::Writable, Answer::Refuse),
    ];
    for (standing, check, answer) in standings {
        assert_eq!(against(&sound, &policy, &standing), [(check, answer)]);
    }
}
