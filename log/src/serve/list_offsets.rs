//! ListOffsets: the offsets at the beginning, at the end, and of a time.

use super::Broker;
use super::code::Code;
use super::connection::Ended;
use super::named::Named;
use super::requests::Request;
use super::wire::{Reader, Writer};
use crate::batch::LEADER_EPOCH;
use crate::{Error, Offset};

const LATEST: i64 = -1;
const EARLIEST: i64 = -2;

/// An offset, and its record's timestamp where it was looked for by time.
struct ListedOffset {
    offset: Offset,
    timestamp_ms: i64,
}

pub(super) fn answer(request: Request<'_>, out: &mut Writer) -> Result<(), Ended> {
    let Request(broker, _, version, mut body) = request;
    let _replica = body.i32()?;
    let _isolation = body.when(version >= 2, Reader::i8)?; // there are no transactions
    let topics = body.array(|body| {
        let topic = body.string()?;
        let partitions = body.array(|body| {
            let partition = body.i32()?;
            let epoch = if version >= 4 { body.i32()? } else { -1 };
            Ok((partition, epoch, body.i64()?))
        })?;
        Ok((topic, partitions))
    })?;
    body.end()?;
    out.when(version >= 2, |out| out.i32(0)); // throttle time
    let mut named = Named::default();
    out.array(&topics, |out, (topic, partitions)| {
        out.string(topic);
        out.array(partitions, |out, (partition, epoch, timestamp_ms)| {
            let found = named
                .partition(topic, *partition)
                .and_then(|()| check_epoch(*epoch))
                .and_then(|()| find(broker, topic, *partition, *timestamp_ms));
            out.i32(*partition);
            let code = found.as_ref().err().copied().unwrap_or(Code::NONE);
            out.i16(code.0);
            let found = found.ok().flatten();
            out.i64(found.as_ref().map_or(-1, |found| found.timestamp_ms));
            let offset = found.as_ref().map(|found| found.offset.get().cast_signed());
            out.i64(offset.unwrap_or(-1));
            out.when(version >= 4, |out| {
                out.i32(if found.is_some() { LEADER_EPOCH } else { -1 })
            });
        });
    });
    Ok(())
}

/// Checks the leader epoch that a client believes in; -1 if it names no epoch.
pub(super) const fn check_epoch(epoch: i32) -> Result<(), Code> {
    match epoch {
        -1 | LEADER_EPOCH => Ok(()),
        LEADER_EPOCH.. => Err(Code::UNKNOWN_LEADER_EPOCH),
        _ => Err(Code::FENCED_LEADER_EPOCH),
    }
}

fn find(
    broker: &Broker,
    topic: &str,
    partition: i32,
    timestamp_ms: i64,
) -> Result<Option<ListedOffset>, Code> {
    let failed = |error: Error| Code::from(&error);
    let all = broker.client.partition_ends(topic).map_err(failed)?;
    let ends = usize::try_from(partition).ok();
    let ends = ends.and_then(|partition| all.get(partition));
    let ends = ends.ok_or(Code::UNKNOWN_TOPIC_OR_PARTITION)?;
    let at = |offset| {
        Ok(Some(ListedOffset {
            offset,
            timestamp_ms: -1,
        }))
    };
    match timestamp_ms {
        LATEST => return at(ends.end),
        EARLIEST => return at(ends.start),
        ..0 => return Err(Code::INVALID_REQUEST),
        _ => {}
    }
    let client = &broker.client;
    let partition = ends.partition;
    let offset = client
        .offset_for_time(topic, partition, timestamp_ms)
        .map_err(failed)?;
    let Some(offset) = offset else {
        return Ok(None);
    };
    let records = client.read(topic, partition, offset, 1).map_err(failed)?;
    let first = records.iter().next();
    Ok(first.map(|record| ListedOffset {
        offset: record.offset,
        timestamp_ms: record.timestamp_ms,
    }))
}
