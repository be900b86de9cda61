//! How many lines the requests of others may write into our own log: one small request can ask for thousands of changes,
//! and whoever sends many of them must not fill a disk, nor hide a line among a million.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The most lines in a window
const LINES_MAX: u64 = 100;
/// of this length.
const WINDOW: Duration = Duration::from_secs(10);

/// Counts the lines of the window that is open.
#[derive(Debug, Default)]
pub(super) struct Notes(Mutex<Option<Window>>);

#[derive(Debug)]
struct Window {
    begun: Instant,
    lines: u64,
}

/// What becomes of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line {
    Written,
    /// It is the first that is left out.
    FirstLeftOut,
    LeftOut,
}

impl Notes {
    /// Whether a line may be written. Reports when lines begin to be left out, and later how many were.
    pub(super) fn may_write(&self) -> bool {
        let (line, left_out) = self.next(Instant::now());
        if left_out > 0 {
            tracing::warn!(
                requests = left_out,
                "further requests of other programs were counted, and not written down"
            );
        }
        if line == Line::FirstLeftOut {
            let seconds = WINDOW.as_secs();
            tracing::warn!(
                "more than {LINES_MAX} requests of other programs in {seconds} seconds: the next ones are only counted"
            );
        }
        line == Line::Written
    }

    /// What becomes of the next line, and how many lines of the last window were left out.
    fn next(&self, now: Instant) -> (Line, u64) {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let last = open.take_if(|window| now.duration_since(window.begun) >= WINDOW);
        let left_out = last.map_or(0, |window| window.lines.saturating_sub(LINES_MAX));
        let window = open.get_or_insert(Window {
            begun: now,
            lines: 0,
        });
        window.lines += 1;
        let line = match window.lines {
            ..=LINES_MAX => Line::Written,
            lines if lines == LINES_MAX + 1 => Line::FirstLeftOut,
            _ => Line::LeftOut,
        };
        (line, left_out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_beyond_the_most_are_counted_until_the_window_ends() {
        let (notes, now) = (Notes::default(), Instant::now());
        for _ in 0..LINES_MAX {
            assert_eq!(notes.next(now), (Line::Written, 0));
        }
        assert_eq!(notes.next(now), (Line::FirstLeftOut, 0));
        assert_eq!(notes.next(now), (Line::LeftOut, 0));
        assert_eq!(notes.next(now + WINDOW), (Line::Written, 2));
        assert_eq!(notes.next(now + 2 * WINDOW), (Line::Written, 0));
    }
}
