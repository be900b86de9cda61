//! A rate from a count that is read now and then.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Time over which the rate is taken.
const WINDOW: Duration = Duration::from_secs(5);
/// A rate over less time says nothing.
const WINDOW_MIN: Duration = Duration::from_millis(500);
/// Nobody has looked for so long: what was counted before says nothing about now.
const STALE_AFTER: Duration = Duration::from_secs(30);

/// The counts of the last few seconds.
#[derive(Default)]
pub(super) struct Meter(VecDeque<(Instant, u64)>);

impl Meter {
    /// Notes a count; one that has fallen begins anew.
    pub(super) fn add(&mut self, at: Instant, count: u64) {
        if let Some((last_at, last)) = self.0.back() {
            if at <= *last_at {
                return;
            }
            if count < *last || at.duration_since(*last_at) > STALE_AFTER {
                self.0.clear();
            }
        }
        self.0.push_back((at, count));
        while self.0.len() > 2 && at.duration_since(self.0[1].0) >= WINDOW {
            self.0.pop_front();
        }
    }

    /// Counts a second; `None` until two are known.
    pub(super) fn rate(&self) -> Option<f64> {
        let ((first_at, first), (last_at, last)) = (self.0.front()?, self.0.back()?);
        let took = last_at.duration_since(*first_at);
        (took >= WINDOW_MIN).then(|| (last - first) as f64 / took.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_that_of_the_last_seconds() {
        let begun = Instant::now();
        let at = |seconds: u64| begun + Duration::from_secs(seconds);
        let mut meter = Meter::default();
        meter.add(at(0), 0);
        assert_eq!(meter.rate(), None);
        for seconds in 1..=10 {
            meter.add(at(seconds), seconds * 100);
            assert_eq!(meter.rate(), Some(100.0));
        }
        for seconds in 11..=20 {
            meter.add(at(seconds), 1000);
        }
        assert_eq!(meter.rate(), Some(0.0));
        meter.add(at(21), 7);
        assert_eq!(meter.rate(), None, "another log");
        meter.add(at(22), 17);
        assert_eq!(meter.rate(), Some(10.0));
        meter.add(at(100), 1_000_000);
        assert_eq!(meter.rate(), None, "nobody looked");
    }
}
