//! Rules on this host: a thread of its own that looks every minute, whatever a round does.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::parts::Parts;
use super::rules::{self, MESH, RulesError};
use super::supervised::Supervised;
use super::{invariants, maintenance, notifying};
use crate::domain::foreign_text::{display_line, error_line};
use crate::domain::heal::drill::standing;
use crate::domain::heal::incident::Notice;
use crate::domain::id::HostId;
use crate::loops::heal::{Healer, Setting};
use crate::loops::supervise::Event;
use crate::ports::Clock as _;
use crate::store::db::{Db, DbError};
use crate::store::home::Home;
use crate::store::rules::Held;
use crate::sys::apply::Changes;
use crate::sys::clock::SystemClock;
use crate::sys::exec::SystemExec;
use crate::sys::heal::{SystemEyes, SystemHands};

/// What the thread is told.
enum Word {
    /// Work with these from now on.
    Given(Box<Given>),
    /// End.
    Stop,
}

/// What the thread works with.
struct Given {
    setting: Setting,
    held: Vec<Held>,
    invariants: Vec<invariants::Assertion>,
    invariants_every: u32,
}

/// What the thread has around it.
struct Around {
    home: Home,
    host: HostId,
    /// Whether what it finds is kept.
    remembers: bool,
    /// Where services are asked for.
    services: Sender<Event>,
    /// Whether the agent is to end.
    ending: Arc<AtomicBool>,
}

/// Where the thread writes: one line for each action, and one for each notice.
pub type Log = fn(&str);

/// The running thread.
pub struct Heal {
    words: Sender<Word>,
    ending: Arc<AtomicBool>,
    thread: JoinHandle<()>,
    /// What is wrong with local rules, a sentence each.
    pub notes: Vec<String>,
}

fn given(parts: &Parts, dry_run: bool, notes: &mut Vec<String>) -> Result<Given, RulesError> {
    let (setting, refused) = rules::setting(parts, dry_run)?;
    notes.extend(refused.iter().map(|error| error_line(error)));
    let (unknown, others) = rules::users(&parts.config);
    notes.extend(unknown.into_iter().chain(others));
    let held = crate::store::rules::load(&parts.home)?.held;
    let (assertions, refused) = invariants::load(&parts.home);
    notes.extend(refused);
    Ok(Given { setting, held, invariants: assertions, invariants_every: parts.config.rules.invariants_every })
}

impl Heal {
    /// Starts the thread, unless the configuration says that no rules are applied. When only told what would be done, it
    /// remembers nothing. Services are asked for through `services`.
    ///
    /// # Errors
    /// The rules or the database cannot be read.
    pub fn start(
        parts: &Parts,
        dry_run: bool,
        remembers: bool,
        services: Sender<Event>,
        log: Log,
    ) -> Result<Option<Self>, RulesError> {
        if !parts.config.rules.enabled {
            return Ok(None);
        }
        let mut notes = Vec::new();
        let first = given(parts, dry_run, &mut notes)?;
        let db = Db::open_small(&parts.home.database())?;
        let (words, received) = channel();
        let ending = Arc::new(AtomicBool::new(false));
        let (home, host) = (parts.home.clone(), parts.key.host());
        let around = Around { home, host, remembers, services, ending: ending.clone() };
        let thread = thread::Builder::new().name("rules".to_owned()).spawn(move || {
            // A database that refuses is told of, and tried again at the next look.
            if let Err(error) = run(around, db, first, &received, log) {
                log(&format!("rules are not applied any more: {}", error_line(&error)));
            }
        });
        Ok(Some(Self { words, ending, thread: thread.map_err(RulesError::Program)?, notes }))
    }

    /// Takes over rules and targets that were read again.
    pub fn refresh(&mut self, parts: &Parts, dry_run: bool) {
        self.notes.clear();
        let mut notes = Vec::new();
        match given(parts, dry_run, &mut notes) {
            Ok(given) => {
                if self.words.send(Word::Given(Box::new(given))).is_err() {
                    notes.push("rules are not applied any more: restart mesh".to_owned());
                }
            }
            Err(error) => notes.push(format!("rules not read again: {}", error_line(&error))),
        }
        self.notes = notes;
    }

    /// Ends the thread. A program that an action runs is finished first. An order to the supervision is not: that can
    /// take as long as a service takes to end, and the next agent settles what became of it.
    pub fn stop(self) {
        self.ending.store(true, Ordering::SeqCst);
        // One that has ended already hears nothing.
        drop(self.words.send(Word::Stop));
        drop(self.thread.join());
    }
}

/// Seconds until every fifteenth look.
fn fifteenth_look(setting: &Setting) -> i64 {
    i64::try_from(setting.every.as_secs().saturating_mul(15)).unwrap_or(i64::MAX)
}

fn run(around: Around, db: Db, first: Given, words: &Receiver<Word>, log: Log) -> Result<(), DbError> {
    let Around { home, host, remembers, services, ending } = around;
    let clock = SystemClock;
    let good = home.state().join("good");
    let (mut db, stored) = if remembers { (db, None) } else { (Db::in_memory()?, Some(db)) };
    // A journal of its own: what rules put back is settled by incidents, not by interventions.
    let changes = Changes::new(&home.state().join("rules"), host, |_| {});
    match if remembers { changes.pending() } else { Ok(Vec::new()) } {
        Ok(open) => {
            for id in open {
                if let Err(error) = changes.recover(&id, clock.now()) {
                    log(&format!("{id} is not settled: {}", error_line(&error)));
                }
            }
        }
        Err(error) => log(&format!("what rules put back cannot be looked at: {}", error_line(&error))),
    }
    let mut eyes = SystemEyes::new(Supervised::eyes(services.clone()), SystemExec, good.clone());
    eyes.keeps = remembers;
    eyes.gone_after = fifteenth_look(&first.setting);
    let blocked = vec![home.root().to_owned()];
    let services = Supervised::hands(services, ending.clone());
    let hands = SystemHands::new(services, SystemExec, changes, good, blocked, || SystemClock.now());
    let Given { setting, mut held, invariants: mut assertions, mut invariants_every } = first;
    let mut healer = Healer::resume(&db, setting, eyes, hands, clock.now().as_second(), log)?;
    healer.signals = stored;
    healer.ending = ending;
    let mut due = Instant::now();
    let mut looks: u32 = 0;
    loop {
        match words.recv_timeout(due.saturating_duration_since(Instant::now())) {
            Ok(Word::Given(given)) => {
                healer.eyes().gone_after = fifteenth_look(&given.setting);
                healer.setting = given.setting;
                (held, assertions, invariants_every) = (given.held, given.invariants, given.invariants_every);
                continue;
            }
            Ok(Word::Stop) | Err(RecvTimeoutError::Disconnected) => return Ok(()),
            Err(RecvTimeoutError::Timeout) => {}
        }
        due = Instant::now() + healer.setting.every.max(Duration::from_secs(1));
        if let Err(error) = one_look(&mut healer, &mut db, &held, log) {
            log(&format!("rules were not looked at: {}", error_line(&error)));
        }
        if looks.is_multiple_of(invariants_every.max(1)) {
            let stored = healer.signals.as_ref().unwrap_or(&db);
            let found = invariants::look(&home, stored, &assertions, clock.now().as_second());
            if let Err(error) = db.keep_invariants(&found, clock.now().as_second()) {
                log(&format!("invariants are not kept: {}", error_line(&error)));
            }
        }
        looks = looks.wrapping_add(1);
    }
}

fn one_look<E, H>(healer: &mut Healer<E, H>, db: &mut Db, held: &[Held], log: Log) -> Result<(), DbError>
where
    E: crate::ports::heal::Eyes,
    H: crate::ports::heal::Hands,
{
    let moment = SystemClock.moment();
    // A drill that was run meanwhile counts at once.
    let verdicts = healer.signals.as_ref().unwrap_or(db).drills()?;
    for one in held {
        let number = one.rule.number;
        let stands = standing(&one.rule.drill, verdicts.get(&number), &one.digest, MESH, moment.wall.as_second());
        healer.setting.drills.insert(number, stands);
    }
    let looked = healer.look(db, &moment)?;
    maintenance::release(db, moment.wall)?;
    for notice in looked.notices.iter().filter(|notice| !notice.quiet) {
        log(&words(notice));
        notifying::tell(db, &notifying::of_incident(notice))?;
    }
    Ok(())
}

/// A notice in one line.
fn words(notice: &Notice) -> String {
    let kind = serde_json::to_value(notice.kind).ok().and_then(|kind| kind.as_str().map(str::to_owned));
    format!(
        "incident {} {}: rule {} {} on {}: {}",
        notice.incident,
        kind.unwrap_or_default(),
        notice.rule,
        notice.name,
        notice.target,
        display_line(&notice.text)
    )
}
