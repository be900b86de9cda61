//! The comparison, one pair of working files at a time.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use bekk_stream::{Body, OnConflict, Payload};

use super::buckets::{self, Fields};
use super::canonical::Columns;
use super::{Audit, DeepAudit, FINDINGS_MAX, Finding, FindingKind, log_side, table_side};
use crate::Error;
use crate::meta_cache::MetaCache;
use crate::prepare::read as read_log;
use crate::render;
use crate::target::Order;

/// A record that decides what a row must be.
#[derive(Debug, Clone)]
struct Candidate {
    set: u8,
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
                let is_text = column.is_some_and(|c| crate::target::is_text(&c.column_type));
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
    // Without a key, equal rows of different lists of columns lie in different files.
    let at_once = match winner == Winner::Each && sets.len() > 1 {
        true => count,
        false => 1,
    };
    for first in (0..count).step_by(at_once) {
        let mut expected = Expected::new();
        for at in first..first + at_once {
            buckets::read(audit.dir, log_side::SIDE, at, |entry| {
                expect(&mut expected, winner, entry);
            })?;
        }
        let mut extra = Vec::new();
        let mut changed = Vec::new();
        for at in first..first + at_once {
            buckets::read(audit.dir, table_side::SIDE, at, |entry| {
                let mut fields = Fields(entry);
                let hash = fields.u128();
                let key = String::from_utf8_lossy(fields.bytes()).into_owned();
                let contents: Vec<u128> = sets.iter().map(|_| fields.u128()).collect();
                let found = match winner {
                    Winner::Each => take_equal(&mut expected, &contents),
                    _ => expected.remove(&hash).map(|candidates| {
                        let is_equal = |one: &Candidate| {
                            contents.get(usize::from(one.set)) == Some(&one.content)
                        };
                        match candidates.iter().any(is_equal) {
                            true => None,
                            false => candidates.into_iter().next_back(),
                        }
                    }),
                };
                match found {
                    Some(None) => {}
                    Some(Some(record)) => changed.push(record),
                    None => extra.push(key),
                }
            })?;
        }
        for record in changed {
            deep.changed += 1;
            note_record(audit, meta, FindingKind::Changed, &record, deep)?;
        }
        for key in extra {
            note_extra(key, deep);
        }
        let mut missing = Vec::new();
        for mut records in expected.into_values() {
            if winner != Winner::Each {
                // Of several partitions' records of one key any may be the row.
                records.truncate(1);
            }
            missing.append(&mut records);
        }
        missing.sort_unstable_by_key(|record| (record.partition, record.offset));
        for record in missing {
            deep.missing += 1;
            note_record(audit, meta, FindingKind::Missing, &record, deep)?;
        }
    }
    Ok(())
}

/// Notes a record as what its key's row must be, if it is the one that decides.
fn expect(expected: &mut Expected, winner: Winner, entry: &[u8]) {
    let mut fields = Fields(entry);
    let hash = fields.u128();
    let new = Candidate {
        set: fields.u8(),
        partition: fields.u32(),
        offset: fields.u64(),
        content: fields.u128(),
        version: fields.bytes().into(),
    };
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

/// Takes a record away that is just this row.
fn take_equal(expected: &mut Expected, contents: &[u128]) -> Option<Option<Candidate>> {
    for (set, content) in contents.iter().enumerate() {
        let Some(records) = expected.get_mut(content) else {
            continue;
        };
        let Some(at) = records.iter().position(|one| usize::from(one.set) == set) else {
            continue;
        };
        records.swap_remove(at);
        return Some(None);
    }
    None
}

fn note_extra(key: String, deep: &mut DeepAudit) {
    // Where the log's beginning is gone, so may be the row's record.
    if !deep.log_begins.is_empty() {
        deep.unexplained += 1;
        return;
    }
    deep.extra += 1;
    if deep.findings.len() < FINDINGS_MAX {
        deep.findings.push(Finding {
            kind: FindingKind::Extra,
            key,
            at: None,
            file: None,
            line: None,
        });
    }
}

fn note_record(
    audit: &Audit<'_>,
    meta: &Mutex<MetaCache>,
    kind: FindingKind,
    record: &Candidate,
    deep: &mut DeepAudit,
) -> Result<(), Error> {
    if deep.findings.len() >= FINDINGS_MAX {
        return Ok(());
    }
    let mut finding = Finding {
        kind,
        key: String::new(),
        at: Some((record.partition, record.offset)),
        file: None,
        line: None,
    };
    let records = read_log(audit.source(meta, record.partition), record.offset)?;
    let found = records.iter().next();
    if let Some(found) = found.filter(|found| found.offset.get() == record.offset)
        && let Ok(payload) = Payload::decode(found.value)
    {
        finding.key = match (found.key, &payload.body) {
            (Some(key), _) => String::from_utf8_lossy(key).replace('\u{1f}', ","),
            (None, Body::Row(row)) => render::csv_line(row.clone()).unwrap_or_default(),
            (None, Body::Reject(_)) => String::new(),
        };
        finding.line = Some(payload.origin.line);
        let mut meta = meta.lock().unwrap_or_else(PoisonError::into_inner);
        finding.file = meta.file(audit.log, payload.origin.file)?;
    }
    deep.findings.push(finding);
    Ok(())
}
