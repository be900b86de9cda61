//! The comparison, one pair of working files at a time.

use std::collections::HashMap;

use bekk_stream::{Body, OnConflict, Origin, Payload, key_shown};
use parking_lot::Mutex;

use super::buckets::{Buckets, Fields};
use super::canonical::Columns;
use super::log_side::DELETION;
use super::{Audit, DeepAudit, FINDINGS_MAX, Finding, FindingKind, log_side, table_side};
use crate::Error;
use crate::meta_cache::MetaCache;
use crate::prepare::read as read_log;
use crate::render;
use crate::taken::take;
use crate::target::Order;

/// A record that decides what a row must be, or that there is none.
#[derive(Debug, Clone)]
struct Candidate {
    /// The number of its list of columns, or [`DELETION`].
    set: u32,
    partition: u32,
    offset: u64,
    content: u128,
    version: Box<[u8]>,
}

/// Which of a key's records decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Winner {
    Last,
    First,
    Greatest,
    /// The server's collation decides, so that any may.
    Any,
    /// Rows have no key: each of them.
    Each,
}

impl Winner {
    fn of(audit: &Audit<'_>) -> Self {
        let (target, stream) = (audit.target, audit.stream());
        if !target.is_keyed() {
            return Self::Each;
        }
        match (&stream.newer_by, stream.on_conflict) {
            (Some(name), _) => {
                let column = stream.columns.iter().find(|column| column.name == *name);
                let is_text = column.is_some_and(|c| c.column_type.is_text());
                if is_text && target.order == Order::Log {
                    Self::Any
                } else {
                    Self::Greatest
                }
            }
            (None, OnConflict::Ignore) => Self::First,
            (None, _) => Self::Last,
        }
    }

    /// Whether a later record of the same partition takes an earlier one's place.
    fn replaces(self, new: &Candidate, old: &Candidate) -> bool {
        match self {
            Self::Last => true,
            Self::First => false,
            Self::Greatest => new.version >= old.version,
            Self::Any | Self::Each => false,
        }
    }
}

type Expected = HashMap<u128, Vec<Candidate>>;

pub(super) fn all(
    audit: &Audit<'_>,
    meta: &Mutex<MetaCache>,
    sets: &[Columns],
    count: usize,
    deep: &mut DeepAudit,
) -> Result<(), Error> {
    let winner = Winner::of(audit);
    if winner == Winner::Each {
        return each(audit, meta, sets, count, deep);
    }
    for at in 0..count {
        let mut expected = Expected::new();
        audit.work.read(log_side::SIDE, at, |entry| {
            expect(&mut expected, winner, entry);
            Ok(())
        })?;
        audit.work.read(table_side::SIDE, at, |entry| {
            let row = TableRow::of(entry, sets.len());
            let Some(candidates) = expected.remove(&row.hash) else {
                note_extra(&row.key, deep);
                return Ok(());
            };
            let is_equal = |one: &Candidate| {
                !one.is_deletion() && row.contents.get(one.set as usize) == Some(&one.content)
            };
            match candidates.last() {
                Some(record) if !candidates.iter().any(is_equal) => {
                    deep.changed += 1;
                    let place = (record.partition, record.offset);
                    note_record(audit, meta, FindingKind::Changed, place, deep)
                }
                _ => Ok(()),
            }
        })?;
        // If several partitions have records of one key, any of them may be the row, or may have deleted it.
        let missing = expected
            .into_values()
            .filter(|records| !records.iter().any(Candidate::is_deletion))
            .filter_map(|records| records.into_iter().next());
        note_missing(
            audit,
            meta,
            missing.map(|record| (record, 1)).collect(),
            deep,
        )?;
    }
    Ok(())
}

/// Compares rows that have no key: each record is one row. Records of another list of columns are compared in a pass of
/// their own, with the rows that the passes before it have left.
fn each(
    audit: &Audit<'_>,
    meta: &Mutex<MetaCache>,
    sets: &[Columns],
    count: usize,
    deep: &mut DeepAudit,
) -> Result<(), Error> {
    let order = table_side::by_width(sets);
    let side_of = |pass: usize| match pass {
        0 => table_side::SIDE.to_owned(),
        _ => format!("{}-{pass}", table_side::SIDE),
    };
    for pass in 0..order.len().max(1) {
        let set = order.get(pass).copied();
        let mut left = order.get(pass + 1).map(|next| {
            let buckets = Buckets::create(audit.work, &side_of(pass + 1), count);
            (*next, buckets)
        });
        for at in 0..count {
            // Equal records are counted, not held.
            let mut expected: HashMap<u128, (Candidate, u64)> = HashMap::new();
            audit.work.read(log_side::SIDE, at, |entry| {
                let (hash, record) = Candidate::of(entry);
                if Some(record.set as usize) == set {
                    expected.entry(hash).or_insert((record, 0)).1 += 1;
                }
                Ok(())
            })?;
            audit.work.read(&side_of(pass), at, |entry| {
                let row = TableRow::of(entry, sets.len());
                let own = set.map(|set| row.contents[set]);
                match own
                    .and_then(|own| expected.get_mut(&own))
                    .filter(|(_, n)| *n > 0)
                {
                    Some((_, n)) => *n -= 1,
                    None => match &mut left {
                        Some((next, files)) => files.push(row.contents[*next], entry)?,
                        None => note_extra(&row.key, deep),
                    },
                }
                Ok(())
            })?;
            let missing = expected.into_values().filter(|(_, n)| *n > 0);
            note_missing(audit, meta, missing.collect(), deep)?;
        }
        audit.work.remove(&side_of(pass), count)?;
        if let Some((_, files)) = left {
            files.finish()?;
        }
    }
    Ok(())
}

struct TableRow {
    hash: u128,
    key: String,
    /// What it says by each list of columns.
    contents: Vec<u128>,
}

impl TableRow {
    fn of(entry: &[u8], sets: usize) -> Self {
        let mut fields = Fields(entry);
        Self {
            hash: fields.u128(),
            key: String::from_utf8_lossy(fields.bytes()).into_owned(),
            contents: (0..sets).map(|_| fields.u128()).collect(),
        }
    }
}

impl Candidate {
    fn of(entry: &[u8]) -> (u128, Self) {
        let mut fields = Fields(entry);
        let hash = fields.u128();
        let record = Self {
            set: fields.u32(),
            partition: fields.u32(),
            offset: fields.u64(),
            content: fields.u128(),
            version: fields.bytes().into(),
        };
        (hash, record)
    }

    fn is_deletion(&self) -> bool {
        self.set == DELETION
    }
}

/// Notes records whose rows the table lacks, each with how many.
fn note_missing(
    audit: &Audit<'_>,
    meta: &Mutex<MetaCache>,
    mut missing: Vec<(Candidate, u64)>,
    deep: &mut DeepAudit,
) -> Result<(), Error> {
    missing.sort_unstable_by_key(|(record, _)| (record.partition, record.offset));
    for (record, rows) in missing {
        deep.missing += rows;
        let place = (record.partition, record.offset);
        note_record(audit, meta, FindingKind::Missing, place, deep)?;
    }
    Ok(())
}

/// Notes a record as what its key's row must be, if it is the one that decides.
fn expect(expected: &mut Expected, winner: Winner, entry: &[u8]) {
    let (hash, new) = Candidate::of(entry);
    let known = expected.entry(hash).or_default();
    if matches!(winner, Winner::Any | Winner::Each) {
        known.push(new);
        return;
    }
    match known.iter_mut().find(|old| old.partition == new.partition) {
        Some(old) if winner.replaces(&new, old) => *old = new,
        Some(_) => {}
        None => known.push(new),
    }
}

fn note_extra(key: &str, deep: &mut DeepAudit) {
    // The row's record may have been in the log's removed beginning, or among the records that are not compared.
    if !deep.log_begins.is_empty() || deep.of_former_columns > 0 {
        deep.unexplained += 1;
        return;
    }
    deep.extra += 1;
    if deep.findings.len() < FINDINGS_MAX {
        deep.findings.push(Finding {
            kind: FindingKind::Extra,
            key: key.to_owned(),
            at: None,
            file: None,
            line: None,
        });
    }
}

/// Notes a record that something is wrong with: where it lies, and where it came from.
pub(super) fn note_record(
    audit: &Audit<'_>,
    meta: &Mutex<MetaCache>,
    kind: FindingKind,
    (partition, offset): (u32, u64),
    deep: &mut DeepAudit,
) -> Result<(), Error> {
    if deep.findings.len() >= FINDINGS_MAX {
        return Ok(());
    }
    let mut finding = Finding {
        kind,
        key: String::new(),
        at: Some((partition, offset)),
        file: None,
        line: None,
    };
    let records = read_log(audit.source(meta, partition), offset)?;
    let found = records.iter().next();
    if let Some(found) = found.filter(|found| found.offset.get() == offset)
        && let Ok(taken) = take(audit.target.json.as_ref(), &found)
    {
        let payload = taken.payload().map(Payload::decode);
        let payload = payload.and_then(Result::ok);
        finding.key = match (&taken.key, payload.as_ref().map(|payload| &payload.body)) {
            (Some(key), _) => key_shown(key),
            (None, Some(Body::Row(row))) => render::csv_line(row.clone()).unwrap_or_default(),
            (None, Some(Body::Reject(_)) | None) => String::new(),
        };
        if let Some(payload) = payload.filter(|payload| payload.origin != Origin::ELSEWHERE) {
            finding.line = Some(payload.origin.line);
            let mut meta = meta.lock();
            finding.file = meta.file(audit.log, payload.origin.file)?;
        }
    }
    deep.findings.push(finding);
    Ok(())
}
