//! The compressions that other writers use; this crate's own writer has only LZ4.

use std::io::Read;

use crate::lz4::CONTENT_BYTES_MAX;

const GZIP: i16 = 1;
const SNAPPY: i16 = 2;
const ZSTD: i16 = 4;

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
    fn a_length_that_lies_takes_no_memory() {
        // 256 MiB, said in five bytes.
        let mut out = Vec::new();
        assert!(decompress(SNAPPY, &[0x80, 0x80, 0x80, 0x80, 0x01, 0], &mut out).is_err());
        assert_eq!(out.capacity(), 0);
    }
}
