//! Group commit: appends that wait while one is written and fsynced share the next write and fsync.
//!
//! Whoever finds nobody writing becomes the leader: takes what waits, writes it, and wakes the others. There
//! is no thread for it, so that a lone append costs no switch.

use std::collections::HashMap;
use std::time::Instant;

use parking_lot::{Condvar, Mutex};

use crate::producers::{Refusal, Sequenced};
use crate::{Error, Offset, Session};

/// A leader takes appends up to this many bytes together, at least one of them.
const GROUP_BYTES_MAX: usize = 32 << 20;

/// One call of `append`.
pub(crate) struct Request {
    pub(crate) session: Option<Session>,
    pub(crate) parts: Vec<Part>,
}

/// A batch for one partition; none where the buffer was empty.
pub(crate) struct Part {
    pub(crate) partition: u32,
    pub(crate) records: u32,
    pub(crate) max_timestamp_ms: i64,
    /// How an idempotent producer has numbered it.
    pub(crate) sequenced: Option<Sequenced>,
    pub(crate) batch: Vec<u8>,
}

/// What became of a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Placed {
    /// It is stored from this offset on, now or since an earlier attempt; an empty one is nowhere, and this
    /// is the end.
    At(Offset),
    /// It is not stored.
    Refused(Refusal),
}

pub(crate) type Outcome = Result<Vec<Placed>, Error>;

/// The appends of one topic that wait.
#[derive(Default)]
pub(crate) struct AppendQueue {
    inner: Mutex<Inner>,
    changed: Condvar,
}

#[derive(Default)]
struct Inner {
    next_ticket: u64,
    waiting: Vec<(u64, Request)>,
    led: bool,
    outcomes: HashMap<u64, Outcome>,
}

/// The place of a request that waits. Whoever has it waits for the outcome, which else stays for ever.
#[derive(Debug)]
#[must_use]
pub(crate) struct Ticket {
    number: u64,
    entered: Instant,
}

impl Ticket {
    /// When the request came.
    pub(crate) const fn entered(&self) -> Instant {
        self.entered
    }
}

impl AppendQueue {
    /// Takes a request in; they are written in this order.
    pub(crate) fn enter(&self, request: Request) -> Ticket {
        let mut inner = self.inner.lock();
        let number = inner.next_ticket;
        inner.next_ticket += 1;
        inner.waiting.push((number, request));
        Ticket {
            number,
            entered: Instant::now(),
        }
    }

    /// Waits until a request is written, or writes it and what else waits; `write` gets a group of requests and
    /// returns an outcome for each.
    pub(crate) fn wait(
        &self,
        ticket: Ticket,
        write: impl Fn(Vec<Request>) -> Vec<Outcome>,
    ) -> Outcome {
        let mut inner = self.inner.lock();
        loop {
            if let Some(outcome) = inner.outcomes.remove(&ticket.number) {
                return outcome;
            }
            if inner.led {
                self.changed.wait(&mut inner);
                continue;
            }
            inner.led = true;
            let (tickets, group): (Vec<_>, Vec<_>) =
                take_group(&mut inner.waiting).into_iter().unzip();
            drop(inner);
            let outcomes = write(group);
            inner = self.inner.lock();
            inner.led = false;
            inner.outcomes.extend(tickets.into_iter().zip(outcomes));
            self.changed.notify_all();
        }
    }
}

fn take_group(waiting: &mut Vec<(u64, Request)>) -> Vec<(u64, Request)> {
    let mut bytes = 0;
    let taken = waiting
        .iter()
        .take_while(|(_, request)| {
            let fits = bytes == 0 || bytes < GROUP_BYTES_MAX;
            bytes += request
                .parts
                .iter()
                .map(|part| part.batch.len())
                .sum::<usize>();
            fits
        })
        .count();
    waiting.drain(..taken).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;

    use super::*;

    fn request(bytes: usize) -> Request {
        Request {
            session: None,
            parts: vec![Part {
                partition: 0,
                records: 1,
                max_timestamp_ms: 0,
                sequenced: None,
                batch: vec![0; bytes],
            }],
        }
    }

    #[test]
    fn appends_that_wait_are_written_together() {
        let queue = AppendQueue::default();
        let (group_begun, begun) = mpsc::channel();
        let (go_on, may_go_on) = mpsc::channel();
        let gate = Mutex::new((group_begun, may_go_on));
        let write = |group: Vec<Request>| {
            let gate = gate.lock();
            gate.0.send(group.len()).unwrap();
            gate.1.recv().unwrap();
            let offsets = (0..).map(|i| Ok(vec![Placed::At(Offset::new(i))]));
            offsets.take(group.len()).collect()
        };
        thread::scope(|scope| {
            let append = || queue.wait(queue.enter(request(10)), write);
            let first = scope.spawn(append);
            assert_eq!(begun.recv().unwrap(), 1);
            let others: Vec<_> = (0..5).map(|_| scope.spawn(append)).collect();
            while queue.inner.lock().waiting.len() < 5 {
                thread::yield_now();
            }
            go_on.send(()).unwrap();
            assert_eq!(begun.recv().unwrap(), 5);
            go_on.send(()).unwrap();
            assert_eq!(first.join().unwrap().unwrap(), [Placed::At(Offset::ZERO)]);
            let mut offsets: Vec<_> = others
                .into_iter()
                .map(|thread| thread.join().unwrap().unwrap())
                .collect();
            offsets.sort_unstable_by_key(|placed| format!("{placed:?}"));
            let expected = [0, 1, 2, 3, 4].map(|i| [Placed::At(Offset::new(i))]);
            assert_eq!(offsets, expected, "each gets its own outcome");
        });
    }

    #[test]
    fn a_group_is_bounded_and_never_empty() {
        let half = GROUP_BYTES_MAX / 2;
        let mut waiting: Vec<_> = [3 * half, half, half, half]
            .into_iter()
            .map(|bytes| (0, request(bytes)))
            .collect();
        assert_eq!(take_group(&mut waiting).len(), 1);
        assert_eq!(take_group(&mut waiting).len(), 2);
        assert_eq!(take_group(&mut waiting).len(), 1);
        assert!(take_group(&mut waiting).is_empty());
    }
}
