//! The lag of groups by their commits in the log. The owner of the log reports it for every reader.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};

use bekk_log::{Client, Commit, GROUP_ACTIVE, PartitionEnds};
use jiff::Timestamp;

use crate::http::exposition::Exposition;
use crate::lag::age_seconds;

/// The most partitions of groups that are reported: other programs may make any number of groups.
const PARTITIONS_MAX: usize = 256;

/// Lag of a group in a partition
struct Lag {
    commit: Commit,
    partition: String,
    records: u64,
    seconds: Option<f64>,
}

pub(super) fn write(metrics: &mut Exposition, log: &Client) -> Result<(), bekk_log::Error> {
    let commits = log.commits()?;
    let groups: HashSet<&str> = commits.iter().map(|commit| commit.group.as_str()).collect();
    metrics
        .gauge(
            "bekk_log_groups",
            "Groups that have committed offsets, including those without series of their own.",
        )
        .count(&[], groups.len() as u64);
    let lags = lags(log, told_of(commits, Timestamp::now().as_millisecond()));
    let mut family = metrics.gauge(
        "bekk_log_group_lag_records",
        "Number of records after the offset that a group has committed to the log.",
    );
    for lag in &lags {
        family.count(&lag.labels(), lag.records);
    }
    let mut family = metrics.gauge(
        "bekk_log_group_lag_seconds",
        "Age of the next record of a group; 0 if no record waits.",
    );
    for lag in &lags {
        if let Some(seconds) = lag.seconds {
            family.sample(&lag.labels(), seconds);
        }
    }
    Ok(())
}

impl Lag {
    fn labels(&self) -> [(&str, &str); 3] {
        [
            ("group", &self.commit.group),
            ("topic", &self.commit.topic),
            ("partition", &self.partition),
        ]
    }
}

/// The commits of the groups that are reported: sinks first, then other programs, the latest first.
fn told_of(mut commits: Vec<Commit>, now_ms: i64) -> Vec<Commit> {
    let mut latest: HashMap<String, i64> = HashMap::new();
    for commit in &commits {
        let at_ms = latest.entry(commit.group.clone()).or_insert(commit.at_ms);
        *at_ms = commit.at_ms.max(*at_ms);
    }
    let latest = |commit: &Commit| latest.get(&commit.group).copied().unwrap_or_default();
    let active_ms = i64::try_from(GROUP_ACTIVE.as_millis()).unwrap_or(i64::MAX);
    commits.retain(|commit| commit.is_sink || now_ms.saturating_sub(latest(commit)) < active_ms);
    // A stable order, so that the partitions of a group stay together.
    commits.sort_by_cached_key(|commit| {
        (
            !commit.is_sink,
            Reverse(latest(commit)),
            commit.group.clone(),
        )
    });
    commits.truncate(PARTITIONS_MAX);
    commits
}

/// Compares commits with the log's ends; those of deleted topics are left out.
fn lags(log: &Client, commits: Vec<Commit>) -> Vec<Lag> {
    let mut ends: HashMap<String, Vec<PartitionEnds>> = HashMap::new();
    let mut lags = Vec::with_capacity(commits.len());
    for commit in commits {
        let ends = ends
            .entry(commit.topic.clone())
            .or_insert_with(|| log.partition_ends(&commit.topic).unwrap_or_default());
        let Some(ends) = ends.iter().find(|ends| ends.partition == commit.partition) else {
            continue;
        };
        let records = ends.end.get().saturating_sub(commit.next.get());
        let seconds = match records {
            0 => Some(0.0),
            _ => age_seconds(log, &commit.topic, commit.partition, commit.next.get()),
        };
        lags.push(Lag {
            partition: commit.partition.to_string(),
            records,
            seconds,
            commit,
        });
    }
    lags
}

#[cfg(test)]
mod tests {
    use bekk_log::Offset;

    use super::*;

    fn commit(group: &str, partition: u32, at_ms: i64, is_sink: bool) -> Commit {
        Commit {
            group: group.to_owned(),
            topic: "t".to_owned(),
            partition,
            next: Offset::new(1),
            at_ms,
            is_sink,
        }
    }

    #[test]
    fn sinks_come_first_and_then_the_latest_up_to_a_bound() {
        let day_ms = 24 * 60 * 60 * 1000;
        let now = 100 * day_ms;
        let mut commits = vec![
            commit("gone", 0, now - 8 * day_ms, false),
            commit("early", 0, now - 6 * day_ms, false),
            commit("late", 0, now - 9 * day_ms, false),
            commit("late", 1, now - day_ms, false),
            commit("sink", 0, now - 50 * day_ms, true),
        ];
        let told = told_of(commits.clone(), now);
        let told: Vec<_> = told
            .iter()
            .map(|commit| (commit.group.as_str(), commit.partition))
            .collect();
        assert_eq!(told, [("sink", 0), ("late", 0), ("late", 1), ("early", 0)]);

        commits.extend((0..1000).map(|at| commit(&format!("other {at}"), 0, now, false)));
        let told = told_of(commits, now);
        assert_eq!(told.len(), PARTITIONS_MAX);
        assert_eq!(told[0].group, "sink");
    }
}
