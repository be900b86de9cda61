//! How many files this process may have open.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Of how many files at most one is a file that is followed: the log, connections and what is written want theirs.
const FOLLOWED_IN: u64 = 4;

/// Makes it as many as the administrator allows. The limit that a shell gives by itself is there for programs that
/// number their files in a fixed array; Bekk and what it starts do not.
pub(crate) fn raise_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    // Where that is refused, the limit is what it was.
    let _ = setrlimit(Resource::Nofile, raised);
}

/// How many followed files may be open at once.
pub(crate) fn followed_max() -> usize {
    let limit = getrlimit(Resource::Nofile).current;
    limit.map_or(usize::MAX, |limit| {
        usize::try_from(limit / FOLLOWED_IN).unwrap_or(usize::MAX)
    })
}
