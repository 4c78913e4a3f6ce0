//! Asking the model: an answer that is known is taken, else budget and breaker are asked first, and a failed call is made
//! again after a wait.

use std::time::Duration;

use crate::domain::foreign_text::display_line;
use crate::domain::kaizen::budget::{Budget, tokens};
use crate::domain::kaizen::circuit_breaker::{Limits, ShortCircuit};
use crate::domain::kaizen::question::Question;
use crate::domain::running::Moment;
use crate::ports::model::{Model, NoAnswer};
use crate::store::consultations::QuestionKey;
use crate::store::db::{Db, DbError};

/// How often one question is asked.
const TRIES: u32 = 3;
/// The first wait; each further one is four times as long.
const WAIT: Duration = Duration::from_secs(1);
/// A server that wants more patience than this gets it: it is not asked again now.
const PATIENCE: Duration = Duration::from_secs(60);

/// Why there is no answer now.
#[derive(Debug, thiserror::Error)]
pub enum Unanswered {
    /// The budget of the day.
    #[error("the model is not asked: {0}")]
    Budget(String),
    /// Too many calls failed.
    #[error("the model is not asked for {} s more: too many calls failed", .0.left.as_secs())]
    Open(ShortCircuit),
    /// It was asked.
    #[error("the model gave no answer")]
    NoAnswer(#[source] NoAnswer),
    /// The database failed, so nothing is spent.
    #[error(transparent)]
    Db(#[from] DbError),
}

/// What a model said.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Spoken {
    /// Its words. Foreign text, of any shape.
    pub text: String,
    /// Whether they are new: false where the same was asked before.
    pub fresh: bool,
}

/// What questions are asked with.
pub struct Consultant<'a> {
    /// The model.
    pub model: &'a mut dyn Model,
    /// What tells it from other models: its answers are another's no more.
    pub identity: &'a str,
    /// What it may cost.
    pub budget: Budget,
    /// The clocks.
    pub moment: &'a dyn Fn() -> Moment,
    /// Waits. False: something else is to be done, and no more is asked.
    pub wait: &'a dyn Fn(Duration) -> bool,
    /// A random number from 0 to 1.
    pub spread: &'a dyn Fn() -> f64,
}

/// The hash of everything that an answer depends on.
#[must_use]
pub fn key(identity: &str, question: &Question) -> QuestionKey {
    let mut hash = blake3::Hasher::new();
    let schema = question.schema.to_string();
    for part in [identity, question.name, &question.ask, &question.facts, &schema] {
        hash.update(&(part.len() as u64).to_le_bytes()).update(part.as_bytes());
    }
    QuestionKey(*hash.finalize().as_bytes())
}

impl Consultant<'_> {
    /// The answer to a question. What it says is for the caller to check.
    ///
    /// # Errors
    /// There is none now, and why.
    pub fn consult(&mut self, db: &mut Db, question: &Question) -> Result<Spoken, Unanswered> {
        let key = key(self.identity, question);
        if let Some(text) = db.model_answer(key)? {
            return Ok(Spoken { text, fresh: false });
        }
        let expected = tokens(&question.ask) + tokens(&question.facts) + tokens(&question.schema.to_string());
        let expected = expected + u64::from(question.most);
        let limits = Limits::default();
        let (mut pause, mut attempt) = (WAIT, 0);
        loop {
            attempt += 1;
            let moment = (self.moment)();
            let now = db.count_on(&moment)?;
            self.budget.allow(db.model_spent(now)?, expected).map_err(Unanswered::Budget)?;
            let mut breaker = db.model_breaker()?;
            breaker.admit(now, &limits).map_err(Unanswered::Open)?;
            db.keep_model_breaker(&breaker)?;
            let call = db.begin_model_call(&moment, question.name, expected)?;
            let answer = self.model.ask(question);
            let after = db.count_on(&(self.moment)())?;
            let error = match answer {
                Ok(answer) => {
                    breaker.succeeded();
                    db.keep_model_breaker(&breaker)?;
                    db.end_model_call(call, answer.tokens, "answered")?;
                    db.keep_model_answer(key, after, &answer.text)?;
                    return Ok(Spoken { text: answer.text, fresh: true });
                }
                Err(error) => error,
            };
            breaker.failed(after, &limits);
            db.keep_model_breaker(&breaker)?;
            db.end_model_call(call, None, &display_line(&error.to_string()))?;
            let wanted = match &error {
                NoAnswer::Later(_) => pause,
                NoAnswer::After(wanted) => pause.max(*wanted),
                NoAnswer::Never(_) => Duration::MAX,
            };
            let jittered = || wanted.mul_f64(1.0 + (self.spread)().clamp(0.0, 1.0) / 2.0);
            if attempt >= TRIES || wanted > PATIENCE || !(self.wait)(jittered()) {
                return Err(Unanswered::NoAnswer(error));
            }
            pause *= 4;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use serde_json::json;

    use super::*;
    use crate::domain::kaizen::circuit_breaker::State;
    use crate::ports::model::Answer;

    /// Says what it is told to, in turn.
    struct Scripted(Vec<Result<Answer, NoAnswer>>);

    impl Model for Scripted {
        fn ask(&mut self, _question: &Question) -> Result<Answer, NoAnswer> {
            self.0.remove(0)
        }
    }

    fn said(text: &str, tokens: u64) -> Result<Answer, NoAnswer> {
        Ok(Answer { text: text.to_owned(), tokens: Some(tokens) })
    }

    fn later() -> Result<Answer, NoAnswer> {
        Err(NoAnswer::Later("HTTP 503".to_owned()))
    }

    fn question(facts: &str) -> Question {
        Question { name: "test", ask: "Why?".to_owned(), facts: facts.to_owned(), schema: json!({}), most: 100 }
    }

    /// A clock that goes on by what is waited.
    struct Bench {
        db: Db,
        uptime: RefCell<Duration>,
        waits: RefCell<Vec<Duration>>,
    }

    impl Bench {
        fn new() -> Self {
            let db = Db::in_memory().expect("memory");
            Self { db, uptime: RefCell::new(Duration::from_secs(1)), waits: RefCell::default() }
        }

        fn ask(
            &mut self,
            facts: &str,
            script: Vec<Result<Answer, NoAnswer>>,
            budget: Budget,
        ) -> (Result<Spoken, Unanswered>, usize) {
            let mut model = Scripted(script);
            let moment = || Moment {
                wall: "2026-11-29T12:00:00Z".parse().expect("a time"),
                boot: "a".to_owned(),
                uptime: *self.uptime.borrow(),
            };
            let wait = |span: Duration| {
                *self.uptime.borrow_mut() += span;
                self.waits.borrow_mut().push(span);
                true
            };
            let mut consultant =
                Consultant { model: &mut model, identity: "m", budget, moment: &moment, wait: &wait, spread: &|| 1.0 };
            let answer = consultant.consult(&mut self.db, &question(facts));
            (answer, model.0.len())
        }

        fn pass(&self, span: Duration) {
            *self.uptime.borrow_mut() += span;
        }
    }

    const PLENTY: Budget = Budget { calls: 100, tokens: 1_000_000 };

    #[test]
    fn e15_the_same_facts_are_asked_once() {
        let mut bench = Bench::new();
        let spoken = |text: &str, fresh| Spoken { text: text.to_owned(), fresh };
        assert_eq!(bench.ask("a", vec![said("one", 7)], PLENTY).0.expect("answered"), spoken("one", true));
        assert_eq!(bench.ask("a", vec![], PLENTY).0.expect("known"), spoken("one", false));
        assert_eq!(bench.ask("b", vec![said("two", 8)], PLENTY).0.expect("answered"), spoken("two", true));
        let now = bench.db.count_on(&Moment {
            wall: jiff::Timestamp::UNIX_EPOCH,
            boot: "a".to_owned(),
            uptime: Duration::from_secs(2),
        });
        let spent = bench.db.model_spent(now.expect("counted")).expect("read");
        assert_eq!((spent.calls, spent.tokens), (2, 15));
    }

    #[test]
    fn e15_the_budget_holds_for_a_day_that_surely_passed() {
        let mut bench = Bench::new();
        let two = Budget { calls: 2, tokens: 1_000_000 };
        bench.ask("a", vec![said("1", 1)], two).0.expect("answered");
        bench.ask("b", vec![said("2", 1)], two).0.expect("answered");
        assert!(matches!(bench.ask("c", vec![], two).0, Err(Unanswered::Budget(_))));
        bench.pass(Duration::from_secs(24 * 3_600 - 1));
        assert!(matches!(bench.ask("c", vec![], two).0, Err(Unanswered::Budget(_))));
        bench.pass(Duration::from_secs(2));
        bench.ask("c", vec![said("3", 1)], two).0.expect("answered");
    }

    #[test]
    fn a_server_that_is_not_able_now_is_asked_again_with_longer_waits() {
        let mut bench = Bench::new();
        let (answer, left) = bench.ask("a", vec![later(), later(), said("late", 3)], PLENTY);
        assert_eq!((answer.expect("at last").text.as_str(), left), ("late", 0));
        let waits = bench.waits.borrow().iter().map(Duration::as_millis).collect::<Vec<_>>();
        assert_eq!(waits, [1_500, 6_000], "half of each wait is jitter");
    }

    #[test]
    fn what_no_further_try_helps_is_not_tried_again() {
        for error in [NoAnswer::Never("HTTP 404".to_owned()), NoAnswer::After(Duration::from_secs(3_600))] {
            let mut bench = Bench::new();
            let (answer, left) = bench.ask("a", vec![Err(error), said("never", 1)], PLENTY);
            assert!(matches!(answer, Err(Unanswered::NoAnswer(_))));
            assert_eq!((left, bench.waits.borrow().len()), (1, 0));
        }
    }

    #[test]
    fn calls_that_fail_open_the_breaker_over_a_restart_and_one_that_works_closes_it() {
        let mut bench = Bench::new();
        bench.ask("a", vec![later(), later(), later()], PLENTY).0.expect_err("down");
        let (answer, left) = bench.ask("b", vec![later(), later(), later()], PLENTY);
        assert!(matches!(answer, Err(Unanswered::Open(_))), "{answer:?}");
        assert_eq!(left, 1, "the fifth failure opens it");
        assert!(matches!(bench.db.model_breaker().expect("stored").state(), State::Open { .. }));
        assert!(matches!(bench.ask("c", vec![], PLENTY).0, Err(Unanswered::Open(_))));
        bench.pass(Duration::from_secs(300));
        bench.ask("c", vec![said("back", 1)], PLENTY).0.expect("tried and closed");
        assert_eq!(bench.db.model_breaker().expect("stored").state(), State::Closed);
    }

    #[test]
    fn a_call_that_a_killed_process_began_stays_spent() {
        let mut db = Db::in_memory().expect("memory");
        let moment = Moment { wall: jiff::Timestamp::UNIX_EPOCH, boot: "a".to_owned(), uptime: Duration::from_secs(1) };
        db.begin_model_call(&moment, "test", 500).expect("written");
        let now = db.count_on(&moment).expect("counted");
        assert_eq!(db.model_spent(now).expect("read").tokens, 500);
        assert_eq!(db.model_calls(9).expect("read")[0].outcome, "begun");
    }
}
