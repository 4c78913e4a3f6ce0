//! What a change would show, as a number, so that it can come out wrong.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::domain::expr::{Claim, ExprError};
use crate::domain::signal::SeriesName;

/// Which way a number goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Way {
    /// It grows.
    Up,
    /// It falls.
    Down,
}

/// How a series is read over the window.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Measure {
    /// Its mean.
    Avg,
    /// Its most.
    Max,
    /// How much a counter grew.
    Rate,
}

impl Measure {
    const fn name(self) -> &'static str {
        match self {
            Self::Avg => "avg",
            Self::Max => "max",
            Self::Rate => "rate",
        }
    }
}

/// What a change would show, as a number.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Prediction {
    /// The series.
    pub series: String,
    /// How it is read.
    pub measure: Measure,
    /// Which way it goes.
    pub way: Way,
    /// By how many percent of what it is now, at least.
    pub percent: u32,
    /// Within how many hours.
    pub hours: u32,
    /// What it is now.
    pub before: f64,
}

impl Prediction {
    /// The number that it has to pass.
    #[must_use]
    pub fn bound(&self) -> f64 {
        let share = f64::from(self.percent) / 100.0;
        match self.way {
            Way::Up => self.before * (1.0 + share),
            Way::Down => self.before * (1.0 - share),
        }
    }

    /// The window.
    #[must_use]
    pub fn window(&self) -> Duration {
        Duration::from_secs(u64::from(self.hours) * 3_600)
    }

    /// The prediction in CEL.
    #[must_use]
    pub fn claim(&self) -> String {
        let sign = match self.way {
            Way::Up => ">=",
            Way::Down => "<=",
        };
        format!("{}(\"{}\", \"{}h\") {sign} {:.3}", self.measure.name(), self.series, self.hours, self.bound())
    }

    /// The prediction in words.
    #[must_use]
    pub fn words(&self) -> String {
        let way = match self.way {
            Way::Up => "up",
            Way::Down => "down",
        };
        let (series, percent, hours, before) = (&self.series, self.percent, self.hours, self.before);
        format!(
            "{} of {series} goes {way} by {percent} % or more within {hours} h, from {before:.1}",
            self.measure.name()
        )
    }

    /// What is wrong with it.
    ///
    /// # Errors
    /// It cannot fail, or cannot be measured.
    pub fn check(&self) -> Result<(), String> {
        if self.percent == 0 || self.hours == 0 {
            return Err("the prediction names no change, or no time".to_owned());
        }
        if self.way == Way::Down && self.percent > 100 {
            return Err("nothing falls by more than all of it".to_owned());
        }
        self.series.parse::<SeriesName>().map_err(|error| error.to_string())?;
        if !self.before.is_finite() || self.before == 0.0 {
            return Err(format!("{} is not measured here, or is 0: no share of it can be predicted", self.series));
        }
        Claim::compile(&self.claim()).map(drop).map_err(|error: ExprError| error.to_string())
    }
}

/// What a proposal claims about itself: numbers of its own, or those of the lesson that it adopts.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Expected {
    /// A number.
    Number(Prediction),
    /// The lesson's own claim, in CEL.
    Claim {
        /// The claim.
        expr: String,
        /// The window, in seconds.
        window_s: u64,
    },
}

impl Expected {
    /// The claim in CEL.
    #[must_use]
    pub fn claim(&self) -> String {
        match self {
            Self::Number(prediction) => prediction.claim(),
            Self::Claim { expr, .. } => expr.clone(),
        }
    }

    /// The window.
    #[must_use]
    pub fn window(&self) -> Duration {
        match self {
            Self::Number(prediction) => prediction.window(),
            Self::Claim { window_s, .. } => Duration::from_secs(*window_s),
        }
    }

    /// In words.
    #[must_use]
    pub fn words(&self) -> String {
        match self {
            Self::Number(prediction) => prediction.words(),
            Self::Claim { expr, window_s } => format!("{expr} within {} h", window_s / 3_600),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// One that is sound.
    pub(in crate::domain::kaizen) fn prediction() -> Prediction {
        Prediction {
            series: "service.restarts/web".to_owned(),
            measure: Measure::Rate,
            way: Way::Down,
            percent: 80,
            hours: 24,
            before: 8.0,
        }
    }

    #[test]
    fn e1_a_prediction_is_a_number_that_can_come_out_wrong() {
        let sound = prediction();
        assert_eq!(sound.check(), Ok(()));
        assert_eq!(sound.claim(), "rate(\"service.restarts/web\", \"24h\") <= 1.600");
        assert!(sound.words().contains("down by 80 % or more within 24 h, from 8.0"));
        let bad = [
            Prediction { percent: 0, ..prediction() },
            Prediction { percent: 101, ..prediction() },
            Prediction { hours: 0, ..prediction() },
            Prediction { before: 0.0, ..prediction() },
            Prediction { before: f64::NAN, ..prediction() },
            Prediction { series: "no.such/signal".to_owned(), ..prediction() },
            Prediction { series: "service.rss_mb/a\") > 0 || last(\"host.load.per_core".to_owned(), ..prediction() },
        ];
        for one in bad {
            assert!(one.check().is_err(), "{one:?}");
        }
    }
}
