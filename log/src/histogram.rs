//! How long things take, counted by duration.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The upper bounds of the buckets but the last, in seconds.
const BOUNDS_SECONDS: [f64; 14] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

/// Counts durations by size, from many threads.
#[derive(Debug, Default)]
pub struct Histogram {
    /// One for each bound, and the last for what is longer.
    counts: [AtomicU64; BOUNDS_SECONDS.len() + 1],
    sum_us: AtomicU64,
}

/// What a [`Histogram`] has counted.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Durations {
    /// For each bound in seconds, how many durations were not above it; rising.
    pub buckets: Vec<(f64, u64)>,
    /// How many there were.
    pub count: u64,
    /// Their sum in seconds.
    pub sum_seconds: f64,
}

impl Histogram {
    /// Counts a duration.
    pub fn observe(&self, took: Duration) {
        let seconds = took.as_secs_f64();
        let at = BOUNDS_SECONDS.partition_point(|bound| *bound < seconds);
        self.counts[at].fetch_add(1, Ordering::Relaxed);
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.sum_us.fetch_add(us, Ordering::Relaxed);
    }

    /// What has been counted so far.
    #[must_use]
    pub fn durations(&self) -> Durations {
        let mut count = 0;
        let counts = self.counts.each_ref().map(|bucket| {
            count += bucket.load(Ordering::Relaxed);
            count
        });
        Durations {
            buckets: BOUNDS_SECONDS.into_iter().zip(counts).collect(),
            count,
            sum_seconds: Duration::from_micros(self.sum_us.load(Ordering::Relaxed)).as_secs_f64(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_counts_in_every_bucket_that_it_fits() {
        let histogram = Histogram::default();
        for ms in [0, 1, 3, 60_000] {
            histogram.observe(Duration::from_millis(ms));
        }
        let found = histogram.durations();
        let counts: Vec<_> = found.buckets.iter().map(|(_, count)| *count).collect();
        assert_eq!(counts[..5], [1, 2, 2, 3, 3]);
        assert_eq!((counts[13], found.count), (3, 4));
        assert!((found.sum_seconds - 60.004).abs() < 1e-9);
    }
}
