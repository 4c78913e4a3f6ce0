//! `mesh doctor`: what is in order here, and what a person should attend to.

use serde_json::json;

use super::report::wrap;
use super::{Context, ExitKind, Outcome, out};
use crate::agent::doctor::{Health, examine};
use crate::domain::foreign_text::display_line;

pub(super) fn run(context: &Context) -> Outcome {
    let home = context.home()?;
    let examined = examine(home);
    let attend = examined.iter().filter(|one| one.health == Health::Attend).count();
    if context.json {
        out::json(&json!({ "attend": attend, "examined": examined }));
    } else {
        for one in &examined {
            let first = format!("{:6}  {:8}  ", one.health.name(), one.subject);
            let rest = " ".repeat(first.len());
            wrap(&display_line(&one.says), &first, &rest, 80).iter().for_each(out::line);
            if let Some(hint) = &one.hint {
                wrap(&display_line(hint), &format!("{rest}do: "), &format!("{rest}    "), 80)
                    .iter()
                    .for_each(out::line);
            }
        }
        match attend {
            0 => out::line("Nothing needs attention."),
            1 => out::line("One thing needs attention."),
            more => out::line(format!("{more} things need attention.")),
        }
    }
    Ok(if attend == 0 { ExitKind::Ok } else { ExitKind::Error })
}
