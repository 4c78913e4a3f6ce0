//! What happened to services and by rules, as one history that is asked by name, rule and time.

use rusqlite::params;
use serde::Serialize;

use super::db::{Db, DbError};
use super::ledger::{ROW, row_of, said};
use crate::domain::ledger::Entry;

/// Something that happened.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Happened {
    /// When, in milliseconds since 1970.
    pub at: i64,
    /// The service or target; empty for what is of the whole host.
    pub name: String,
    /// The rule, where it was one.
    pub rule: Option<u32>,
    /// The incident, where there is one.
    pub incident: Option<u64>,
    /// The word for it.
    pub event: String,
    /// In words.
    pub what: String,
}

/// What is asked for.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Asked {
    /// Only of this service or target.
    pub name: Option<String>,
    /// Only of this rule.
    pub rule: Option<u32>,
    /// Not before this, in milliseconds since 1970.
    pub since: Option<i64>,
    /// Before this.
    pub until: Option<i64>,
    /// The newest of them, at most this many.
    pub most: u32,
}

impl Db {
    /// The newest that is asked for, the oldest of it first.
    ///
    /// # Errors
    /// SQLite refused, or a row is not one of ours.
    pub fn events(&self, asked: &Asked) -> Result<Vec<Happened>, DbError> {
        let (since, until) = (asked.since.unwrap_or(i64::MIN), asked.until.unwrap_or(i64::MAX));
        let mut found = self.read(|connection| {
            let sql = "SELECT at, service, event, what FROM service_events
                       WHERE (?1 IS NULL OR service = ?1) AND at >= ?2 AND at < ?3 AND ?4 IS NULL
                       ORDER BY at DESC, id DESC LIMIT ?5";
            let mut statement = connection.prepare(sql)?;
            let rows = statement.query_map(params![asked.name, since, until, asked.rule, asked.most], |row| {
                let (at, name, event, what) = (row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?);
                Ok(Happened { at, name, rule: None, incident: None, event, what })
            })?;
            let mut found = rows.collect::<rusqlite::Result<Vec<_>>>()?;
            let sql = format!(
                "SELECT {ROW} FROM ledger WHERE word LIKE 'rule-%' AND at >= ?1 AND at < ?2
                 AND (?3 IS NULL OR json_extract(body, '$.target') = ?3)
                 AND (?4 IS NULL OR json_extract(body, '$.number') = ?4)
                 ORDER BY seq DESC LIMIT ?5"
            );
            let mut statement = connection.prepare(&sql)?;
            let rows = statement.query_map(params![since, until, asked.name, asked.rule, asked.most], row_of)?;
            for row in rows {
                let row = row?;
                let Entry::Rule { number, target, incident, step, what, .. } = said(&row)? else { continue };
                found.push(Happened {
                    at: row.at,
                    name: target,
                    rule: Some(number),
                    incident: (incident > 0).then_some(incident),
                    event: step.word().to_owned(),
                    what,
                });
            }
            Ok(found)
        })?;
        found.sort_by_key(|one| one.at);
        let surplus = found.len().saturating_sub(usize::try_from(asked.most).unwrap_or(usize::MAX));
        found.drain(..surplus);
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::domain::ledger::RuleStep;
    use crate::domain::running::Moment;
    use crate::store::services::ServiceEvent;

    #[test]
    fn h5_the_history_is_asked_by_name_rule_and_time() {
        let mut db = Db::in_memory().expect("made");
        let event = |at, service: &str, event: &str| ServiceEvent {
            at,
            service: service.to_owned(),
            event: event.to_owned(),
            what: event.to_owned(),
        };
        let events = [event(1_000, "web", "ended"), event(2_000, "db", "ended"), event(3_000, "web", "ready")];
        db.record_services(&events, None).expect("kept");
        for (second, number, target) in [(2, 5, "web"), (4, 15, "db")] {
            let wall = jiff::Timestamp::from_second(second).expect("a time");
            let uptime = Duration::from_secs(second.unsigned_abs());
            let moment = Moment { wall, boot: "one".to_owned(), uptime };
            let step = RuleStep::Acts;
            let (target, what) = (target.to_owned(), "restart".to_owned());
            let entry = Entry::Rule { number, version: 1, target, incident: 1, step, what };
            db.note_host(&moment, &entry).expect("kept");
        }
        let found = |asked: Asked| {
            let all = db.events(&asked).expect("read");
            all.into_iter().map(|one| (one.at, one.name, one.event)).collect::<Vec<_>>()
        };
        let one = |at, name: &str, event: &str| (at, name.to_owned(), event.to_owned());
        let all = Asked { most: 10, ..Asked::default() };
        assert_eq!(found(all.clone()).len(), 5);
        let web = found(Asked { name: Some("web".to_owned()), ..all.clone() });
        assert_eq!(web, [one(1_000, "web", "ended"), one(2_000, "web", "rule-acts"), one(3_000, "web", "ready")]);
        let rule = found(Asked { rule: Some(15), ..all.clone() });
        assert_eq!(rule, [one(4_000, "db", "rule-acts")]);
        let between = found(Asked { since: Some(2_000), until: Some(3_000), ..all.clone() });
        assert_eq!(between, [one(2_000, "db", "ended"), one(2_000, "web", "rule-acts")]);
        let newest = found(Asked { most: 1, ..all });
        assert_eq!(newest, [one(4_000, "db", "rule-acts")]);
    }
}
