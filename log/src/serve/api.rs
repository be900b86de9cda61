//! The APIs that are offered, and the way from a request to its answer.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::OwnedSemaphorePermit;

use super::code::Code;
use super::connection::{Ended, Frame};
use super::wire::{Malformed, Reader, Writer};
use super::{
    Broker, create_topics, fetch, group_offsets, list_offsets, metadata, produce, producer_id,
};

const PRODUCE: i16 = 0;
const FETCH: i16 = 1;
const LIST_OFFSETS: i16 = 2;
const METADATA: i16 = 3;
const OFFSET_COMMIT: i16 = 8;
const OFFSET_FETCH: i16 = 9;
const FIND_COORDINATOR: i16 = 10;
const API_VERSIONS: i16 = 18;
const CREATE_TOPICS: i16 = 19;
const INIT_PRODUCER_ID: i16 = 22;

/// Key, first and last version of each API. Produce is offered from 0 because librdkafka before 2.11 takes a
/// broker that does not offer it for one that knows no compression but gzip; below 3 it is refused.
const OFFERED: [(i16, i16, i16); 10] = [
    (PRODUCE, 0, 8),
    (FETCH, 4, 11),
    (LIST_OFFSETS, 1, 5),
    (METADATA, 0, 8),
    (OFFSET_COMMIT, 2, 7),
    (OFFSET_FETCH, 1, 5),
    (FIND_COORDINATOR, 0, 2),
    (API_VERSIONS, 0, 3),
    (CREATE_TOPICS, 2, 4),
    (INIT_PRODUCER_ID, 0, 4),
];

/// An answer, and its share of the memory for answers.
pub(super) struct Answer {
    pub(super) bytes: Vec<u8>,
    pub(super) room: Option<OwnedSemaphorePermit>,
}

/// What stands before a request's body.
#[derive(Debug, Clone, Copy)]
struct Header {
    key: i16,
    version: i16,
    correlation_id: i32,
}

/// Answers a request; `None` if it wants no answer.
pub(super) async fn answer(
    broker: &Arc<Broker>,
    frame: Frame,
    reached: SocketAddr,
) -> Result<Option<Answer>, Ended> {
    let (header, body) = decode_header(&frame.bytes)?;
    let Header { key, version, .. } = header;
    let offered = OFFERED
        .iter()
        .any(|(offered, first, last)| *offered == key && (*first..=*last).contains(&version));
    if !offered && key != API_VERSIONS {
        return Err(Ended::Unsupported { key, version });
    }
    if key == FETCH {
        let request = fetch::Request::decode(version, body)?;
        // A fetch may wait for long.
        drop(frame);
        let (out, room) = fetch::answer(broker, request, begin(&header)).await?;
        return Ok(Some(Answer {
            bytes: out.into_bytes(),
            room: Some(room),
        }));
    }
    let broker = Arc::clone(broker);
    let answered = tokio::task::spawn_blocking(move || {
        // Decoded again: what was decoded above borrows from the frame.
        let (header, body) = decode_header(&frame.bytes)?;
        let mut out = begin(&header);
        let is_wanted = dispatch(&broker, header, body, reached, &mut out)?;
        Ok::<_, Ended>(is_wanted.then(|| out.into_bytes()))
    });
    let bytes = answered.await.map_err(|_| Ended::Closed)??;
    Ok(bytes.map(|bytes| Answer { bytes, room: None }))
}

/// Answers all but fetches; says whether an answer is wanted.
fn dispatch(
    broker: &Broker,
    header: Header,
    body: Reader<'_>,
    reached: SocketAddr,
    out: &mut Writer,
) -> Result<bool, Ended> {
    let version = header.version;
    match header.key {
        PRODUCE => return produce::answer(broker, version, body, out),
        LIST_OFFSETS => list_offsets::answer(broker, version, body, out)?,
        METADATA => metadata::answer(broker, version, body, reached, out)?,
        OFFSET_COMMIT => group_offsets::commit(broker, version, body, out)?,
        OFFSET_FETCH => group_offsets::fetch(broker, version, body, out)?,
        FIND_COORDINATOR => metadata::find_coordinator(broker, version, body, reached, out)?,
        CREATE_TOPICS => create_topics::answer(broker, version, body, out)?,
        INIT_PRODUCER_ID => producer_id::answer(broker, version, body, out)?,
        _ => api_versions(version, body, out)?,
    }
    Ok(true)
}

/// Whether a request's header and body have tagged fields.
const fn is_flexible(key: i16, version: i16) -> bool {
    match key {
        API_VERSIONS => version >= 3,
        INIT_PRODUCER_ID => version >= 2,
        _ => false,
    }
}

fn decode_header(frame: &[u8]) -> Result<(Header, Reader<'_>), Malformed> {
    let mut body = Reader::new(frame);
    let header = Header {
        key: body.i16()?,
        version: body.i16()?,
        correlation_id: body.i32()?,
    };
    let _client_id = body.nullable_string()?;
    if is_flexible(header.key, header.version) {
        body.tagged_fields()?;
    }
    Ok((header, body))
}

/// An answer's header. That of ApiVersions has no tagged fields in any version, as a client reads it before it
/// knows which versions there are.
fn begin(header: &Header) -> Writer {
    let mut out = Writer::default();
    out.i32(header.correlation_id);
    if header.key != API_VERSIONS && is_flexible(header.key, header.version) {
        out.no_tagged_fields();
    }
    out
}

fn api_versions(version: i16, mut body: Reader<'_>, out: &mut Writer) -> Result<(), Malformed> {
    if !(0..=3).contains(&version) {
        // Of a version that is not known neither the request's body nor the answer's can be; the client reads
        // the first version's and tries again.
        out.i16(Code::UNSUPPORTED_VERSION.0);
        offered(out);
        return Ok(());
    }
    if version < 3 {
        body.end()?;
        out.i16(Code::NONE.0);
        offered(out);
        if version > 0 {
            out.i32(0); // throttle time
        }
        return Ok(());
    }
    let (_software, _its_version) = (
        body.nullable_compact_string()?,
        body.nullable_compact_string()?,
    );
    body.tagged_fields()?;
    body.end()?;
    out.i16(Code::NONE.0);
    out.compact_count(OFFERED.len());
    for (key, first, last) in OFFERED {
        out.i16(key);
        out.i16(first);
        out.i16(last);
        out.no_tagged_fields();
    }
    out.i32(0); // throttle time
    out.no_tagged_fields();
    Ok(())
}

fn offered(out: &mut Writer) {
    out.array(&OFFERED, |out, (key, first, last)| {
        out.i16(*key);
        out.i16(*first);
        out.i16(*last);
    });
}
