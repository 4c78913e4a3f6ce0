//! A series in one line of text: the mean of each stretch as a bar, and a blank where nothing was measured.

use super::series::Series;

const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// The last `span` seconds up to `now` in `width` characters.
#[must_use]
pub fn sparkline(series: &Series, span: i64, now: i64, width: usize) -> String {
    let columns = i64::try_from(width).unwrap_or(1).max(1);
    let mut sums = vec![(0.0, 0.0); width.max(1)];
    for point in series.points.iter().filter(|point| !point.is_gap() && point.until <= now) {
        let place = (point.from - (now - span)).saturating_mul(columns) / span.max(1);
        if let Some(sum) =
            usize::try_from(place).ok().map(|place| place.min(width - 1)).and_then(|place| sums.get_mut(place))
        {
            *sum = (sum.0 + point.sum, sum.1 + f64::from(point.n));
        }
    }
    let means: Vec<Option<f64>> = sums.iter().map(|(sum, n)| (*n > 0.0).then(|| sum / n)).collect();
    let known = || means.iter().flatten().copied().filter(|mean| mean.is_finite());
    let (least, most) = (known().fold(f64::INFINITY, f64::min), known().fold(f64::NEG_INFINITY, f64::max));
    let bar = |mean: &Option<f64>| match mean {
        Some(mean) if most > least => {
            // From 0 to 7, and so for means that are no number.
            let height = ((mean - least) / (most - least) * 7.0).round();
            BARS.into_iter().zip(0..).find(|(_, step)| f64::from(*step) >= height).map_or(BARS[0], |(bar, _)| bar)
        }
        Some(_) => BARS[0],
        None => ' ',
    };
    means.iter().map(bar).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::domain::series::Point;

    #[test]
    fn gaps_are_blank_and_the_rest_rises_and_falls() {
        let points = [(0, Some(1.0)), (10, Some(8.0)), (20, None), (30, Some(4.5)), (39, Some(4.5))];
        let points = points.map(|(at, value)| Point::reading(at, value)).to_vec();
        let series = Series { subject: String::new(), every: Duration::from_secs(10), points };
        assert_eq!(sparkline(&series, 40, 40, 4), "▁█ ▅");
        assert_eq!(sparkline(&Series { points: Vec::new(), ..series.clone() }, 40, 40, 3), "   ");
        let flat =
            Series { points: vec![Point::reading(5, Some(f64::MAX)), Point::reading(6, Some(f64::MAX))], ..series };
        assert_eq!(sparkline(&flat, 40, 40, 1).chars().count(), 1);
    }
}
