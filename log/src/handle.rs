//! A shared value whose last handle can be awaited.

use std::ops::Deref;
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};

/// A handle of a shared value. One handle can wait until it is the only one, and take the value.
pub(crate) struct Handle<T> {
    // Fields are dropped in this order, so the value's count is lower when the end is reported.
    value: Arc<T>,
    end: End,
}

/// Reports the end of a handle.
#[derive(Clone)]
struct End(Arc<Ends>);

#[derive(Default)]
struct Ends {
    lock: Mutex<()>,
    dropped: Condvar,
}

impl<T> Handle<T> {
    pub(crate) fn new(value: T) -> Self {
        Self {
            value: Arc::new(value),
            end: End(Arc::default()),
        }
    }

    /// Waits until all other handles are dropped, and returns the value. The caller holds no other handle.
    pub(crate) fn into_last(self) -> T {
        let Self { mut value, end } = self;
        let ends = &end.0;
        let mut locked = ends.lock.lock();
        loop {
            // A handle that is dropped from here on reports its end once `wait` has released the lock.
            match Arc::try_unwrap(value) {
                Ok(last) => return last,
                Err(shared) => value = shared,
            }
            ends.dropped.wait(&mut locked);
        }
    }
}

impl<T> Clone for Handle<T> {
    fn clone(&self) -> Self {
        Self {
            value: Arc::clone(&self.value),
            end: self.end.clone(),
        }
    }
}

impl<T> Deref for Handle<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl Drop for End {
    fn drop(&mut self) {
        drop(self.0.lock.lock());
        self.0.dropped.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A lost report would leave the test waiting.
    #[test]
    fn the_last_handle_gets_the_value() {
        for _ in 0..500 {
            let handle = Handle::new(7);
            let others = [handle.clone(), handle.clone()];
            std::thread::scope(|scope| {
                let _ = others.map(|other| scope.spawn(move || assert_eq!(*other, 7)));
                assert_eq!(handle.into_last(), 7);
            });
        }
    }
}
