//! Takes the samples: from counters in memory, which cost nothing.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bekk_log::{Client, Durations};

use super::ring::FINE;
use super::{History, Sample, now_seconds};
use crate::lag::age_seconds;
use crate::service::{Parts, Service};

/// Counts at the time of the last sample
struct Counted {
    at: Instant,
    read: Option<u64>,
    applied: Option<u64>,
    visible: Durations,
}

/// Takes samples of a service, one after the other.
#[derive(Default)]
pub(crate) struct Sampler {
    last: Option<Counted>,
}

impl Sampler {
    /// Time until the next sample is to be taken.
    pub(crate) fn pause() -> Duration {
        let into_step = now_seconds() % FINE.step_seconds;
        Duration::from_secs(FINE.step_seconds - into_step)
    }

    /// Takes a sample and adds it to the history.
    pub(crate) fn sample(&mut self, service: &Service, history: &History) {
        let parts = service.parts();
        let counted = Counted::of(&parts);
        if let Some(last) = &self.last {
            let mut sample = counted.since(last);
            (sample.lag_records, sample.lag_seconds) = lag(&parts);
            history.add(now_seconds(), &sample);
        }
        self.last = Some(counted);
    }
}

impl Counted {
    fn of(parts: &Parts) -> Self {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let sink = parts.sink.as_ref().map(|sink| &sink.stats);
        // A log's server sees what others append.
        let appended = || Some(parts.log.as_ref()?.counters().ok()?.records);
        let ingest = parts.ingest.as_ref();
        Self {
            at: Instant::now(),
            read: match (ingest, sink) {
                (Some(stats), _) => Some(load(&stats.records_logged)),
                (None, None) => appended(),
                (None, Some(_)) => None,
            },
            applied: sink.map(|stats| stats.applied()),
            visible: sink.map_or_else(Durations::default, |stats| stats.visible_time.durations()),
        }
    }

    fn since(&self, last: &Self) -> Sample {
        let seconds = (self.at - last.at).as_secs_f64();
        let rate = |now: Option<u64>, then: Option<u64>| {
            let count = now?.checked_sub(then?)?;
            (seconds > 0.5).then(|| count as f64 / seconds)
        };
        Sample {
            read_rate: rate(self.read, last.read),
            applied_rate: rate(self.applied, last.applied),
            visible_median: quantile(&self.visible, &last.visible, 0.5),
            visible_p99: quantile(&self.visible, &last.visible, 0.99),
            ..Sample::default()
        }
    }
}

/// Lag of the sink's group in records and seconds
fn lag(parts: &Parts) -> (Option<f64>, Option<f64>) {
    let Some(sink) = &parts.sink else {
        return (None, None);
    };
    let positions = sink.stats.positions();
    if positions.is_empty() {
        return (None, None);
    }
    let age = |log: &Client| {
        let behind = positions
            .iter()
            .filter(|position| position.next < position.end);
        behind
            .filter_map(|position| {
                age_seconds(log, &position.topic, position.partition, position.next)
            })
            .fold(0.0, f64::max)
    };
    (Some(sink.stats.lag() as f64), parts.log.as_ref().map(age))
}

/// The duration that a share of those counted since then did not exceed, in seconds; `None` if there were none.
fn quantile(now: &Durations, then: &Durations, share: f64) -> Option<f64> {
    let count = now
        .count
        .checked_sub(then.count)
        .filter(|count| *count > 0)?;
    let wanted = count as f64 * share;
    let (mut lower, mut below) = (0.0, 0.0);
    for (at, (bound, cumulated)) in now.buckets.iter().enumerate() {
        let before = then.buckets.get(at).map_or(0, |(_, count)| *count);
        let reached = cumulated.saturating_sub(before) as f64;
        if reached >= wanted {
            let width = (reached - below).max(1.0);
            return Some(lower + (bound - lower) * (wanted - below) / width);
        }
        (lower, below) = (*bound, reached);
    }
    // Above the last bound only the mean tells more.
    let sum = now.sum_seconds - then.sum_seconds;
    Some(lower.max(sum / count as f64))
}

#[cfg(test)]
mod tests {
    use bekk_log::Histogram;

    use super::*;

    #[test]
    fn quantiles_are_of_what_was_counted_since() {
        let histogram = Histogram::default();
        histogram.observe(Duration::from_secs(60));
        let then = histogram.durations();
        assert_eq!(quantile(&then, &then, 0.5), None);
        for _ in 0..99 {
            histogram.observe(Duration::from_millis(4));
        }
        histogram.observe(Duration::from_millis(400));
        let now = histogram.durations();
        let median = quantile(&now, &then, 0.5).unwrap();
        assert!((0.0025..=0.005).contains(&median), "{median}");
        let p99 = quantile(&now, &then, 0.995).unwrap();
        assert!((0.25..=0.5).contains(&p99), "{p99}");
    }
}
