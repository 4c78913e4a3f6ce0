//! Maintenance windows with the real parts: what they can be about here, and what people are told once one is over.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::notifying;
use super::parts::Parts;
use super::rules;
use crate::domain::maintenance::Known;
use crate::domain::notice::{Notice, Standing};
use crate::store::db::{Db, DbError};

/// Every target and service, and what each goes by.
#[must_use]
pub fn known(parts: &Parts) -> BTreeMap<String, Known> {
    let targets = rules::targets(parts).into_iter().map(|target| {
        let service = target.service.clone();
        (target.name.as_str().to_owned(), Known { tags: target.tags, service })
    });
    let mut known: BTreeMap<String, Known> = targets.collect();
    for service in &parts.config.services {
        let one = known.entry(service.name.as_str().to_owned()).or_default();
        one.tags.extend(service.tags.iter().cloned());
        one.tags.sort();
        one.tags.dedup();
    }
    known
}

/// Takes over what the configuration says.
///
/// # Errors
/// The database failed.
pub fn configure(parts: &mut Parts) -> Result<(), DbError> {
    let known = known(parts);
    parts.db.configure_maintenance(&parts.config.maintenance, &known)
}

/// Whether a notice waits for the end of a window. What is over by then is not told at all, unless people heard of its
/// beginning.
///
/// # Errors
/// The database failed.
pub(super) fn waits(db: &mut Db, notice: &Notice) -> Result<bool, DbError> {
    let mut parked = db.parked_notices()?;
    let was_parked = parked.remove(&notice.thread).is_some();
    let waits = notice.standing != Standing::Over && db.maintenance()?.covering(&notice.area, notice.at).is_some();
    if waits {
        parked.insert(notice.thread.clone(), notice.clone());
    }
    if waits || was_parked {
        db.park_notices(&parked)?;
    }
    Ok(waits)
}

/// Tells what waited for windows that are over.
///
/// # Errors
/// The database failed.
pub fn release(db: &mut Db, now: Timestamp) -> Result<(), DbError> {
    let parked = db.parked_notices()?;
    if parked.is_empty() {
        return Ok(());
    }
    let maintenance = db.maintenance()?;
    let over = |notice: &&Notice| maintenance.covering(&notice.area, now).is_none();
    for notice in parked.values().filter(over) {
        notifying::tell(db, &Notice { at: now, ..notice.clone() })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::maintenance::Window;
    use crate::domain::notice::Severity;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).expect("a time")
    }

    fn notice(thread: &str, standing: Standing, second: i64) -> Notice {
        Notice {
            at: at(second),
            thread: thread.to_owned(),
            standing,
            severity: Severity::Critical,
            area: "web".to_owned(),
            title: format!("{thread} {standing:?}"),
            text: String::new(),
        }
    }

    #[test]
    fn d16_i7_what_happens_in_a_window_is_told_at_its_end_if_it_still_goes_on() {
        let mut db = Db::in_memory().expect("made");
        let window = Window {
            name: "move".to_owned(),
            from: None,
            until: at(60),
            all: false,
            targets: vec!["web".to_owned()],
            tags: Vec::new(),
            why: String::new(),
        };
        db.begin_maintenance(window, at(0)).expect("begun");
        let titles = |db: &Db| {
            let all = db.notices_after(0, 10).expect("read");
            all.into_iter().map(|queued| queued.notice.title).collect::<Vec<_>>()
        };
        notifying::tell(&mut db, &notice("stays", Standing::Open, 10)).expect("told");
        notifying::tell(&mut db, &notice("passes", Standing::Open, 10)).expect("told");
        notifying::tell(&mut db, &notice("passes", Standing::Over, 59)).expect("told");
        release(&mut db, at(59)).expect("looked");
        assert_eq!(titles(&db), Vec::<String>::new());
        release(&mut db, at(60)).expect("looked");
        release(&mut db, at(61)).expect("looked");
        assert_eq!(titles(&db), ["stays Open"]);
        notifying::tell(&mut db, &notice("new", Standing::Open, 60)).expect("told");
        assert_eq!(titles(&db), ["stays Open", "new Open"]);
    }
}
