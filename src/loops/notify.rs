//! Telling: each channel has a thread, so that one that hangs delays no other, and goes through the queue on disk.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use jiff::Timestamp;

use crate::domain::foreign_text::{display_line, error_line};
use crate::domain::notice::{Act, Letter, Policy};
use crate::ports::{Clock, Courier};
use crate::store::db::{Db, DbError};

/// Notices read at once.
const READ: u32 = 200;
/// Longest time without a look at the queue: whoever puts something in there need not know who waits for it.
const LOOK: Duration = Duration::from_secs(5);

/// A channel and its way.
pub struct Channel {
    /// Its name.
    pub name: String,
    /// The host's own name, for the title of letters.
    pub host: String,
    /// What it carries.
    pub policy: Policy,
    /// What carries it.
    pub courier: Box<dyn Courier>,
}

/// Runs one channel until `stop` is dropped. `spread` gives a random number from 0 to 1.
///
/// # Errors
/// The queue cannot be read or written: nothing is sent that could not be remembered as sent.
pub fn run(
    channel: &mut Channel,
    clock: &dyn Clock,
    db: &mut Db,
    stop: &Receiver<()>,
    spread: &mut dyn FnMut() -> f64,
) -> Result<(), DbError> {
    loop {
        let wait = step(channel, clock, db, spread)?;
        match stop.recv_timeout(wait.min(LOOK)) {
            Err(RecvTimeoutError::Timeout) => {}
            Ok(()) | Err(RecvTimeoutError::Disconnected) => return Ok(()),
        }
    }
}

/// Does what is due, and says how long there is nothing to do unless there is news.
///
/// # Errors
/// The queue cannot be read or written.
pub fn step(
    channel: &mut Channel,
    clock: &dyn Clock,
    db: &mut Db,
    spread: &mut dyn FnMut() -> f64,
) -> Result<Duration, DbError> {
    let mut state = db.channel(&channel.name)?;
    let before = state.clone();
    loop {
        let news = db.notices_after(state.seen, READ)?;
        if news.is_empty() {
            break;
        }
        state.hear(&channel.policy, &news);
    }
    let now = clock.now();
    let act = state.act(&channel.policy, now);
    let wait = match &act {
        Act::Wait(until) => until.map_or(LOOK, |until| between(now, until)),
        Act::Send { notices, again } => {
            let mut found = Vec::new();
            for id in notices {
                found.extend(db.notice(*id)?);
            }
            let delivered = match Letter::of(&channel.host, found, state.lost, *again) {
                Some(letter) => channel.courier.deliver(&letter),
                // They are older than what is kept.
                None => Ok(()),
            };
            match delivered {
                Ok(()) => state.delivered(notices, clock.now()),
                Err(error) => {
                    let why = display_line(&error_line(&error));
                    tracing::warn!(channel = channel.name, "notices wait: {why}");
                    state.undelivered(why, clock.now(), spread());
                }
            }
            Duration::ZERO
        }
    };
    if state != before {
        db.save_channel(&channel.name, &state)?;
    }
    Ok(wait)
}

fn between(now: Timestamp, until: Timestamp) -> Duration {
    Duration::try_from(now.duration_until(until)).unwrap_or_default()
}
