//! The audit: whether a table is what the log says, by counts, and by content.
//!
//! The content's audit trusts no count. It takes one snapshot of the database, reads the log up to the offsets of that
//! snapshot, works out what each key's row must be, and compares it with the table of the same snapshot. So it runs
//! beside a live pipeline. Records and rows go into files by a hash of their key, and one of those is compared at a
//! time: memory does not grow with the table.

mod as_read;
mod buckets;
mod canonical;
mod compare;
mod log_side;
mod table_side;

use std::collections::BTreeMap;
use std::path::Path;

use bekk_log::{Client as Log, MarkCheck, Offset, PartitionEnds, RecordMark, judge_mark};
use bekk_stream::{FileId, Stream};
use parking_lot::Mutex;

use self::buckets::WorkDir;
use crate::catalog::TableVersion;
use crate::command::with_session;
use crate::groups::GroupOffset;
use crate::identity;
use crate::offsets::{mark_of, rows};
use crate::own_schema;
use crate::prepare::Source;
use crate::refusal::Refusal;
use crate::session::Session;
use crate::target::{StreamTarget, find_target};
use crate::{ConnectOptions, Error};

/// Number of differences that are listed.
pub const FINDINGS_MAX: usize = 20;

/// What the counts say of one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionCounts {
    /// The group's row; `None` if it is gone.
    pub offset: Option<GroupOffset>,
    /// The partition.
    pub partition: u32,
    /// Log start offset.
    pub start: u64,
    /// The log's end.
    pub end: u64,
}

impl PartitionCounts {
    /// Records that wait to be applied.
    #[must_use]
    pub fn waiting(&self) -> u64 {
        let next = self
            .offset
            .as_ref()
            .map_or(self.start, |offset| offset.next);
        self.end.saturating_sub(next)
    }

    /// Whether all records below the group's offset are accounted for.
    #[must_use]
    pub fn is_right(&self) -> bool {
        self.offset.as_ref().is_some_and(|offset| {
            offset.unaccounted == 0 && offset.refusal.is_none() && offset.next <= self.end
        })
    }
}

/// A difference between the log and the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What differs.
    pub kind: FindingKind,
    /// The row's key, its columns separated by commas; without a key its first columns.
    pub key: String,
    /// Where the record is that says so: partition and offset.
    pub at: Option<(u32, u64)>,
    /// The file that the record came from.
    pub file: Option<String>,
    /// Its line there.
    pub line: Option<u64>,
}

/// What differs between the log and the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FindingKind {
    /// The table lacks the row.
    Missing,
    /// The table's row is not what the winning record says.
    Changed,
    /// No record of the log is that row.
    Extra,
    /// The record is no row, and no dead letter says why.
    NoLetter,
}

/// What the log has of a file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FileCounts {
    /// Its path, if the log knows it.
    pub path: Option<String>,
    /// Records in the log, rejects among them.
    pub records: u64,
    /// How many of them are rejects.
    pub rejects: u64,
    /// Records that are in the log more than once.
    pub repeated: u64,
}

/// What a comparison of content gave.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeepAudit {
    /// Records read from the log, up to the group's offsets.
    pub records: u64,
    /// How many of them are dead letters.
    pub dead: u64,
    /// Rows of the table.
    pub rows: u64,
    /// Rows that the table lacks.
    pub missing: u64,
    /// Rows that differ from their record.
    pub changed: u64,
    /// Rows that no record is.
    pub extra: u64,
    /// Rows without a record in the log that have an explanation: the log's beginning was removed, some records are not
    /// compared, or a person has corrected dead letters.
    pub unexplained: u64,
    /// Records with columns that the stream had before its columns changed; they are not compared.
    pub of_former_columns: u64,
    /// The first differences.
    pub findings: Vec<Finding>,
    /// Records that are no rows and that no dead letter names.
    pub without_letter: u64,
    /// Partitions in which the log is not the one that the group has applied, and how it differs.
    pub log_differs: Vec<(u32, String)>,
    /// For each file, what the log has of it.
    pub files: BTreeMap<FileId, FileCounts>,
    /// Offsets at which the log begins, where that is not 0. A partition that the log has lost begins at the group's offset.
    pub log_begins: Vec<(u32, u64)>,
}

impl DeepAudit {
    /// Whether the table is what the log says.
    #[must_use]
    pub fn is_right(&self) -> bool {
        self.missing == 0
            && self.changed == 0
            && self.extra == 0
            && self.without_letter == 0
            && self.log_differs.is_empty()
            && self.files.values().all(|file| file.repeated == 0)
    }
}

/// What the counts say of a stream, for each partition of the log.
///
/// # Errors
/// If the server or the log cannot be reached or refuses.
pub fn audit_counts(
    postgres: &ConnectOptions,
    log: &Log,
    group: &str,
    stream: &Stream,
) -> Result<Vec<PartitionCounts>, Error> {
    let mut offsets = crate::list_offsets(postgres)?;
    offsets.retain(|offset| offset.group == group && offset.topic == stream.name);
    let ends = ends_of(log, &stream.name)?.unwrap_or_default();
    let mut counts: Vec<_> = ends
        .iter()
        .map(|ends| PartitionCounts {
            offset: None,
            partition: ends.partition,
            start: ends.start.get(),
            end: ends.end.get(),
        })
        .collect();
    for offset in offsets {
        let partition = offset.partition;
        match counts.iter_mut().find(|count| count.partition == partition) {
            Some(count) => count.offset = Some(offset),
            // The log has lost the topic, or has it with fewer partitions.
            None => counts.push(PartitionCounts {
                offset: Some(offset),
                partition,
                start: 0,
                end: 0,
            }),
        }
    }
    Ok(counts)
}

/// Compares the content of a stream's table with the log. Working files that are too large for memory go into a directory
/// in `dir`, which is made and removed.
///
/// # Errors
/// [`Error::NoTable`] if the table does not exist, [`Error::OtherTarget`] if the group fills another table,
/// [`Error::CountsInOtherLog`] if the group's offsets count in another
/// log; others if the server, the log or the working files fail.
pub fn audit_content(
    postgres: &ConnectOptions,
    log: &Log,
    group: &str,
    stream: &Stream,
    dir: &Path,
) -> Result<DeepAudit, Error> {
    with_session(postgres, "bekk-audit", async |session| {
        let failed = |error: tokio_postgres::Error| Error::postgres("audit the table", &error);
        session
            .client
            .batch_execute(
                "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL idle_in_transaction_session_timeout = 0;
                 SET LOCAL statement_timeout = 0",
            )
            .await
            .map_err(failed)?;
        identity::refuse_other_table(session, group, stream).await?;
        let target = find_target(session, stream).await?;
        let snapshot = Snapshot::take(session, log, group, stream).await?;
        let work = WorkDir::new(dir, snapshot.records());
        let audit = Audit {
            log,
            group,
            target: &target,
            snapshot,
            work: &work,
        };
        let done = audit.run(session).await;
        // Nothing was changed.
        let _ = session.client.batch_execute("ROLLBACK").await;
        match done {
            // A snapshot does not show the rows of a table that was rewritten after it was taken.
            Ok(deep) if !deep.is_right() && was_altered(session, &target).await? => {
                Err(Error::TableAltered {
                    table: target.table.full_name.clone(),
                })
            }
            done => done,
        }
    })
}

/// Whether the table has another version than when it was found.
async fn was_altered(session: &Session, target: &StreamTarget) -> Result<bool, Error> {
    let answer = session
        .client
        .simple_query(&target.table.version_sql())
        .await
        .map_err(|error| Error::postgres("read the catalog", &error))?;
    let now = rows(&answer).next().and_then(TableVersion::of);
    Ok(now != Some(target.table.version))
}

/// Where the group was when the snapshot was taken.
#[derive(Default)]
struct Snapshot {
    /// The next record of each partition.
    next: Vec<(u32, u64)>,
    /// The next record of each partition that the log does not have any more.
    lost: Vec<(u32, u64)>,
    /// How the log differs from what the group has applied.
    log_differs: Vec<(u32, String)>,
    /// Number of rejects that became rows after a correction.
    mended: u64,
}

impl Snapshot {
    /// The most records that the group has applied.
    fn records(&self) -> u64 {
        self.next.iter().map(|(_, next)| *next).sum()
    }

    async fn take(
        session: &Session,
        log: &Log,
        group: &str,
        stream: &Stream,
    ) -> Result<Self, Error> {
        let client = &session.client;
        const ACT: &str = "read bekk.offsets";
        let failed = |error: tokio_postgres::Error| Error::postgres(ACT, &error);
        let log_id = log.log_id().to_string();
        let topic = &stream.name;
        if !own_schema::has(session, "offsets", ACT).await? {
            return Ok(Self::default());
        }
        let rows = client
            .query(
                "SELECT partition, next, log_id::text, mark_offset, mark_timestamp_ms, mark_crc
                   FROM bekk.offsets WHERE group_name = $1 AND topic = $2 ORDER BY partition",
                &[&group, topic],
            )
            .await
            .map_err(failed)?;
        let ends = ends_of(log, topic)?;
        let (mut next, mut lost, mut log_differs) = (Vec::new(), Vec::new(), Vec::new());
        for row in &rows {
            let remembered: String = row.get(2);
            if remembered != log_id {
                return Err(Error::CountsInOtherLog {
                    group: group.to_owned(),
                    topic: topic.clone(),
                    remembered,
                });
            }
            let partition = row.get::<_, i32>(0).cast_unsigned();
            let of_group = row.get::<_, i64>(1).cast_unsigned();
            let mut known = ends.iter().flatten();
            if !known.any(|ends| ends.partition == partition) {
                // After a replay the row counts nothing.
                if of_group > 0 {
                    lost.push((partition, of_group));
                    log_differs.push((
                        partition,
                        how_lost(topic, ends.is_some(), (partition, of_group)),
                    ));
                }
                continue;
            }
            next.push((partition, of_group));
            let mark = mark_of(row, 3);
            log_differs.extend(difference(
                log,
                topic,
                (partition, of_group),
                mark.as_ref(),
            )?);
        }
        let mended: i64 = client
            .query_one(
                "SELECT count(*) FROM bekk.dead_letters
                  WHERE group_name = $1 AND topic = $2 AND resolution = 'retried' AND reason <> 'refused'",
                &[&group, topic],
            )
            .await
            .map_err(failed)?
            .get(0);
        Ok(Self {
            next,
            lost,
            log_differs,
            mended: mended.cast_unsigned(),
        })
    }
}

/// The ends of a topic's partitions; `None` if the log has no such topic.
fn ends_of(log: &Log, topic: &str) -> Result<Option<Vec<PartitionEnds>>, Error> {
    match log.partition_ends(topic) {
        Err(bekk_log::Error::UnknownTopic(_)) => Ok(None),
        ends => ends
            .map(Some)
            .map_err(|error| Error::log(format!("read the ends of topic `{topic}`"), error)),
    }
}

/// Says that the topic was deleted, or made again with fewer partitions.
fn how_lost(topic: &str, has_topic: bool, (partition, next): (u32, u64)) -> String {
    let lacks = match has_topic {
        true => format!("topic `{topic}` has no partition {partition} any more"),
        false => format!("the log has no topic `{topic}` any more"),
    };
    format!("{lacks}: the group has applied the records below offset {next} of {topic}/{partition}")
}

/// How a partition's log differs from the one that the group has applied, if it does.
fn difference(
    log: &Log,
    topic: &str,
    (partition, next): (u32, u64),
    mark: Option<&RecordMark>,
) -> Result<Option<(u32, String)>, Error> {
    let failed = |error| Error::log(format!("read {topic}/{partition}"), error);
    let next = Offset::new(next);
    let at = log.at_mark(topic, partition, mark).map_err(failed)?;
    Ok(match judge_mark(next, mark, &at) {
        MarkCheck::Differs(difference) => {
            let refusal = Refusal::of_difference((topic, partition), next, mark, &at, difference);
            Some((partition, refusal.detail))
        }
        MarkCheck::Same | MarkCheck::KeptBack => None,
    })
}

struct Audit<'a> {
    log: &'a Log,
    group: &'a str,
    target: &'a StreamTarget,
    snapshot: Snapshot,
    work: &'a WorkDir,
}

impl Audit<'_> {
    fn stream(&self) -> &Stream {
        &self.target.stream
    }

    fn source<'s>(
        &'s self,
        meta: &'s Mutex<crate::meta_cache::MetaCache>,
        partition: u32,
    ) -> Source<'s> {
        Source {
            group: self.group,
            log: self.log,
            meta,
            target: self.target,
            partition,
        }
    }

    async fn run(&self, session: &Session) -> Result<DeepAudit, Error> {
        let meta = Mutex::default();
        let mut deep = DeepAudit {
            log_differs: self.snapshot.log_differs.clone(),
            log_begins: self.snapshot.lost.clone(),
            ..DeepAudit::default()
        };
        let buckets = buckets::count(self.snapshot.records());
        let sets = log_side::read(self, session, &meta, buckets, &mut deep).await?;
        table_side::read(self, session, &sets, buckets, &mut deep).await?;
        compare::all(self, &meta, &sets, buckets, &mut deep)?;
        if deep.unexplained == 0 {
            let explained = deep.extra.min(self.snapshot.mended);
            deep.unexplained = explained;
            deep.extra -= explained;
        }
        // All extra rows are explained, so none is listed.
        if deep.extra == 0 {
            deep.findings
                .retain(|finding| finding.kind != FindingKind::Extra);
        }
        deep.findings.truncate(FINDINGS_MAX);
        Ok(deep)
    }
}

#[cfg(test)]
mod tests;
