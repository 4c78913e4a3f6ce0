//! Each round: what does not fit its calibration any more, and what speaks for choosing its numbers anew.

use jiff::Timestamp;

use super::library::Held;
use crate::domain::heal::engine::Stats;
use crate::domain::heal::rule::Rule;
use crate::domain::kaizen::calibration::{Calibrated, Recalibration, envelope, recalibrate};
use crate::store::db::{Db, DbError};

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
    db.keep_recalibrations(&found)?;
    Ok(found)
}
