//! The ingests whose clock is ahead of this machine's, so that each session's clock is reported once.

use std::collections::HashMap;

use parking_lot::Mutex;

use crate::Session;

/// Most ingests that are remembered
const INGESTS_MAX: usize = 256;

/// The newest session of each ingest whose clock was reported.
#[derive(Debug, Default)]
pub(super) struct ClocksAhead(Mutex<HashMap<String, u64>>);

impl ClocksAhead {
    /// Notes that a session's clock is ahead; says whether neither this session nor a later one of its ingest was noted.
    pub(super) fn note(&self, session: &Session) -> bool {
        let mut noted = self.0.lock();
        if let Some(newest) = noted.get_mut(&session.ingest) {
            let is_new = session.number > *newest;
            *newest = session.number.max(*newest);
            return is_new;
        }
        if noted.len() >= INGESTS_MAX {
            // Names cost a client nothing. The line limit bounds what is reported again.
            noted.clear();
        }
        noted.insert(session.ingest.clone(), session.number);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(ingest: &str, number: u64) -> Session {
        Session {
            ingest: ingest.to_owned(),
            number,
        }
    }

    #[test]
    fn each_session_of_several_ingests_is_news_once() {
        let clocks = ClocksAhead::default();
        let note = |ingest, number| clocks.note(&session(ingest, number));
        assert!(note("a", 1));
        assert!(note("b", 1));
        assert!(!note("a", 1));
        assert!(!note("b", 1));
        assert!(note("a", 2));
        // An earlier session may not have heard yet that it has ended.
        assert!(!note("a", 1));
        assert!(!note("a", 2));
    }

    #[test]
    fn many_names_take_a_bounded_space() {
        let clocks = ClocksAhead::default();
        for name in 0..3 * INGESTS_MAX {
            assert!(clocks.note(&session(&name.to_string(), 1)));
        }
        assert!(clocks.0.lock().len() <= INGESTS_MAX);
    }
}
