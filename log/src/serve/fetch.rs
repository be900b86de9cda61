//! Fetch: batches handed on as they are stored.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::Broker;
use super::code::Code;
use super::connection::{Ended, acquire};
use super::list_offsets::check_epoch;
use super::named::Named;
use super::wire::{Malformed, Reader, Writer};
use crate::batch::{COMPRESSION_MASK, HEADER_BYTES};
use crate::codec::ZSTD;
use crate::{Client, Error, Offset};

/// No client waits longer for records, whatever it asks for.
const WAIT_MAX_MS: i32 = 60_000;
/// Pause between two reads for a fetch that waits for more than one byte
const PAUSE: Duration = Duration::from_millis(5);
/// Before this version clients do not know zstd.
const ZSTD_FROM: i16 = 10;
/// An answer takes at most this part of the memory for answers that is left,
const SHARE_MAX: usize = 4;
/// or so many bytes.
const SHARE_BYTES_MIN: usize = 1 << 20;
/// Number of partitions up to which a fetch may name one twice
const UNCHECKED_MAX: usize = 1_024;
/// What a partition's answer takes beside its records, with room to spare.
const OVERHEAD_BYTES: usize = 64;

/// A fetch, its texts its own, as it outlives the request's bytes.
pub(super) struct Request {
    version: i16,
    max_wait: Duration,
    min_bytes: usize,
    max_bytes: usize,
    is_committed_only: bool,
    session_id: i32,
    topics: Vec<(String, Vec<Asked>)>,
}

struct Asked {
    partition: i32,
    leader_epoch: i32,
    offset: i64,
    max_bytes: usize,
}

/// What was found of it.
struct FetchedPartition {
    partition: i32,
    code: Code,
    high_watermark: i64,
    log_start: i64,
    records: Vec<u8>,
}

/// What was found of all.
struct Answer {
    topics: Vec<Vec<FetchedPartition>>,
    bytes: usize,
    has_error: bool,
}

impl Request {
    pub(super) fn decode(version: i16, mut body: Reader<'_>) -> Result<Self, Malformed> {
        let at_least_zero = |number: i32| usize::try_from(number).unwrap_or(0);
        let _replica = body.i32()?;
        let max_wait_ms = body.i32()?.clamp(0, WAIT_MAX_MS);
        let min_bytes = at_least_zero(body.i32()?);
        let max_bytes = at_least_zero(body.i32()?);
        let isolation = body.i8()?;
        let (session_id, _session_epoch) = if version >= 7 {
            (body.i32()?, body.i32()?)
        } else {
            (0, -1)
        };
        let topics = body.array(|body| {
            let topic = body.string()?.to_owned();
            let partitions = body.array(|body| {
                let partition = body.i32()?;
                let leader_epoch = if version >= 9 { body.i32()? } else { -1 };
                let offset = body.i64()?;
                let _log_start_of_follower = body.when(version >= 5, Reader::i64)?;
                Ok(Asked {
                    partition,
                    leader_epoch,
                    offset,
                    max_bytes: at_least_zero(body.i32()?),
                })
            })?;
            Ok((topic, partitions))
        })?;
        if version >= 7 {
            let _forgotten = body.array(|body| {
                body.string()?;
                body.array(Reader::i32)
            })?;
        }
        let _rack = body.when(version >= 11, Reader::string)?;
        body.end()?;
        check_named(&topics)?;
        Ok(Self {
            version,
            max_wait: Duration::from_millis(u64::from(max_wait_ms.unsigned_abs())),
            min_bytes,
            max_bytes,
            is_committed_only: isolation == 1,
            session_id,
            topics,
        })
    }
}

/// Refuses a large fetch that names a partition twice. The search would slow down usual fetches, and what these cost
/// is bounded by their size.
fn check_named(topics: &[(String, Vec<Asked>)]) -> Result<(), Malformed> {
    let asked = topics.iter().map(|(_, asked)| asked.len()).sum::<usize>();
    if asked <= UNCHECKED_MAX {
        return Ok(());
    }
    let mut named = Named::default();
    let mut all = topics
        .iter()
        .flat_map(|(topic, asked)| asked.iter().map(move |asked| (topic, asked.partition)));
    all.try_for_each(|(topic, partition)| named.partition(topic, partition))
        .map_err(|_| Malformed)
}

/// Answers a fetch: when there are as many bytes as it wants, when it has waited as long as it wants, or when
/// something is wrong with it. Its share of the memory for answers comes with it.
pub(super) async fn answer(
    broker: &Arc<Broker>,
    request: Request,
    mut out: Writer,
) -> Result<(Writer, OwnedSemaphorePermit), Ended> {
    let deadline = Instant::now() + request.max_wait;
    let wanted = request.max_bytes.min(broker.config.fetch_bytes_max);
    let mut advanced = broker.client.advanced().map_err(|_| Ended::Closed)?;
    let mut stopping = broker.stopping.clone();
    let request = Arc::new(request);
    loop {
        advanced.borrow_and_update();
        let asked = request.topics.iter().map(|(_, asked)| asked.len());
        let overhead = asked.sum::<usize>() * OVERHEAD_BYTES;
        // Where memory is short, answers are, so that those of slow readers leave some to the others.
        let share = broker.answer_room.available_permits() / SHARE_MAX;
        let bytes_max = wanted.min(share.max(SHARE_BYTES_MIN));
        let mut room = acquire(&broker.answer_room, bytes_max + overhead, broker).await?;
        let found = tokio::task::spawn_blocking({
            let (broker, request) = (Arc::clone(broker), Arc::clone(&request));
            move || read(&broker.client, &request, bytes_max)
        });
        let found = found.await.map_err(|_| Ended::Closed)?;
        let is_enough = found.bytes >= request.min_bytes || found.has_error;
        if is_enough || Instant::now() >= deadline || *stopping.borrow() {
            let surplus = room.num_permits().saturating_sub(found.bytes + overhead);
            drop(room.split(surplus));
            put(&request, &found, &mut out);
            return Ok((out, room));
        }
        drop(room);
        let wait = async {
            loop {
                advanced.changed().await.map_err(|_| Ended::Closed)?;
                if has_more(&broker.client, &request, &found) {
                    break;
                }
            }
            if request.min_bytes > 1 {
                sleep_until(deadline.min(Instant::now() + PAUSE)).await;
            }
            Ok(())
        };
        tokio::select! {
            _ = stopping.wait_for(|stop| *stop) => {}
            waited = timeout_at(deadline, wait) => {
                // Past the deadline it is read for the last time.
                if let Ok(Err(ended)) = waited {
                    return Err(ended);
                }
            }
        }
    }
}

/// Whether any partition goes further than when it was last looked at.
fn has_more(client: &Client, request: &Request, found: &Answer) -> bool {
    let mut topics = request.topics.iter().zip(&found.topics);
    topics.any(|((topic, _), found)| {
        let ends = client.partition_ends(topic).unwrap_or_default();
        found.iter().any(|found| {
            let at = usize::try_from(found.partition).ok();
            let ends = at.and_then(|partition| ends.get(partition));
            ends.is_none_or(|ends| number(ends.end) > found.high_watermark)
        })
    })
}

fn read(client: &Client, request: &Request, bytes_max: usize) -> Answer {
    let mut answer = Answer {
        topics: Vec::with_capacity(request.topics.len()),
        bytes: 0,
        has_error: request.session_id != 0,
    };
    for (topic, asked) in &request.topics {
        let mut all = Vec::with_capacity(asked.len());
        for asked in asked {
            let found = read_partition(
                client,
                request.version,
                topic,
                asked,
                Left {
                    bytes: bytes_max.saturating_sub(answer.bytes),
                    is_first: answer.bytes == 0,
                },
            );
            answer.bytes += found.records.len();
            answer.has_error |= found.code.is_error();
            all.push(found);
        }
        answer.topics.push(all);
    }
    answer
}

/// What an answer still has room for.
#[derive(Clone, Copy)]
struct Left {
    bytes: usize,
    /// Nothing is in it yet: one batch has room, however large.
    is_first: bool,
}

fn read_partition(
    client: &Client,
    version: i16,
    topic: &str,
    asked: &Asked,
    left: Left,
) -> FetchedPartition {
    let bytes_max = asked.max_bytes.min(left.bytes);
    let read = check_epoch(asked.leader_epoch).and_then(|()| {
        let offset = u64::try_from(asked.offset).map_err(|_| Code::OFFSET_OUT_OF_RANGE)?;
        let partition =
            u32::try_from(asked.partition).map_err(|_| Code::UNKNOWN_TOPIC_OR_PARTITION)?;
        let failed = |error: Error| Code::from(&error);
        let batches = client
            .read_batches(topic, partition, Offset::new(offset), bytes_max)
            .map_err(failed)?;
        Ok(batches.bytes)
    });
    let mut code = read.as_ref().err().copied().unwrap_or(Code::NONE);
    let mut records = read.unwrap_or_default();
    if !left.is_first && records.len() > bytes_max {
        records = Vec::new(); // it has to wait for an answer in which it is the first
    }
    if version < ZSTD_FROM && has_zstd(&records) {
        (code, records) = (Code::UNSUPPORTED_COMPRESSION_TYPE, Vec::new());
    }
    // After the read, so that the watermark is not below what was read.
    let ends = client.partition_ends(topic).unwrap_or_default();
    let ends = usize::try_from(asked.partition)
        .ok()
        .and_then(|partition| ends.get(partition).copied());
    FetchedPartition {
        partition: asked.partition,
        code,
        high_watermark: ends.map_or(-1, |ends| number(ends.end)),
        log_start: ends.map_or(-1, |ends| number(ends.start)),
        records,
    }
}

const fn number(offset: Offset) -> i64 {
    offset.get().cast_signed()
}

/// Whether any of some whole batches is compressed with zstd.
fn has_zstd(mut batches: &[u8]) -> bool {
    while let Some(header) = batches.first_chunk::<HEADER_BYTES>() {
        let attributes = i16::from_be_bytes([header[21], header[22]]);
        if attributes & COMPRESSION_MASK == ZSTD {
            return true;
        }
        let length = u32::from_be_bytes([header[8], header[9], header[10], header[11]]);
        batches = batches.get(12 + length as usize..).unwrap_or_default();
    }
    false
}

fn put(request: &Request, found: &Answer, out: &mut Writer) {
    let version = request.version;
    out.i32(0); // throttle time
    let is_unknown_session = version >= 7 && request.session_id != 0;
    if version >= 7 {
        let code = if is_unknown_session {
            Code::FETCH_SESSION_ID_NOT_FOUND
        } else {
            Code::NONE
        };
        out.i16(code.0);
        out.i32(0); // session id: none are given
    }
    if is_unknown_session {
        out.count(0);
        return;
    }
    out.count(request.topics.len());
    for ((topic, _), found) in request.topics.iter().zip(&found.topics) {
        out.string(topic);
        out.array(found, |out, found| {
            out.i32(found.partition);
            out.i16(found.code.0);
            out.i64(found.high_watermark);
            out.i64(found.high_watermark); // last stable offset
            out.when(version >= 5, |out| out.i64(found.log_start));
            // Aborted transactions: not asked for, or none.
            out.i32(if request.is_committed_only { 0 } else { -1 });
            out.when(version >= 11, |out| out.i32(-1)); // no replica is preferred
            out.bytes(&found.records);
        });
    }
}
