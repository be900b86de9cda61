//! What has been said of paths that the system refuses.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

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
