//! How long to wait before the next attempt: longer each time, up to a cap, and not in step with others.

use std::time::Duration;

const FIRST_MS: u64 = 50;
const CAP_MS: u64 = 3_000;

/// Counts attempts that failed.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// How long to wait after one more failure: 50 ms doubled each time up to 3 s, less up to a half.
    pub(crate) fn next(&mut self) -> Duration {
        let full = FIRST_MS
            .saturating_mul(1 << self.failures.min(10))
            .min(CAP_MS);
        self.failures += 1;
        Duration::from_millis(rand::random_range(full / 2..=full))
    }

    /// Attempts that failed in succession.
    pub(crate) fn failures(&self) -> u32 {
        self.failures
    }

    /// Whether the last attempt failed.
    pub(crate) fn is_waiting(&self) -> bool {
        self.failures > 0
    }

    /// Begins anew after a success.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_grows_to_the_cap() {
        let mut backoff = Backoff::default();
        let waits: Vec<u128> = (0..40).map(|_| backoff.next().as_millis()).collect();
        assert!((25..=50).contains(&waits[0]), "{waits:?}");
        assert!(
            waits[10..]
                .iter()
                .all(|wait| (1_500..=3_000).contains(wait)),
            "{waits:?}"
        );
    }
}
