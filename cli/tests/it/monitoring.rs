//! The dashboard and the alert rules in `monitoring/` ask only for metrics and labels that exist.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::documents::anchor;
use crate::health::{address, get};
use crate::support::{Sandbox, assert_says, wait_until};

const LIMIT: Duration = Duration::from_secs(30);

/// The queries of the dashboard and of the alert rules.
fn queries() -> Vec<String> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../monitoring");
    let dashboard = fs::read_to_string(dir.join("grafana/bekk.json")).unwrap();
    let dashboard: serde_json::Value = serde_json::from_str(&dashboard).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels
        .iter()
        .flat_map(|panel| panel["targets"].as_array().unwrap());
    let mut queries: Vec<_> = targets
        .map(|target| target["expr"].as_str().unwrap().to_owned())
        .collect();
    let variables = dashboard["templating"]["list"].as_array().unwrap();
    queries.extend(
        variables
            .iter()
            .filter_map(|variable| Some(variable["definition"].as_str()?.to_owned())),
    );
    let rules = fs::read_to_string(dir.join("alerts.yml")).unwrap();
    let lines = rules
        .lines()
        .filter(|line| !line.trim_start().starts_with(['#', 's', 'd', 'r']));
    queries.extend(lines.map(str::to_owned));
    queries
}

/// The names in a query that are metrics of Bekk's.
fn metrics(query: &str) -> impl Iterator<Item = &str> {
    let words = query.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    words.filter(|word| word.starts_with("bekk_") || word.starts_with("process_"))
}

/// An alert leads the person on duty to the entry that says what to do.
#[test]
fn every_alert_names_its_entry_under_troubleshooting() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let page = fs::read_to_string(root.join("docs/troubleshooting.md")).unwrap();
    let headings = page.lines().filter(|line| line.starts_with('#'));
    let anchors: BTreeSet<_> = headings.map(anchor).collect();
    let rules = fs::read_to_string(root.join("monitoring/alerts.yml")).unwrap();
    let places = rules.lines().filter_map(|line| {
        let place = line.trim().strip_prefix("runbook: ")?;
        place.strip_prefix("docs/troubleshooting.md#")
    });
    let places: Vec<_> = places.collect();
    assert_eq!(places.len(), rules.matches("- alert: ").count());
    for place in places {
        assert!(anchors.contains(place), "{place}");
    }
}

#[test]
fn every_query_names_a_metric_that_exists() {
    let sandbox = Sandbox::new();
    sandbox.events("data/a.csv", &[(1, "view", "1"), (2, "view", "abc")]);
    sandbox.write("data/b.csv", "no,header\n1,2\n");
    let up = sandbox.start("up --http 127.0.0.1:0");
    let at = address(&sandbox);
    let scrape = || get(&at, "/metrics").1;
    let open = "bekk_dead_letters_open{group=\"bekk\",stream=\"events\",reason=\"bad_value\"} 1\n";
    wait_until("the open dead letter is counted", LIMIT, || {
        scrape().contains(open)
    });
    wait_until("the file that is set aside is counted", LIMIT, || {
        scrape().contains("bekk_files_set_aside 1\n")
    });
    let scraped = scrape();
    assert_says(
        &scraped,
        &["bekk_postgres_up 1\n", "bekk_log_disk_reserve_bytes "],
    );
    let samples: BTreeSet<&str> = scraped
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split(['{', ' ']).next())
        .collect();
    let families: BTreeSet<&str> = scraped
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next())
        .collect();
    let queries = queries();
    let mut asked = BTreeSet::new();
    for query in &queries {
        for name in metrics(query) {
            assert!(
                samples.contains(name) || families.contains(name),
                "`{name}` of `{query}`: {scraped}"
            );
            asked.insert(name);
        }
    }
    assert!(asked.len() > 20, "{asked:?}");
    assert_eq!(up.terminate(), Some(0), "{}", sandbox.said());
}
