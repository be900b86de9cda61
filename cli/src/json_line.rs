//! Messages as JSON.

/// Returns a message in the form of tracing's lines, so that each line of standard error is an object of one kind.
pub(crate) fn json_line(level: &str, line: &str) -> serde_json::Value {
    serde_json::json!({
        "timestamp": jiff::Timestamp::now().to_string(),
        "level": level,
        "fields": { "message": line },
        "target": "bekk",
    })
}
