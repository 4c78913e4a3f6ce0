//! Whether the numbers that a rule or lesson was made for still fit here, and what speaks for choosing them anew.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::domain::heal::engine::Stats;
use crate::domain::id::Slug;
use crate::domain::lesson::CalibratedFor;

/// How far past its envelope a signal may be before what was calibrated by it is stale.
const FACTOR: f64 = 2.0;
/// Firings from which on a rule fires often.
const OFTEN: u64 = 5;

/// What was calibrated.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Calibrated {
    /// A lesson.
    Lesson {
        /// Its name.
        id: Slug,
        /// Its revision.
        rev: u32,
    },
    /// A rule.
    Rule {
        /// Its number.
        number: u32,
        /// Its name.
        name: String,
    },
}

impl Calibrated {
    /// What it is called in listings.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Lesson { id, rev } => format!("lesson {id} rev {rev}"),
            Self::Rule { number, name } => format!("rule {number} {name}"),
        }
    }
}

/// What a series usually is here: its median of the last day.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Usual {
    /// The series, such as `service.rss_mb/graph`.
    pub series: String,
    /// Its median.
    pub value: f64,
}

impl Usual {
    fn is_of(&self, name: &str) -> bool {
        self.series == name || self.series.split_once('/').is_some_and(|(signal, _)| signal == name)
    }
}

/// A series that is far outside of what something was calibrated for.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Drift {
    /// The series.
    pub series: String,
    /// What it usually is here.
    pub here: f64,
    /// The usual range where the numbers were chosen.
    pub range: [f64; 2],
}

impl Drift {
    /// Whether it grew past the range.
    #[must_use]
    pub fn grew(&self) -> bool {
        self.here > self.range[1]
    }

    /// It in words.
    #[must_use]
    pub fn words(&self) -> String {
        let [least, most] = self.range;
        let range = if least < most { format!("{least} to {most}") } else { format!("{most}") };
        format!("{} is {} here, and was {range} where the numbers come from", self.series, short(self.here))
    }
}

fn short(value: f64) -> String {
    let text = format!("{value:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Series that are outside of their envelope by more than twice. One that is not measured says nothing, and one whose
/// envelope ends at zero has no twice.
#[must_use]
pub fn drifts(envelope: &BTreeMap<String, [f64; 2]>, usual: &[Usual]) -> Vec<Drift> {
    let mut found = Vec::new();
    for (name, [least, most]) in envelope {
        for one in usual.iter().filter(|one| one.is_of(name) && one.value.is_finite()) {
            let grew = *most > 0.0 && one.value > most * FACTOR;
            let fell = *least > 0.0 && one.value < least / FACTOR;
            if grew || fell {
                found.push(Drift { series: one.series.clone(), here: one.value, range: [*least, *most] });
            }
        }
    }
    found
}

/// Two leading digits, away from zero or towards it: 183.4 becomes 190 or 180. What is usual is a little otherwise each
/// hour, and is no news each hour.
#[must_use]
pub fn rounded(value: f64, up: bool) -> f64 {
    if value <= 0.0 || !value.is_finite() {
        return value;
    }
    // A power of ten below one has no exact value, but its inverse has one.
    let digits = value.log10().floor() - 1.0;
    let (above, below) = (10_f64.powf(digits.max(0.0)), 10_f64.powf((-digits).max(0.0)));
    let leading = value / above * below;
    (if up { leading.ceil() } else { leading.floor() }) * above / below
}

/// Whether a rule with this envelope fits all that another one fits.
#[must_use]
pub fn covers(envelope: &BTreeMap<String, [f64; 2]>, fits: &BTreeMap<String, [f64; 2]>) -> bool {
    let covered = |name: &String, least: f64, most: f64| {
        envelope.get(name).is_some_and(|range| range[0] <= least && range[1] >= most)
    };
    fits.iter().all(|(name, [least, most])| covered(name, *least, *most))
}

/// The envelope of a lesson: its values are single numbers in decimal text. One that is no number bounds nothing.
#[must_use]
pub fn envelope(calibrated: &CalibratedFor) -> BTreeMap<String, [f64; 2]> {
    let number = |(name, text): (&String, &String)| {
        text.trim().parse::<f64>().ok().filter(|value| value.is_finite()).map(|value| (name.clone(), [value, value]))
    };
    calibrated.signals.iter().filter_map(number).collect()
}

/// Why something with these drifts is stale; none without any.
#[must_use]
pub fn why(drifts: &[Drift]) -> Option<String> {
    let first = drifts.first()?;
    let more = match drifts.len() {
        1 => String::new(),
        more => format!(", and {} more", more - 1),
    };
    Some(format!("outside of its calibration: {}{more}", first.words()))
}

/// A proposal to choose the numbers anew, with what speaks for it. Nothing is changed by it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Recalibration {
    /// Of what.
    pub of: Calibrated,
    /// The series that left their envelope.
    pub drifts: Vec<Drift>,
    /// The envelope that would fit: the old one, widened to what is usual here, to two digits.
    pub fits: BTreeMap<String, [f64; 2]>,
    /// What speaks for it, a line each.
    pub evidence: Vec<String>,
}

impl Recalibration {
    /// What is claimed of it, in CEL: the series stays within twice the envelope that would fit, for a day.
    #[must_use]
    pub fn claim(&self) -> Option<String> {
        let drift = self.drifts.first()?;
        let name = drift.series.split_once('/').map_or(drift.series.as_str(), |(signal, _)| signal);
        let [least, most] = [drift.series.as_str(), name].iter().find_map(|key| self.fits.get(*key))?;
        let series = &drift.series;
        Some(if drift.grew() {
            format!("avg(\"{series}\", \"24h\") <= {:.3}", most * FACTOR)
        } else {
            format!("avg(\"{series}\", \"24h\") >= {:.3}", least / FACTOR)
        })
    }
}

/// The proposal for something whose envelope does not fit any more; none where it does. `stats` are those of a rule.
#[must_use]
pub fn recalibrate(
    of: Calibrated,
    envelope: &BTreeMap<String, [f64; 2]>,
    usual: &[Usual],
    stats: Option<&Stats>,
) -> Option<Recalibration> {
    let drifts = drifts(envelope, usual);
    if drifts.is_empty() {
        return None;
    }
    let mut fits = envelope.clone();
    for drift in &drifts {
        let name = drift.series.split_once('/').map_or(drift.series.as_str(), |(signal, _)| signal);
        for key in [drift.series.as_str(), name] {
            if let Some([least, most]) = fits.get_mut(key) {
                (*least, *most) = (least.min(rounded(drift.here, false)), most.max(rounded(drift.here, true)));
            }
        }
    }
    let mut evidence: Vec<String> = drifts.iter().map(Drift::words).collect();
    if let Some(stats) = stats {
        let (fired, healed, failed) = (stats.fired, stats.healed, stats.failed);
        evidence.push(format!("fired {fired} times, healed {healed}, acted in vain {failed}"));
        if fired >= OFTEN && healed == 0 && drifts.iter().any(Drift::grew) {
            evidence.push("it fires often and without effect, and what it measures has grown".to_owned());
        }
    }
    Some(Recalibration { of, drifts, fits, evidence })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usual(series: &str, value: f64) -> Usual {
        Usual { series: series.to_owned(), value }
    }

    fn made_for(least: f64, most: f64) -> BTreeMap<String, [f64; 2]> {
        BTreeMap::from([("service.rss_mb".to_owned(), [least, most])])
    }

    #[test]
    fn e10_a_signal_is_outside_from_twice_its_envelope_on() {
        let envelope = made_for(200.0, 800.0);
        let at = |value| drifts(&envelope, &[usual("service.rss_mb/graph", value)]).len();
        for within in [100.0, 200.0, 800.0, 1_600.0] {
            assert_eq!(at(within), 0, "{within}");
        }
        for outside in [99.0, 1_601.0] {
            assert_eq!(at(outside), 1, "{outside}");
        }
        assert_eq!(drifts(&envelope, &[usual("service.rss_mb_total", 9_999.0), usual("http.status", 1.0)]), []);
        assert_eq!(drifts(&envelope, &[]), [], "what is not measured says nothing");
        assert_eq!(drifts(&made_for(0.0, 0.0), &[usual("service.rss_mb/graph", 5.0)]), [], "zero has no twice");
    }

    #[test]
    fn rule_22_fires_often_without_effect_and_its_signal_has_grown() {
        let of = Calibrated::Rule { number: 22, name: "graph-too-large".to_owned() };
        let stats = Stats { fired: 12, acted: 12, failed: 12, ..Stats::default() };
        let found =
            recalibrate(of, &made_for(200.0, 800.0), &[usual("service.rss_mb/graph", 2_400.0)], Some(&stats)).unwrap();
        assert_eq!(found.fits, made_for(200.0, 2_400.0));
        assert_eq!(
            found.evidence,
            [
                "service.rss_mb/graph is 2400 here, and was 200 to 800 where the numbers come from",
                "fired 12 times, healed 0, acted in vain 12",
                "it fires often and without effect, and what it measures has grown",
            ]
        );
    }

    #[test]
    fn rule_22_what_would_fit_is_the_same_for_values_that_are_about_the_same_and_can_be_wrong() {
        let at = |value| {
            let of = Calibrated::Rule { number: 22, name: "r".to_owned() };
            recalibrate(of, &made_for(200.0, 800.0), &[usual("service.rss_mb/graph", value)], None).unwrap()
        };
        assert_eq!((at(2_391.0).fits, at(2_391.0).claim()), (at(2_400.0).fits, at(2_400.0).claim()));
        assert_eq!(at(2_391.0).claim().as_deref(), Some("avg(\"service.rss_mb/graph\", \"24h\") <= 4800.000"));
        assert_eq!(at(18.4).fits, made_for(18.0, 800.0));
        assert_eq!(at(18.4).claim().as_deref(), Some("avg(\"service.rss_mb/graph\", \"24h\") >= 9.000"));
        assert!(covers(&at(2_400.0).fits, &made_for(200.0, 2_391.0)));
        assert!(!covers(&made_for(200.0, 800.0), &at(2_400.0).fits) && !covers(&BTreeMap::new(), &made_for(1.0, 2.0)));
        for (value, up, wanted) in [(182.4, true, 190.0), (100.0, true, 100.0), (1.23, true, 1.3), (0.123, false, 0.12)]
        {
            assert!((rounded(value, up) - wanted).abs() < 1e-12, "{value}: {}", rounded(value, up));
        }
    }

    #[test]
    fn a_rule_that_heals_or_whose_signal_shrank_is_not_told_to_fire_without_effect() {
        let evidence = |value, healed| {
            let of = Calibrated::Rule { number: 22, name: "r".to_owned() };
            let stats = Stats { fired: 12, healed, ..Stats::default() };
            let usual = [usual("service.rss_mb/graph", value)];
            recalibrate(of, &made_for(200.0, 800.0), &usual, Some(&stats)).unwrap().evidence.len()
        };
        assert_eq!((evidence(2_400.0, 3), evidence(20.0, 0)), (2, 2));
    }
}
