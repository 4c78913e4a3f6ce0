//! A plan from findings: the file is read, and the audit worker mends its text.

use super::{Area, Parts};
use crate::domain::finding::{Finding, Fingerprint};
use crate::domain::fix::{FixPlan, KnownLesson, TextHash};
use crate::ports::{AuditorError, Mended};

/// What planning came to.
pub(super) enum Planned {
    /// A change.
    Plan(Box<FixPlan>),
    /// None, and why.
    Not(String),
    /// There is nothing to mend (any more).
    Nothing,
}

/// Plans the change of one file for the findings in `group`, by position; suppressed ones are left as they are.
pub(super) fn plan(
    parts: &mut Parts<'_>,
    area: &Area,
    known: &KnownLesson,
    path: &str,
    group: &[&Finding],
) -> Result<Planned, AuditorError> {
    let text = match parts.repo.read(&area.root, path) {
        Ok(text) => text,
        Err(error) => return Ok(Planned::Not(error.to_string())),
    };
    let wanted: Vec<Fingerprint> =
        group.iter().filter(|finding| finding.suppressed.is_none()).map(|finding| finding.fingerprint).collect();
    let mended = if wanted.len() == group.len() {
        parts.auditor.mend(&known.lesson, path, &text, None)?
    } else {
        one_by_one(parts, known, path, &text, &wanted)?
    };
    Ok(planned(known, area, path, text, mended, wanted))
}

/// Plans again the change that a person was shown: the one that ends in the text of hash `after`.
pub(super) fn plan_again(
    parts: &mut Parts<'_>,
    area: &Area,
    known: &KnownLesson,
    path: &str,
    wanted: &[Fingerprint],
    after: TextHash,
) -> Result<Planned, AuditorError> {
    let text = match parts.repo.read(&area.root, path) {
        Ok(text) => text,
        Err(error) => return Ok(Planned::Not(error.to_string())),
    };
    let mut mended = parts.auditor.mend(&known.lesson, path, &text, None)?;
    let shown = |mended: &Mended| matches!(mended, Mended::Text(text) if TextHash::of(text.as_bytes()) == after);
    if !shown(&mended) {
        mended = one_by_one(parts, known, path, &text, wanted)?;
    }
    Ok(planned(known, area, path, text, mended, wanted.to_vec()))
}

/// Mends single findings, last first: a fingerprint counts equal texts from the top, so the ones above keep theirs.
fn one_by_one(
    parts: &mut Parts<'_>,
    known: &KnownLesson,
    path: &str,
    text: &str,
    wanted: &[Fingerprint],
) -> Result<Mended, AuditorError> {
    let mut text = text.to_owned();
    let mut changed = false;
    for fingerprint in wanted.iter().rev() {
        match parts.auditor.mend(&known.lesson, path, &text, Some(*fingerprint))? {
            Mended::Text(mended) => {
                text = mended;
                changed = true;
            }
            Mended::Refused(why) => return Ok(Mended::Refused(why)),
            Mended::Nothing => {}
        }
    }
    Ok(if changed { Mended::Text(text) } else { Mended::Nothing })
}

fn planned(
    known: &KnownLesson,
    area: &Area,
    path: &str,
    before: String,
    mended: Mended,
    wanted: Vec<Fingerprint>,
) -> Planned {
    match mended {
        Mended::Text(after) => FixPlan::new(known, &area.root, path, before, after, wanted)
            .map_or(Planned::Nothing, |plan| Planned::Plan(Box::new(plan))),
        Mended::Refused(why) => Planned::Not(why),
        Mended::Nothing => Planned::Nothing,
    }
}
