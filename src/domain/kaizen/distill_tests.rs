use super::*;
use crate::domain::outcome::{Observed, Readings};

fn parent() -> Lesson {
    toml::from_str(include_str!("../../founding/non-atomic-state-write.toml")).expect("a founding lesson")
}

fn finished(attempt: u32, state: State, marks: &[Mark]) -> Finished {
    let lesson = parent();
    Finished {
        id: InterventionId { fix: "1a2b3c4d".parse().expect("an id"), attempt },
        lesson: lesson.id,
        rev: lesson.rev,
        path: "agent/secret-plan.py".to_owned(),
        mends: 2,
        state,
        why: "the claim holds after the window".to_owned(),
        marks: marks.to_vec(),
        predicted: Some(Prediction {
            claim: lesson.falsifiable.expr.clone(),
            before: Observed::False,
            window_s: 3_600,
            readings: Readings::new(),
        }),
        observed: Some(Observation {
            claim: Observed::True,
            finding_gone: Observed::True,
            check: Observed::Unknown,
            readings: Readings::from([("rate(\"state.parse_failures\", \"7d\")".to_owned(), "0".to_owned())]),
        }),
        at: i64::from(attempt),
    }
}

fn draft(before: Option<&Lesson>, finished: &[Finished]) -> Option<Lesson> {
    distill(&parent(), None, before, finished, &[])
}

#[test]
fn e6_each_outcome_becomes_evidence_of_the_next_revision() {
    for (state, word) in
        [(State::Validated, "1 validated"), (State::NoEffect, "1 without effect"), (State::Reverted, "1 taken back")]
    {
        let draft = draft(None, &[finished(1, state, &[])]).expect("a draft");
        assert_eq!((draft.rev, draft.id.clone()), (parent().rev + 1, parent().id));
        assert!(draft.because.contains(word), "{}", draft.because);
        let line = draft.evidence.last().expect("evidence");
        assert!(line.starts_with("seen: 1a2b3c4d.1 is ") && line.contains("is 0"), "{line}");
        assert!(!line.contains("secret-plan"), "no path leaves the host: {line}");
        draft.check().expect("acceptable");
    }
}

#[test]
fn e6_the_same_interventions_come_to_the_same_draft_and_more_of_them_to_a_new_rev() {
    let one = [finished(1, State::Validated, &[])];
    let first = draft(None, &one).expect("a draft");
    assert_eq!(draft(Some(&first), &one), None, "nothing is new");
    let twice = [finished(1, State::Validated, &[]), finished(1, State::Validated, &[])];
    assert_eq!(draft(Some(&first), &twice), None, "told twice it is still one");
    let more = [finished(2, State::Validated, &[]), finished(1, State::Validated, &[])];
    let second = draft(Some(&first), &more).expect("a draft");
    assert_eq!((second.rev, second.evidence.len()), (first.rev + 1, first.evidence.len() + 1));
    assert!(second.because.contains("2 validated") && !second.because.contains("Here: 1"), "{}", second.because);
    // A person confirmed it: the draft is the lesson now.
    assert_eq!(distill(&second, None, None, &more, &[]), None);
}

#[test]
fn a_policy_confirms_by_whose_lesson_it_is_and_what_came_of_it_and_says_that_no_person_did() {
    let policy: Confirming = toml::from_str("validated = 2").expect("read");
    assert_eq!(policy.of, [Whose::Local], "what others wrote is not meant where nobody says so");
    let counts = |validated, no_effect, reverted| Counts { validated, no_effect, reverted, untold: 3 };
    assert!(policy.confirms(Whose::Local, counts(2, 0, 0)) && policy.confirms(Whose::Local, counts(9, 0, 0)));
    for (whose, counts) in [
        (Whose::Local, counts(1, 0, 0)),
        (Whose::Local, counts(9, 1, 0)),
        (Whose::Local, counts(9, 0, 1)),
        (Whose::Peer, counts(9, 0, 0)),
        (Whose::Founding, counts(9, 0, 0)),
    ] {
        assert!(!policy.confirms(whose, counts), "{whose:?} {counts:?}");
    }
    for bad in ["validated = 0", "of = [\"peer\"]", "validated = 1\nof = [\"anybody\"]", "validated = 1\nwhen = 2"] {
        assert!(toml::from_str::<Confirming>(bad).is_err(), "{bad}");
    }
    let more = [finished(2, State::Validated, &[]), finished(1, State::Validated, &[])];
    let confirmed = Confirming::noted(&draft(None, &more).expect("a draft"), counts(2, 0, 0));
    confirmed.check().expect("acceptable");
    assert_eq!(confirmed.evidence.iter().filter(|line| line.starts_with(CONFIRMED)).count(), 1);
    assert_eq!(Confirming::noted(&confirmed, counts(2, 0, 0)), confirmed, "said once");
    // It is the lesson now, and the same outcomes make no new draft of it.
    assert_eq!(distill(&confirmed, None, None, &more, &[]), None);
    let full = Lesson { evidence: vec!["by hand".to_owned(); EVIDENCE], ..confirmed };
    Confirming::noted(&full, counts(2, 0, 0)).check().expect("no longer than it may be");
}

#[test]
fn what_did_harm_is_done_with_more_care_from_then_on() {
    let safe = parent();
    let harmed = draft(None, &[finished(1, State::Reverted, &[])]).expect("a draft");
    assert!(harmed.risk >= Risk::Medium && harmed.risk >= safe.risk);
    assert_ne!(harmed.fix.class, FixClass::Safe);
    assert_eq!(distill(&harmed, None, None, &[finished(1, State::Reverted, &[])], &[]), None, "and no more each day");
    let helped = draft(None, &[finished(1, State::Validated, &[])]).expect("a draft");
    assert_eq!((helped.risk, helped.fix.class), (safe.risk, safe.fix.class));
}

#[test]
fn what_nobody_can_judge_changes_nothing_but_the_count() {
    let draft = draft(None, &[finished(1, State::NoEffect, &[Mark::Unknown])]).expect("a draft");
    assert!(draft.because.contains("1 that nobody can judge"), "{}", draft.because);
    assert_eq!((draft.risk, draft.fix.class), (parent().risk, parent().fix.class));
}

#[test]
fn evidence_and_text_stay_within_their_bounds() {
    let many: Vec<Finished> = (1..=100).map(|n| finished(n, State::Validated, &[])).collect();
    let mut long = parent();
    long.because = "ä".repeat(1_024);
    let draft = distill(&long, None, None, &many, &[]).expect("a draft");
    assert!(draft.evidence.iter().any(|line| line.contains("1a2b3c4d.100")), "the newest are kept");
    draft.check().expect("acceptable");
}

#[test]
fn a_lesson_of_a_peer_is_named_as_what_the_draft_was_derived_from() {
    let entry = EntryId::from_bytes([7; 32]);
    let draft = distill(&parent(), Some(entry), None, &[finished(1, State::Validated, &[])], &[]).expect("a draft");
    assert_eq!(draft.derived_from, [entry]);
}

#[test]
fn what_signals_usually_are_is_noted_without_names_of_this_host() {
    let usual = |series: &str, value| Usual { series: series.to_owned(), value };
    let lesson = Lesson {
        falsifiable: crate::domain::lesson::Falsifiable {
            expr: "max(\"service.rss_mb\", \"7d\") < 900.0".to_owned(),
            ..parent().falsifiable
        },
        ..parent()
    };
    let with = |values: &[f64]| {
        let usual: Vec<Usual> =
            values.iter().enumerate().map(|(at, value)| usual(&format!("service.rss_mb/s{at}"), *value)).collect();
        let draft = distill(&lesson, None, None, &[finished(1, State::Validated, &[])], &usual).expect("a draft");
        draft.calibrated_for.signals.get("service.rss_mb").cloned()
    };
    assert_eq!(with(&[200.0, 300.0]).as_deref(), Some("250.000"));
    assert_eq!(with(&[200.0, 900.0]), None, "of different sizes: no one number");
    assert_eq!(with(&[]), None);
}

#[test]
fn e8_a_draft_without_a_claim_or_examples_is_not_for_sharing() {
    assert_eq!(lacks(&parent(), Ok(())), Lacks::Person);
    let mut vague = parent();
    vague.falsifiable.expr = "it gets better".to_owned();
    assert!(matches!(lacks(&vague, Ok(())), Lacks::Claim { .. }));
    let mut constant = parent();
    constant.falsifiable.expr = "1 < 2".to_owned();
    assert!(matches!(lacks(&constant, Ok(())), Lacks::Claim { .. }));
    assert!(matches!(lacks(&parent(), Err("an example does not match".to_owned())), Lacks::Examples { .. }));
}
