//! Texts, JSON, and texts that a type's own input function reads.

use super::{Refusal, Target, field, length};
use crate::catalog::TableColumn;

/// The version byte before the text of a binary `jsonb`.
const JSONB_VERSION: u8 = 1;

pub(super) fn text_target(column: &TableColumn) -> Option<Target> {
    if column.is_enum {
        return Some(Target::Text { chars_max: None });
    }
    any_text_target(column).or_else(|| column.guard.map(Target::Input))
}

pub(super) fn json_target(column: &TableColumn) -> Option<Target> {
    match column.base_type.as_str() {
        "json" => Some(Target::Json),
        "jsonb" => Some(Target::Jsonb),
        _ => any_text_target(column),
    }
}

/// The table's types that take any text.
pub(super) fn any_text_target(column: &TableColumn) -> Option<Target> {
    let chars_max = match column.base_type.as_str() {
        "text" | "citext" => None,
        "varchar" | "bpchar" => usize::try_from(column.type_modifier - 4).ok(),
        _ => return None,
    };
    Some(Target::Text { chars_max })
}

#[inline]
pub(super) fn encode_text(out: &mut Vec<u8>, text: &str, target: Target) -> Result<(), Refusal> {
    match target {
        Target::Text { chars_max } => check_length(text, chars_max)?,
        Target::Input(guard) => {
            if let Some(why) = guard.refuses(text) {
                return Err(Refusal {
                    reason: "bad_value",
                    detail: format!("the text {why}"),
                });
            }
        }
        _ => return Err(Refusal::other_type(target)),
    }
    field(out, text.as_bytes());
    Ok(())
}

pub(super) fn encode_json(out: &mut Vec<u8>, text: &str, target: Target) -> Result<(), Refusal> {
    match target {
        Target::Text { chars_max } => check_length(text, chars_max)?,
        Target::Json => {}
        Target::Jsonb => {
            length(out, text.len() + 1);
            out.push(JSONB_VERSION);
            out.extend_from_slice(text.as_bytes());
            return Ok(());
        }
        _ => return Err(Refusal::other_type(target)),
    }
    field(out, text.as_bytes());
    Ok(())
}

#[inline]
pub(super) fn check_length(text: &str, chars_max: Option<usize>) -> Result<(), Refusal> {
    match chars_max {
        // PostgreSQL would remove surplus blanks silently.
        Some(max) if text.len() > max && text.chars().count() > max => Err(Refusal {
            reason: "too_long",
            detail: format!(
                "{} characters; the table's column holds {max}",
                text.chars().count()
            ),
        }),
        _ => Ok(()),
    }
}

pub(super) fn text_key(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(text.as_bytes());
    out.push(0);
}
