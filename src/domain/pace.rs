//! How much may be changed here, how fast, and how long it is watched: the numbers, their defaults, and which way
//! is unsafe.

use std::time::Duration;

/// Shortest window after which a change is judged as it should be.
pub const VALIDATE_WINDOW: Duration = Duration::from_secs(60 * 60);
/// The span that a daily budget is counted over.
pub const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The numbers that bound changes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pace {
    /// Most changes that mesh makes in 24 h.
    pub interventions_per_day: u32,
    /// Most branches that mesh makes or moves in 24 h. Nobody uses a branch until somebody merges it.
    pub branches_per_day: u32,
    /// Most changes that are in place and not yet judged.
    pub concurrent: u32,
    /// Time in which the same action is not taken again.
    pub duplicate_window: Duration,
    /// Reverts in a row after which an area is frozen.
    pub freeze_after: u32,
    /// How long it is frozen.
    pub freeze_for: Duration,
    /// Least time between a change and its verdict.
    pub validate_window: Duration,
    /// How long the way back of a change stays on disk after its verdict.
    pub keep_undo: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            interventions_per_day: 5,
            branches_per_day: 200,
            concurrent: 2,
            duplicate_window: Duration::from_secs(2 * 60 * 60),
            freeze_after: 3,
            freeze_for: DAY,
            validate_window: VALIDATE_WINDOW,
            keep_undo: DAY * 30,
        }
    }
}

impl Pace {
    /// What is set in the unsafe direction, a sentence each.
    #[must_use]
    pub fn weaknesses(&self) -> Vec<String> {
        let sound = Self::default();
        let more = |key: &str, set: u32, default: u32, risk: &str| {
            (set > default).then(|| format!("`limits.{key}` is {set}, above its default {default}: {risk}"))
        };
        let shorter = |key: &str, set: Duration, default: Duration, risk: &str| {
            let minutes = |span: Duration| span.as_secs().div_ceil(60);
            (set < default)
                .then(|| format!("`limits.{key}` is {} min, below its {} min: {risk}", minutes(set), minutes(default)))
        };
        [
            more(
                "interventions_per_day",
                self.interventions_per_day,
                sound.interventions_per_day,
                "more changes than a person looks at in a day",
            ),
            more("concurrent", self.concurrent, sound.concurrent, "what one change did cannot be told from another's"),
            more(
                "freeze_after",
                self.freeze_after,
                sound.freeze_after,
                "an area fails more often before it is left alone",
            ),
            shorter(
                "duplicate_window",
                self.duplicate_window,
                sound.duplicate_window,
                "a change that failed comes back sooner",
            ),
            shorter("freeze_for", self.freeze_for, sound.freeze_for, "an area that fails is tried again sooner"),
            shorter(
                "validate_window",
                self.validate_window,
                sound.validate_window,
                "outcomes are marked `short-window` and prove little",
            ),
            shorter(
                "keep_undo",
                self.keep_undo,
                sound.keep_undo,
                "what was validated cannot be taken back for as long",
            ),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unsafe_direction_warns_and_the_safe_one_does_not() {
        assert_eq!(Pace::default().weaknesses(), Vec::<String>::new());
        let safe = Pace {
            interventions_per_day: 1,
            branches_per_day: 1,
            concurrent: 1,
            duplicate_window: DAY,
            freeze_after: 1,
            freeze_for: DAY * 7,
            validate_window: DAY,
            keep_undo: DAY * 90,
        };
        assert_eq!(safe.weaknesses(), Vec::<String>::new());
        let second = Duration::from_secs(1);
        let unsafe_ways: [fn(&mut Pace, Duration); 7] = [
            |pace, _| pace.interventions_per_day += 1,
            |pace, _| pace.concurrent += 1,
            |pace, _| pace.freeze_after += 1,
            |pace, second| pace.duplicate_window -= second,
            |pace, second| pace.freeze_for -= second,
            |pace, second| pace.validate_window -= second,
            |pace, second| pace.keep_undo -= second,
        ];
        for change in unsafe_ways {
            let mut pace = Pace::default();
            change(&mut pace, second);
            assert_eq!(pace.weaknesses().len(), 1, "{pace:?}");
        }
    }
}
