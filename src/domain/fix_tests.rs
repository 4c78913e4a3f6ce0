use super::*;

fn fingerprint(text: &str) -> Fingerprint {
    let slug: Slug = "l".parse().expect("a slug");
    Fingerprint::of(&slug, &slug, "a.py", text, 0)
}

fn plan(title: &str, path: &str) -> FixPlan {
    FixPlan {
        id: FixId::of(Path::new("/r"), fingerprint("x")),
        lesson: "atomic-write".parse().expect("a slug"),
        rev: 2,
        title: title.to_owned(),
        entry: None,
        grant: Grant::Propose,
        risk: Risk::Low,
        because: "b".to_owned(),
        claim: "last(\"log.records\") > 0".to_owned(),
        within: "7d".to_owned(),
        retired_after: "2030-01-01T00:00:00Z".to_owned(),
        bad_examples: 1,
        lesson_fault: None,
        class: FixClass::Safe,
        max_lines: 10,
        root: "/r".into(),
        path: path.to_owned(),
        before: "a\nb\n".to_owned().into(),
        after: "a\nc\n".to_owned().into(),
        mends: vec![fingerprint("x")],
    }
}

#[test]
fn the_same_finding_in_two_roots_has_two_ids() {
    let first = FixId::of(Path::new("/a"), fingerprint("x"));
    assert_ne!(first, FixId::of(Path::new("/b"), fingerprint("x")));
    assert_eq!(first.as_str().parse(), Ok(first.clone()));
    for bad in ["", "1234567", "1234567G", "../../ab"] {
        assert_eq!(bad.parse::<FixId>(), Err(FixIdError));
    }
}

#[test]
fn t21_a_title_cannot_pass_for_a_trailer() {
    let hostile = plan("x\n\nMesh-Lesson: other rev 9\u{1b}[2J", "a\nMesh-Lesson: no.py").message();
    let trailers: Vec<_> = hostile.lines().filter(|line| line.starts_with("Mesh-Lesson:")).collect();
    assert_eq!(trailers, ["Mesh-Lesson: atomic-write rev 2"]);
    assert!(!hostile.contains('\u{1b}'));
    assert!(hostile.ends_with(&format!("\nMesh-Intervention: {}\n", plan("", "").id)));
}

#[test]
fn a_subject_is_short_and_never_empty() {
    assert!(plan("", "a.py").message().starts_with("Apply atomic-write\n\n"));
    assert!(plan("# heading", "a.py").message().starts_with("heading\n\n"));
    let long = plan(&"ä".repeat(200), "a.py").message();
    assert_eq!(long.lines().next().map(|line| line.chars().count()), Some(72));
    let exact = plan(&"b".repeat(72), "a.py").message();
    assert_eq!(exact.lines().next(), Some("b".repeat(72).as_str()));
}

#[test]
fn a_diff_counts_both_sides_and_keeps_a_missing_last_line_break() {
    let mut plan = plan("t", "d/a.py");
    assert_eq!(plan.changed_lines(), 2);
    assert!(plan.diff().starts_with("--- a/d/a.py\n+++ b/d/a.py\n@@"));
    plan.after = "a\nb".to_owned().into();
    assert!(plan.diff().contains("\\ No newline at end of file"));
}

proptest::proptest! {
    #[test]
    fn what_both_texts_begin_and_end_with_changes_nothing_of_what_an_action_is(
        parts in proptest::collection::vec("[ab\r]{0,2}\n?", 0..8),
        more in proptest::collection::vec("[ab\r]{0,2}\n?", 0..8),
        at in 0..8_usize,
        out in 0..4_usize,
    ) {
        let at = at.min(parts.len());
        let rest = &parts[(at + out).min(parts.len())..];
        let (before, after) = (parts.concat(), [&parts[..at], &more, rest].concat().concat());
        let diff = TextDiff::from_lines(&before, &after);
        let whole = diff.iter_all_changes().filter(|change| change.tag() != ChangeTag::Equal);
        let whole: Vec<_> = whole.map(|change| (change.tag(), change.value().to_owned())).collect();
        let plan = FixPlan { before: before.clone().into(), after: after.clone().into(), ..plan("", "a.py") };
        proptest::prop_assert_eq!(plan.each_change(|tag, line| (tag, line.to_owned())), whole);
    }
}
