//! What the table holds: each row as binary COPY gives it.

use std::pin::pin;

use bytes::BytesMut;
use futures_util::TryStreamExt;

use super::buckets::{Buckets, put_bytes};
use super::canonical::{Columns, fields};
use super::{Audit, DeepAudit, as_read};
use crate::Error;
use crate::ddl::quote;
use crate::session::Session;

pub(super) const SIDE: &str = "table";

/// Signature, flags and the length of the header's extension.
const HEADER_LEN: usize = 19;

/// Reads the table in the snapshot.
pub(super) async fn read(
    audit: &Audit<'_>,
    session: &Session,
    sets: &[Columns],
    buckets: usize,
    deep: &mut DeepAudit,
) -> Result<(), Error> {
    let target = audit.target;
    let mut side = Side {
        sets,
        is_keyed: target.is_keyed(),
        // The list with the most columns has all of them: columns are added, or passed over where they are gone.
        all: Columns::new(target, &all_names(audit, sets)),
        first: by_width(sets).first().copied(),
        positions: Vec::new(),
        buckets: Buckets::create(audit.work, SIDE, buckets),
        entry: Vec::new(),
    };
    side.positions = sets.iter().map(|set| side.positions_of(set)).collect();
    let mut asked: Vec<String> = side.all.names.iter().map(|name| quote(name)).collect();
    for column in &side.all.read {
        let [text, alike] = as_read::question(session, column, &quote(&column.name)).await?;
        asked[column.at] = text;
        // Behind the columns: what equal keys have in common.
        asked.push(alike);
    }
    let sql = format!(
        "COPY (SELECT {} FROM {}) TO STDOUT (FORMAT binary)",
        asked.join(", "),
        target.table.sql_name
    );
    let failed =
        |error| Error::postgres(format!("read table `{}`", target.table.full_name), &error);
    let copy = session
        .client
        .copy_out(sql.as_str())
        .await
        .map_err(failed)?;
    let mut copy = pin!(copy);
    let mut buffer = BytesMut::new();
    let mut is_behind_header = false;
    while let Some(chunk) = copy.try_next().await.map_err(failed)? {
        buffer.extend_from_slice(&chunk);
        if !is_behind_header && buffer.len() >= HEADER_LEN {
            let _ = buffer.split_to(HEADER_LEN);
            is_behind_header = true;
        }
        while is_behind_header && let Some(length) = tuple_len(&buffer) {
            let tuple = buffer.split_to(length);
            side.take(&tuple)?;
            deep.rows += 1;
        }
    }
    side.buckets.finish()
}

/// The lists of columns, the longest first: of two lists that a row may be of, it is first compared with the one that says
/// more of it.
pub(super) fn by_width(sets: &[Columns]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..sets.len()).collect();
    order.sort_by_key(|set| std::cmp::Reverse(sets[*set].names.len()));
    order
}

/// The columns of the stream that the table has.
fn all_names(audit: &Audit<'_>, sets: &[Columns]) -> Vec<String> {
    let target = audit.target;
    let is_used = |name: &String| {
        target.stream.key.contains(name) || sets.iter().any(|set| set.names.contains(name))
    };
    let names = target
        .stream
        .columns
        .iter()
        .map(|column| column.name.clone());
    let names = names.filter(|name| target.table.column(name).is_some());
    names
        .filter(|name| sets.is_empty() || is_used(name))
        .collect()
}

/// The length of the tuple that a buffer begins with; `None` if it is not all there, or is the end.
fn tuple_len(buffer: &[u8]) -> Option<usize> {
    let count = i16::from_be_bytes(*buffer.first_chunk::<2>()?);
    let count = u16::try_from(count).ok()?;
    let mut at = 2;
    for _ in 0..count {
        let length = i32::from_be_bytes(*buffer.get(at..)?.first_chunk::<4>()?);
        at += 4 + usize::try_from(length).unwrap_or(0);
    }
    (at <= buffer.len()).then_some(at)
}

struct Side<'a> {
    sets: &'a [Columns],
    is_keyed: bool,
    all: Columns,
    /// The list by which rows without a key are compared first.
    first: Option<usize>,
    /// For each list of columns, where its columns are among all.
    positions: Vec<Vec<usize>>,
    buckets: Buckets<'a>,
    entry: Vec<u8>,
}

impl Side<'_> {
    fn positions_of(&self, set: &Columns) -> Vec<usize> {
        let find = |name: &String| self.all.names.iter().position(|known| known == name);
        set.names.iter().filter_map(find).collect()
    }

    fn take(&mut self, tuple: &[u8]) -> Result<(), Error> {
        let Some(values) = fields(tuple) else {
            return Ok(());
        };
        let contents: Vec<u128> = self
            .sets
            .iter()
            .zip(&self.positions)
            .map(|(set, positions)| {
                let of_set: Vec<Option<&[u8]>> = positions.iter().map(|at| values[*at]).collect();
                set.content_hash(&of_set)
            })
            .collect();
        let (values, alike) = values.split_at(self.all.names.len());
        let text = |at: usize| Some(String::from_utf8_lossy(alike[at]?).into_owned());
        let hash = match (self.is_keyed, self.first) {
            (true, _) => self.all.key_hash(values, text),
            (false, Some(first)) => contents[first],
            (false, None) => self.all.content_hash(values),
        };
        self.entry.clear();
        self.entry.extend_from_slice(&hash.to_le_bytes());
        put_bytes(&mut self.entry, self.all.key_text(values).as_bytes());
        for content in contents {
            self.entry.extend_from_slice(&content.to_le_bytes());
        }
        self.buckets.push(hash, &self.entry)
    }
}
