//! Streams whose rows refer to another stream's rows (foreign keys): those wait for the others.
//!
//! A batch of such a stream is taken when the parents' records that were in the log before it have been applied. Rows
//! that are refused all the same become dead letters, and are tried again when parents have come; where a whole batch
//! is refused, it waits instead.

use bekk_log::Client as Log;
use bekk_stream::Stream;
use tokio_postgres::Client;

use crate::letters::{LetterFilter, read_letters};
use crate::retry::{Retried, retry_letters};
use crate::sqlstate::NO_PARENT;
use crate::target::StreamTarget;
use crate::{ConnectOptions, Error};

/// Number of letters that are tried again at once.
const PAGE: u32 = 1_000;

/// Which target's table each target's table refers to, by a foreign key.
const FOREIGN_KEYS: &str = "\
    WITH tables AS (SELECT to_regclass(name) AS oid, at FROM unnest($1::text[]) WITH ORDINALITY AS t (name, at))
    SELECT DISTINCT child.at::int, parent.at::int
      FROM tables child
      JOIN pg_constraint c ON c.contype = 'f' AND c.conrelid = child.oid
      JOIN tables parent ON parent.oid = c.confrelid
     WHERE child.at <> parent.at";

/// For each target, the targets that have to be filled before it. Tables that refer to each other in a circle wait
/// for none of the circle.
pub(crate) async fn find(
    client: &Client,
    targets: &[StreamTarget],
) -> Result<Vec<Vec<usize>>, tokio_postgres::Error> {
    let names: Vec<&str> = targets.iter().map(|t| t.table.sql_name.as_str()).collect();
    let rows = client.query(FOREIGN_KEYS, &[&names]).await?;
    let at = |row: &tokio_postgres::Row, i| usize::try_from(row.get::<_, i32>(i) - 1).unwrap_or(0);
    let edges: Vec<(usize, usize)> = rows.iter().map(|row| (at(row, 0), at(row, 1))).collect();
    Ok(without_circles(targets.len(), &edges))
}

/// The parents of each of `count` tables, of edges from child to parent.
fn without_circles(count: usize, edges: &[(usize, usize)]) -> Vec<Vec<usize>> {
    let mut reaches = vec![vec![false; count]; count];
    for (child, parent) in edges {
        reaches[*child][*parent] = true;
    }
    for via in 0..count {
        for from in 0..count {
            for to in 0..count {
                reaches[from][to] |= reaches[from][via] && reaches[via][to];
            }
        }
    }
    let parents = |child: usize| {
        let of_child = edges.iter().filter(|(from, _)| *from == child);
        let parents = of_child.map(|(_, parent)| *parent);
        parents.filter(|parent| !reaches[*parent][child]).collect()
    };
    (0..count).map(parents).collect()
}

/// Tries the letters of a stream again that were refused because a row was missing that they refer to. Returns how
/// many are rows now.
pub(crate) fn retry_orphans(
    postgres: &ConnectOptions,
    log: &Log,
    group: &str,
    stream: &Stream,
) -> Result<u64, Error> {
    let filter = LetterFilter {
        group: Some(group.to_owned()),
        stream: Some(stream.name.clone()),
        reason: Some("refused".to_owned()),
        ..LetterFilter::default()
    };
    let log_id = log.log_id().to_string();
    let (mut after, mut landed) = (0, 0);
    loop {
        let mut letters = read_letters(postgres, &filter, after, PAGE)?;
        let Some(last) = letters.last() else {
            return Ok(landed);
        };
        after = last.id;
        letters.retain(|letter| {
            letter.sqlstate.as_deref() == Some(NO_PARENT) && letter.log_id == log_id
        });
        retry_letters(
            postgres,
            log,
            stream,
            &letters,
            &mut |_| Err("the log does not have its record any more".to_owned()),
            &mut |_, retried| landed += u64::from(*retried == Retried::Landed),
        )?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_wait_for_those_they_refer_to() {
        let check = |edges: &[(usize, usize)], expected: [&[usize]; 3]| {
            assert_eq!(without_circles(3, edges), expected, "{edges:?}");
        };
        check(&[], [&[], &[], &[]]);
        check(&[(0, 1), (1, 2)], [&[1], &[2], &[]]);
        check(&[(0, 1), (1, 0), (0, 2)], [&[2], &[], &[]]);
        check(&[(0, 1), (1, 2), (2, 0)], [&[], &[], &[]]);
    }
}
