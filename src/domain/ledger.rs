//! The ledger: what happened to every intervention, and every freeze and pause, each row bound to the one before it.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::fix::ActionHash;
use super::guard::{ActionKind, Verdict};
use super::id::{EntryId, Slug};
use super::intervention::{Actor, Event, InterventionId, State, step};
use super::outcome::{Mark, Observation, Prediction};
use super::running::Running;

/// What a row holds, bound to everything before it: BLAKE3.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct RowHash(pub [u8; 32]);

impl fmt::Debug for RowHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// What was planned, as it is kept.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Planned {
    /// What the change does.
    pub kind: ActionKind,
    /// The lesson.
    pub lesson: Slug,
    /// Its revision.
    pub rev: u32,
    /// The signed document that it came in.
    pub entry: Option<EntryId>,
    /// The file, relative to the area.
    pub path: String,
    /// How many findings it mends.
    pub mends: usize,
    /// Why the lesson says that they are a mistake.
    pub because: String,
    /// The change as a unified diff.
    pub diff: String,
}

/// What is kept of a transition beside its states. Only what belongs to it is there.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Note {
    /// Why, in one sentence.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub why: String,
    /// What was planned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub planned: Option<Planned>,
    /// What the guard or the proof said.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub verdicts: Vec<Verdict>,
    /// The commit that was made, in hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// What was predicted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub predicted: Option<Prediction>,
    /// What was observed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed: Option<Observation>,
    /// What limits the worth of the outcome.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub marks: Vec<Mark>,
}

impl Note {
    /// A note that says why and nothing else.
    pub fn why(why: impl Into<String>) -> Self {
        Self { why: why.into(), ..Self::default() }
    }
}

/// What happened by a rule.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RuleStep {
    /// An action is taken: one row for each.
    Acts,
    /// An action would be taken, were the rule not in dry run.
    WouldAct,
    /// It failed.
    Failed,
    /// It was taken back.
    TakenBack,
    /// It was seen to help.
    Healed,
    /// It was not, in time.
    Missed,
    /// The trouble went away otherwise.
    Cleared,
    /// The diagnosis was refuted.
    Refuted,
    /// A person is needed.
    Escalated,
}

impl RuleStep {
    /// The word that rows of it are found by.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Acts => "rule-acts",
            Self::WouldAct => "rule-would-act",
            Self::Failed => "rule-failed",
            Self::TakenBack => "rule-taken-back",
            Self::Healed => "rule-healed",
            Self::Missed => "rule-missed",
            Self::Cleared => "rule-cleared",
            Self::Refuted => "rule-refuted",
            Self::Escalated => "rule-escalated",
        }
    }
}

/// What a row says.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Entry {
    /// An intervention went from one state to the next; the first one has no event.
    Step {
        /// The intervention.
        id: InterventionId,
        /// What happened.
        event: Option<Event>,
        /// Where it stands now.
        state: State,
        /// Who made it happen.
        actor: Actor,
        /// The rest.
        note: Box<Note>,
    },
    /// The area is left alone.
    Freeze {
        /// Until then.
        until: Running,
        /// Why.
        why: String,
    },
    /// A person lifted the freeze of the area.
    Thaw {
        /// Why.
        why: String,
    },
    /// Nothing is changed, by a person's wish.
    Pause {
        /// Until then by the wall clock, in milliseconds since 1970; without an end when absent.
        until: Option<i64>,
        /// Why.
        why: String,
    },
    /// The pause is over, by a person's wish.
    Resume {
        /// Why.
        why: String,
    },
    /// A rule of this host: what it did, or what became of it.
    Rule {
        /// Its number.
        number: u32,
        /// Its version.
        version: u32,
        /// The target.
        target: String,
        /// The incident.
        incident: u64,
        /// What happened.
        step: RuleStep,
        /// The action, or why.
        what: String,
    },
    /// A rollback failed: nothing is changed any more.
    ReadOnly {
        /// What failed.
        why: String,
    },
    /// A person has looked, and changes are made again.
    Writable {
        /// Why.
        why: String,
    },
}

impl Entry {
    /// The word that the row is found by: the state, or what it says of area and host. A change that mesh did not make
    /// is `merged`, and a branch that was made is `seeded`, so that budgets count neither for the other.
    #[must_use]
    pub fn word(&self, kind: Option<ActionKind>) -> &'static str {
        match self {
            Self::Step { state: State::Applied, actor: Actor::Outside, .. } => "merged",
            Self::Step { state: State::Proved, .. } if kind == Some(ActionKind::Branch) => "seeded",
            Self::Step { state, .. } => state.name(),
            Self::Freeze { .. } => "freeze",
            Self::Thaw { .. } => "thaw",
            Self::Pause { .. } => "pause",
            Self::Resume { .. } => "resume",
            Self::Rule { step, .. } => step.word(),
            Self::ReadOnly { .. } => "read-only",
            Self::Writable { .. } => "writable",
        }
    }
}

/// One row, as it is stored.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Row {
    /// Its place, from 1, without gaps.
    pub seq: u64,
    /// The wall clock, in milliseconds since 1970.
    pub at: i64,
    /// Time that has surely passed.
    pub clock: Running,
    /// The word it is found by.
    pub word: String,
    /// The intervention, or empty.
    pub subject: String,
    /// The area as bytes of its path, or empty for the host.
    pub area: Vec<u8>,
    /// The [`Entry`] as JSON.
    pub body: String,
    /// The hash of the row before.
    pub prev: RowHash,
    /// The hash of this row.
    pub hash: RowHash,
}

impl Row {
    /// The hash that the row must have.
    #[must_use]
    pub fn computed(&self) -> RowHash {
        let mut hash = blake3::Hasher::new();
        hash.update(b"mesh ledger 1\n").update(&self.prev.0);
        for number in [self.seq, self.at.cast_unsigned(), self.clock.as_millis()] {
            hash.update(&number.to_le_bytes());
        }
        for part in [self.word.as_bytes(), self.subject.as_bytes(), &self.area, self.body.as_bytes()] {
            hash.update(&(part.len() as u64).to_le_bytes()).update(part);
        }
        RowHash(*hash.finalize().as_bytes())
    }

    /// What it says.
    ///
    /// # Errors
    /// The body is not one of ours.
    pub fn entry(&self) -> Result<Entry, serde_json::Error> {
        serde_json::from_str(&self.body)
    }
}

/// Follows the rows in order and names what is wrong with them.
#[derive(Clone, Debug, Default)]
pub struct Audit {
    last: Option<(u64, RowHash, Running)>,
    states: std::collections::BTreeMap<InterventionId, State>,
    /// Rows that were looked at.
    pub rows: u64,
    /// What is wrong, a sentence each.
    pub faults: Vec<String>,
}

impl Audit {
    /// Takes the next row by its place.
    pub fn take(&mut self, row: &Row) {
        self.rows += 1;
        let seq = row.seq;
        let (last_seq, last_hash, last_clock) = self.last.unwrap_or_default();
        let mut fault = |what: String| self.faults.push(format!("ledger: row {seq}: {what}"));
        match seq.checked_sub(last_seq + 1) {
            Some(0) => {}
            Some(missing) => fault(format!("{missing} rows before it are missing")),
            None => fault("it stands twice".to_owned()),
        }
        if row.computed() != row.hash {
            fault("it was changed after it was written".to_owned());
        } else if seq == last_seq + 1 && row.prev != last_hash {
            fault(format!("it does not follow row {last_seq}: one of them was changed, moved or put in"));
        }
        if row.clock < last_clock {
            fault("its clock runs back".to_owned());
        }
        match row.entry() {
            Ok(Entry::Step { id, event, state, .. }) => {
                let legal = match (self.states.get(&id), event) {
                    (None, None) => state == State::Proposed,
                    (Some(from), Some(event)) => step(*from, event) == Ok(state),
                    (None, Some(_)) | (Some(_), None) => false,
                };
                if !legal {
                    let from = self.states.get(&id).map_or("nothing", |from| from.name());
                    fault(format!("intervention {id} cannot go from {from} to {}", state.name()));
                }
                self.states.insert(id, state);
            }
            Ok(_) => {}
            Err(_) => fault("it says nothing that mesh writes".to_owned()),
        }
        self.last = Some((seq, row.hash, row.clock.max(last_clock)));
    }

    /// Ends with what is remembered beside the ledger: its newest row, and the state of each intervention.
    pub fn finish(&mut self, tip: Option<(u64, RowHash)>, states: &[(InterventionId, State)]) {
        let seen = self.last.map(|(seq, hash, _)| (seq, hash));
        match (tip, seen) {
            (Some((tip, _)), seen) if seen.is_none_or(|(seq, _)| seq < tip) => {
                let seq = seen.map_or(0, |(seq, _)| seq);
                self.faults.push(format!("ledger: rows {} to {tip} are missing at its end", seq + 1));
            }
            (tip, seen) if tip != seen => {
                self.faults.push("ledger: its newest row is not the one that is remembered".to_owned());
            }
            _ => {}
        }
        for (id, state) in states {
            if self.states.remove(id) != Some(*state) {
                self.faults.push(format!("ledger: it does not say that intervention {id} is {}", state.name()));
            }
        }
        for id in self.states.keys() {
            self.faults.push(format!("ledger: intervention {id} is in it and not remembered"));
        }
    }
}

/// Whether an area is to be frozen: the words of its outcomes, newest first, begin with this many reverts. A freeze or
/// its end begins the count anew.
#[must_use]
pub fn freezes(newest_first: &[String], after: u32) -> bool {
    let after = usize::try_from(after).unwrap_or(usize::MAX).max(1);
    newest_first.len() >= after && newest_first.iter().take(after).all(|word| word == State::Reverted.name())
}

/// An intervention as it is remembered beside the ledger, so that it need not be read from the start.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Intervention {
    /// Its name.
    pub id: InterventionId,
    /// Where it stands.
    pub state: State,
    /// The area as bytes of its path.
    pub area: Vec<u8>,
    /// What it does.
    pub kind: ActionKind,
    /// The same action has the same one.
    pub action: ActionHash,
    /// Whether somebody past mesh put it in place.
    pub outside: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(count: u64) -> Vec<Row> {
        let mut rows: Vec<Row> = Vec::new();
        for seq in 1..=count {
            let entry = Entry::Resume { why: format!("{seq}") };
            let mut row = Row {
                seq,
                at: 0,
                clock: Running::from_millis(seq),
                word: entry.word(None).to_owned(),
                subject: String::new(),
                area: Vec::new(),
                body: serde_json::to_string(&entry).expect("plain"),
                prev: rows.last().map_or(RowHash::default(), |row| row.hash),
                hash: RowHash::default(),
            };
            row.hash = row.computed();
            rows.push(row);
        }
        rows
    }

    fn faults(rows: &[Row], tip: Option<(u64, RowHash)>) -> Vec<String> {
        let mut audit = Audit::default();
        rows.iter().for_each(|row| audit.take(row));
        audit.finish(tip, &[]);
        audit.faults
    }

    #[test]
    fn every_kind_of_damage_is_named() {
        let sound = rows(5);
        let tip = sound.last().map(|row| (row.seq, row.hash));
        assert_eq!(faults(&sound, tip), Vec::<String>::new());
        assert_eq!(faults(&[], None), Vec::<String>::new());
        let names = |damage: fn(&mut Vec<Row>), what: &str| {
            let mut rows = sound.clone();
            damage(&mut rows);
            let faults = faults(&rows, tip);
            assert!(faults.iter().any(|fault| fault.contains(what)), "{what}: {faults:?}");
        };
        names(|rows| rows[2].body = rows[2].body.replace('3', "4"), "row 3: it was changed");
        names(|rows| rows[2].at = 1, "row 3: it was changed");
        names(|rows| drop(rows.remove(2)), "row 4: 1 rows before it are missing");
        names(|rows| rows.truncate(3), "rows 4 to 5 are missing at its end");
        names(Vec::clear, "rows 1 to 5 are missing at its end");
        names(
            |rows| {
                rows.swap(1, 2);
                (rows[1].seq, rows[2].seq) = (2, 3);
            },
            "row 2: it was changed",
        );
        // Changed, and its own hash made to fit: the next row tells.
        names(
            |rows| {
                rows[2].body = rows[2].body.replace('3', "9");
                rows[2].hash = rows[2].computed();
            },
            "row 4: it does not follow row 3",
        );
        names(
            |rows| {
                rows[4].body = rows[4].body.replace('5', "9");
                rows[4].hash = rows[4].computed();
            },
            "newest row is not the one",
        );
    }

    #[test]
    fn reverts_in_a_row_freeze_and_others_between_do_not() {
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        assert!(freezes(&words("reverted reverted reverted validated"), 3));
        for not in ["reverted reverted", "reverted no_effect reverted reverted", "reverted reverted thaw reverted", ""]
        {
            assert!(!freezes(&words(not), 3), "{not}");
        }
        assert!(!freezes(&words("validated"), 0));
    }
}
