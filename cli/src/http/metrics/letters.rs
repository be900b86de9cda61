//! Open dead letters and files that need someone, as the database and ingest's directory have them.

use std::time::Duration;

use crate::http::exposition::Exposition;
use crate::observe::Observer;

/// Longest time that a scrape waits for sources that have never answered.
const PATIENCE: Duration = Duration::from_millis(200);

/// Writes what is known; a source that does not answer leaves its metrics out, and `bekk_postgres_up` at 0.
pub(super) fn write(metrics: &mut Exposition, observer: &Observer) {
    let snapshot = observer.look(PATIENCE);
    let postgres = &snapshot.status.postgres;
    let is_up = postgres.server.is_some() && postgres.error.is_none();
    if postgres.server.is_some() {
        metrics
            .gauge(
                "bekk_postgres_up",
                "1 while PostgreSQL answers queries about groups and dead letters.",
            )
            .count(&[], u64::from(is_up));
    }
    if is_up {
        let mut family = metrics.gauge(
            "bekk_dead_letters_open",
            "Open dead letters: neither retried successfully nor discarded.",
        );
        for count in &snapshot.status.dead_letters {
            let labels = [
                ("group", count.group.as_str()),
                ("stream", count.stream.as_str()),
                ("reason", count.reason.as_str()),
            ];
            family.count(&labels, count.open);
        }
    }
    if snapshot.ingest.is_known {
        let states = &snapshot.status.files.states;
        let count = |state: &str| states.get(state).copied().unwrap_or_default();
        metrics
            .gauge(
                "bekk_files_set_aside",
                "Files that are not read until someone acts.",
            )
            .count(&[], count("blocked") + count("unreadable"));
    }
}
