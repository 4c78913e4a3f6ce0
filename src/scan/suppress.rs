//! Comments that say why a finding may stay: `mesh-ignore: <lesson-id> -- <reason>`.

use crate::domain::finding::{Finding, Suppression};
use crate::domain::foreign_text;
use crate::domain::id::Slug;
use crate::domain::words::WordDemand;

use super::parse::{Parsed, is_comment};
use super::place::Lines;

/// The words that start such a comment. The second is honoured by the same rule, for people who use both.
pub(super) const MARKERS: [&str; 2] = ["mesh-ignore", "ast-grep-ignore"];

/// The identifiers of a text that holds such a comment.
pub(super) fn words() -> WordDemand {
    let words = |marker: &str| marker.split('-').map(ToOwned::to_owned).collect();
    WordDemand(vec![MARKERS.map(words).to_vec()])
}

/// Longest reason that is kept, in bytes.
const REASON_BYTES: usize = 256;

/// One such comment.
pub(super) struct Mark {
    line: u32,
    /// The line it speaks about when it stands on a line of its own.
    below: Option<u32>,
    says: Says,
    used: bool,
}

enum Says {
    Ignore { lesson: Slug, reason: String },
    Nothing { why: &'static str, lesson: Option<Slug>, own: bool },
}

/// The marks in the comments of a syntax tree.
pub(super) fn in_tree(parsed: &Parsed, text: &str, lines: &Lines<'_>) -> Vec<Mark> {
    let root = parsed.root();
    let comments = root.dfs().filter(is_comment).map(|node| node.range());
    collect(comments, text, lines)
}

/// The marks in lines that are comments in the usual configuration formats.
pub(super) fn in_lines(text: &str, lines: &Lines<'_>) -> Vec<Mark> {
    let comments = lines.each().filter_map(|(start, line)| {
        let indent = line.len() - line.trim_start().len();
        let comment = ["#", ";", "//", "--"].iter().any(|leader| line[indent..].starts_with(leader));
        comment.then(|| start + indent..start + line.len())
    });
    collect(comments, text, lines)
}

fn collect(comments: impl Iterator<Item = std::ops::Range<usize>>, text: &str, lines: &Lines<'_>) -> Vec<Mark> {
    let mut marks: Vec<Mark> = Vec::new();
    for range in comments {
        let Some(comment) = text.get(range.clone()) else { continue };
        let own_line = text[..range.start].rsplit('\n').next().is_some_and(|before| before.trim().is_empty());
        let below = own_line.then(|| lines.end_line(&range) + 1);
        for (offset, part) in comment.split('\n').enumerate() {
            if let Some(says) = read(part) {
                let line = lines.line(range.start) + u32::try_from(offset).unwrap_or(u32::MAX);
                marks.push(Mark { line, below, says, used: false });
            }
        }
    }
    // Several of them may be stacked above one statement: each passes on to what the next speaks about.
    for at in (0..marks.len()).rev() {
        let next = marks[at + 1..].iter().find(|mark| marks[at].below == Some(mark.line) && mark.below.is_some());
        if let Some(below) = next.map(|mark| mark.below) {
            marks[at].below = below;
        }
    }
    marks
}

/// Reads one line of a comment; `None` when it is about something else.
fn read(line: &str) -> Option<Says> {
    let (marker, at) =
        MARKERS.iter().filter_map(|marker| line.find(marker).map(|at| (*marker, at))).min_by_key(|hit| hit.1)?;
    let before = line[..at].trim_end();
    if !before.is_empty() && !before.ends_with(['#', '/', '*', ';', '-', '!']) {
        return None;
    }
    let own = marker == MARKERS[0];
    let nothing = |why, lesson| Some(Says::Nothing { why, lesson, own });
    let Some(rest) = line[at + marker.len()..].trim_start().strip_prefix(':') else {
        return nothing("names no lesson: write `mesh-ignore: <lesson-id> -- <reason>`", None);
    };
    let rest = rest.trim().trim_end_matches("*/").trim_end();
    let (name, reason) = rest.split_once("--").unwrap_or((rest, ""));
    let Ok(lesson) = name.trim().parse::<Slug>() else {
        return nothing("names no lesson: write `mesh-ignore: <lesson-id> -- <reason>`", None);
    };
    let mut reason = foreign_text::display_line(reason.trim());
    if reason.is_empty() {
        return nothing("gives no reason: write `mesh-ignore: <lesson-id> -- <reason>`", Some(lesson));
    }
    reason.truncate(reason.floor_char_boundary(REASON_BYTES));
    Some(Says::Ignore { lesson, reason })
}

/// Marks the findings that a comment speaks about: on the line above, or on the first or last line.
pub(super) fn apply(marks: &mut [Mark], findings: &mut [Finding]) {
    for finding in findings {
        for mark in marks.iter_mut() {
            let near = mark.line == finding.line || mark.line == finding.end_line || mark.below == Some(finding.line);
            if let Says::Ignore { lesson, reason } = &mark.says
                && near
                && *lesson == finding.lesson
            {
                finding.suppressed = Some(Suppression::InSource { reason: reason.clone() });
                mark.used = true;
                break;
            }
        }
    }
}

/// The comments that suppress nothing, with why. One for a lesson that is not `known` may be meant for
/// another set of lessons and is left alone, and so is a bare one with the other tool's word.
pub(super) fn idle(marks: &[Mark], known: impl Fn(&Slug) -> bool) -> Vec<(u32, String)> {
    let idle = marks.iter().filter_map(|mark| match &mark.says {
        Says::Ignore { lesson, .. } => {
            (!mark.used && known(lesson)).then(|| (mark.line, format!("no finding of lesson `{lesson}` here")))
        }
        Says::Nothing { why, lesson, own } => {
            (*own || lesson.as_ref().is_some_and(&known)).then(|| (mark.line, (*why).to_owned()))
        }
    });
    idle.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(line: &str) -> Option<Result<String, &'static str>> {
        read(line).map(|says| match says {
            Says::Ignore { lesson, reason } => Ok(format!("{lesson}: {reason}")),
            Says::Nothing { why, .. } => Err(why.split(':').next().unwrap_or_default()),
        })
    }

    #[test]
    fn only_a_named_lesson_with_a_reason_counts() {
        assert_eq!(reason("# mesh-ignore: a-b -- one host only"), Some(Ok("a-b: one host only".into())));
        assert_eq!(reason("/* mesh-ignore: a-b -- why */"), Some(Ok("a-b: why".into())));
        assert_eq!(reason("# noqa # ast-grep-ignore: a -- why"), Some(Ok("a: why".into())));
        assert_eq!(reason("# mesh-ignore"), Some(Err("names no lesson")));
        assert_eq!(reason("# mesh-ignore: -- why"), Some(Err("names no lesson")));
        assert_eq!(reason("# mesh-ignore: a-b"), Some(Err("gives no reason")));
        assert_eq!(reason("# mesh-ignore: a-b -- "), Some(Err("gives no reason")));
        assert_eq!(reason("# how to write mesh-ignore: a -- b"), None);
    }

    #[test]
    fn stacked_comments_speak_about_the_line_below_them_all() {
        let text = "# mesh-ignore: a -- x\n# mesh-ignore: b -- y\ncode()\nmore() # mesh-ignore: c -- z\nlast()\n";
        let marks = in_lines(text, &Lines::of(text));
        assert_eq!(marks.iter().map(|mark| (mark.line, mark.below)).collect::<Vec<_>>(), [(1, Some(3)), (2, Some(3))]);
    }
}
