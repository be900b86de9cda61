//! Truth values, UUIDs and bytes.

use super::text::check_length;
use super::{Refusal, Target, field, text};
use crate::catalog::TableColumn;

pub(super) fn bool_target(column: &TableColumn) -> Option<Target> {
    (column.base_type == "bool").then_some(Target::Bool)
}

pub(super) fn uuid_target(column: &TableColumn) -> Option<Target> {
    match column.base_type.as_str() {
        "uuid" => Some(Target::Uuid),
        _ => text::any_text_target(column),
    }
}

pub(super) fn bytea_target(column: &TableColumn) -> Option<Target> {
    (column.base_type == "bytea").then_some(Target::Bytea)
}

pub(super) fn encode_bool(out: &mut Vec<u8>, value: bool, target: Target) -> Result<(), Refusal> {
    match target {
        Target::Bool => field(out, &[u8::from(value)]),
        _ => return Err(Refusal::other_type(target)),
    }
    Ok(())
}

#[inline]
pub(super) fn encode_uuid(
    out: &mut Vec<u8>,
    value: &[u8; 16],
    target: Target,
) -> Result<(), Refusal> {
    match target {
        Target::Uuid => field(out, value),
        Target::Text { chars_max } => {
            let text = uuid::Uuid::from_bytes(*value).to_string();
            check_length(&text, chars_max)?;
            field(out, text.as_bytes());
        }
        _ => return Err(Refusal::other_type(target)),
    }
    Ok(())
}

pub(super) fn encode_bytea(out: &mut Vec<u8>, value: &[u8], target: Target) -> Result<(), Refusal> {
    match target {
        Target::Bytea => field(out, value),
        _ => return Err(Refusal::other_type(target)),
    }
    Ok(())
}

/// Appends bytes of any content, and an end that no content has.
pub(super) fn bytea_key(out: &mut Vec<u8>, bytes: &[u8]) {
    for byte in bytes {
        out.push(*byte);
        if *byte == 0 {
            out.push(0xff);
        }
    }
    out.extend_from_slice(&[0, 0]);
}
