//! `bekk log copy`: the log on a Kafka cluster, and everything that counts in it continuing there.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use bekk_log::{Client, Commit, Copied, Offset, TopicCopy};
use serde::Serialize;

use super::{Outcome, print_json, print_result};
use crate::args::{LogArgs, LogCopy};
use crate::context::Context;
use crate::database::Database;
use crate::log_place::{LogPlace, holder};
use crate::positions;
use crate::screen::{Screen, counted, grouped};

/// How long the cluster may take to know a group's offset
const COMMIT_WAIT: Duration = Duration::from_secs(15);
const COMMIT_PAUSE: Duration = Duration::from_millis(50);

/// What was done, for programs.
#[derive(Serialize)]
struct Report {
    from: String,
    to: String,
    topics: Vec<TopicReport>,
    groups: Vec<String>,
    dead_letters: u64,
    /// Whether the checkpoint of the ingest here continues there.
    checkpoint: bool,
}

#[derive(Serialize)]
struct TopicReport {
    topic: String,
    copied: u64,
    /// From an earlier copy that was interrupted.
    already_there: u64,
}

pub(crate) fn run(context: &Context, args: &LogCopy, screen: &Screen) -> Result<Outcome> {
    let (from, to) = open(context, args)?;
    let (from_id, to_id) = (from.log_id().to_string(), to.log_id().to_string());
    ensure!(
        from_id != to_id,
        "{} is the log to be copied; name another one with --to",
        args.to
    );
    let database = context.database_if_made(&args.postgres)?;
    if let Some(database) = &database {
        refuse_undecided(context, &from, database)?;
    }
    let topics = topics(context, &from, screen)?;
    // Faults of the cluster are found before the copy, which may take hours.
    let mut copies = TopicCopy::prepare(&from, &to, &topics)?;
    let commits = commits(&from, &topics)?;
    claim_groups(&to, &commits)?;
    copies.iter_mut().try_for_each(TopicCopy::try_out)?;
    let mut reports = Vec::new();
    for (topic, prepared) in topics.iter().zip(&copies) {
        reports.push(copy(&from, prepared, topic, screen)?);
    }
    // Another program may have written to the first one while the last one was copied.
    copies.iter().try_for_each(TopicCopy::check_ends)?;
    let moved = match &database {
        Some(database) => bekk_sink::move_to_log(&database.options, &from_id, &to_id, &topics)?,
        None => bekk_sink::Moved::default(),
    };
    for commit in &commits {
        commit_at(&to, commit, commit.next)?;
    }
    let state = context.ingest_config(false).state_dir;
    let report = Report {
        checkpoint: bekk_ingest::move_to_log(&state, &from_id, &to_id)?,
        from: from_id,
        to: to_id,
        topics: reports,
        groups: moved.groups,
        dead_letters: moved.letters,
    };
    from.close()?;
    if args.output.json {
        print_json(&report)?;
    } else {
        print(&report, args)?;
    }
    Ok(Outcome::Done)
}

/// Both logs. The one to copy must be ours alone, so that it stays unchanged.
fn open(context: &Context, args: &LogCopy) -> Result<(Client, Client)> {
    let place = context.log_place(&args.log)?;
    place.check_exists()?;
    let LogPlace::Directory { config, .. } = place else {
        bail!("only a log in a directory can be copied; name it with --log, where it is");
    };
    let to = LogArgs {
        log: Some(args.to.clone()),
    };
    let LogPlace::Kafka(remote) = context.log_place(&to)? else {
        bail!("--to: write kafka://host:port");
    };
    let dir = config.dir.clone();
    let from = Client::own(config, &mut |_, _| false).with_context(|| match holder(&dir) {
        Some(pid) => format!("copy a log that process {pid} uses; stop ingest and sinks first"),
        None => "copy a log that is in use; stop ingest and sinks first".to_owned(),
    })?;
    let to = LogPlace::Kafka(remote).open()?;
    Ok((from, to))
}

/// Refuses while a group cannot continue in the log as it is: in the copy that would not be seen.
fn refuse_undecided(context: &Context, from: &Client, database: &Database) -> Result<()> {
    let offsets = bekk_sink::list_offsets(&database.options)?;
    let lines = positions::lines(offsets, Some(from), &context.config.streams);
    let undecided = lines.into_iter().filter(|line| !line.is_of_other_log);
    if let Some(refused) = undecided.filter_map(|line| line.refused).next() {
        bail!(
            "decide first, then copy: {}; {}",
            refused.why,
            refused.advice
        );
    }
    Ok(())
}

/// The topics to copy: those of the streams, and `bekk.meta`, which tells of them, last.
fn topics(context: &Context, from: &Client, screen: &Screen) -> Result<Vec<String>> {
    let own = context.topics();
    let found = from.topics()?.into_iter().map(|topic| topic.name);
    let (mut topics, others): (Vec<_>, Vec<_>) = found.partition(|topic| own.contains(topic));
    topics.sort_by_key(|topic| topic == bekk_stream::META_TOPIC);
    for topic in others {
        screen.say(&format!(
            "topic `{topic}` is not copied, because no stream of this configuration has that name"
        ));
    }
    Ok(topics)
}

fn copy(
    from: &Client,
    prepared: &TopicCopy<'_>,
    topic: &str,
    screen: &Screen,
) -> Result<TopicReport> {
    let ends = from.partition_ends(topic)?;
    let count: u64 = ends.iter().map(|ends| ends.end.since(ends.start)).sum();
    let mut line = screen.live_line();
    let mut done = 0;
    let copied = prepared.run(&mut |records| {
        done += records;
        // Each record is copied, and then compared.
        let share = (done * 50 / count.max(1)).min(100);
        line.set(format!("{topic}: {share} %"));
    });
    drop(line);
    let Copied { records, already } = copied?;
    Ok(TopicReport {
        topic: topic.to_owned(),
        copied: records,
        already_there: already,
    })
}

/// The offsets of the groups in the topics.
fn commits(from: &Client, topics: &[String]) -> Result<Vec<Commit>> {
    let all = from.commits()?.into_iter();
    Ok(all
        .filter(|commit| topics.contains(&commit.topic))
        .collect())
}

/// Commits offset 0 for groups that the cluster does not know. This changes nothing, and a missing right, or a consumer of
/// another program in the group, is found before the copy.
fn claim_groups(to: &Client, commits: &[Commit]) -> Result<()> {
    for commit in commits {
        let known = to.committed_offsets(&commit.group, &commit.topic)?;
        if !known.iter().any(|(place, _)| *place == commit.partition) {
            commit_at(to, commit, Offset::ZERO)?;
        }
    }
    Ok(())
}

/// Commits a group's offset to the cluster: tools show it, and a sink refuses a database without the offsets of a group
/// that the cluster knows.
fn commit_at(to: &Client, commit: &Commit, next: Offset) -> Result<()> {
    let (group, topic) = (commit.group.as_str(), commit.topic.as_str());
    let begun = Instant::now();
    while !to
        .committed_offsets(group, topic)?
        .contains(&(commit.partition, next))
    {
        if begun.elapsed() >= COMMIT_WAIT {
            let why = to.waits_for();
            let why =
                why.unwrap_or_else(|| "a consumer of another program may be in it".to_owned());
            bail!(
                "the cluster does not take the offset of group `{group}` in topic `{topic}`: {why}; once that is \
                 fixed, run the command again to continue"
            );
        }
        to.commit_offset(group, topic, commit.partition, next)?;
        thread::sleep(COMMIT_PAUSE);
    }
    Ok(())
}

fn print(report: &Report, args: &LogCopy) -> Result<()> {
    for topic in &report.topics {
        let all = topic.copied + topic.already_there;
        let already = match topic.already_there {
            0 => String::new(),
            n => format!(" ({} from an earlier copy)", grouped(n)),
        };
        print_result(&format!(
            "{}: {} copied and compared{already}",
            topic.topic,
            counted(all, "record")
        ))?;
    }
    for group in &report.groups {
        print_result(&format!("group `{group}` continues there"))?;
    }
    if report.dead_letters > 0 {
        let letters = counted(report.dead_letters, "dead letter");
        print_result(&format!("{letters} with it"))?;
    }
    if report.checkpoint {
        print_result("ingest continues there with its checkpoint")?;
    }
    print_result(&format!(
        "now set url = \"{}\" in [log] of bekk.toml, and start ingest and sinks; the log here stays as it is",
        args.to
    ))
}
