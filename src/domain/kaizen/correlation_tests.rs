use proptest::prelude::*;

use super::*;

fn trouble(at: i64, subject: &str, how: &str) -> Trouble {
    Trouble {
        at,
        subject: subject.to_owned(),
        incident: None,
        critical: true,
        sign: Sign::of(how),
        how: how.to_owned(),
    }
}

fn path_change(at: i64, touches: Option<&[&str]>) -> Change {
    Change {
        at,
        what: Changed::Environment {
            file: "/etc/systemd/system/service.d/10-path.conf".to_owned(),
            variables: vec!["PATH".to_owned()],
            path: Some("/opt/new/bin".to_owned()),
        },
        touches: touches.map(|names| names.iter().map(|name| (*name).to_owned()).collect()),
    }
}

fn commit(at: i64, touches: &[&str]) -> Change {
    Change {
        at,
        what: Changed::Commit { root: "/srv/app".to_owned(), commit: "c0ffee".repeat(6) },
        touches: Some(touches.iter().map(|name| (*name).to_owned()).collect()),
    }
}

fn needs(child: &str, parent: &str) -> (String, Vec<String>) {
    (child.to_owned(), vec![parent.to_owned()])
}

fn names(case: &Case) -> Vec<&str> {
    case.troubles.iter().map(|trouble| trouble.subject.as_str()).collect()
}

#[test]
fn three_services_that_lost_their_programs_are_one_case_of_one_drop_in() {
    let troubles = vec![
        trouble(1_000, "web", "exited with 127"),
        trouble(1_020, "jobs", "exited with 203"),
        trouble(1_100, "mail", "exited with 127"),
    ];
    // There is also a commit, a little nearer in time, that touches one of them.
    let scene = Scene { changes: vec![path_change(880, None), commit(990, &["web"])], ..Scene::default() };
    let cases = correlate(troubles, &scene);
    assert_eq!(cases.len(), 1, "{cases:?}");
    assert_eq!(names(&cases[0]), ["web", "jobs", "mail"]);
    let cause = cases[0].cause.as_ref().expect("found");
    assert_eq!(cause.words(), "/etc/systemd/system/service.d/10-path.conf sets PATH=/opt/new/bin, 2 min before");
    assert!(cause.next().contains("10-path.conf"));
}

#[test]
fn what_is_down_explains_what_needs_it_and_never_itself() {
    let troubles = || {
        vec![
            trouble(0, "db", "ended by signal 9"),
            trouble(5, "api", "exited with 1"),
            trouble(9, "web", "exited with 1"),
        ]
    };
    let scene = Scene {
        parents: [needs("web", "api"), needs("api", "db")].into(),
        down: ["db".to_owned(), "api".to_owned(), "web".to_owned()].into(),
        ..Scene::default()
    };
    let cases = correlate(troubles(), &scene);
    assert_eq!(cases.len(), 1);
    assert_eq!(cases[0].cause, Some(Cause::Dependency { parent: "db".to_owned() }));
    let alone = correlate(vec![trouble(0, "db", "ended by signal 9")], &scene);
    assert_eq!(alone[0].cause, None);
}

#[test]
fn a_full_disk_is_named_before_what_changed() {
    let how = "write failed: No space left on device";
    let troubles = vec![trouble(0, "db", how), trouble(60, "web", how)];
    let scene = Scene { full: vec!["/var".to_owned()], changes: vec![path_change(-10, None)], ..Scene::default() };
    assert_eq!(correlate(troubles, &scene)[0].cause, Some(Cause::Full { place: "/var".to_owned() }));
}

#[test]
fn a_deploy_explains_its_own_services_and_the_rest_stays_a_case_of_its_own() {
    let troubles = vec![
        trouble(0, "web", "exited with 1"),
        trouble(1, "jobs", "exited with 1"),
        trouble(2, "mail", "exited with 1"),
    ];
    let scene = Scene { changes: vec![commit(-30, &["web", "jobs"])], ..Scene::default() };
    let cases = correlate(troubles, &scene);
    assert_eq!(cases.iter().map(names).collect::<Vec<_>>(), [vec!["web", "jobs"], vec!["mail"]]);
    assert!(cases[0].cause.is_some() && cases[1].cause.is_none());
}

#[test]
fn what_changed_afterwards_or_long_before_is_no_cause() {
    for at in [1, -RECENT_S - 1] {
        let scene = Scene { changes: vec![path_change(at, None)], ..Scene::default() };
        assert_eq!(correlate(vec![trouble(0, "web", "exited with 127")], &scene)[0].cause, None, "{at}");
    }
    let others = Scene { changes: vec![path_change(-5, Some(&["mail"]))], ..Scene::default() };
    assert_eq!(correlate(vec![trouble(0, "web", "exited with 127")], &others)[0].cause, None);
}

#[test]
fn five_minutes_apart_are_two_cases() {
    let cases = correlate(vec![trouble(0, "a", ""), trouble(300, "b", ""), trouble(301, "c", "")], &Scene::default());
    assert_eq!(cases.iter().map(names).collect::<Vec<_>>(), [vec!["a", "b"], vec!["c"]]);
}

proptest! {
    #[test]
    fn every_trouble_is_in_one_case_whatever_the_order(
        ats in proptest::collection::vec((0..2_000_i64, 0..6_u8), 0..30),
        changes in proptest::collection::vec(-4_000..2_000_i64, 0..4),
        down in proptest::collection::btree_set(0..6_u8, 0..4),
    ) {
        let troubles: Vec<Trouble> = ats.iter().map(|(at, who)| trouble(*at, &format!("s{who}"), "exited with 127")).collect();
        let scene = Scene {
            changes: changes.iter().map(|at| path_change(*at, Some(&["s0", "s1"]))).collect(),
            parents: [needs("s1", "s2"), needs("s2", "s3"), needs("s3", "s1")].into(),
            down: down.iter().map(|who| format!("s{who}")).collect(),
            full: Vec::new(),
        };
        let cases = correlate(troubles.clone(), &scene);
        let mut backwards = troubles.clone();
        backwards.reverse();
        prop_assert_eq!(&correlate(backwards, &scene), &cases);
        let mut wanted = troubles;
        wanted.sort();
        wanted.dedup();
        let mut found: Vec<Trouble> = cases.iter().flat_map(|case| case.troubles.clone()).collect();
        found.sort();
        prop_assert_eq!(found, wanted);
        for case in &cases {
            prop_assert!(case.troubles.iter().all(|trouble| trouble.at - case.began() <= TOGETHER_S));
        }
    }
}
