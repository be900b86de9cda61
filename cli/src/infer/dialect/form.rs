//! Forms of files that are not CSV.

pub(super) const TAR: &str = "a tar archive";
pub(super) const GZIP_TWICE: &str = "compressed with gzip twice";
pub(super) const EBCDIC: &str = "a text in EBCDIC";
pub(super) const ISO_2022_JP: &str = "a text in ISO-2022-JP";

/// Names the form of a file that is not CSV, by its beginning.
pub(super) fn other_form(bytes: &[u8]) -> Option<&'static str> {
    let forms: [(&[u8], &str); 10] = [
        (
            b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
            "an old Excel workbook (.xls)",
        ),
        (b"PAR1", "a Parquet file"),
        (b"Obj\x01", "an Avro file"),
        (b"ORC", "an ORC file"),
        (b"ARROW1", "an Arrow file (Feather)"),
        (b"%PDF-", "a PDF"),
        (b"SQLite format 3\0", "a SQLite database"),
        (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
        (b"\x93NUMPY", "a numpy file"),
        (
            b"\x00\x05\x16\x07",
            "macOS metadata of a file (AppleDouble)",
        ),
    ];
    let found = forms.iter().find(|(magic, _)| bytes.starts_with(magic));
    if let Some((_, what)) = found {
        return Some(what);
    }
    match bytes {
        _ if bytes
            .get(257..)
            .is_some_and(|rest| rest.starts_with(b"ustar")) =>
        {
            Some(TAR)
        }
        [0x1f, 0x8b, ..] => Some(GZIP_TWICE),
        _ if is_ebcdic(bytes) => Some(EBCDIC),
        _ if is_binary(bytes) => Some("a binary file"),
        _ if [&b"\x1b$B"[..], b"\x1b$@"]
            .iter()
            .any(|shift| bytes.windows(shift.len()).any(|found| found == *shift)) =>
        {
            Some(ISO_2022_JP)
        }
        _ => text_form(bytes),
    }
}

/// Whether bytes are not a text in any encoding: they have many control characters that texts do not have.
fn is_binary(bytes: &[u8]) -> bool {
    const LOOKED_AT: usize = 1024;
    let begin = &bytes[..bytes.len().min(LOOKED_AT)];
    // A writer may have reserved space that it fills later.
    let end = begin
        .iter()
        .rposition(|byte| *byte != 0)
        .map_or(0, |at| at + 1);
    let begin = &begin[..end];
    let is_wide = |odd: usize| {
        let every = || begin.iter().skip(odd).step_by(2);
        every().filter(|byte| **byte == 0).count() * 4 > every().count() * 3
    };
    let is_marked = begin.starts_with(b"\xff\xfe") || begin.starts_with(b"\xfe\xff");
    if is_marked || is_wide(0) != is_wide(1) {
        return false;
    }
    // U+0001, U+001E and U+001F separate fields and records; texts have tabs, line ends, form feeds, U+001A and escapes.
    let is_control = |byte: &&u8| matches!(**byte, 0 | 2..=8 | 0x0e..=0x19 | 0x1c | 0x1d);
    begin.iter().filter(is_control).count() * 50 > begin.len()
}

/// Whether bytes are a text of a mainframe: nearly all are letters, digits, blanks or separators of EBCDIC, and none is a
/// blank or a line end of ASCII.
fn is_ebcdic(bytes: &[u8]) -> bool {
    const BYTES_MIN: usize = 16;
    let is_text = |byte: &&u8| {
        matches!(**byte,
            // Letters and digits
            0x81..=0x89 | 0x91..=0x99 | 0xa2..=0xa9 | 0xc1..=0xc9 | 0xd1..=0xd9 | 0xe2..=0xe9 | 0xf0..=0xf9
            // Blank . + | ; - / , : ' = " and line ends
            | 0x40 | 0x4b | 0x4e | 0x4f | 0x5e | 0x60 | 0x61 | 0x6b | 0x7a | 0x7d | 0x7e | 0x7f | 0x0d | 0x15 | 0x25)
    };
    bytes.len() >= BYTES_MIN
        && !bytes.iter().any(|byte| matches!(byte, b' ' | b'\n'))
        && bytes.iter().filter(is_text).count() * 10 > bytes.len() * 9
        && bytes.iter().filter(|byte| !byte.is_ascii()).count() * 2 > bytes.len()
}

/// Names the form of a text that is not CSV: markup, JSON, or a table as programs draw it for a screen.
fn text_form(bytes: &[u8]) -> Option<&'static str> {
    let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let text = text.trim_ascii_start();
    let begin = String::from_utf8_lossy(&text[..text.len().min(64)]).to_ascii_lowercase();
    let squeezed: String = begin.split_whitespace().collect();
    let begins = |with: &[&str]| with.iter().any(|with| squeezed.starts_with(with));
    if begins(&["<!doctypehtml", "<html", "<!--", "<table", "<body", "<div"]) {
        return Some("a web page (HTML)");
    }
    if begins(&["<?xml"]) {
        return Some("XML");
    }
    if begins(&["{\"", "[{\"", "[[", "[]", "{}"]) {
        return Some("JSON");
    }
    let dumps = [
        "--mysqldump",
        "--mariadbdump",
        "--postgresqldatabase",
        "/*!",
        "createtable",
        "insertinto",
    ];
    if begins(&dumps) {
        return Some("a dump in SQL");
    }
    let is_rule = |line: &[u8]| {
        let line = line.trim_ascii();
        line.iter().all(|byte| b"-+|: ".contains(byte))
            && line.windows(2).any(|pair| pair == b"--")
            && line.iter().any(|byte| b"+|".contains(byte))
    };
    let mut lines = text.split(|byte| *byte == b'\n').take(2);
    lines
        .any(is_rule)
        .then_some("a table as psql, mysql or Markdown draw it for a screen")
}

/// Whether a line is one of a web server's access log: a time in brackets, and a request in quotes after it.
pub(super) fn is_access_log(line: &[u8]) -> bool {
    const TIME: &[u8] = b"[00/Aaa/0000:00:00:00 +0000] \"";
    let is_time = |found: &[u8]| {
        found.iter().zip(TIME).all(|(byte, pattern)| match pattern {
            b'0' => byte.is_ascii_digit(),
            b'A' | b'a' => byte.is_ascii_alphabetic(),
            b'+' => matches!(byte, b'+' | b'-'),
            other => byte == other,
        })
    };
    line.windows(TIME.len()).any(is_time)
}

/// Whether lines hold columns of a fixed width: at some places all of them have blanks, two and more in a row, with texts
/// on both sides.
pub(super) fn is_fixed_width(lines: &[&[u8]]) -> bool {
    const LINES_MIN: usize = 3;
    let lines: Vec<&[u8]> = lines
        .iter()
        .copied()
        .filter(|line| !line.is_empty())
        .collect();
    // As sqlcmd and SQL*Plus draw them.
    let is_rule = |line: &&[u8]| {
        line.starts_with(b"--")
            && line.contains(&b' ')
            && line.iter().all(|byte| b"- ".contains(byte))
    };
    if lines.get(1).is_some_and(is_rule) {
        return true;
    }
    let are_spaced = lines
        .iter()
        .all(|line| line.windows(2).any(|pair| pair == b"  "));
    if lines.len() < LINES_MIN || !are_spaced || lines.iter().any(|line| line.contains(&b'\t')) {
        return false;
    }
    // Trailing blanks have been cut off.
    let shortest = lines.iter().map(|line| line.len()).min().unwrap_or(0);
    let is_blank = |at: usize| lines.iter().all(|line| line[at] == b' ');
    let begin = (0..shortest).find(|at| !is_blank(*at)).unwrap_or(shortest);
    (begin..shortest).any(is_blank)
}
