use super::*;
use crate::domain::finding::Fingerprint;
use crate::domain::fix::FixId;
use crate::domain::id::Slug;

fn plan() -> FixPlan {
    let slug: Slug = "l".parse().expect("a slug");
    let first = Fingerprint::of(&slug, &slug, "src/a.py", "x", 0);
    FixPlan {
        id: FixId::of(Path::new("/r"), first),
        lesson: slug,
        rev: 1,
        title: "t".to_owned(),
        entry: None,
        may_seed: true,
        class: FixClass::Safe,
        max_lines: 4,
        root: "/r".into(),
        path: "src/a.py".to_owned(),
        before: "a\n".to_owned(),
        after: "b\n".to_owned(),
        mends: vec![first],
    }
}

fn policy() -> Policy {
    let home = FileId { device: 1, inode: 99 };
    Policy { asked_by: AskedBy::Audit, blocked: vec!["/home".into()], blocked_ids: vec![home], max_lines: 100 }
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

/// The checks that do not pass, after `change` has been made to what is right in everything.
fn stopped_by(change: impl FnOnce(&mut FixPlan, &mut FileFacts, &mut RepoFacts, &mut Policy)) -> Vec<(Check, Answer)> {
    let (mut plan, mut file, mut repo, mut policy) = (plan(), file(), inside(), policy());
    change(&mut plan, &mut file, &mut repo, &mut policy);
    match approve(plan, &Facts { file: Ok(file), repo }, &policy) {
        Ok(approved) => {
            assert!(approved.verdicts().iter().all(|verdict| verdict.answer == Answer::Pass));
            assert_eq!(approved.head(), "c0ffee");
            Vec::new()
        }
        Err(refusal) => {
            assert_eq!(refusal.verdicts.len(), 10, "every check is evaluated");
            let stopped = refusal.verdicts.iter().filter(|verdict| verdict.answer != Answer::Pass);
            stopped
                .map(|verdict| {
                    assert!(!verdict.why.is_empty(), "{verdict:?}");
                    (verdict.check, verdict.answer)
                })
                .collect()
        }
    }
}

fn refused(check: Check) -> Vec<(Check, Answer)> {
    vec![(check, Answer::Refuse)]
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
    assert_eq!(stopped_by(|plan, _, _, _| plan.may_seed = false), refused(Check::Grant));
    assert_eq!(stopped_by(|plan, _, _, _| plan.class = FixClass::None), refused(Check::Class));
    assert_eq!(stopped_by(|plan, _, _, _| plan.max_lines = 1), refused(Check::DiffSize));
    assert_eq!(stopped_by(|_, _, _, policy| policy.max_lines = 1), refused(Check::DiffSize));
    assert_eq!(stopped_by(|_, file, _, _| file.hash = TextHash::of(b"other")), refused(Check::Unchanged));
    assert_eq!(stopped_by(|plan, _, _, _| plan.after = "a  # noqa\n".to_owned()), refused(Check::NoSuppression));
    assert_eq!(stopped_by(|_, _, repo, _| *repo = RepoFacts::Unusable("x".to_owned())), refused(Check::Repository));
    assert_eq!(stopped_by(repo_with!(head: None)), refused(Check::Repository));
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
    assert_eq!(asked, [(Check::Repository, Answer::Ask)]);
    assert_eq!(stopped_by(|_, _, repo, policy| outside(repo, policy, AskedBy::Person)), refused(Check::Repository));
}

#[test]
fn a_file_that_cannot_be_read_is_refused_by_all_that_need_it() {
    let facts = Facts { file: Err("gone\u{1b}".to_owned()), repo: RepoFacts::Outside };
    let refusal = approve(plan(), &facts, &policy()).expect_err("refused");
    assert!(!refusal.may_ask());
    assert_eq!(refusal.why(), "file cannot be read: gone\\u{1b} (and 2 more)");
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
