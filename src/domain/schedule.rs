//! When a host syncs: spread over the interval by its id, with jitter, so that a fleet never storms its server.

use std::time::Duration;

use super::id::HostId;

/// The default time between two syncs.
pub const SYNC_INTERVAL: Duration = Duration::from_secs(15 * 60);

/// How long this host waits after start before its first sync: its own place in the interval.
#[must_use]
pub fn first_offset(host: HostId, interval: Duration) -> Duration {
    let mut place = [0; 8];
    place.copy_from_slice(&host.as_bytes()[..8]);
    fraction(interval, u64::from_le_bytes(place))
}

/// How long to wait until the next sync: the interval, give or take a tenth, by `random`.
#[must_use]
pub fn next_wait(interval: Duration, random: u64) -> Duration {
    interval - interval / 10 + fraction(interval / 5, random)
}

/// The part of `span` that `place` is of the whole range of numbers.
fn fraction(span: Duration, place: u64) -> Duration {
    let nanos = span.as_nanos() * u128::from(place) / (u128::from(u64::MAX) + 1);
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_stay_within_a_tenth_of_the_interval() {
        assert_eq!(next_wait(SYNC_INTERVAL, 0), Duration::from_secs(810));
        let most = next_wait(SYNC_INTERVAL, u64::MAX);
        assert!(most > Duration::from_secs(989) && most <= Duration::from_secs(990));
    }

    #[test]
    fn hosts_spread_over_the_whole_interval() {
        let mut tenths = [0; 10];
        for n in 0..1_000_u32 {
            let host = HostId::from_bytes(*blake3::hash(&n.to_le_bytes()).as_bytes());
            let offset = first_offset(host, SYNC_INTERVAL);
            tenths[usize::try_from(offset.as_secs() / 90).expect("a tenth")] += 1;
        }
        assert!(tenths.iter().all(|count| (60..=140).contains(count)), "{tenths:?}");
    }
}
