//! How long to wait before the next try to reach a manager.

use std::time::Duration;

/// The first pause. Most managers that go come back at once: they were restarted.
const FIRST: Duration = Duration::from_millis(250);
/// The longest pause: so long it may stay unknown that a manager is back.
const LONGEST: Duration = Duration::from_secs(30);

/// Pauses, each twice as long as the one before, up to 30 s. It is this machine's own socket that is tried: nobody is
/// stormed, so there is no jitter.
#[derive(Debug)]
pub(super) struct Pause(Duration);

impl Default for Pause {
    fn default() -> Self {
        Self(FIRST)
    }
}

impl Pause {
    pub(super) fn next(&mut self) -> Duration {
        let now = self.0;
        self.0 = LONGEST.min(now * 2);
        now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_the_longest() {
        let mut pause = Pause::default();
        let waits: Vec<_> = (0..10).map(|_| pause.next()).collect();
        assert_eq!(waits[..3], [FIRST, FIRST * 2, FIRST * 4]);
        assert_eq!(waits[9], LONGEST);
    }
}
