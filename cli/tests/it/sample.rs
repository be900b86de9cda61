//! Files of the sample stream, written by hand, and what became of them.

use std::path::PathBuf;

use crate::support::{Postgres, Ran, Sandbox};

pub(crate) const HEADER: &str =
    "event_id,event_type,user_id,product_id,category,price,quantity,session_id,event_time";

/// An event of the sample stream.
pub(crate) fn event(id: u32, kind: &str, price: &str) -> String {
    format!(
        "{},{kind},1,2,garden,{price},1,,2026-01-01T00:00:00Z\n",
        key(id)
    )
}

pub(crate) fn key(id: u32) -> String {
    format!("00000000-0000-0000-0000-{id:012}")
}

pub(crate) fn file(lines: &[String]) -> String {
    format!("{HEADER}\n{}", lines.concat())
}

impl Sandbox {
    /// Writes a file of events: id, type and price of each.
    pub(crate) fn events(&self, name: &str, events: &[(u32, &str, &str)]) -> PathBuf {
        let lines = events
            .iter()
            .map(|(id, kind, price)| event(*id, kind, price));
        self.write(name, file(&lines.collect::<Vec<_>>()))
    }
}

/// The table as `id=price`.
pub(crate) fn prices(postgres: &Postgres, table: &str) -> Vec<String> {
    let query = format!(
        "SELECT ltrim(right(event_id::text, 6), '0') || '=' || price FROM {table} ORDER BY event_id"
    );
    let rows = postgres.rows(&query);
    rows.into_iter().map(|row| row[0].clone()).collect()
}

/// The open letters' numbers, by reason.
pub(crate) fn open_letters(postgres: &Postgres) -> Vec<Vec<String>> {
    postgres.rows(
        "SELECT reason, count(*) FROM bekk.dead_letters WHERE resolved_at IS NULL GROUP BY 1 ORDER BY 1",
    )
}

/// The sample's configuration, with something replaced.
pub(crate) fn config(sandbox: &Sandbox, replaced: &[(&str, &str)]) {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../bekk.toml");
    let mut text = std::fs::read_to_string(path).unwrap();
    for (from, to) in replaced {
        assert!(text.contains(from), "`{from}` is not in {text}");
        text = text.replace(from, to);
    }
    sandbox.write("bekk.toml", text);
}

/// What a command printed as JSON.
#[track_caller]
pub(crate) fn json(ran: Ran) -> serde_json::Value {
    serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {}", ran.stdout))
}
