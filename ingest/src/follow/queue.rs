//! Whose turn it is to be read.

use std::collections::{HashSet, VecDeque};
use std::time::{Duration, Instant};

use bekk_stream::FileId;

/// The files that are to be read, and those that are open.
pub(crate) struct Queue {
    /// Files found together, read one after the other.
    backlog: VecDeque<FileId>,
    /// Files that have changed lately, looked at every few milliseconds.
    active: Vec<FileId>,
    /// The same, to be asked for one.
    is_active: HashSet<FileId>,
    /// Files whose unterminated last record waits for them to stand still.
    unsettled: Vec<FileId>,
    /// Open files in the order in which they were opened; some may have been closed since.
    open: VecDeque<FileId>,
    polled_at: Instant,
}

impl Queue {
    pub(crate) fn new() -> Self {
        Self {
            backlog: VecDeque::new(),
            active: Vec::new(),
            is_active: HashSet::new(),
            unsettled: Vec::new(),
            open: VecDeque::new(),
            polled_at: Instant::now(),
        }
    }

    /// Puts a file at the end of the backlog.
    pub(crate) fn enqueue(&mut self, id: FileId) {
        self.backlog.push_back(id);
    }

    pub(crate) fn first(&self) -> Option<FileId> {
        self.backlog.front().copied()
    }

    /// Takes the first file from the backlog.
    pub(crate) fn dequeue(&mut self) {
        self.backlog.pop_front();
    }

    pub(crate) fn is_backlog_empty(&self) -> bool {
        self.backlog.is_empty()
    }

    /// Takes a file among the active ones.
    pub(crate) fn activate(&mut self, id: FileId) {
        if self.is_active.insert(id) {
            self.active.push(id);
        }
    }

    /// The active files, if it is time to look at them; those that stay active are to be [activated](Self::activate)
    /// again.
    pub(crate) fn take_active(&mut self, interval: Duration) -> Vec<FileId> {
        let now = Instant::now();
        if now < self.polled_at + interval {
            return Vec::new();
        }
        self.polled_at = now;
        self.is_active.clear();
        std::mem::take(&mut self.active)
    }

    /// When the active files are to be looked at next; `None` if there are none.
    pub(crate) fn next_poll(&self, interval: Duration) -> Option<Instant> {
        (!self.active.is_empty()).then(|| self.polled_at + interval)
    }

    /// Lets a file not wait any more.
    pub(crate) fn withdraw(&mut self, id: FileId) {
        self.unsettled.retain(|waiting| *waiting != id);
    }

    /// Lets a file wait until it has stopped changing.
    pub(crate) fn unsettle(&mut self, id: FileId) {
        self.unsettled.push(id);
    }

    pub(crate) fn take_unsettled(&mut self) -> Vec<FileId> {
        std::mem::take(&mut self.unsettled)
    }

    pub(crate) fn is_settled(&self) -> bool {
        self.unsettled.is_empty()
    }

    /// Notes that a file was opened; returns those that are open beyond `open_max`, the earliest first. `must_stay` says
    /// of which file that it must stay open.
    pub(crate) fn opened(
        &mut self,
        id: FileId,
        open_max: usize,
        must_stay: impl Fn(FileId) -> bool,
    ) -> Vec<FileId> {
        self.open.push_back(id);
        let mut surplus = Vec::new();
        for _ in 0..self.open.len() {
            if self.open.len() <= open_max.max(1) {
                break;
            }
            let Some(first) = self.open.pop_front() else {
                break;
            };
            if must_stay(first) {
                self.open.push_back(first);
            } else {
                surplus.push(first);
            }
        }
        surplus
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u8) -> FileId {
        FileId::from_bytes([number; 16])
    }

    #[test]
    fn the_files_opened_first_are_closed_first() {
        let mut queue = Queue::new();
        let stays = |file| file == id(1);
        assert_eq!(queue.opened(id(1), 2, stays), []);
        assert_eq!(queue.opened(id(2), 2, stays), []);
        assert_eq!(queue.opened(id(3), 2, stays), [id(2)]);
        assert_eq!(queue.opened(id(4), 2, stays), [id(3)]);
        // If all must stay, there are more than the limit.
        assert_eq!(queue.opened(id(5), 2, |_| true), []);
        assert_eq!(queue.opened(id(6), 0, |_| false), [id(1), id(4), id(5)]);
    }

    #[test]
    fn a_file_is_active_once() {
        let mut queue = Queue::new();
        queue.activate(id(1));
        queue.activate(id(2));
        queue.activate(id(1));
        assert!(queue.next_poll(Duration::ZERO).is_some());
        assert_eq!(queue.take_active(Duration::from_secs(60)), []);
        assert_eq!(queue.take_active(Duration::ZERO), [id(1), id(2)]);
        assert_eq!(queue.next_poll(Duration::ZERO), None);
    }
}
