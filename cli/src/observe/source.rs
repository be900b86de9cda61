//! A source of facts, asked in the background: one question at a time, and no more often than is cheap.

use std::fs;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

/// Shortest interval between two questions.
const ASK_EVERY_MIN: Duration = Duration::from_secs(1);
/// Longest interval between two questions.
const ASK_EVERY_MAX: Duration = Duration::from_secs(10);
/// A source takes at most one part in so many of a core.
const CPU_SHARE: u32 = 40;
/// A question keeps its source busy for at most one part in so many of the time.
const BUSY_SHARE: u32 = 4;

/// A source and its latest answer.
pub(super) struct Source<T> {
    name: &'static str,
    state: Mutex<State<T>>,
    changed: Condvar,
}

struct State<T> {
    reading: Option<Reading<T>>,
    asked_at: Option<Instant>,
    due_at: Instant,
}

/// Answer of a source, and its time
pub(super) struct Reading<T> {
    pub(super) value: Arc<T>,
    pub(super) at: Instant,
}

impl<T> Clone for Reading<T> {
    fn clone(&self) -> Self {
        Self {
            value: Arc::clone(&self.value),
            at: self.at,
        }
    }
}

impl<T: Send + Sync + 'static> Source<T> {
    pub(super) fn new(name: &'static str) -> Arc<Self> {
        Arc::new(Self {
            name,
            state: Mutex::new(State {
                reading: None,
                asked_at: None,
                due_at: Instant::now(),
            }),
            changed: Condvar::new(),
        })
    }

    /// Starts to ask, unless an earlier question has no answer yet or the latest answer is fresh.
    pub(super) fn refresh(self: &Arc<Self>, ask: impl FnOnce() -> T + Send + 'static) {
        {
            let mut state = self.state.lock();
            if state.asked_at.is_some() || Instant::now() < state.due_at {
                return;
            }
            state.asked_at = Some(Instant::now());
        }
        let asking = Asking {
            source: Arc::clone(self),
            answer: None,
            cpu: Duration::ZERO,
        };
        let work = move || {
            let mut asking = asking;
            let before = cpu_time();
            asking.answer = Some(ask());
            asking.cpu = cpu_time().saturating_sub(before);
        };
        // A thread that cannot be started drops the question, which is then asked later.
        let _ = thread::Builder::new()
            .name(self.name.to_owned())
            .spawn(work);
    }

    pub(super) fn latest(&self) -> Option<Reading<T>> {
        self.state.lock().reading.clone()
    }

    /// Waits until the first answer is there, at most until `deadline`.
    pub(super) fn await_first(&self, deadline: Instant) {
        let mut state = self.state.lock();
        while state.reading.is_none() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            self.changed.wait_for(&mut state, left);
        }
    }
}

/// A question without an answer yet; ends the question also if it panics.
struct Asking<T: Send + Sync + 'static> {
    source: Arc<Source<T>>,
    answer: Option<T>,
    cpu: Duration,
}

impl<T: Send + Sync + 'static> Drop for Asking<T> {
    fn drop(&mut self) {
        let mut state = self.source.state.lock();
        let now = Instant::now();
        let took = state.asked_at.take().map_or(Duration::ZERO, |at| now - at);
        let pause = (self.cpu * CPU_SHARE).max(took * BUSY_SHARE);
        state.due_at = now + pause.clamp(ASK_EVERY_MIN, ASK_EVERY_MAX) - SLACK;
        if let Some(answer) = self.answer.take() {
            state.reading = Some(Reading {
                value: Arc::new(answer),
                at: now,
            });
        }
        drop(state);
        self.source.changed.notify_all();
    }
}

/// Tolerance for a question that is asked every second and comes a little early
const SLACK: Duration = Duration::from_millis(200);

/// CPU time of this thread, on Linux; zero elsewhere.
fn cpu_time() -> Duration {
    let stat = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanoseconds = stat.split(' ').next().and_then(|field| field.parse().ok());
    Duration::from_nanos(nanoseconds.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[test]
    fn many_who_look_ask_once() {
        let source = Source::new("test");
        let asked = Arc::new(AtomicU32::new(0));
        for _ in 0..20 {
            let asked = Arc::clone(&asked);
            source.refresh(move || {
                thread::sleep(Duration::from_millis(20));
                asked.fetch_add(1, Ordering::Relaxed) + 1
            });
        }
        assert!(source.latest().is_none());
        source.await_first(Instant::now() + Duration::from_secs(10));
        assert_eq!(source.latest().map(|reading| *reading.value), Some(1));
        source.refresh(|| 99);
        assert_eq!(asked.load(Ordering::Relaxed), 1, "the answer is fresh");
    }

    #[test]
    fn a_question_that_panics_is_asked_again() {
        let source = Source::new("test");
        source.refresh(|| -> u32 { panic!("on purpose") });
        let deadline = Instant::now() + Duration::from_secs(20);
        while source.latest().is_none() {
            assert!(Instant::now() < deadline);
            source.refresh(|| 7);
            source.await_first(Instant::now() + Duration::from_millis(10));
        }
        assert_eq!(source.latest().map(|reading| *reading.value), Some(7));
    }
}
