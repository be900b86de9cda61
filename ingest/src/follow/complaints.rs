//! What has been said of paths that the system refuses.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};

use crate::config::Mode;
use crate::follow::engine::Engine;

/// Paths that were refused, each with the listing since which it was last: what is refused is tried again at each.
#[derive(Default)]
pub(crate) struct Complaints {
    scans: HashMap<PathBuf, u64>,
}

impl Complaints {
    /// Notes that a path is refused; says whether that is news.
    pub(crate) fn is_new(&mut self, path: &Path, scan: u64) -> bool {
        match self.scans.get_mut(path) {
            Some(last) => {
                *last = scan;
                false
            }
            None => self.scans.insert(path.to_owned(), scan).is_none(),
        }
    }

    /// Forgets the paths that this listing was not refused.
    pub(crate) fn end_scan(&mut self, scan: u64) {
        self.scans.retain(|_, last| *last >= scan);
    }
}

impl Engine<'_> {
    /// Says once that a path cannot be read; it is tried again at each listing, which also sees what has become of one
    /// that is not there any more.
    pub(crate) fn report_unreadable(&mut self, path: &Path, error: &io::Error) {
        let is_once = self.around.config.mode == Mode::Once;
        if error.kind() != io::ErrorKind::NotFound || is_once {
            self.complain(path, "cannot be read", error);
        }
    }

    /// Says that something is refused for a path, once until it is not refused any more.
    pub(crate) fn complain(&mut self, path: &Path, what: &str, error: &io::Error) {
        if !self.complaints.is_new(path, self.scan) {
            return;
        }
        if self.around.config.mode == Mode::Once {
            let why = match what {
                "cannot be read" => error.to_string(),
                _ => format!("{what}: {error}"),
            };
            self.summary.unreadable.push((path.to_owned(), why));
        } else {
            tracing::warn!(path = %path.display(), %error, "{what}; it is tried again");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_failure_is_news_once_the_first_is_over() {
        let mut complaints = Complaints::default();
        let (a, b) = (Path::new("/in/a.csv"), Path::new("/in/b.csv"));
        assert!(complaints.is_new(a, 1));
        assert!(!complaints.is_new(a, 1));
        complaints.end_scan(1);
        assert!(!complaints.is_new(a, 2));
        assert!(complaints.is_new(b, 2));
        complaints.end_scan(2);
        // Only one of them is still refused.
        assert!(!complaints.is_new(b, 3));
        complaints.end_scan(3);
        assert!(complaints.is_new(a, 4));
        assert!(!complaints.is_new(b, 4));
    }
}
