//! A running command's numbers, by Prometheus' conventions: base units, counters that end in `_total`.

mod groups;
mod letters;

use std::sync::atomic::{AtomicU64, Ordering};

use bekk_log::Client;
use bekk_sink::State;

use super::exposition::Exposition;
use super::process;
use crate::lag::age_seconds;
use crate::observe::Observer;
use crate::service::Sink;
use crate::topics::losses;

/// Writes metrics of one sample each: kind, name, help and value.
macro_rules! figures {
    ($metrics:ident, $labels:expr, { $($kind:ident $name:literal $help:literal = $value:expr;)* }) => {
        $($metrics.$kind($name, $help).count($labels, $value);)*
    };
}

/// Asks every part and writes its answer as metrics.
pub(super) fn gather(observer: &Observer) -> String {
    let service = observer.service();
    let mut metrics = Exposition::default();
    metrics
        .gauge("bekk_build_info", "Version of bekk, as a label; always 1.")
        .sample(&[("version", env!("CARGO_PKG_VERSION"))], 1.0);
    metrics
        .gauge("bekk_ready", "1 while progress is being made, as /readyz.")
        .count(&[], u64::from(service.readiness().ready));
    let parts = service.parts();
    if let Some(log) = &parts.log {
        write_log(&mut metrics, log);
        // While the log is being given up, it answers no more: what is missing then comes again.
        let _ = write_topics(&mut metrics, log);
        // A log elsewhere does not answer either: its server reports its groups itself.
        let _ = groups::write(&mut metrics, log);
    }
    if let Some(ingest) = &parts.ingest {
        write_ingest(&mut metrics, ingest);
    }
    if let Some(sink) = &parts.sink {
        write_sink(&mut metrics, sink);
        write_sink_times(&mut metrics, sink);
        write_positions(&mut metrics, sink, parts.log.as_ref());
    }
    letters::write(&mut metrics, observer);
    process::write(&mut metrics);
    metrics.into_text()
}

/// Counters of the log, if this process owns it
fn write_log(metrics: &mut Exposition, log: &Client) {
    if let Ok(counters) = log.counters() {
        figures!(metrics, &[], {
            counter "bekk_log_appends_total" "Appends to the log." = counters.appends;
            counter "bekk_log_records_total" "Records appended to the log." = counters.records;
            counter "bekk_log_bytes_total" "Bytes of the batches appended, as stored." = counters.bytes;
            counter "bekk_log_writes_total" "Writes to the store; appends that come together share one."
                = counters.writes;
            counter "bekk_log_connections_closed_total"
                "Connections of clients that were closed because all were taken." = counters.connections_closed;
        });
    }
    if let Ok(latencies) = log.latencies() {
        metrics
            .histogram(
                "bekk_log_append_duration_seconds",
                "How long appends took, from the call to the acknowledgement.",
            )
            .durations(&[], &latencies.append);
        metrics
            .histogram("bekk_log_fsync_duration_seconds", "How long fsyncs took.")
            .durations(&[], &latencies.fsync);
    }
    if let Ok(space) = log.space() {
        figures!(metrics, &[], {
            gauge "bekk_log_disk_free_bytes" "Free space on the disk of the log." = space.free_bytes;
            gauge "bekk_log_disk_reserve_bytes" "Appends wait while less than this is free." = space.reserve_bytes;
        });
    }
}

/// Offsets and sizes of each topic
fn write_topics(metrics: &mut Exposition, log: &Client) -> Result<(), bekk_log::Error> {
    let topics = log.topics()?;
    let mut sizes = Vec::new();
    let mut ends = Vec::new();
    for topic in &topics {
        let name = topic.name.as_str();
        // A Kafka cluster reports neither size nor gaps, and an unknown number is not 0.
        if let (Ok(size), Ok(gaps), Ok(losses)) =
            (log.topic_size(name), log.gap_count(name), losses(log, name))
        {
            sizes.push((name, [size.bytes, size.segments.into(), gaps, losses.open]));
        }
        for partition in log.partition_ends(name)? {
            let ends_of = [partition.start.get(), partition.end.get()];
            ends.push((name, partition.partition.to_string(), ends_of));
        }
    }
    const OF_TOPICS: [(&str, &str); 4] = [
        ("bekk_log_size_bytes", "Size of a topic on disk."),
        ("bekk_log_segments", "How many segments a topic has."),
        ("bekk_log_gaps", "Places where records of a topic are lost."),
        (
            "bekk_log_lost_records",
            "Records of a topic that were lost to damage and not appended again.",
        ),
    ];
    for (at, (name, help)) in OF_TOPICS.into_iter().enumerate() {
        let mut family = metrics.gauge(name, help);
        for (topic, figures) in &sizes {
            family.count(&[("topic", topic)], figures[at]);
        }
    }
    const OF_PARTITIONS: [(&str, &str); 2] = [
        (
            "bekk_log_start_offset",
            "The oldest record that is still there.",
        ),
        (
            "bekk_log_end_offset",
            "Offset after the newest record that readers see.",
        ),
    ];
    for (at, (name, help)) in OF_PARTITIONS.into_iter().enumerate() {
        let mut family = metrics.gauge(name, help);
        for (topic, partition, offsets) in &ends {
            family.count(&[("topic", topic), ("partition", partition)], offsets[at]);
        }
    }
    Ok(())
}

fn write_ingest(metrics: &mut Exposition, stats: &bekk_ingest::Stats) {
    let (found, finished) = (load(&stats.files_found), load(&stats.files_finished));
    let blocked = load(&stats.files_blocked);
    let mut family = metrics.gauge("bekk_ingest_files", "Files met in this run, by state.");
    for (state, count) in [
        ("open", found.saturating_sub(finished + blocked)),
        ("finished", finished),
        ("blocked", blocked),
    ] {
        family.count(&[("state", state)], count);
    }
    let is_late = stats.checkpoint_is_late.load(Ordering::Relaxed);
    figures!(metrics, &[], {
        gauge "bekk_ingest_files_deleted_open" "Files that have been deleted and are held open still."
            = load(&stats.files_deleted_open);
        gauge "bekk_ingest_checkpoint_late" "1 while the checkpoint cannot be written." = is_late.into();
        counter "bekk_ingest_notices_total"
            "Notices about files in this run, such as header names that nearly match and columns that files lack."
            = load(&stats.notices);
        gauge "bekk_ingest_known_bytes" "Bytes of the files that are known." = load(&stats.bytes_known);
        gauge "bekk_ingest_passed_bytes" "Bytes of them that have been read, in earlier runs too."
            = load(&stats.bytes_read);
        counter "bekk_ingest_records_read_total" "Records read from files." = load(&stats.records_read);
        counter "bekk_ingest_records_logged_total" "Records that the log has acknowledged."
            = load(&stats.records_logged);
        counter "bekk_ingest_rejects_logged_total" "Logged records that are not rows." = load(&stats.rejects_logged);
        gauge "bekk_ingest_waiting" "1 while ingest waits for space on the log's disk."
            = stats.waits_for().is_some().into();
    });
}

fn write_sink(metrics: &mut Exposition, sink: &Sink) {
    let stats = &sink.stats;
    let group = ("group", sink.group.as_str());
    let mut family = metrics.counter("bekk_sink_records_total", "Records applied, by outcome.");
    for (result, count) in [
        ("inserted", &stats.rows),
        ("superseded", &stats.superseded),
        ("dead_letter", &stats.dead),
    ] {
        family.count(&[group, ("result", result)], load(count));
    }
    figures!(metrics, &[group], {
        counter "bekk_sink_rows_deleted_total"
            "Rows deleted by records without a value; these records count as superseded." = load(&stats.deleted);
    });
    let mut family = metrics.counter(
        "bekk_sink_dead_letters_total",
        "Records that became dead letters, by reason.",
    );
    for (reason, count) in stats.dead_by_reason() {
        family.count(&[group, ("reason", &reason)], count);
    }
    figures!(metrics, &[group], {
        counter "bekk_sink_batches_total" "Batches committed." = load(&stats.batches);
        counter "bekk_sink_retries_total" "Batches and connections that were tried again." = load(&stats.retries);
    });
    let mut family = metrics.gauge(
        "bekk_sink_unaccounted_records",
        "Offsets that a group passed and that are neither rows, superseded records nor dead letters; any \
        value but 0 is a fault.",
    );
    for (stream, count) in stats.unaccounted() {
        family.count(&[group, ("stream", &stream)], count.unsigned_abs());
    }
    let mut family = metrics.gauge(
        "bekk_sink_stream_stopped",
        "1 if a stream is stopped until someone fixes its cause, while others continue.",
    );
    for (stream, _) in stats.halted() {
        family.count(&[group, ("stream", &stream)], 1);
    }
    let is_waiting = matches!(stats.state(), State::Waiting(_));
    figures!(metrics, &[group], {
        gauge "bekk_sink_waiting" "1 while it waits for PostgreSQL." = is_waiting.into();
    });
}

/// How long batches take, and how long records wait until they are visible
fn write_sink_times(metrics: &mut Exposition, sink: &Sink) {
    let stats = &sink.stats;
    let group = ("group", sink.group.as_str());
    metrics
        .histogram(
            "bekk_sink_batch_duration_seconds",
            "Duration of batches in PostgreSQL, from BEGIN to COMMIT.",
        )
        .durations(&[group], &stats.apply_time.durations());
    metrics
        .histogram(
            "bekk_sink_visible_duration_seconds",
            "From the append of each batch's last record to its commit.",
        )
        .durations(&[group], &stats.visible_time.durations());
    metrics
        .gauge(
            "bekk_sink_visible_after_seconds",
            "From the last applied record's append to its commit.",
        )
        .sample(&[group], load(&stats.last_visible_latency_us) as f64 / 1e6);
}

/// Position of the sink's group in each partition, whichever sink of the group holds it
fn write_positions(metrics: &mut Exposition, sink: &Sink, log: Option<&Client>) {
    let positions: Vec<_> = sink
        .stats
        .positions()
        .into_iter()
        .map(|position| (position.partition.to_string(), position))
        .collect();
    let labels = |at: usize| {
        let (partition, position) = &positions[at];
        [
            ("group", sink.group.as_str()),
            ("stream", position.topic.as_str()),
            ("partition", partition.as_str()),
        ]
    };
    let mut family = metrics.gauge("bekk_sink_next_offset", "The next record to be applied.");
    for (at, (_, position)) in positions.iter().enumerate() {
        family.count(&labels(at), position.next);
    }
    let mut family = metrics.gauge(
        "bekk_sink_lag_records",
        "How many records are yet to be applied.",
    );
    for (at, (_, position)) in positions.iter().enumerate() {
        family.count(&labels(at), position.end.saturating_sub(position.next));
    }
    let mut family = metrics.gauge(
        "bekk_sink_lag_seconds",
        "Age of the next record to be applied; 0 if no record waits.",
    );
    for (at, (_, position)) in positions.iter().enumerate() {
        let seconds = match log {
            _ if position.next >= position.end => Some(0.0),
            Some(log) => age_seconds(log, &position.topic, position.partition, position.next),
            None => None,
        };
        if let Some(seconds) = seconds {
            family.sample(&labels(at), seconds);
        }
    }
    let mut family = metrics.gauge(
        "bekk_sink_partition_held",
        "1 where this sink holds the partition's lease.",
    );
    for (at, (_, position)) in positions.iter().enumerate() {
        family.count(&labels(at), u64::from(position.held));
    }
}

fn load(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}
