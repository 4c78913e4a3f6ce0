//! Services as rules see them: questions to the running supervision, each with a deadline, so that one that hangs holds
//! no rule for longer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use crate::domain::heal::condition::EventName;
use crate::loops::supervise::{Ask, Event, Seen};
use crate::ports::heal::{Order, ServiceSeen, Services};

/// How long supervision may take to say how services are: it only has to look at what it knows.
const LOOK: Duration = Duration::from_secs(2);
/// How long an order may take: the longest grace of a process that is to end, and the usual time of a start.
const ORDER: Duration = Duration::from_secs(150);
/// How long one may still take once the agent is to end. What is done by then is known; for the rest the next agent looks.
const ENDING: Duration = Duration::from_secs(2);
/// Between two looks whether the agent is to end.
const TICK: Duration = Duration::from_millis(50);

/// The running supervision, for the eyes or the hands of rules.
pub struct Supervised {
    events: Sender<Event>,
    happened: Option<Receiver<(String, EventName)>>,
    /// How services were at the beginning of this look; the hands see them as they are.
    view: Option<Seen>,
    /// Whether the agent is to end.
    ending: Arc<AtomicBool>,
    look: Duration,
    order: Duration,
}

impl Supervised {
    /// For the eyes: from here on they are told what happens.
    #[must_use]
    pub fn eyes(events: Sender<Event>) -> Self {
        let (hearer, happened) = channel();
        // Supervision that has ended says nothing, and that is seen at the first look.
        drop(events.send(Event::Asked(Ask::Hear(hearer))));
        Self { happened: Some(happened), ..Self::hands(events, Arc::default()) }
    }

    /// For the hands. Once `ending` is set, they wait no longer for an order to be done.
    #[must_use]
    pub const fn hands(events: Sender<Event>, ending: Arc<AtomicBool>) -> Self {
        Self { events, happened: None, view: None, ending, look: LOOK, order: ORDER }
    }

    fn see(&self) -> Seen {
        let (to, answer) = channel();
        drop(self.events.send(Event::Asked(Ask::See(to))));
        // Without an answer nothing is known of any service, and so nothing is done about one.
        answer.recv_timeout(self.look).unwrap_or_default()
    }
}

impl Services for Supervised {
    fn seen(&mut self, service: &str) -> Option<ServiceSeen> {
        match &self.view {
            Some(view) => view.get(service).cloned(),
            None => self.see().remove(service),
        }
    }

    fn order(&mut self, service: &str, order: Order) -> Result<String, String> {
        let (done, answer) = channel();
        let ask = Ask::Do { service: service.to_owned(), order, done };
        self.events.send(Event::Asked(ask)).map_err(|_| "supervision has ended".to_owned())?;
        let mut until = Instant::now() + self.order;
        let mut told = false;
        loop {
            if !told && self.ending.load(Ordering::SeqCst) {
                (told, until) = (true, until.min(Instant::now() + ENDING));
            }
            let left = until.saturating_duration_since(Instant::now());
            match answer.recv_timeout(left.min(TICK)) {
                Ok(answer) => return answer,
                Err(RecvTimeoutError::Timeout) if left > TICK => {}
                Err(RecvTimeoutError::Timeout) if told => return Err("mesh was stopped before it was done".to_owned()),
                Err(RecvTimeoutError::Timeout) => {
                    return Err(format!("not done within {} s; supervision goes on with it", self.order.as_secs()));
                }
                Err(RecvTimeoutError::Disconnected) => return Err("supervision has ended".to_owned()),
            }
        }
    }

    fn happened(&mut self) -> Vec<(String, EventName)> {
        self.view = Some(self.see());
        self.happened.iter().flat_map(|happened| happened.try_iter()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn supervision_that_hangs_or_is_gone_holds_nobody_for_longer_than_the_deadline() {
        let (events, hung) = channel();
        let short = Duration::from_millis(20);
        let mut eyes = Supervised { look: short, order: short, ..Supervised::eyes(events) };
        assert_eq!(eyes.happened(), []);
        assert_eq!(eyes.seen("web"), None, "what is not known decides nothing");
        assert!(eyes.order("web", Order::Restart).expect_err("late").contains("not done within"));
        drop(hung);
        assert_eq!(eyes.order("web", Order::Restart), Err("supervision has ended".to_owned()));
        assert_eq!(Supervised::hands(eyes.events.clone(), Arc::default()).seen("web"), None);
    }

    #[test]
    fn an_agent_that_is_to_end_waits_for_no_order_but_a_little() {
        let (events, _hung) = channel();
        let ending = Arc::new(AtomicBool::new(false));
        let mut hands = Supervised::hands(events, ending.clone());
        let ordered = std::thread::spawn(move || hands.order("web", Order::Restart));
        ending.store(true, Ordering::SeqCst);
        assert_eq!(ordered.join().expect("ended"), Err("mesh was stopped before it was done".to_owned()));
    }
}
