//! What signals usually are here: the median of the last day, where enough of it was measured.

use std::collections::BTreeSet;
use std::time::Duration;

use super::db::{Db, DbError};
use crate::domain::expr::Function;
use crate::domain::kaizen::calibration::Usual;
use crate::domain::signal;

const DAY: Duration = Duration::from_secs(86_400);

impl Db {
    /// The median of the last day for each series of these signals. A name may carry a subject, and is then one series.
    ///
    /// # Errors
    /// SQLite refused.
    pub fn usual<'a>(&self, names: impl IntoIterator<Item = &'a str>, now: i64) -> Result<Vec<Usual>, DbError> {
        let names: BTreeSet<&str> =
            names.into_iter().map(|name| name.split_once('/').map_or(name, |(signal, _)| signal)).collect();
        let mut usual = Vec::new();
        for signal in names.into_iter().filter_map(signal::find) {
            for series in self.series(signal, DAY, now)? {
                let median = series.read(Function::Baseline, Some(DAY), signal, now).and_then(|range| range.exact());
                let name = match series.subject.as_str() {
                    "" => signal.name.to_owned(),
                    subject => format!("{}/{subject}", signal.name),
                };
                usual.extend(median.map(|value| Usual { series: name, value }));
            }
        }
        Ok(usual)
    }
}
