//! Checks the records of a batch that was encoded elsewhere, without taking all of its content into memory.
//!
//! A batch whose CRC is right can still hold records that no reader can take apart: librdkafka then asks for it again and
//! again, and reads nothing after it. So it is refused when it is produced, as Kafka's brokers do.

use std::io::{self, BufRead, BufReader, Read};

use crate::batch::UNCOMPRESSED;
use crate::codec::{self, GZIP, LZ4, SNAPPY, ZSTD};
use crate::varint;

/// Bytes of content that are in memory at once.
const BUFFER_BYTES: usize = 32 << 10;

/// Checks that compressed bytes hold `count` records, numbered in order, and nothing else.
pub(crate) fn check(compression: i16, bytes: &[u8], count: u32) -> Result<(), String> {
    let _share = codec::share(compression, bytes);
    let mut rest = bytes;
    match compression {
        UNCOMPRESSED => return check_records(bytes, count),
        SNAPPY => {
            let mut content = Vec::new();
            codec::decompress(SNAPPY, bytes, &mut content)?;
            return check_records(&content, count);
        }
        LZ4 if !is_lz4_frame(bytes) => return Err("an LZ4 frame ends early".to_owned()),
        LZ4 => walk(lz4_flex::frame::FrameDecoder::new(&mut rest), count)?,
        GZIP => {
            let mut decoder = flate2::bufread::GzDecoder::new(&mut rest);
            walk(&mut decoder, count)?;
        }
        ZSTD => {
            let decoder = ruzstd::decoding::StreamingDecoder::new(&mut rest);
            let mut decoder = decoder.map_err(|error| error.to_string())?;
            walk(&mut decoder, count)?;
            let frame = &decoder.decoder;
            let stored = frame.get_checksum_from_data();
            if stored.is_some() && stored != frame.get_calculated_checksum() {
                return Err("the checksum of a zstd frame is wrong".to_owned());
            }
        }
        other => return Err(format!("a record batch of unknown compression {other}")),
    }
    match rest.len() {
        0 => Ok(()),
        rest => Err(format!("{rest} bytes after the content of a batch")),
    }
}

/// Whether bytes are one LZ4 frame with its end mark. The decoder takes the end of the bytes for that of the frame.
fn is_lz4_frame(bytes: &[u8]) -> bool {
    const HAS_DICTIONARY: u8 = 1;
    const HAS_CHECKSUM: u8 = 1 << 2;
    const HAS_SIZE: u8 = 1 << 3;
    const HAS_BLOCK_CHECKSUMS: u8 = 1 << 4;
    let Some(flags) = bytes.get(4) else {
        return false;
    };
    let bytes_if = |flag, bytes| if flags & flag == 0 { 0 } else { bytes };
    // Magic, flags and block size; what the flags announce; the header's checksum.
    let mut at = 6 + bytes_if(HAS_SIZE, 8) + bytes_if(HAS_DICTIONARY, 4) + 1;
    loop {
        let length = bytes.get(at..).and_then(<[u8]>::first_chunk);
        let Some(length) = length.copied().map(u32::from_le_bytes) else {
            return false;
        };
        at += 4;
        if length == 0 {
            return at + bytes_if(HAS_CHECKSUM, 4) == bytes.len();
        }
        // The highest bit marks a block that is not compressed.
        at += (length & (u32::MAX >> 1)) as usize + bytes_if(HAS_BLOCK_CHECKSUMS, 4);
    }
}

/// Checks that bytes in memory are `count` records, numbered in order, and nothing else.
pub(crate) fn check_records(bytes: &[u8], count: u32) -> Result<(), String> {
    let mut at = 0;
    for number in 0..count {
        check_record(bytes, &mut at, number)
            .ok_or_else(|| format!("record {number} of a batch is malformed"))?;
    }
    if at < bytes.len() {
        return Err(format!(
            "{} bytes after the records of a batch",
            bytes.len() - at
        ));
    }
    Ok(())
}

/// Checks a record as strictly as the Java client, the strictest of Kafka's, which stops at a record that it cannot take
/// apart: lengths have 32 bits, there are as many headers as stated, and nothing follows them.
fn check_record(bytes: &[u8], at: &mut usize, number: u32) -> Option<()> {
    let len = usize::try_from(varint::get_i32(bytes, at)?).ok()?;
    let end = at.checked_add(len)?;
    let body = bytes.get(*at..end)?;
    *at = end;
    let mut within = 1; // attributes: none are defined
    let _timestamp_delta = varint::get(body, &mut within)?;
    if u32::try_from(varint::get_i32(body, &mut within)?) != Ok(number) {
        return None;
    }
    let _key = check_bytes(body, &mut within)?;
    let _value = check_bytes(body, &mut within)?;
    let headers = varint::get_i32(body, &mut within)?;
    for _header in 0..u32::try_from(headers).ok()? {
        let has_name = check_bytes(body, &mut within)?;
        let _value = check_bytes(body, &mut within)?;
        if !has_name {
            return None;
        }
    }
    (within == body.len()).then_some(())
}

/// Skips a length and the bytes that it counts; returns whether they are not null. A length of -1 means null.
fn check_bytes(body: &[u8], at: &mut usize) -> Option<bool> {
    let len = varint::get_i32(body, at)?;
    if len == -1 {
        return Some(false);
    }
    *at = at
        .checked_add(usize::try_from(len).ok()?)
        .filter(|end| *end <= body.len())?;
    Some(true)
}

/// Checks that a decoder's content is `count` records, numbered in order, and nothing else.
fn walk(decoder: impl Read, count: u32) -> Result<(), String> {
    let mut content = BufReader::with_capacity(BUFFER_BYTES, decoder);
    for number in 0..count {
        walk_record(&mut content, number)
            .map_err(|error| format!("record {number} of a batch: {error}"))?;
    }
    let rest = content.fill_buf().map_err(|error| error.to_string())?;
    match rest.is_empty() {
        true => Ok(()),
        false => Err("there are bytes after the records of a batch".to_owned()),
    }
}

/// Checks a record as [`check_record`] does, in content of which only a part is in memory.
fn walk_record(content: &mut impl BufRead, number: u32) -> io::Result<()> {
    let length = read_i32(content)?;
    let mut record = content.take(u64::try_from(length).map_err(|_| malformed())?);
    skip(&mut record, 1)?; // attributes: none are defined
    let _timestamp_delta = read_varint(&mut record, varint::VARINT_BYTES_MAX)?;
    if u32::try_from(read_i32(&mut record)?) != Ok(number) {
        return Err(malformed());
    }
    let _key = skip_bytes(&mut record)?;
    let _value = skip_bytes(&mut record)?;
    let headers = u32::try_from(read_i32(&mut record)?).map_err(|_| malformed())?;
    for _header in 0..headers {
        let has_name = skip_bytes(&mut record)?;
        let _value = skip_bytes(&mut record)?;
        if !has_name {
            return Err(malformed());
        }
    }
    match record.limit() {
        0 => Ok(()),
        _ => Err(malformed()),
    }
}

/// Skips bytes as [`check_bytes`] does.
fn skip_bytes(content: &mut impl BufRead) -> io::Result<bool> {
    let length = read_i32(content)?;
    if length == -1 {
        return Ok(false);
    }
    skip(content, u64::try_from(length).map_err(|_| malformed())?)?;
    Ok(true)
}

fn read_i32(content: &mut impl Read) -> io::Result<i32> {
    let value = read_varint(content, varint::VARINT_32_BYTES_MAX)?;
    i32::try_from(value).map_err(|_| malformed())
}

fn read_varint(content: &mut impl Read, bytes_max: usize) -> io::Result<i64> {
    let mut bytes = [0; varint::VARINT_BYTES_MAX];
    for at in 0..bytes_max {
        content.read_exact(&mut bytes[at..=at])?;
        if bytes[at] < 0x80 {
            return varint::get(&bytes, &mut 0).ok_or_else(malformed);
        }
    }
    Err(malformed())
}

fn skip(content: &mut impl BufRead, mut bytes: u64) -> io::Result<()> {
    while bytes > 0 {
        let here = content.fill_buf()?.len();
        if here == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let step = usize::try_from(bytes).map_or(here, |bytes| bytes.min(here));
        content.consume(step);
        bytes -= step as u64;
    }
    Ok(())
}

fn malformed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "malformed")
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::batch::{self, BatchView};
    use crate::{RecordBuffer, lz4};

    /// The records of a batch of ours, uncompressed.
    fn records() -> Vec<u8> {
        let mut buffer = RecordBuffer::new();
        for number in 0..3 {
            buffer.push(1_000 + number, Some(b"key"), &vec![b'v'; 40_000]);
        }
        buffer.push(2_000, None, b"");
        let batch = batch::encode(&buffer).unwrap();
        let mut content = Vec::new();
        BatchView::parse(&batch)
            .unwrap()
            .decompress_into(&mut content)
            .unwrap();
        content
    }

    fn compressed(content: &[u8]) -> Vec<(i16, Vec<u8>)> {
        let mut ours = Vec::new();
        lz4::compress(content, &mut ours);
        let mut theirs = lz4_flex::frame::FrameEncoder::new(Vec::new());
        theirs.write_all(content).unwrap();
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        gzip.write_all(content).unwrap();
        let level = ruzstd::encoding::CompressionLevel::Fastest;
        vec![
            (UNCOMPRESSED, content.to_vec()),
            (LZ4, ours),
            (LZ4, theirs.finish().unwrap()),
            (GZIP, gzip.finish().unwrap()),
            (
                SNAPPY,
                snap::raw::Encoder::new().compress_vec(content).unwrap(),
            ),
            (ZSTD, ruzstd::encoding::compress_to_vec(content, level)),
        ]
    }

    #[test]
    fn only_whole_content_with_its_records_is_right() {
        let content = records();
        for (compression, bytes) in compressed(&content) {
            check(compression, &bytes, 4).unwrap();
            for count in [0, 3, 5] {
                check(compression, &bytes, count).unwrap_err();
            }
            let twice = [&bytes[..], &bytes[..]].concat();
            let longer = [&bytes[..], b"x"].concat();
            for wrong in [&bytes[..bytes.len() - 1], b"", &[0xff; 40], &twice, &longer] {
                let found = check(compression, wrong, 4);
                assert!(found.is_err(), "{compression}: {} bytes", wrong.len());
            }
        }
        let mut other_order = content;
        other_order[5] ^= 2;
        for (compression, bytes) in compressed(&other_order) {
            check(compression, &bytes, 4).unwrap_err();
        }
        // A timestamp of more than 64 bits, which readers refuse.
        let too_long = [&[30, 0][..], &[0xff; 9], &[3, 0, 1, 0, 0]].concat();
        for (compression, bytes) in compressed(&too_long) {
            check(compression, &bytes, 1).unwrap_err();
        }
    }

    /// A record with bytes after its value: the count of its headers, and the headers.
    fn with_headers(headers: &[u8]) -> Vec<u8> {
        let mut record = vec![0, 0, 0, 2, b'k', 2, b'v'];
        record.extend_from_slice(headers);
        let mut content = Vec::new();
        varint::put(&mut content, record.len().try_into().unwrap());
        content.extend(record);
        content
    }

    #[test]
    fn headers_are_as_many_as_they_say_and_end_with_the_record() {
        let is_right = |headers: &[u8], expected: bool| {
            for (compression, bytes) in compressed(&with_headers(headers)) {
                let found = check(compression, &bytes, 1);
                assert_eq!(
                    found.is_ok(),
                    expected,
                    "{compression}: {headers:?}: {found:?}"
                );
            }
        };
        is_right(&[0], true);
        is_right(&[2, 2, b'a', 2, b'b'], true);
        is_right(&[4, 0, 0, 2, b'a', 1], true);
        for wrong in [
            &[][..],
            // One too few, one too many.
            &[0, 2, b'a', 2, b'b'],
            &[4, 2, b'a', 2, b'b'],
            // Two billion, less than none.
            &[0xfe, 0xff, 0xff, 0xff, 0x0f, 2, b'a', 2, b'b'],
            &[1, 2, b'a', 2, b'b'],
            // A name that is null, lengths beyond the record, and below null.
            &[2, 1, 2, b'b'],
            &[2, 8, b'a', 2, b'b'],
            &[2, 2, b'a', 8, b'b'],
            &[2, 2, b'a', 3, b'b'],
            // A count in more bytes than the Java client reads.
            &[0x82, 0x80, 0x80, 0x80, 0x80, 0, 2, b'a', 2, b'b'],
        ] {
            is_right(wrong, false);
        }
    }
}
