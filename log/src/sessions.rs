//! The fence: of two sessions of one ingest only the later may append.

use std::collections::HashMap;

use parking_lot::{RwLock, RwLockReadGuard};

use crate::{Error, Session};

/// The newest session of each ingest.
pub(crate) struct Sessions {
    newest: RwLock<HashMap<String, u64>>,
    /// No session has a number below this.
    floor: u64,
}

impl Sessions {
    pub(crate) fn new(newest: impl IntoIterator<Item = (String, u64)>, floor: u64) -> Self {
        Self {
            newest: RwLock::new(newest.into_iter().collect()),
            floor,
        }
    }

    /// Begins a session; `persist` makes its number durable. Appends that are being written end first.
    pub(crate) fn begin(
        &self,
        ingest: &str,
        persist: impl FnOnce(u64) -> Result<(), Error>,
    ) -> Result<Session, Error> {
        let mut newest = self.newest.write();
        let number = self.highest(&newest, ingest) + 1;
        persist(number)?;
        newest.insert(ingest.to_owned(), number);
        Ok(Session {
            ingest: ingest.to_owned(),
            number,
        })
    }

    /// Begins the session of this number, as [`begin`](Self::begin); says whether it is the one after the newest, else
    /// nothing is done: a number far above would leave none for later ones.
    pub(crate) fn begin_at(
        &self,
        ingest: &str,
        number: u64,
        persist: impl FnOnce() -> Result<(), Error>,
    ) -> Result<bool, Error> {
        let mut newest = self.newest.write();
        if Some(number) != self.highest(&newest, ingest).checked_add(1) {
            return Ok(false);
        }
        persist()?;
        newest.insert(ingest.to_owned(), number);
        Ok(true)
    }

    /// The number above which an ingest's next session has to be; `None` if any will do.
    pub(crate) fn newest(&self, ingest: &str) -> Option<u64> {
        let newest = self.newest.read();
        Some(self.highest(&newest, ingest)).filter(|number| *number > 0)
    }

    /// Whether the ingest has had a session.
    pub(crate) fn is_known(&self, ingest: &str) -> bool {
        let newest = self.newest.read();
        newest.contains_key(ingest)
    }

    /// How many ingests have had one.
    pub(crate) fn count(&self) -> usize {
        let newest = self.newest.read();
        newest.len()
    }

    fn highest(&self, newest: &HashMap<String, u64>, ingest: &str) -> u64 {
        let known = newest.get(ingest).copied().unwrap_or(0);
        known.max(self.floor.saturating_sub(1))
    }

    /// Keeps new sessions from beginning while an append is checked, written and made visible.
    pub(crate) fn read(&self) -> Newest<'_> {
        Newest(self.newest.read())
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
