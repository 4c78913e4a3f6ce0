//! What a rule asks of whoever runs a service, and what comes of it.

use super::life::{Life, Phase, Reload};
use super::seen::Process;

/// What a manager is asked to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Order {
    /// Up, when it is not.
    Start,
    /// Down and up.
    Restart,
    /// Read the configuration again.
    Reload,
    /// Forget that it failed: the next start is a first one.
    ResetFailed,
    /// Down, and nobody starts it but a rule or a person.
    StopRetrying,
    /// The end of that.
    AllowRetries,
}

/// How far an order is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Progress {
    /// It is under way.
    Busy,
    /// It is done.
    Done(String),
    /// It came to nothing, and why.
    Failed(String),
}

impl Life {
    /// Why a rule's order is not taken; `None` when it is.
    #[must_use]
    pub fn refuses(&self, order: Order) -> Option<String> {
        let down = !matches!(self.phase(), Phase::Starting { .. } | Phase::Up | Phase::Unhealthy);
        if matches!(order, Order::ResetFailed | Order::AllowRetries) {
            return None;
        }
        if let Some(why) = self.unseen() {
            return Some(format!("its manager does not show it: {why}"));
        }
        if self.is_stopped() {
            return Some("a person stopped it, and so it stays".to_owned());
        }
        if self.is_held() {
            return Some("mesh is paused".to_owned());
        }
        if order == Order::Reload && !matches!(self.phase(), Phase::Up | Phase::Unhealthy) {
            return Some("it is not up, and reads its configuration when it starts".to_owned());
        }
        if !self.has_parents() && (down || order == Order::Restart) && order != Order::StopRetrying {
            return Some("what it depends on is not healthy".to_owned());
        }
        None
    }

    /// How far an order is that was taken while `before` was its process.
    #[must_use]
    pub fn progress(&self, order: Order, before: Option<Process>) -> Progress {
        let ended = || {
            let how = self.last_end().map_or_else(|| "it is down".to_owned(), ToString::to_string);
            Progress::Failed(how)
        };
        match (order, self.phase()) {
            (Order::Reload, Phase::Up | Phase::Unhealthy) => match self.reload() {
                Some(Reload::Asked) => Progress::Busy,
                Some(Reload::Done) => Progress::Done("was told to read its configuration again".to_owned()),
                Some(Reload::Failed(why)) => Progress::Failed(why.clone()),
                None => Progress::Failed("another process runs by now".to_owned()),
            },
            (Order::Reload, _) => ended(),
            (Order::ResetFailed, _) => Progress::Done("reset".to_owned()),
            (Order::AllowRetries, _) => Progress::Done("may be started again".to_owned()),
            (Order::StopRetrying, Phase::Resting) => Progress::Done("is left down".to_owned()),
            (Order::Restart, Phase::Up | Phase::Unhealthy) if before.is_some() && self.process() == before => {
                Progress::Busy
            }
            (Order::Start | Order::Restart, Phase::Up | Phase::Unhealthy) => {
                let pid = self.process().map(|process| format!(" as {}", process.pid)).unwrap_or_default();
                Progress::Done(if self.process() == before { "is up".to_owned() } else { format!("is up{pid}") })
            }
            (Order::Start | Order::Restart, Phase::Starting { .. } | Phase::Stopping { .. })
            | (Order::StopRetrying, Phase::Stopping { .. }) => Progress::Busy,
            _ => ended(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Effect, End, EndCause, Event, Notice, Now, Observation, Policy, Run, Verb, Why, step};
    use super::*;
    use crate::domain::running::Running;

    struct Service {
        life: Life,
        policy: Policy,
        at: u64,
    }

    impl Service {
        /// One that runs as pid 7.
        fn up() -> Self {
            let mut one = Self { life: Life::default(), policy: Policy::default(), at: 0 };
            one.take(Event::Gate { parents: true, held: false });
            one.runs(7);
            assert_eq!(one.life.phase(), &Phase::Up);
            one
        }

        fn take(&mut self, event: Event) -> Vec<Effect> {
            self.at += 100;
            let now = Now { at: Running::from_millis(self.at), jitter: 0.0 };
            let (life, effects) = step(&self.policy, self.life.clone(), event, now);
            self.life = life;
            effects
        }

        fn seen(&self, run: Run, pid: Option<u32>, cause: Option<EndCause>) -> Event {
            let process = pid.map(|pid| Process { pid, start_ticks: u64::from(pid) });
            let end = cause.map(|cause| End { process, cause, at: None });
            let process = process.filter(|_| run == Run::Up);
            Event::Seen(Observation { process, end, ..Observation::of("web".parse().expect("a name"), run) })
        }

        fn runs(&mut self, pid: u32) -> Vec<Effect> {
            self.take(self.seen(Run::Up, Some(pid), None))
        }

        fn ends(&mut self, pid: u32, code: i32) -> Vec<Effect> {
            self.take(self.seen(Run::Down, Some(pid), Some(EndCause::Exit(code))))
        }

        /// Given up: it ended more often than it may.
        fn given_up() -> Self {
            let mut one = Self::up();
            one.policy.restarts = 1;
            one.ends(7, 1);
            one.at += 10_000;
            one.take(Event::Tick);
            one.runs(8);
            one.ends(8, 1);
            assert!(matches!(one.life.phase(), Phase::GivenUp { .. }), "{:?}", one.life.phase());
            one
        }
    }

    const TERM: Effect = Effect::Act(Verb::Stop);
    const START: Effect = Effect::Act(Verb::Start);

    #[test]
    fn a_restart_by_a_rule_is_no_restart_of_its_own() {
        let mut one = Service::up();
        let before = one.life.process();
        assert_eq!(one.take(Event::Rule(Order::Restart)), [Effect::Tell(Notice::Stopping(Why::Rule)), TERM]);
        assert_eq!(one.life.progress(Order::Restart, before), Progress::Busy);
        let effects = one.ends(7, 0);
        assert!(
            effects.contains(&START) && effects.contains(&Effect::Tell(Notice::Starting(Why::Rule))),
            "{effects:?}"
        );
        assert!(!effects.iter().any(|effect| matches!(effect, Effect::Tell(Notice::Ended(_)))), "{effects:?}");
        assert_eq!(one.life.progress(Order::Restart, before), Progress::Busy);
        one.runs(8);
        assert_eq!(one.life.progress(Order::Restart, before), Progress::Done("is up as 8".to_owned()));
        assert_eq!(one.life.restarts(), 0);
    }

    #[test]
    fn what_a_person_stopped_no_rule_starts() {
        let mut one = Service::up();
        one.take(Event::Operator { stop: true });
        one.ends(7, 0);
        for order in [Order::Start, Order::Restart, Order::StopRetrying] {
            assert!(one.life.refuses(order).expect("refused").contains("a person stopped it"));
            // Even one that is told without being asked changes nothing.
            assert_eq!(one.take(Event::Rule(order)), []);
        }
        assert_eq!(one.life.phase(), &Phase::Stopped);
    }

    #[test]
    fn c5_a_reload_is_done_when_its_manager_says_so_and_ends_nothing() {
        let mut one = Service::up();
        let before = one.life.process();
        let progress = |one: &Service| one.life.progress(Order::Reload, before);
        assert_eq!(one.take(Event::Rule(Order::Reload)), [Effect::Act(Verb::Reload), Effect::Tell(Notice::Reloading)]);
        assert_eq!(progress(&one), Progress::Busy);
        one.take(one.seen(Run::Up, Some(7), None));
        assert_eq!(progress(&one), Progress::Busy, "that it runs says nothing of it");
        one.take(Event::Reloaded);
        assert!(matches!(progress(&one), Progress::Done(_)) && one.life.phase() == &Phase::Up);
        one.take(Event::Rule(Order::Reload));
        one.take(Event::Refused(Verb::Reload, "no ExecReload".to_owned()));
        assert_eq!(progress(&one), Progress::Failed("no ExecReload".to_owned()));
        one.take(Event::Rule(Order::Reload));
        one.ends(7, 1);
        assert_eq!(progress(&one), Progress::Failed("exited with 1".to_owned()), "it did not outlive it");
        assert!(one.life.refuses(Order::Reload).expect("refused").contains("it is not up"));
        one.take(Event::Operator { stop: true });
        assert!(one.life.refuses(Order::Reload).expect("refused").contains("a person stopped it"));
    }

    #[test]
    fn a_pause_and_a_missing_parent_refuse_a_start() {
        let mut one = Service::given_up();
        one.take(Event::Gate { parents: true, held: true });
        assert_eq!(one.life.refuses(Order::Start).as_deref(), Some("mesh is paused"));
        one.take(Event::Gate { parents: false, held: false });
        assert_eq!(one.life.refuses(Order::Start).as_deref(), Some("what it depends on is not healthy"));
    }

    #[test]
    fn one_start_after_giving_up_is_a_try_and_no_new_series() {
        let mut one = Service::given_up();
        one.take(Event::Rule(Order::ResetFailed));
        assert!(one.take(Event::Rule(Order::Start)).contains(&START));
        one.runs(9);
        let effects = one.ends(9, 1);
        assert!(matches!(one.life.phase(), Phase::GivenUp { .. }), "it is not tried again and again");
        assert!(!effects.iter().any(|effect| matches!(effect, Effect::Tell(Notice::GivenUp { .. }))), "told already");
    }

    #[test]
    fn what_rests_is_started_by_a_rule_or_a_person_alone() {
        let mut one = Service::up();
        assert!(one.take(Event::Rule(Order::StopRetrying)).contains(&TERM));
        assert_eq!(one.life.progress(Order::StopRetrying, None), Progress::Busy);
        one.ends(7, 0);
        assert_eq!(one.life.progress(Order::StopRetrying, None), Progress::Done("is left down".to_owned()));
        one.at += 86_400_000;
        assert_eq!(one.life.due(&one.policy), None);
        assert_eq!(one.take(Event::Tick), []);
        assert_eq!(one.take(Event::Gate { parents: true, held: false }), []);
        let mut by_person = Service { life: one.life.clone(), policy: Policy::default(), at: one.at };
        assert!(by_person.take(Event::Operator { stop: false }).contains(&START));
        let mut taken_back = Service { life: one.life.clone(), policy: Policy::default(), at: one.at };
        assert!(taken_back.take(Event::Rule(Order::AllowRetries)).contains(&START));
        assert!(one.take(Event::Rule(Order::Start)).contains(&START));
    }

    #[test]
    fn an_order_that_came_to_nothing_says_how_it_ended() {
        let mut one = Service::given_up();
        one.take(Event::Rule(Order::Start));
        one.runs(9);
        one.ends(9, 3);
        assert_eq!(one.life.progress(Order::Start, None), Progress::Failed("exited with 3".to_owned()));
    }
}
