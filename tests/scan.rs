//! The scan engine on whole lessons.

use mesh::domain::lesson::Lesson;
use mesh::founding;
use mesh::scan::prove;

fn chain(error: &dyn std::error::Error) -> String {
    std::iter::successors(Some(error), |error| error.source()).map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

#[test]
fn every_founding_lesson_proves_itself() {
    let mut wrong = Vec::new();
    for (name, text) in founding::ALL {
        let lesson: Lesson = toml::from_str(text).unwrap_or_else(|error| panic!("{name}: {error}"));
        if let Err(error) = prove(&lesson) {
            wrong.push(format!("{name}: {}", chain(&error)));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
