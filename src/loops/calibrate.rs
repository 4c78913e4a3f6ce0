//! Each round: what does not fit its calibration any more, with a proposal to choose its numbers anew.

use jiff::Timestamp;

use super::library::Held;
use crate::domain::heal::engine::Stats;
use crate::domain::heal::rule::Rule;
use crate::domain::kaizen::calibration::{Calibrated, Recalibration, envelope, recalibrate};
use crate::store::db::{Db, DbError};

/// The fact that holds the proposals of the last round.
const FACT: &str = "recalibrations";

/// Holds every rule and lesson against what its signals usually are here, and remembers what is out of calibration.
///
/// # Errors
/// The database failed.
pub fn run(db: &mut Db, rules: &[Rule], lessons: &[Held], now: Timestamp) -> Result<Vec<Recalibration>, DbError> {
    let records = db.rule_state()?.0;
    let mut found = Vec::new();
    for rule in rules {
        let signals = &rule.calibrated_for.signals;
        let usual = db.usual(signals.keys().map(String::as_str), now.as_second())?;
        let of_rule = records.iter().filter(|((number, _), _)| *number == rule.number);
        let stats = of_rule.fold(Stats::default(), |sum, (_, record)| sum.plus(record.stats));
        let of = Calibrated::Rule { number: rule.number, name: rule.name.clone() };
        found.extend(recalibrate(of, signals, &usual, Some(&stats)));
    }
    for held in lessons {
        let envelope = envelope(&held.lesson.calibrated_for);
        let usual = db.usual(envelope.keys().map(String::as_str), now.as_second())?;
        let of = Calibrated::Lesson { id: held.lesson.id.clone(), rev: held.lesson.rev };
        found.extend(recalibrate(of, &envelope, &usual, None));
    }
    let text = serde_json::to_string(&found).expect("a plain list of text and numbers");
    if db.fact(FACT)?.unwrap_or_else(|| "[]".to_owned()) != text {
        db.set_fact(FACT, &text)?;
    }
    Ok(found)
}

/// The proposals of the last round.
///
/// # Errors
/// The database failed, or holds something else.
pub fn proposals(db: &Db) -> Result<Vec<Recalibration>, DbError> {
    let Some(text) = db.fact(FACT)? else { return Ok(Vec::new()) };
    serde_json::from_str(&text).map_err(|_| DbError::Impossible { what: "list of recalibrations" })
}
