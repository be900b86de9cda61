//! What calls wait for at this moment, for people to see: said once, and told to whoever asks.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// How long a call waits before anybody is told.
const SILENT: Duration = Duration::from_secs(2);
/// Interval at which the reason of a wait is found out again, because it may have changed
const EXPLAIN_EVERY: Duration = Duration::from_secs(10);
/// A wait that is not renewed for so long is over: whoever waited has given up.
const RENEWED_WITHIN: Duration = Duration::from_secs(20);

/// What the calls to one log wait for. Clones share it, also those of clients that follow on one another.
#[derive(Debug, Clone, Default)]
pub struct Waits(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    waits: Mutex<BTreeMap<String, Wait>>,
    /// What has been warned of.
    warned: Mutex<BTreeSet<String>>,
    /// How many there are, to be read without the lock: every call that succeeds looks.
    count: AtomicUsize,
}

#[derive(Debug)]
struct Wait {
    since: Instant,
    renewed: Instant,
    why: String,
    is_told: bool,
    /// When `why` was found out.
    explained: Instant,
}

impl Waits {
    /// What is waited for, and for how long; none while calls succeed or have waited for a moment only.
    #[must_use]
    pub fn reason(&self) -> Option<String> {
        if self.0.count.load(Ordering::Acquire) == 0 {
            return None;
        }
        let waits = self.0.waits.lock();
        let shown = waits
            .iter()
            .filter(|(_, wait)| wait.is_told && wait.is_on());
        let shown: Vec<String> = shown
            .map(|(what, wait)| {
                let seconds = wait.since.elapsed().as_secs();
                format!("cannot {what} for {seconds} s: {}", wait.why)
            })
            .collect();
        (!shown.is_empty()).then(|| shown.join("; "))
    }

    /// Notes that a request has failed and will be repeated. `explain` says why, at more expense than `why`; it is
    /// called when the wait is reported, and from time to time as long as it lasts.
    pub(super) fn failed(&self, what: &str, why: &str, explain: impl FnOnce() -> Option<String>) {
        let now = Instant::now();
        let mut waits = self.0.waits.lock();
        waits.retain(|_, wait| wait.is_on());
        let wait = waits.entry(what.to_owned()).or_insert_with(|| Wait {
            since: now,
            renewed: now,
            why: why.to_owned(),
            is_told: false,
            explained: now,
        });
        wait.renewed = now;
        let is_new = !wait.is_told && wait.since.elapsed() >= SILENT;
        let is_due = is_new || wait.is_told && wait.explained.elapsed() >= EXPLAIN_EVERY;
        wait.is_told |= is_new;
        if is_due {
            wait.explained = now;
        }
        self.0.count.store(waits.len(), Ordering::Release);
        drop(waits);
        if is_due {
            let why = explain().map_or_else(|| why.to_owned(), |more| format!("{why}; {more}"));
            if is_new {
                tracing::warn!("cannot {what}: {why}; trying again");
            }
            if let Some(wait) = self.0.waits.lock().get_mut(what) {
                wait.why = why;
            }
        }
    }

    /// Notes that a request has succeeded.
    pub(super) fn succeeded(&self, what: impl FnOnce() -> String) {
        if self.0.count.load(Ordering::Acquire) == 0 {
            return;
        }
        let what = what();
        let mut waits = self.0.waits.lock();
        let ended = waits.remove(&what);
        self.0.count.store(waits.len(), Ordering::Release);
        drop(waits);
        if let Some(wait) = ended.filter(|wait| wait.is_told) {
            let seconds = wait.since.elapsed().as_secs();
            tracing::info!("could {what} again after {seconds} s");
        }
    }

    /// Warns, unless that has been said before.
    pub(super) fn warn_once(&self, warning: &str) {
        let mut warned = self.0.warned.lock();
        if warned.insert(warning.to_owned()) {
            tracing::warn!("{warning}");
        }
    }
}

impl Wait {
    fn is_on(&self) -> bool {
        self.renewed.elapsed() < RENEWED_WITHIN
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fail(waits: &Waits) {
        waits.failed("read topic `t`", "no leader", || {
            Some("broker 2 is away".to_owned())
        });
    }

    /// Makes the wait older than it is.
    fn age(waits: &Waits, by: Duration) {
        for wait in waits.0.waits.lock().values_mut() {
            wait.since = wait.since.checked_sub(by).unwrap();
            wait.explained = wait.explained.checked_sub(by).unwrap();
        }
    }

    #[test]
    fn a_wait_is_told_after_a_while_and_until_a_success() {
        let waits = Waits::default();
        fail(&waits);
        assert_eq!(waits.reason(), None, "a moment is not told");
        age(&waits, SILENT);
        fail(&waits);
        let told = "cannot read topic `t` for 2 s: no leader; broker 2 is away";
        assert_eq!(waits.clone().reason().as_deref(), Some(told));
        waits.succeeded(|| "append to topic `t`".to_owned());
        assert!(waits.reason().is_some(), "another request");
        waits.succeeded(|| "read topic `t`".to_owned());
        assert_eq!(waits.reason(), None);
    }

    #[test]
    fn the_reason_of_a_wait_is_found_out_again() {
        let waits = Waits::default();
        fail(&waits);
        age(&waits, SILENT);
        fail(&waits);
        let explain = || Some("broker 3 is away".to_owned());
        waits.failed("read topic `t`", "no leader", explain);
        let reason = waits.reason().unwrap();
        assert!(reason.ends_with("broker 2 is away"), "too early: {reason}");
        age(&waits, EXPLAIN_EVERY);
        waits.failed("read topic `t`", "no leader", explain);
        let reason = waits.reason().unwrap();
        assert!(reason.ends_with("broker 3 is away"), "{reason}");
    }

    #[test]
    fn a_wait_that_nobody_renews_is_over() {
        let waits = Waits::default();
        fail(&waits);
        age(&waits, SILENT);
        fail(&waits);
        for wait in waits.0.waits.lock().values_mut() {
            wait.renewed = wait.renewed.checked_sub(RENEWED_WITHIN).unwrap();
        }
        assert_eq!(waits.reason(), None);
    }
}
