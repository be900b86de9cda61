//! Which byte stands between the fields.

/// How the file seems to be written.
pub(super) struct Dialect {
    pub(super) delimiter: u8,
    pub(super) decimal_comma: bool,
}

/// The delimiter is the candidate that the header line, outside quotes, has most of; a comma if it has
/// none, since a file of one column has no delimiter.
pub(super) fn guess(head: &[u8]) -> Dialect {
    let line = head
        .split(|byte| matches!(byte, b'\n' | b'\r'))
        .next()
        .unwrap_or_default();
    let count = |delimiter: u8| {
        let mut quoted = false;
        line.iter()
            .filter(|byte| {
                quoted ^= **byte == b'"';
                !quoted && **byte == delimiter
            })
            .count()
    };
    let mut delimiter = b',';
    for candidate in [b';', b'\t', b'|'] {
        if count(candidate) > count(delimiter) {
            delimiter = candidate;
        }
    }
    Dialect {
        delimiter,
        decimal_comma: false,
    }
}
