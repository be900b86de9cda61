//! Messages as JSON.

/// A message in the shape of tracing's own lines, so that each line of the stream is an object of one kind.
pub(crate) fn json_line(level: &str, line: &str) -> serde_json::Value {
    serde_json::json!({
        "timestamp": jiff::Timestamp::now().to_string(),
        "level": level,
        "fields": { "message": line },
        "target": "bekk",
    })
}
