//! The lessons that ship with mesh hold to their own examples.

use std::collections::HashSet;

use mesh::domain::detect::{FixClass, LanguageName, Rule};
use mesh::domain::lesson::Lesson;
use mesh::founding::ALL;
use mesh::scan::prove;
use mesh::store::authored::check_claims;

fn lesson(name: &str, text: &str) -> Lesson {
    toml::from_str(text).unwrap_or_else(|cause| panic!("{name}: {cause}"))
}

/// The lesson's causes of refusal, the first one first, in one line.
fn chain(cause: &dyn std::error::Error) -> String {
    let mut text = cause.to_string();
    let mut next = cause.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}

#[test]
fn every_founding_lesson_is_within_the_limits_and_proves_itself() {
    let mut failures = Vec::new();
    for (name, text) in ALL {
        let lesson = lesson(name, text);
        if let Err(cause) = lesson.check() {
            failures.push(format!("{name}: {}", chain(&cause)));
        } else if let Err(cause) = prove(&lesson) {
            failures.push(format!("{name}: {}", chain(&cause)));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// The library does not compile them again on each start.
#[test]
fn the_claims_of_every_founding_lesson_compile() {
    for (name, text) in ALL {
        assert_eq!(check_claims(&lesson(name, text)), Ok(()), "{name}");
    }
}

#[test]
fn founding_lessons_are_named_as_their_files_and_only_once() {
    let mut seen = HashSet::new();
    for (name, text) in ALL {
        let lesson = lesson(name, text);
        assert_eq!(format!("{}.toml", lesson.id), *name);
        assert!(seen.insert(lesson.id.clone()), "{name} is there twice");
    }
    let on_disk = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/src/founding"))
        .expect("the folder of the founding lessons")
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("an ASCII name"))
        .filter(|name| name.ends_with(".toml"))
        .collect::<HashSet<_>>();
    let wired = ALL.iter().map(|(name, _)| (*name).to_owned()).collect::<HashSet<_>>();
    assert_eq!(on_disk, wired);
}

#[test]
fn every_founding_lesson_says_what_it_cannot_see() {
    for (name, text) in ALL {
        let because = lesson(name, text).because;
        let said = because.lines().filter_map(|line| line.strip_prefix("Cannot see: ")).collect::<Vec<_>>();
        assert_eq!(said.len(), 1, "{name}: one line of `because` begins with `Cannot see: `");
        assert!(said[0].len() > 40 && said[0].ends_with('.'), "{name}: {}", said[0]);
    }
}

#[test]
fn a_founding_fix_shows_that_nothing_inside_the_match_is_lost() {
    let mut safe = 0;
    for (name, text) in ALL {
        let lesson = lesson(name, text);
        if lesson.fix.class == FixClass::None {
            continue;
        }
        safe += usize::from(lesson.fix.class == FixClass::Safe);
        let python = lesson.detect.rules.iter().any(|rule| {
            matches!(rule, Rule::Ast(rule) if rule.language == LanguageName::Python
                && lesson.fix.edits.iter().any(|edit| edit.rule == rule.id))
        });
        let kept = lesson.tests.positive.iter().any(|positive| {
            positive.fix_refused || positive.fixed.as_deref().is_some_and(|fixed| !python || fixed.contains('#'))
        });
        assert!(kept, "{name}: no example with a comment that the fix keeps or refuses");
    }
    assert!(safe >= 2, "{safe} safe fixes");
}
