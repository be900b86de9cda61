//! The compressions that other writers use; this crate's own writer has only LZ4.

mod unpacking;

use std::io::{self, Read};

pub(crate) use self::unpacking::share;
use crate::lz4::CONTENT_BYTES_MAX;

pub(crate) const GZIP: i16 = 1;
pub(crate) const SNAPPY: i16 = 2;
pub(crate) const LZ4: i16 = 3;
pub(crate) const ZSTD: i16 = 4;

/// The most bytes that the records of a batch may have that another writer has compressed.
pub(crate) const PRODUCED_BYTES_MAX: usize = 64 << 20;

/// The most bytes that a byte can become; of zstd there is no such number.
const GZIP_RATIO_MAX: usize = 1_032;
const SNAPPY_RATIO_MAX: usize = 32;
const LZ4_RATIO_MAX: usize = 256;

/// What the Java client's snappy begins with: its magic, then two versions of four bytes.
const XERIAL_MAGIC: &[u8] = b"\x82SNAPPY\0";
const XERIAL_HEADER_BYTES: usize = 16;

/// Adds the content of compressed bytes to `out`; what is wrong with them, if they cannot be decompressed.
pub(crate) fn decompress(compression: i16, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
    match compression {
        GZIP => read_all(flate2::read::MultiGzDecoder::new(bytes), out),
        SNAPPY if bytes.starts_with(XERIAL_MAGIC) => xerial(bytes, out),
        SNAPPY => snappy(bytes, out),
        ZSTD => {
            let decoder = ruzstd::decoding::StreamingDecoder::new(bytes);
            read_all(decoder.map_err(|error| error.to_string())?, out)
        }
        other => Err(format!("a record batch of unknown compression {other}")),
    }
}

/// Whether compressed bytes hold more than `max`. As little of them is decompressed as tells; what cannot be decompressed
/// is for its reader to tell.
pub(crate) fn is_larger(compression: i16, bytes: &[u8], max: usize) -> bool {
    let ratio_max = match compression {
        GZIP => GZIP_RATIO_MAX,
        SNAPPY => SNAPPY_RATIO_MAX,
        LZ4 => LZ4_RATIO_MAX,
        _ => usize::MAX,
    };
    if bytes.len().saturating_mul(ratio_max) <= max {
        return false;
    }
    if compression == SNAPPY {
        return snappy_length(bytes).is_some_and(|length| length > max);
    }
    let _share = share(compression, bytes);
    match compression {
        GZIP => holds_more(flate2::read::MultiGzDecoder::new(bytes), max),
        LZ4 => holds_more(lz4_flex::frame::FrameDecoder::new(bytes), max),
        ZSTD => ruzstd::decoding::StreamingDecoder::new(bytes)
            .is_ok_and(|decoder| holds_more(decoder, max)),
        _ => false,
    }
}

fn holds_more(decoder: impl Read, max: usize) -> bool {
    let mut counted = Counted(0);
    // What came before an error counts too.
    let _ = io::copy(&mut decoder.take(max as u64 + 1), &mut counted);
    counted.0 > max
}

struct Counted(usize);

impl io::Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn read_all(decoder: impl Read, out: &mut Vec<u8>) -> Result<(), String> {
    let read = decoder
        .take(CONTENT_BYTES_MAX as u64 + 1)
        .read_to_end(out)
        .map_err(|error| error.to_string())?;
    check_length(read)
}

fn check_length(bytes: usize) -> Result<(), String> {
    if bytes > CONTENT_BYTES_MAX {
        return Err("a record batch holds more than 256 MiB".to_owned());
    }
    Ok(())
}

/// One block, as librdkafka and Go's clients write it.
fn snappy(block: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
    let length = snap::raw::decompress_len(block).map_err(|error| error.to_string())?;
    check_length(length)?;
    // Snappy makes at most 64 bytes of three, so that a length that lies takes no more memory than that.
    if length / 32 > block.len() {
        return Err("a snappy block names a length that it cannot have".to_owned());
    }
    let at = out.len();
    out.resize(at + length, 0);
    let written = snap::raw::Decoder::new().decompress(block, &mut out[at..]);
    written.map(|_| ()).map_err(|error| error.to_string())
}

/// Length of the content, as its blocks state it; no block can have more.
pub(crate) fn snappy_length(bytes: &[u8]) -> Option<usize> {
    if !bytes.starts_with(XERIAL_MAGIC) {
        return snap::raw::decompress_len(bytes).ok();
    }
    let (mut rest, mut all) = (bytes.get(XERIAL_HEADER_BYTES..)?, 0usize);
    while let Some((length, after)) = rest.split_first_chunk() {
        let (block, after) = after.split_at_checked(u32::from_be_bytes(*length) as usize)?;
        all = all.checked_add(snap::raw::decompress_len(block).ok()?)?;
        rest = after;
    }
    Some(all)
}

/// Blocks behind their lengths, as the Java client writes them.
fn xerial(bytes: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
    let ends_early = || "a snappy block ends early".to_owned();
    let start = out.len();
    let mut rest = bytes.get(XERIAL_HEADER_BYTES..).ok_or_else(ends_early)?;
    while !rest.is_empty() {
        let (length, behind) = rest.split_first_chunk().ok_or_else(ends_early)?;
        let length = u32::from_be_bytes(*length) as usize;
        let (block, behind) = behind.split_at_checked(length).ok_or_else(ends_early)?;
        snappy(block, out)?;
        check_length(out.len() - start)?;
        rest = behind;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn check(compression: i16, compressed: &[u8], content: &[u8]) {
        let mut out = b"before".to_vec();
        decompress(compression, compressed, &mut out).unwrap();
        assert_eq!(&out[6..], content);
        // Whatever it is cut to, or has flipped: an error or other bytes, and no panic.
        for at in 0..compressed.len() {
            let _ = decompress(compression, &compressed[..at], &mut Vec::new());
            let mut flipped = compressed.to_vec();
            flipped[at] ^= 0x55;
            let _ = decompress(compression, &flipped, &mut Vec::new());
        }
    }

    #[test]
    fn what_others_compress_is_read() {
        let content = b"brook and mountain, ".repeat(50);
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        gzip.write_all(&content).unwrap();
        check(GZIP, &gzip.finish().unwrap(), &content);

        let block = snap::raw::Encoder::new().compress_vec(&content).unwrap();
        check(SNAPPY, &block, &content);
        let mut xerial = XERIAL_MAGIC.to_vec();
        xerial.extend_from_slice(&[0, 0, 0, 1, 0, 0, 0, 1]);
        for _ in 0..2 {
            xerial.extend_from_slice(&u32::try_from(block.len()).unwrap().to_be_bytes());
            xerial.extend_from_slice(&block);
        }
        check(SNAPPY, &xerial, &content.repeat(2));

        let zstd = ruzstd::encoding::compress_to_vec(
            &content[..],
            ruzstd::encoding::CompressionLevel::Fastest,
        );
        check(ZSTD, &zstd, &content);
        assert!(decompress(7, b"x", &mut Vec::new()).is_err());
    }

    #[test]
    fn what_holds_too_much_is_told() {
        let content = vec![0; 300_000];
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        gzip.write_all(&content).unwrap();
        let mut lz4 = lz4_flex::frame::FrameEncoder::new(Vec::new());
        lz4.write_all(&content).unwrap();
        let zstd = ruzstd::encoding::compress_to_vec(
            &content[..],
            ruzstd::encoding::CompressionLevel::Fastest,
        );
        let snappy = snap::raw::Encoder::new().compress_vec(&content).unwrap();
        for (compression, bytes) in [
            (GZIP, gzip.finish().unwrap()),
            (LZ4, lz4.finish().unwrap()),
            (ZSTD, zstd),
            (SNAPPY, snappy),
        ] {
            assert!(is_larger(compression, &bytes, 299_999), "{compression}");
            assert!(!is_larger(compression, &bytes, 300_000), "{compression}");
            assert!(!is_larger(compression, &[0xff; 40], 10));
        }
    }

    #[test]
    fn a_length_that_lies_takes_no_memory() {
        // 256 MiB, said in five bytes.
        let mut out = Vec::new();
        assert!(decompress(SNAPPY, &[0x80, 0x80, 0x80, 0x80, 0x01, 0], &mut out).is_err());
        assert_eq!(out.capacity(), 0);
    }
}
