use super::*;
use crate::domain::heal::action::Undo;
use crate::domain::heal::drill::DrillPlan;
use crate::domain::heal::rule::{PARTS, Risk};

fn home(files: &[(&str, &str)]) -> (tempfile::TempDir, Home) {
    let dir = tempfile::tempdir().expect("a temp dir");
    let home = Home::at(dir.path());
    home.create().expect("made");
    std::fs::create_dir_all(folder(&home)).expect("made");
    for (name, text) in files {
        std::fs::write(folder(&home).join(name), text).expect("written");
    }
    (dir, home)
}

fn one(rules: &Rules, number: u32) -> &Held {
    rules.held.iter().find(|held| held.rule.number == number).expect("held")
}

#[test]
fn the_pack_has_all_its_rules_under_their_numbers() {
    let (_dir, home) = home(&[]);
    let rules = load(&home).expect("sound");
    let numbers: Vec<u32> = rules.held.iter().map(|held| held.rule.number).collect();
    assert_eq!(numbers, (1..=51).collect::<Vec<_>>());
    for (number, name) in
        [(12, "stale-lock"), (15, "memory-over-limit"), (22, "slow-not-dead"), (37, "oom-three-times")]
    {
        assert_eq!(one(&rules, number).rule.name, name);
    }
    for held in &rules.held {
        let rule = &held.rule;
        assert!(held.packed.as_ref().is_some_and(|text| text == &held.text), "{}", rule.number);
        assert!(rule.wrong_samples().is_empty(), "rule {}: {:?}", rule.number, rule.wrong_samples());
        assert!(!rule.trigger.reads_lines() || rule.samples.len() > 1, "rule {} has no samples", rule.number);
        assert!(rule.wrong_series().is_empty(), "rule {}: {:?}", rule.number, rule.wrong_series());
        let shown = !rule.samples.is_empty() || !rule.series.is_empty();
        let drilled = matches!(rule.drill, DrillPlan::Script(_));
        assert!(drilled || shown, "rule {} has neither drill nor samples nor series", rule.number);
        assert!(rule.ways_back().iter().all(|(_, undo)| !matches!(undo, Undo::By("") | Undo::Not(""))));
        if let Some(to) = rule.escalate.to {
            assert!(numbers.contains(&to), "rule {} escalates to {to}", rule.number);
        }
    }
    let reports = [20, 28, 44, 47, 51];
    assert!(reports.iter().all(|number| one(&rules, *number).rule.risk == Risk::Report));
    let drilled = rules.held.iter().filter(|held| matches!(held.rule.drill, DrillPlan::Script(_))).count();
    assert!(drilled >= 26, "{drilled} rules can be drilled");
}

#[test]
fn c1_a_missing_part_is_an_error_with_file_and_line() {
    let (_, text) = PACK[0];
    let table: Table = toml::from_str(text).expect("sound");
    for part in PARTS {
        let mut table = table.clone();
        assert!(table.remove(*part).is_some(), "{part}");
        let text = toml::to_string(&table).expect("plain");
        let refused = parse(Path::new("a.toml"), &text).expect_err(part).to_string();
        assert!(refused.starts_with("a.toml:") && refused.contains(&format!("`{part}`")), "{part}: {refused}");
    }
    let line = text.lines().position(|line| line.starts_with("[escalate]")).expect("there") + 1;
    let broken = text.replace("say = \"It fails again", "tell = \"It fails again");
    let refused = parse(Path::new("a.toml"), &broken).expect_err("a part of a part").to_string();
    assert!(
        refused.contains(&format!("a.toml:{}", line + 1)) || refused.contains(&format!("a.toml:{line}")),
        "{refused}"
    );
    let broken = text.replace("cooldown = \"60s\"", "cooldown = \"1s\"");
    let refused = parse(Path::new("a.toml"), &broken).expect_err("too short").to_string();
    let line = text.lines().position(|line| line.starts_with("cooldown")).expect("there") + 1;
    assert_eq!(refused, format!("a.toml:{line}: `cooldown`: must be at least 10s"));
}

#[test]
fn c14_local_edits_are_laid_over_the_pack_and_told() {
    let edit = "number = 1\nbase_version = 1\ncooldown = \"10m\"\n[budget]\ntries = 1\n";
    let (_dir, edited) = home(&[("my.toml", edit), ("same.toml", PACK[1].1)]);
    let rules = load(&edited).expect("sound");
    let held = one(&rules, 1);
    assert_eq!((held.rule.cooldown.as_secs(), held.rule.budget.tries), (600, 1));
    assert_eq!(held.rule.budget.within.as_secs(), 1_800, "what is not named stays as it ships");
    let told = diff(held).expect("edited");
    assert!(told.contains("-cooldown = \"60s\"") && told.contains("+cooldown = \"10m\""), "{told}");
    assert!(held.note.is_none());
    assert!(one(&rules, 2).local.is_none(), "a copy of the pack's own file is no edit");
    let (_dir, plain) = home(&[]);
    assert_ne!(one(&load(&plain).expect("sound"), 1).digest, held.digest, "an edited rule is drilled anew");
    let (_dir, older) = home(&[("my.toml", &edit.replace("base_version = 1", "base_version = 0"))]);
    let note = one(&load(&older).expect("sound"), 1).note.clone().expect("the pack has moved on");
    assert!(note.contains("mesh rule show 1 --diff"), "{note}");
}

#[test]
fn c13_a_rule_in_dry_run_keeps_its_drill() {
    let digest = |edit: &str| {
        let (_dir, home) = home(&[("my.toml", edit)]);
        let rules = load(&home).expect("sound");
        assert!(rules.refused.is_empty(), "{:?}", rules.refused);
        let held = one(&rules, 1);
        (held.rule.dry_run, held.digest.clone())
    };
    let (_dir, plain) = home(&[]);
    let packed = one(&load(&plain).expect("sound"), 1).digest.clone();
    assert_eq!(digest("number = 1\ndry_run = true\n"), (true, packed.clone()));
    let (held_back, edited) = digest("number = 1\ndry_run = true\n[budget]\ntries = 1\n");
    assert_eq!((held_back, digest("number = 1\n[budget]\ntries = 1\n")), (true, (false, edited.clone())));
    assert_ne!(edited, packed);
    let (_dir, wrong) = home(&[("my.toml", "number = 1\n\ndry_rum = true\n")]);
    let said = load(&wrong).expect("the pack is sound").refused[0].to_string();
    assert!(said.contains("my.toml:3: unknown field `dry_rum`, did you mean `dry_run`?"), "{said}");
}

#[test]
fn a_bad_local_file_hides_no_good_rule() {
    let (_dir, home) = home(&[
        ("a.toml", "number = 1\n\ncooldown = \"soon\"\n"),
        ("b.toml", "number = 77\n"),
        ("c.toml", "number = 2\ntea = 1\n"),
    ]);
    let rules = load(&home).expect("the pack is sound");
    assert_eq!((rules.held.len(), rules.refused.len()), (51, 3));
    let said: Vec<String> = rules.refused.iter().map(ToString::to_string).collect();
    assert!(said[1].contains("b.toml:1: the pack has no such rule"), "{said:?}");
    assert!(said[2].contains("c.toml:2: unknown field `tea`"), "{said:?}");
    assert_eq!(one(&rules, 1).rule.cooldown.as_secs(), 60, "the pack's own stays");
}
