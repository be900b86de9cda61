//! InitProducerId: an id for an idempotent producer.

use super::code::Code;
use super::connection::Ended;
use super::requests::Request;
use super::wire::Writer;

/// From this version on it has compact types and tagged fields.
const FLEXIBLE_FROM: i16 = 2;

pub(super) fn answer(request: Request<'_>, out: &mut Writer) -> Result<(), Ended> {
    let Request(broker, sender, version, mut body) = request;
    let transactional_id = if version >= FLEXIBLE_FROM {
        body.nullable_compact_string()?
    } else {
        body.nullable_string()?
    };
    let _transaction_timeout_ms = body.i32()?;
    if version >= 3 {
        // A producer that is not transactional gets a new id, whatever it had.
        let (_id, _epoch) = (body.i64()?, body.i16()?);
    }
    if version >= FLEXIBLE_FROM {
        body.tagged_fields()?;
    }
    body.end()?;
    let may = sender.may_change(Code::CLUSTER_AUTHORIZATION_FAILED);
    let given = may.and_then(|()| match transactional_id {
        Some(_) => Err(Code::INVALID_REQUEST),
        None => broker.checked(broker.client.new_producer_id()),
    });
    if let Err(code) = given {
        let id = transactional_id.unwrap_or_default();
        sender.note("begin to produce", id, code);
    }
    out.i32(0); // throttle time
    out.i16(given.err().unwrap_or(Code::NONE).0);
    out.i64(given.unwrap_or(-1));
    out.i16(given.map_or(-1, |_| 0)); // epoch
    out.when(version >= FLEXIBLE_FROM, |out| out.no_tagged_fields());
    Ok(())
}
