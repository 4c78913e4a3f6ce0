//! What one channel does next: send, or wait and until when. All of its memory is a value that survives a restart.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::{Queued, QuietHours, Severity, Standing};

/// Notices that may wait for one channel; above it the oldest of the least severe go, and are counted.
const WAITING: usize = 500;
/// First wait after a letter that could not be delivered; it doubles with each further one.
const RETRY: Duration = Duration::from_secs(30);
/// Longest such wait.
const RETRY_MOST: Duration = Duration::from_secs(3_600);
const HOUR: SignedDuration = SignedDuration::from_hours(1);

/// What a channel is asked to carry, and how.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Policy {
    /// Least severity it carries.
    pub at_least: Severity,
    /// Areas it carries: names, or beginnings with a `*` at the end; all when empty.
    pub areas: Vec<String>,
    /// Hours in which only what is critical is sent; the rest follows in one letter.
    pub quiet: Option<QuietHours>,
    /// Most letters in an hour.
    pub per_hour: u32,
    /// How long is waited for more, so that one cause makes one letter.
    pub group: Duration,
    /// After this, what is still open is told again.
    pub remind: Option<Duration>,
}

/// A notice that waits.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct Waiting {
    id: u64,
    at: Timestamp,
    severity: Severity,
}

/// A thread that is open.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct OpenThread {
    /// Its last notice.
    id: u64,
    severity: Severity,
    told: Timestamp,
}

/// Where a channel stands.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct State {
    /// The last notice that was looked at.
    pub seen: u64,
    waiting: Vec<Waiting>,
    open: BTreeMap<String, OpenThread>,
    /// Letters of the last hour.
    sent: Vec<Timestamp>,
    /// Notices that were dropped since the last letter.
    pub lost: u64,
    /// Tries in a row that failed.
    pub failed: u32,
    retry_at: Option<Timestamp>,
    /// Why the last try failed. Foreign text, made fit to be shown.
    pub trouble: Option<String>,
}

/// What to do now.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Act {
    /// Send one letter of these notices.
    Send {
        /// Their numbers, in order.
        notices: Vec<u64>,
        /// Whether they were told before.
        again: bool,
    },
    /// Nothing until then, or until there is news.
    Wait(Option<Timestamp>),
}

impl Policy {
    fn carries(&self, queued: &Queued) -> bool {
        let notice = &queued.notice;
        let named = |wanted: &String| match wanted.strip_suffix('*') {
            Some(start) => notice.area.starts_with(start),
            None => notice.area == *wanted,
        };
        notice.severity >= self.at_least && (self.areas.is_empty() || self.areas.iter().any(named))
    }
}

fn later(from: Timestamp, by: Duration) -> Timestamp {
    from.saturating_add(SignedDuration::try_from(by).unwrap_or(HOUR)).unwrap_or(Timestamp::MAX)
}

impl State {
    /// A channel that begins now: what was told before it is not its business.
    #[must_use]
    pub fn from(seen: u64) -> Self {
        Self { seen, ..Self::default() }
    }

    /// Takes over what is new, in order.
    pub fn hear(&mut self, policy: &Policy, news: &[Queued]) {
        for queued in news {
            if queued.id <= self.seen {
                continue;
            }
            self.seen = queued.id;
            let notice = &queued.notice;
            if notice.standing == Standing::Over {
                self.open.remove(&notice.thread);
            }
            if !policy.carries(queued) {
                continue;
            }
            self.waiting.push(Waiting { id: queued.id, at: notice.at, severity: notice.severity });
            if notice.standing == Standing::Open {
                let open = OpenThread { id: queued.id, severity: notice.severity, told: notice.at };
                self.open.insert(notice.thread.clone(), open);
            }
        }
        while self.waiting.len() > WAITING {
            let least = self.waiting.iter().map(|waiting| waiting.severity).min();
            let at = self.waiting.iter().position(|waiting| Some(waiting.severity) == least);
            self.waiting.remove(at.unwrap_or(0));
            self.lost += 1;
        }
    }

    /// What is to be done at `now`.
    #[must_use]
    pub fn act(&self, policy: &Policy, now: Timestamp) -> Act {
        let quiet = policy.quiet.and_then(|hours| hours.end(now));
        let speaks = |severity: Severity| quiet.is_none() || severity == Severity::Critical;
        let ready: Vec<&Waiting> = self.waiting.iter().filter(|waiting| speaks(waiting.severity)).collect();
        let grouped = ready.first().map(|first| later(first.at, policy.group));
        let held = if ready.len() < self.waiting.len() { quiet } else { None };
        let again = policy.remind.and_then(|every| {
            let due = self.open.values().filter(|open| speaks(open.severity)).map(|open| later(open.told, every)).min();
            due.or(if self.open.is_empty() { None } else { quiet })
        });
        let Some(mut when) = [grouped, held, again].into_iter().flatten().min() else { return Act::Wait(None) };
        let full = self.sent.len() >= usize::try_from(policy.per_hour).unwrap_or(usize::MAX);
        let room = full.then(|| self.sent.first().map(|first| later(*first, HOUR.unsigned_abs()))).flatten();
        when = [Some(when), self.retry_at, room].into_iter().flatten().max().unwrap_or(when);
        if when > now {
            return Act::Wait(Some(when));
        }
        if !ready.is_empty() {
            return Act::Send { notices: ready.iter().map(|waiting| waiting.id).collect(), again: false };
        }
        let mut due: Vec<u64> = self
            .open
            .values()
            .filter(|open| speaks(open.severity) && policy.remind.is_some_and(|every| later(open.told, every) <= now))
            .map(|open| open.id)
            .collect();
        due.sort_unstable();
        if due.is_empty() { Act::Wait(None) } else { Act::Send { notices: due, again: true } }
    }

    /// The letter of these notices was delivered.
    pub fn delivered(&mut self, notices: &[u64], now: Timestamp) {
        self.waiting.retain(|waiting| !notices.contains(&waiting.id));
        for open in self.open.values_mut().filter(|open| notices.contains(&open.id)) {
            open.told = now;
        }
        self.sent.retain(|at| at.duration_until(now) < HOUR);
        self.sent.push(now);
        (self.lost, self.failed, self.retry_at, self.trouble) = (0, 0, None, None);
    }

    /// It was not. `spread` (0 to 1) is random, so that hosts that fail together do not come back together.
    pub fn undelivered(&mut self, why: String, now: Timestamp, spread: f64) {
        let wait = RETRY.saturating_mul(1 << self.failed.min(7)).min(RETRY_MOST);
        self.failed = self.failed.saturating_add(1);
        self.retry_at = Some(later(now, wait.mul_f64(0.5 + 0.5 * spread.clamp(0.0, 1.0))));
        self.trouble = Some(why);
    }

    /// Notices that wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }
}

#[cfg(test)]
mod tests {
    use super::super::Notice;
    use super::*;

    fn at(second: i64) -> Timestamp {
        // 2026-03-01, noon.
        Timestamp::from_second(1_772_366_400 + second).expect("a time")
    }

    fn policy() -> Policy {
        let group = Duration::from_secs(10);
        Policy { at_least: Severity::Info, areas: vec![], quiet: None, per_hour: 3, group, remind: None }
    }

    fn queued(id: u64, second: i64, severity: Severity, standing: Standing) -> Queued {
        let (title, text) = (format!("n{id}"), String::new());
        let (thread, area) = ("t".to_owned(), "web-1".to_owned());
        Queued { id, notice: Notice { at: at(second), thread, standing, severity, area, title, text } }
    }

    fn send(notices: &[u64]) -> Act {
        Act::Send { notices: notices.to_vec(), again: false }
    }

    #[test]
    fn what_comes_together_goes_together_and_nothing_goes_twice() {
        let (policy, mut state) = (policy(), State::default());
        assert_eq!(state.act(&policy, at(0)), Act::Wait(None));
        let news = [1, 2].map(|id| queued(id, 0, Severity::Info, Standing::Once));
        state.hear(&policy, &news);
        assert_eq!(state.act(&policy, at(9)), Act::Wait(Some(at(10))));
        state.hear(&policy, &news);
        assert_eq!(state.act(&policy, at(10)), send(&[1, 2]));
        state.delivered(&[1, 2], at(10));
        assert_eq!((state.act(&policy, at(11)), state.waiting()), (Act::Wait(None), 0));
    }

    #[test]
    fn a_channel_chooses_by_severity_and_area() {
        let mut policy = policy();
        policy.at_least = Severity::Warning;
        policy.areas = vec!["db".into(), "web-*".into()];
        let mut other = queued(3, 0, Severity::Critical, Standing::Once);
        other.notice.area = "dbx".into();
        let mut state = State::default();
        state.hear(
            &policy,
            &[queued(1, 0, Severity::Info, Standing::Once), queued(2, 0, Severity::Warning, Standing::Once), other],
        );
        assert_eq!(state.act(&policy, at(60)), send(&[2]));
        assert_eq!(state.seen, 3);
    }

    #[test]
    fn letters_of_an_hour_are_limited_and_what_waits_is_one_letter_then() {
        let (policy, mut state) = (policy(), State::default());
        for id in 1..=3 {
            let second = i64::try_from(id).expect("small") * 100;
            state.hear(&policy, &[queued(id, second, Severity::Info, Standing::Once)]);
            assert_eq!(state.act(&policy, at(second + 10)), send(&[id]));
            state.delivered(&[id], at(second + 10));
        }
        state.hear(&policy, &[4, 5].map(|id| queued(id, 400, Severity::Critical, Standing::Once)));
        assert_eq!(state.act(&policy, at(500)), Act::Wait(Some(at(110 + 3_600))));
        assert_eq!(state.act(&policy, at(3_710)), send(&[4, 5]));
    }

    #[test]
    fn quiet_hours_hold_all_but_what_is_critical_and_end_in_one_letter() {
        let mut policy = policy();
        policy.quiet = Some("12:00-13:00".parse().expect("hours"));
        let mut state = State::default();
        state.hear(
            &policy,
            &[queued(1, 0, Severity::Warning, Standing::Once), queued(2, 5, Severity::Info, Standing::Once)],
        );
        assert_eq!(state.act(&policy, at(60)), Act::Wait(Some(at(3_600))));
        state.hear(&policy, &[queued(3, 60, Severity::Critical, Standing::Once)]);
        assert_eq!(state.act(&policy, at(70)), send(&[3]));
        state.delivered(&[3], at(70));
        assert_eq!(state.act(&policy, at(3_600)), send(&[1, 2]));
    }

    #[test]
    fn what_is_not_delivered_is_tried_again_later_and_later_and_survives_a_restart() {
        let (policy, mut state) = (policy(), State::default());
        state.hear(&policy, &[queued(1, 0, Severity::Info, Standing::Once)]);
        let mut now = at(10);
        let mut waits = Vec::new();
        for _ in 0..9 {
            assert_eq!(state.act(&policy, now), send(&[1]));
            state.undelivered("refused".into(), now, 1.0);
            let kept = serde_json::to_string(&state).expect("a value");
            state = serde_json::from_str(&kept).expect("the same");
            let Act::Wait(Some(until)) = state.act(&policy, now) else { panic!("{state:?}") };
            waits.push(now.duration_until(until).as_secs());
            now = until;
        }
        assert_eq!(waits, [30, 60, 120, 240, 480, 960, 1_920, 3_600, 3_600]);
        state.delivered(&[1], now);
        assert_eq!((state.failed, state.trouble.as_deref(), state.act(&policy, now)), (0, None, Act::Wait(None)));
    }

    #[test]
    fn a_full_queue_drops_the_oldest_of_the_least_severe_and_counts_them() {
        let (policy, mut state) = (policy(), State::default());
        let last = u64::try_from(WAITING).expect("small") + 2;
        let severity = |id| if id == 1 { Severity::Critical } else { Severity::Info };
        let news: Vec<Queued> = (1..=last).map(|id| queued(id, 0, severity(id), Standing::Once)).collect();
        state.hear(&policy, &news);
        let Act::Send { notices, .. } = state.act(&policy, at(60)) else { panic!("it sends") };
        assert_eq!((notices[0], notices[1], notices.len(), state.lost), (1, 4, WAITING, 2));
    }

    #[test]
    fn an_open_thread_is_told_again_until_it_is_over() {
        let mut policy = policy();
        policy.remind = Some(Duration::from_secs(1_000));
        let mut state = State::default();
        state.hear(&policy, &[queued(1, 0, Severity::Warning, Standing::Open)]);
        state.delivered(&[1], at(10));
        assert_eq!(state.act(&policy, at(20)), Act::Wait(Some(at(1_010))));
        assert_eq!(state.act(&policy, at(1_010)), Act::Send { notices: vec![1], again: true });
        state.delivered(&[1], at(1_010));
        state.hear(&policy, &[queued(2, 1_500, Severity::Info, Standing::Over)]);
        assert_eq!(state.act(&policy, at(1_510)), send(&[2]));
        state.delivered(&[2], at(1_510));
        assert_eq!(state.act(&policy, at(9_000)), Act::Wait(None));
    }
}
