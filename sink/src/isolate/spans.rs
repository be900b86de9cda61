//! The spans of a batch that are tried one after the other.

use crate::batch::Batch;
use crate::write::SpanError;

/// The smallest number of records that are tried together, but for what is left of a span
const SPAN_MIN: usize = 8;

/// A half open range of a batch's rows, in log order
type Span = (usize, usize);

/// The spans still to be applied. What a span sends after its first refused record is sent again: where many are refused,
/// spans are short.
pub(super) struct Spans {
    /// The next one last.
    left: Vec<Span>,
    /// The most records of one span
    most: usize,
}

impl Spans {
    /// Those of a batch that failed as a whole.
    pub(super) fn of(batch: &Batch, error: &SpanError) -> Self {
        let whole = (0, batch.rows.len());
        let mut spans = Self {
            left: Vec::new(),
            most: whole.1,
        };
        match whole.1 {
            0 | 1 => spans.again(whole),
            _ => spans.split(whole, failed_at(batch, &batch.winners, error)),
        }
        spans
    }

    pub(super) fn next(&mut self) -> Option<Span> {
        let (start, end) = self.left.pop()?;
        let cut = end.min(start + self.most);
        if cut < end {
            self.left.push((cut, end));
        }
        Some((start, cut))
    }

    /// Notes a span to be tried once more.
    pub(super) fn again(&mut self, span: Span) {
        self.left.push(span);
    }

    /// Notes a span that was applied.
    pub(super) fn has_passed(&mut self, (start, end): Span) {
        if end - start == self.most {
            self.most *= 2;
        }
    }

    /// Notes a span that failed, because of the row `at` if that is known, and is tried in parts.
    pub(super) fn has_failed(&mut self, span: Span, at: Option<usize>) {
        self.most = SPAN_MIN.max((span.1 - span.0) / 2);
        self.split(span, at);
    }

    /// Splits a span: at the row that is known to be at fault, else in the middle.
    fn split(&mut self, (start, end): Span, at: Option<usize>) {
        let parts = match at {
            Some(at) if (start..end).contains(&at) => [(start, at), (at, at + 1), (at + 1, end)],
            _ => {
                let middle = start + (end - start) / 2;
                [(start, middle), (middle, end), (end, end)]
            }
        };
        let parts = parts.into_iter().rev();
        self.left.extend(parts.filter(|(start, end)| start < end));
    }
}

/// The row at fault, where the server names a line of the COPY: `COPY events, line 3, column price`.
pub(super) fn failed_at(batch: &Batch, sent: &[u32], error: &SpanError) -> Option<usize> {
    let SpanError::Postgres(error) = error else {
        return None;
    };
    let context = error.as_db_error()?.where_()?;
    let line = copy_line(context)?;
    let row = *sent.get(line.checked_sub(1)?)? as usize;
    (row < batch.rows.len()).then_some(row)
}

fn copy_line(context: &str) -> Option<usize> {
    // The innermost context stands first; a trigger's own COPY or a function has other lines before it.
    let line = context.lines().find(|line| line.starts_with("COPY "))?;
    let (_, behind) = line.rsplit_once(", line ")?;
    let digits = behind.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_of_a_copy_is_found() {
        let check = |context, expected| assert_eq!(copy_line(context), expected, "{context}");
        check("COPY events, line 3, column price: \"x\"", Some(3));
        check("COPY a, line 7, line 12", Some(12));
        check("SQL function \"f\"\nCOPY events, line 41", Some(41));
        check("PL/pgSQL function f() line 3 at RAISE", None);
    }

    #[test]
    fn spans_are_split_in_order() {
        let check = |at, expected: &[(usize, usize)]| {
            let (left, most) = (vec![(9, 12)], 12);
            let mut spans = Spans { left, most };
            spans.split((2, 6), at);
            let popped: Vec<_> = std::iter::from_fn(|| spans.next()).collect();
            assert_eq!(popped[..popped.len() - 1], *expected);
        };
        check(None, &[(2, 4), (4, 6)]);
        check(Some(2), &[(2, 3), (3, 6)]);
        check(Some(4), &[(2, 4), (4, 5), (5, 6)]);
        check(Some(5), &[(2, 5), (5, 6)]);
        check(Some(7), &[(2, 4), (4, 6)]);
    }

    #[test]
    fn spans_are_short_while_many_records_are_refused() {
        let (left, most) = (vec![(0, 1_000)], 1_000);
        let mut spans = Spans { left, most };
        // Each hundredth row is refused.
        let (mut sent, mut done) = (0, 0);
        while let Some((start, end)) = spans.next() {
            assert_eq!(start, done);
            sent += end - start;
            let bad = start.next_multiple_of(100);
            if bad < end && end - start > 1 {
                spans.has_failed((start, end), Some(bad));
                continue;
            }
            spans.has_passed((start, end));
            done = end;
        }
        assert_eq!(done, 1_000);
        assert!(sent < 4_000, "{sent}");
    }
}
