//! The fence: of two sessions of one ingest only the later may append.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::{Error, Session};

/// The newest session of each ingest.
pub(crate) struct Sessions(RwLock<HashMap<String, u64>>);

impl Sessions {
    pub(crate) fn new(newest: impl IntoIterator<Item = (String, u64)>) -> Self {
        Self(RwLock::new(newest.into_iter().collect()))
    }

    /// Keeps new sessions from beginning while an append is checked, written and made visible.
    pub(crate) fn read(&self) -> Newest<'_> {
        Newest(self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Keeps appends from being written while a session begins.
    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, HashMap<String, u64>> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The newest sessions, while no new one can begin.
pub(crate) struct Newest<'a>(RwLockReadGuard<'a, HashMap<String, u64>>);

impl Newest<'_> {
    /// Refuses a session that has been succeeded.
    pub(crate) fn check(&self, session: Option<&Session>) -> Result<(), Error> {
        let Some(session) = session else {
            return Ok(());
        };
        match self.0.get(&session.ingest) {
            Some(newest) if *newest > session.number => Err(Error::Fenced {
                ingest: session.ingest.clone(),
                session: session.number,
                newest: *newest,
            }),
            _ => Ok(()),
        }
    }
}
