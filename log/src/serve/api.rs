//! The APIs that are offered, and the way from a request to its answer.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::OwnedSemaphorePermit;

use super::code::Code;
use super::connection::Ended;
use super::requests::{Frame, Request};
use super::sasl::{self, Access, Step};
use super::visitor::{Sender, Visitor};
use super::wire::{Malformed, Reader, Writer};
use super::{
    Broker, configs, create_topics, deletion, fetch, group_offsets, groups, list_offsets, metadata,
    produce, producer_id,
};

const PRODUCE: i16 = 0;
const FETCH: i16 = 1;
const LIST_OFFSETS: i16 = 2;
const METADATA: i16 = 3;
const OFFSET_COMMIT: i16 = 8;
const OFFSET_FETCH: i16 = 9;
const FIND_COORDINATOR: i16 = 10;
const DESCRIBE_GROUPS: i16 = 15;
const LIST_GROUPS: i16 = 16;
const SASL_HANDSHAKE: i16 = 17;
const API_VERSIONS: i16 = 18;
const CREATE_TOPICS: i16 = 19;
const DELETE_TOPICS: i16 = 20;
const DELETE_RECORDS: i16 = 21;
const INIT_PRODUCER_ID: i16 = 22;
const DESCRIBE_CONFIGS: i16 = 32;
const ALTER_CONFIGS: i16 = 33;
const SASL_AUTHENTICATE: i16 = 36;
const DELETE_GROUPS: i16 = 42;
const OFFSET_DELETE: i16 = 47;

const PRODUCE_VERSIONS: (i16, i16) = (0, 8);

/// Key, first and last version of each API. Produce is offered from 0 because librdkafka before 2.11 takes a
/// broker that does not offer it for one that knows no compression but gzip; below 3 it is refused.
const OFFERED: [(i16, i16, i16); 18] = [
    (PRODUCE, PRODUCE_VERSIONS.0, PRODUCE_VERSIONS.1),
    (FETCH, 4, 11),
    (LIST_OFFSETS, 1, 5),
    (METADATA, 0, 8),
    (OFFSET_COMMIT, 2, 7),
    (OFFSET_FETCH, 1, 5),
    (FIND_COORDINATOR, 0, 2),
    (DESCRIBE_GROUPS, 0, 4),
    (LIST_GROUPS, 0, 2),
    (API_VERSIONS, 0, 3),
    (CREATE_TOPICS, 2, 4),
    (DELETE_TOPICS, 1, 3),
    (DELETE_RECORDS, 0, 1),
    (INIT_PRODUCER_ID, 0, 4),
    (DESCRIBE_CONFIGS, 0, 2),
    (ALTER_CONFIGS, 0, 1),
    (DELETE_GROUPS, 0, 1),
    (OFFSET_DELETE, 0, 0),
];

/// The same of what is offered where clients have to say who they are.
const OFFERED_WITH_CREDENTIALS: [(i16, i16, i16); 2] =
    [(SASL_HANDSHAKE, 0, 1), (SASL_AUTHENTICATE, 0, 1)];

/// An answer with its length in front, and its share of the memory for answers.
pub(super) struct Answer {
    pub(super) bytes: Vec<u8>,
    pub(super) room: Option<OwnedSemaphorePermit>,
}

impl Answer {
    fn small(out: Writer) -> Self {
        Self {
            bytes: out.into_frame(),
            room: None,
        }
    }
}

/// What stands before a request's body.
#[derive(Debug, Clone, Copy)]
struct Header<'a> {
    key: i16,
    version: i16,
    correlation_id: i32,
    client_id: Option<&'a str>,
}

/// The APIs that are offered.
pub(super) fn offered(broker: &Broker) -> Vec<(i16, i16, i16)> {
    let mut offered = OFFERED.to_vec();
    if broker.config.credentials.is_some() {
        offered.extend(OFFERED_WITH_CREDENTIALS);
    }
    offered
}

fn check_offered(broker: &Broker, header: &Header<'_>) -> Result<(), Ended> {
    let Header { key, version, .. } = *header;
    let is_it = |(offered, first, last): &(i16, i16, i16)| {
        *offered == key && (*first..=*last).contains(&version)
    };
    // The answer to an unknown version of ApiVersions names the versions that are offered.
    if key == API_VERSIONS || offered(broker).iter().any(is_it) {
        return Ok(());
    }
    Err(Ended::Unsupported { key, version })
}

/// Answers a request of a connection that has not said yet who it is.
pub(super) async fn answer_stranger(
    broker: &Broker,
    access: &mut Access,
    frame: Frame,
    peer: SocketAddr,
) -> Result<Answer, Ended> {
    if access.is_bare() {
        let answer = take_token(broker, access, peer, &frame.bytes).await?;
        let mut out = Writer::new();
        out.bare(&answer.ok_or(Ended::Unauthenticated)?);
        return Ok(Answer::small(out));
    }
    let (header, mut body) = decode_header(&frame.bytes)?;
    check_offered(broker, &header)?;
    let version = header.version;
    let mut out = begin(&header);
    match header.key {
        API_VERSIONS => api_versions(broker, version, body, &mut out)?,
        SASL_HANDSHAKE => sasl::handshake(access, version, body, &mut out)?,
        SASL_AUTHENTICATE => {
            let token = sasl::decode_token(&mut body)?;
            if matches!(*access, Access::Asked { .. }) {
                let answer = take_token(broker, access, peer, token).await?;
                sasl::authenticate(answer.as_deref().ok_or(sasl::WRONG), version, &mut out);
            } else {
                *access = Access::Refused;
                sasl::authenticate(Err(sasl::NO_HANDSHAKE), version, &mut out);
            }
        }
        _ => return Err(Ended::Unauthenticated),
    }
    Ok(Answer::small(out))
}

/// Takes a message of a mechanism; returns the answer, `None` if it is wrong. An address that has guessed waits its turn;
/// a wrong guess is noted.
async fn take_token(
    broker: &Broker,
    access: &mut Access,
    peer: SocketAddr,
    token: &[u8],
) -> Result<Option<Vec<u8>>, Ended> {
    let Access::Asked { is_bare, exchange } = std::mem::replace(access, Access::Refused) else {
        return Ok(None);
    };
    if exchange.is_guess() {
        let turn = broker.guesses.turn(peer.ip());
        tokio::time::sleep_until(turn.ok_or(Ended::Unauthenticated)?).await;
    }
    Ok(match exchange.step(token, &broker.users) {
        Step::Granted(rights, answer) => {
            *access = Access::Granted(rights);
            Some(answer)
        }
        Step::Continue(exchange, answer) => {
            *access = Access::Asked { is_bare, exchange };
            Some(answer)
        }
        Step::Refused(user) => {
            broker.guesses.note(peer, &user);
            tokio::time::sleep(sasl::FAILED_PAUSE).await;
            None
        }
    })
}

/// Answers a request of any kind but Produce.
pub(super) async fn answer(
    broker: &Arc<Broker>,
    frame: Frame,
    visitor: Visitor,
) -> Result<Answer, Ended> {
    let (header, body) = decode_header(&frame.bytes)?;
    trace(&header, &frame);
    check_offered(broker, &header)?;
    if header.key == FETCH {
        let request = fetch::Request::decode(header.version, body)?;
        let out = begin(&header);
        // A fetch may wait for long.
        drop(frame);
        let (out, room) = fetch::answer(broker, request, out).await?;
        return Ok(Answer {
            bytes: out.into_frame(),
            room: Some(room),
        });
    }
    let broker = Arc::clone(broker);
    let answered = tokio::task::spawn_blocking(move || {
        // Decoded again: what was decoded above borrows from the frame.
        let (header, body) = decode_header(&frame.bytes)?;
        let mut out = begin(&header);
        dispatch(&broker, header, body, visitor, &mut out)?;
        Ok::<_, Ended>(Answer::small(out))
    });
    answered.await.map_err(|_| Ended::Closed)?
}

fn trace(header: &Header<'_>, frame: &Frame) {
    let Header {
        key,
        version,
        client_id,
        ..
    } = *header;
    tracing::trace!(
        key,
        version,
        client_id,
        bytes = frame.bytes.len(),
        "request"
    );
}

/// Whether a request is one to produce, of a version that is offered.
pub(super) fn is_produce(frame: &Frame) -> bool {
    let is_it = |(header, _): (Header<'_>, _)| {
        header.key == PRODUCE && (PRODUCE_VERSIONS.0..=PRODUCE_VERSIONS.1).contains(&header.version)
    };
    decode_header(&frame.bytes).is_ok_and(is_it)
}

/// The name that the sender of a request gives itself.
pub(super) fn client_id(frame: &Frame) -> Option<&str> {
    decode_header(&frame.bytes).ok()?.0.client_id
}

pub(super) fn is_fetch(frame: &Frame) -> bool {
    decode_header(&frame.bytes).is_ok_and(|(header, _)| header.key == FETCH)
}

/// Answers requests to produce; `None` where no answer is wanted. Their appends are begun in this order before
/// the first is waited for. There are fewer answers than requests if one of them ends the connection.
pub(super) async fn answer_produces(
    broker: &Arc<Broker>,
    frames: Vec<Frame>,
    visitor: Visitor,
) -> Vec<Result<Option<Answer>, Ended>> {
    let broker = Arc::clone(broker);
    let answered = tokio::task::spawn_blocking(move || {
        let mut begun = Vec::new();
        let mut ended = None;
        for frame in &frames {
            match begin_produce(&broker, frame, visitor) {
                Ok(one) => begun.push(one),
                Err(malformed) => {
                    ended = Some(Err(malformed.into()));
                    break;
                }
            }
        }
        // Each of them, even if one before it ends the connection: they have their place.
        let finished = begun.into_iter().map(|(begun, mut out)| {
            let is_wanted = begun.finish(&broker, &mut out)?;
            Ok(is_wanted.then(|| Answer::small(out)))
        });
        finished.chain(ended).collect()
    });
    let answered = answered.await;
    answered.unwrap_or_else(|_panicked| vec![Err(Ended::Closed)])
}

fn begin_produce<'a>(
    broker: &Broker,
    frame: &'a Frame,
    visitor: Visitor,
) -> Result<(produce::Begun<'a>, Writer), Malformed> {
    let (header, body) = decode_header(&frame.bytes)?;
    trace(&header, frame);
    let sender = Sender::new(visitor, header.client_id, &broker.line_limit);
    let begun = produce::begin(broker, &sender, header.version, body)?;
    Ok((begun, begin(&header)))
}

/// Answers all but fetches and requests to produce.
fn dispatch(
    broker: &Broker,
    header: Header<'_>,
    body: Reader<'_>,
    visitor: Visitor,
    out: &mut Writer,
) -> Result<(), Ended> {
    let version = header.version;
    let sender = Sender::new(visitor, header.client_id, &broker.line_limit);
    let request = Request(broker, &sender, version, body);
    match header.key {
        LIST_OFFSETS => list_offsets::answer(request, out)?,
        METADATA => metadata::answer(request, out)?,
        OFFSET_COMMIT => group_offsets::commit(request, out)?,
        OFFSET_FETCH => group_offsets::fetch(request, out)?,
        FIND_COORDINATOR => metadata::find_coordinator(request, out)?,
        CREATE_TOPICS => create_topics::answer(request, out)?,
        DELETE_TOPICS => deletion::delete_topics(request, out)?,
        DELETE_RECORDS => deletion::delete_records(request, out)?,
        INIT_PRODUCER_ID => producer_id::answer(request, out)?,
        DESCRIBE_CONFIGS => configs::describe(request, out)?,
        ALTER_CONFIGS => configs::alter(request, out)?,
        DESCRIBE_GROUPS => groups::describe(request, out)?,
        LIST_GROUPS => groups::list(request, out)?,
        DELETE_GROUPS => groups::delete(request, out)?,
        OFFSET_DELETE => groups::delete_offsets(request, out)?,
        SASL_HANDSHAKE => {
            let Request(.., body) = request;
            sasl::handshake(&mut Access::Granted(visitor.rights), version, body, out)?;
        }
        SASL_AUTHENTICATE => {
            let Request(.., mut body) = request;
            sasl::decode_token(&mut body)?;
            sasl::authenticate(Err(sasl::NO_HANDSHAKE), version, out);
        }
        _ => api_versions(broker, version, request.3, out)?,
    }
    Ok(())
}

/// Whether a request's header and body have tagged fields.
const fn is_flexible(key: i16, version: i16) -> bool {
    match key {
        API_VERSIONS => version >= 3,
        INIT_PRODUCER_ID => version >= 2,
        _ => false,
    }
}

fn decode_header(frame: &[u8]) -> Result<(Header<'_>, Reader<'_>), Malformed> {
    let mut body = Reader::new(frame);
    let header = Header {
        key: body.i16()?,
        version: body.i16()?,
        correlation_id: body.i32()?,
        client_id: body.nullable_string()?,
    };
    if is_flexible(header.key, header.version) {
        body.tagged_fields()?;
    }
    Ok((header, body))
}

/// An answer's header. That of ApiVersions has no tagged fields in any version, as a client reads it before it
/// knows which versions there are.
fn begin(header: &Header<'_>) -> Writer {
    let mut out = Writer::new();
    out.i32(header.correlation_id);
    if header.key != API_VERSIONS && is_flexible(header.key, header.version) {
        out.no_tagged_fields();
    }
    out
}

fn api_versions(
    broker: &Broker,
    version: i16,
    mut body: Reader<'_>,
    out: &mut Writer,
) -> Result<(), Malformed> {
    let offered = offered(broker);
    if !(0..=3).contains(&version) {
        // The form of an unknown version's request and answer is unknown too. A client reads the answer as the first
        // version's, and tries again.
        out.i16(Code::UNSUPPORTED_VERSION.0);
        put_offered(&offered, out);
        return Ok(());
    }
    if version < 3 {
        body.end()?;
        out.i16(Code::NONE.0);
        put_offered(&offered, out);
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
    out.compact_count(offered.len());
    for (key, first, last) in offered {
        out.i16(key);
        out.i16(first);
        out.i16(last);
        out.no_tagged_fields();
    }
    out.i32(0); // throttle time
    out.no_tagged_fields();
    Ok(())
}

fn put_offered(offered: &[(i16, i16, i16)], out: &mut Writer) {
    out.array(offered, |out, (key, first, last)| {
        out.i16(*key);
        out.i16(*first);
        out.i16(*last);
    });
}
