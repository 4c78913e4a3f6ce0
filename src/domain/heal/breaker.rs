//! The breaker of a target: a file that holds operations of others back. (The one before calls of ours is a circuit breaker:
//! see `kaizen`.) It is open until its time, then half open, so that a few are tried, and
//! then gone. What a person put there stays.

use std::time::Duration;

/// How long operations are tried before the breaker goes. A rule that holds again meanwhile opens it again.
pub const HALF_OPEN: Duration = Duration::from_secs(300);

/// What stands in a breaker's file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Breaker {
    /// Nothing is let through until then, by the wall clock in seconds.
    Open(i64),
    /// Some of it is let through, to see whether it works again.
    HalfOpen(i64),
    /// No rule wrote it.
    Foreign,
}

/// What is to be done with it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Next {
    /// It stays as it is.
    Keep,
    /// This is written into it.
    Write(Breaker),
    /// It is removed.
    Remove,
}

impl Breaker {
    /// Reads what stands in the file.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let text = text.trim();
        let until = |word: &str| text.strip_prefix(word)?.strip_prefix(" until ")?.parse().ok();
        match (until("open"), until("half-open")) {
            (Some(at), _) => Self::Open(at),
            (None, Some(at)) => Self::HalfOpen(at),
            (None, None) => Self::Foreign,
        }
    }

    /// Whether it holds everything back.
    #[must_use]
    pub const fn holds(self, wall: i64) -> bool {
        match self {
            Self::Open(until) => until > wall,
            Self::HalfOpen(_) => false,
            Self::Foreign => true,
        }
    }

    /// What its time asks for.
    #[must_use]
    pub const fn next(self, wall: i64) -> Next {
        match self {
            Self::Open(until) if until <= wall => {
                Next::Write(Self::HalfOpen(wall.saturating_add(HALF_OPEN.as_secs().cast_signed())))
            }
            Self::HalfOpen(until) if until <= wall => Next::Remove,
            Self::Open(_) | Self::HalfOpen(_) | Self::Foreign => Next::Keep,
        }
    }

    /// The text of the file; none for one that no rule writes.
    #[must_use]
    pub fn text(self) -> Option<String> {
        match self {
            Self::Open(until) => Some(format!("open until {until}\n")),
            Self::HalfOpen(until) => Some(format!("half-open until {until}\n")),
            Self::Foreign => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_goes_from_open_over_half_open_to_gone_and_at_the_edge() {
        let open = Breaker::parse("open until 100\n");
        assert_eq!((open, open.holds(99), open.holds(100)), (Breaker::Open(100), true, false));
        assert_eq!((open.next(99), open.next(100)), (Next::Keep, Next::Write(Breaker::HalfOpen(400))));
        let half = Breaker::parse(&Breaker::HalfOpen(400).text().expect("ours"));
        assert_eq!((half, half.holds(399)), (Breaker::HalfOpen(400), false));
        assert_eq!((half.next(399), half.next(400)), (Next::Keep, Next::Remove));
    }

    #[test]
    fn what_no_rule_wrote_holds_and_stays() {
        for text in ["", "closed for the weekend", "open until", "open until tea", "reopen until 7"] {
            let foreign = Breaker::parse(text);
            assert_eq!((foreign, foreign.holds(9), foreign.next(9)), (Breaker::Foreign, true, Next::Keep), "{text}");
        }
    }
}
