//! Limits the lines that requests of other programs cause in the messages of this process. One small request can ask for
//! thousands of changes; many of them must not fill a disk, nor hide one line among a million.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Most lines in a window
const LINES_MAX: u64 = 100;
/// Length of a window
const WINDOW: Duration = Duration::from_secs(10);

/// Counts the lines of the current window.
#[derive(Debug, Default)]
pub(super) struct LineLimit(Mutex<Option<Window>>);

#[derive(Debug)]
struct Window {
    begun: Instant,
    lines: u64,
}

/// The fate of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line {
    Written,
    /// It is left out, as the first of its window.
    FirstLeftOut,
    LeftOut,
}

impl LineLimit {
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

    /// Decides on the next line; also returns how many lines of the last window were left out.
    fn next(&self, now: Instant) -> (Line, u64) {
        let mut open = self.0.lock();
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
        let (limit, now) = (LineLimit::default(), Instant::now());
        for _ in 0..LINES_MAX {
            assert_eq!(limit.next(now), (Line::Written, 0));
        }
        assert_eq!(limit.next(now), (Line::FirstLeftOut, 0));
        assert_eq!(limit.next(now), (Line::LeftOut, 0));
        assert_eq!(limit.next(now + WINDOW), (Line::Written, 2));
        assert_eq!(limit.next(now + 2 * WINDOW), (Line::Written, 0));
    }
}
