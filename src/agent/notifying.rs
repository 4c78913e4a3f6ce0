//! The channels that tell people, and what a round has to tell.

use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread::{self, JoinHandle};

use jiff::Timestamp;

use super::cycle::Round;
use super::maintenance;
use super::parts::Parts;
use crate::domain::chain::PeerState;
use crate::domain::foreign_text::{display_line, error_line};
use crate::domain::heal::incident::{self, NoticeKind};
use crate::domain::intervention::State;
use crate::domain::notice::{Letter, Notice, Severity, Standing};
use crate::domain::service;
use crate::loops::notify::{self, Channel};
use crate::ports::Undelivered;
use crate::store::db::{Db, DbError};
use crate::store::notify_config::{ChannelConfig, HomeSecrets};
use crate::sys::clock::SystemClock;
use crate::sys::couriers::courier;

/// The running channels.
pub struct Notifying {
    made_from: Vec<ChannelConfig>,
    /// In a dry run nobody is told, and nothing is remembered.
    dry_run: bool,
    stop: Vec<Sender<()>>,
    threads: Vec<JoinHandle<()>>,
    /// Channels that could not be opened, a sentence each.
    pub notes: Vec<String>,
}

impl Notifying {
    /// Starts a thread for each channel of the configuration; none in a dry run.
    ///
    /// # Errors
    /// The database cannot be opened.
    pub fn start(parts: &Parts, dry_run: bool) -> Result<Self, DbError> {
        let mut notifying =
            Self { made_from: parts.config.notify.clone(), dry_run, stop: vec![], threads: vec![], notes: vec![] };
        for wanted in parts.config.notify.iter().filter(|_| !dry_run) {
            let courier = match courier(&wanted.way, parts.home.root(), Arc::new(HomeSecrets::of(&parts.home))) {
                Ok(courier) => courier,
                Err(why) => {
                    notifying.notes.push(format!("channel {} is not used: {why}", wanted.name));
                    continue;
                }
            };
            let (name, host) = (wanted.name.to_string(), parts.config.name.to_string());
            let mut channel_ = Channel { name, host, policy: wanted.policy(), courier };
            let mut db = Db::open_small(&parts.home.database())?;
            // A channel that is new begins here, not where its thread first looks.
            let begun = db.channel(&channel_.name)?;
            db.save_channel(&channel_.name, &begun)?;
            let (stop, stopped) = channel();
            notifying.stop.push(stop);
            notifying.threads.push(thread::spawn(move || {
                if let Err(error) = notify::run(&mut channel_, &SystemClock, &mut db, &stopped, &mut spread) {
                    tracing::error!(channel = channel_.name, "notices end: {}", error_line(&error));
                }
            }));
        }
        Ok(notifying)
    }

    /// Takes over a configuration that was read again.
    pub fn refresh(&mut self, parts: &Parts) {
        if self.made_from == parts.config.notify {
            return;
        }
        let none = Self { made_from: vec![], dry_run: self.dry_run, stop: vec![], threads: vec![], notes: vec![] };
        std::mem::replace(self, none).stop();
        match Self::start(parts, self.dry_run) {
            Ok(started) => *self = started,
            Err(error) => self.notes = vec![format!("nobody is told: {}", error_line(&error))],
        }
    }

    /// Ends all threads. One that is sending ends once it has sent; what waits is on disk.
    pub fn stop(self) {
        drop(self.stop);
        for thread in self.threads {
            // One that fell over has ended too.
            drop(thread.join());
        }
    }
}

/// A random number from 0 to 1; the middle where the system has none.
fn spread() -> f64 {
    getrandom::u32().map_or(0.5, |random| f64::from(random) / f64::from(u32::MAX))
}

/// Sends a test letter by one channel, past its queue.
///
/// # Errors
/// Why it did not arrive.
pub fn test(parts: &Parts, wanted: &ChannelConfig, now: Timestamp) -> Result<(), Undelivered> {
    let notice = Notice {
        at: now,
        thread: "test".to_owned(),
        standing: Standing::Once,
        severity: Severity::Info,
        area: "mesh".to_owned(),
        title: "test of mesh".to_owned(),
        text: "If you can read this, the channel works.".to_owned(),
    };
    let letter = Letter::of(parts.config.name.as_str(), vec![notice], 0, false);
    let letter = letter.ok_or_else(|| Undelivered("there is nothing to say".to_owned()))?;
    courier(&wanted.way, parts.home.root(), Arc::new(HomeSecrets::of(&parts.home)))
        .map_err(Undelivered)?
        .deliver(&letter)
}

/// What is told of an incident. Healed is said after validation alone, by whoever made the notice.
#[must_use]
pub fn of_incident(notice: &incident::Notice) -> Notice {
    let (standing, severity, word) = match notice.kind {
        NoticeKind::Opened => (Standing::Open, Severity::Warning, "holds"),
        NoticeKind::NeedsApproval => (Standing::Open, Severity::Warning, "waits for your word"),
        NoticeKind::Acted => (Standing::Open, Severity::Warning, "acted"),
        NoticeKind::Escalated => (Standing::Open, Severity::Critical, "needs you"),
        NoticeKind::Unseen => (Standing::Open, Severity::Critical, "needs you still"),
        NoticeKind::Healed => (Standing::Over, Severity::Info, "healed it"),
        NoticeKind::Cleared => (Standing::Over, Severity::Info, "holds no more"),
    };
    // It is said again and again, so that it must not look like what was said before.
    let more = if notice.kind == NoticeKind::Unseen { format!(": {}", notice.text) } else { String::new() };
    Notice {
        at: Timestamp::from_second(notice.at).unwrap_or(Timestamp::UNIX_EPOCH),
        thread: format!("incident:{}", notice.incident),
        standing,
        severity,
        area: notice.target.clone(),
        title: display_line(&format!("{}: rule {} ({}) {word}{more}", notice.target, notice.rule, notice.name)),
        text: format!("{}\n`mesh incident show {}`", display_line(&notice.text), notice.incident),
    }
}

/// What is told when a person has seen an incident: the reminders of it end.
#[must_use]
pub fn of_ack(incident: &incident::Incident, at: Timestamp) -> Notice {
    let title = format!("{}: rule {} ({}) was seen by a person", incident.target, incident.rule, incident.name);
    Notice {
        at,
        thread: format!("incident:{}", incident.id),
        standing: Standing::Over,
        severity: Severity::Info,
        area: incident.target.clone(),
        title: display_line(&title),
        text: String::new(),
    }
}

/// What is told of a service: that it needs a person, and that it does not any more.
#[must_use]
pub fn of_service(name: &str, notice: &service::Notice, at: Timestamp) -> Option<Notice> {
    let (standing, severity) = match notice {
        service::Notice::Recovered => (Standing::Over, Severity::Info),
        needs if needs.needs_person() => (Standing::Open, Severity::Critical),
        _ => return None,
    };
    Some(Notice {
        at,
        thread: format!("service:{name}"),
        standing,
        severity,
        area: name.to_owned(),
        title: display_line(&format!("{name}: {notice}")),
        text: "`mesh status`".to_owned(),
    })
}

/// Queues a notice, unless its thread said the same last, or it waits for the end of a maintenance window.
///
/// # Errors
/// The database failed.
pub fn tell(db: &mut Db, notice: &Notice) -> Result<(), DbError> {
    let last = db.last_of_thread(&notice.thread)?;
    let same = last.as_ref().is_some_and(|last| (last.standing, &last.title) == (notice.standing, &notice.title));
    let never = last.is_none() && notice.standing == Standing::Over;
    let waits = maintenance::waits(db, notice)?;
    if same || never || waits { Ok(()) } else { db.tell(notice) }
}

/// Queues what people are to know of a round.
///
/// # Errors
/// The database failed.
pub fn tell_round(parts: &mut Parts, round: &Round) -> Result<(), DbError> {
    let at = parts.now();
    maintenance::release(&mut parts.db, at)?;
    let about = |thread: String, standing, severity, area: &str, title: String, text: String| Notice {
        at,
        thread,
        standing,
        severity,
        area: area.to_owned(),
        title: display_line(&title),
        text,
    };
    let mut notices = Vec::new();
    for change in &round.sync.changes {
        let thread = format!("peer:{}", change.host.short());
        let (standing, severity) = match change.now {
            PeerState::Ok | PeerState::Unseen | PeerState::Behind => (Standing::Over, Severity::Info),
            PeerState::Quarantined | PeerState::Split => (Standing::Open, Severity::Critical),
            _ => (Standing::Open, Severity::Warning),
        };
        let title = format!("peer {} is {}", change.name, change.now.name());
        notices.push(about(thread, standing, severity, "mesh", title, display_line(&change.detail)));
    }
    for ended in &round.ended {
        let severity = if ended.state == State::Reverted { Severity::Warning } else { Severity::Info };
        let title =
            format!("the change by {} in {} is {}", ended.planned.lesson, ended.planned.path, ended.state.name());
        let thread = format!("intervention:{}", ended.id);
        notices.push(about(thread, Standing::Once, severity, "fixes", title, format!("mesh fix show {}", ended.id)));
    }
    let frozen = parts.db.frozen(&parts.clock.moment())?;
    for area in &round.areas {
        let shown = display_line(&area.root.to_string_lossy());
        let thread = format!("freeze:{shown}");
        let freeze = frozen.iter().find(|frozen| frozen.area == area.root);
        notices.push(match freeze {
            Some(freeze) => {
                let title = format!("{shown} is frozen: its changes were taken back too often");
                let text = format!("{}\n`mesh freeze lift` ends it", display_line(&freeze.why));
                about(thread, Standing::Open, Severity::Warning, "fixes", title, text)
            }
            None => about(
                thread,
                Standing::Over,
                Severity::Info,
                "fixes",
                format!("{shown} is not frozen any more"),
                String::new(),
            ),
        });
    }
    for (path, why) in &round.failed {
        let shown = display_line(&path.to_string_lossy());
        let thread = format!("audit:{shown}");
        notices.push(about(
            thread,
            Standing::Once,
            Severity::Warning,
            "audit",
            format!("{shown} was not audited: {why}"),
            String::new(),
        ));
    }
    if let Some(error) = &round.bad_config {
        let title = format!("the configuration is not taken: {}", error_line(error));
        notices.push(about("config".to_owned(), Standing::Open, Severity::Warning, "mesh", title, String::new()));
    } else {
        notices.push(about(
            "config".to_owned(),
            Standing::Over,
            Severity::Info,
            "mesh",
            "the configuration is in order".to_owned(),
            String::new(),
        ));
    }
    notices.iter().try_for_each(|notice| tell(&mut parts.db, notice))
}
