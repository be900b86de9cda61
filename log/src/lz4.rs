//! LZ4 frames, as Kafka's clients write and read them.
//!
//! Our frames have independent blocks (the Java client reads no others), no checksums (the record batch's
//! CRC covers the bytes) and the smallest block size that holds the content, so that a reader need not
//! make room for more.

use std::io::Read;

use lz4_flex::block::{compress_into, decompress_into, get_maximum_output_size};
use lz4_flex::frame::FrameDecoder;

/// The most bytes that one batch may become when it is decompressed, 256 MiB.
pub(crate) const CONTENT_BYTES_MAX: usize = 256 << 20;

/// The whole header of our frames by block size: magic, flags, block size, checksum of those two.
const HEADERS: [(usize, [u8; 7]); 4] = [
    (64 << 10, [0x04, 0x22, 0x4d, 0x18, 0x60, 0x40, 0x82]),
    (256 << 10, [0x04, 0x22, 0x4d, 0x18, 0x60, 0x50, 0xfb]),
    (1 << 20, [0x04, 0x22, 0x4d, 0x18, 0x60, 0x60, 0x51]),
    (4 << 20, [0x04, 0x22, 0x4d, 0x18, 0x60, 0x70, 0x73]),
];
/// Set in a block's length if the block is stored as it is.
const STORED: u32 = 1 << 31;

/// Adds a frame of `content` to `out`.
pub(crate) fn compress(content: &[u8], out: &mut Vec<u8>) {
    let (block_bytes, header) = HEADERS
        .iter()
        .find(|(block_bytes, _)| *block_bytes >= content.len())
        .unwrap_or(&HEADERS[3]);
    out.extend_from_slice(header);
    for block in content.chunks(*block_bytes) {
        let at = out.len();
        out.resize(at + 4 + get_maximum_output_size(block.len()), 0);
        let len = compress_into(block, &mut out[at + 4..])
            .expect("the output has room for what does not compress");
        let (len, flag) = if len < block.len() {
            (len, 0)
        } else {
            out[at + 4..at + 4 + block.len()].copy_from_slice(block);
            (block.len(), STORED)
        };
        let prefix = u32::try_from(len).expect("a block has at most 4 MiB") | flag;
        out[at..at + 4].copy_from_slice(&prefix.to_le_bytes());
        out.truncate(at + 4 + len);
    }
    out.extend_from_slice(&0u32.to_le_bytes());
}

/// Adds the content of a frame to `out`; what is wrong with it, if it is no frame.
pub(crate) fn decompress(frame: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
    let ours = HEADERS.iter().find(|(_, header)| frame.starts_with(header));
    match ours {
        Some((block_bytes, header)) => decompress_blocks(&frame[header.len()..], *block_bytes, out),
        None => decompress_foreign(frame, out),
    }
}

fn decompress_blocks(mut rest: &[u8], block_bytes: usize, out: &mut Vec<u8>) -> Result<(), String> {
    let start = out.len();
    loop {
        let Some((prefix, behind)) = rest.split_first_chunk() else {
            return Err("an LZ4 frame ends early".to_owned());
        };
        let prefix = u32::from_le_bytes(*prefix);
        if prefix == 0 {
            return Ok(());
        }
        let len = (prefix & !STORED) as usize;
        let Some((block, behind)) = behind.split_at_checked(len) else {
            return Err("an LZ4 block ends early".to_owned());
        };
        if out.len() - start > CONTENT_BYTES_MAX {
            return Err("an LZ4 frame holds more than 256 MiB".to_owned());
        }
        if prefix & STORED == 0 {
            let at = out.len();
            // A byte of a block decompresses to 255 bytes at most.
            out.resize(at + block_bytes.min(len * 255), 0);
            let len = decompress_into(block, &mut out[at..]).map_err(|error| error.to_string())?;
            out.truncate(at + len);
        } else {
            out.extend_from_slice(block);
        }
        rest = behind;
    }
}

/// Frames of other writers: any block size, linked blocks, checksums.
fn decompress_foreign(frame: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
    if frame.is_empty() {
        // The decoder takes it for the end of a sequence of frames.
        return Err("an LZ4 frame ends early".to_owned());
    }
    let limit = CONTENT_BYTES_MAX as u64 + 1;
    let read = FrameDecoder::new(frame)
        .take(limit)
        .read_to_end(out)
        .map_err(|error| error.to_string())?;
    if read > CONTENT_BYTES_MAX {
        return Err("an LZ4 frame holds more than 256 MiB".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};

    use super::*;

    fn contents() -> Vec<Vec<u8>> {
        let mut noise = Vec::new();
        let mut state = 1u64;
        for _ in 0..90_000 {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            noise.extend_from_slice(&state.to_be_bytes()[..1]);
        }
        let lengths = [0, 1, 5, 100, 65_536, 65_537, 262_145, 1_048_577, 5_000_000];
        let mut all: Vec<Vec<u8>> = lengths
            .iter()
            .map(|len| {
                b"price,quantity\n"
                    .iter()
                    .copied()
                    .cycle()
                    .take(*len)
                    .collect()
            })
            .collect();
        all.push(noise);
        all
    }

    #[test]
    fn frames_are_read_by_ourselves_and_by_the_library() {
        for content in contents() {
            let mut frame = vec![7];
            compress(&content, &mut frame);
            let mut ours = vec![9];
            decompress(&frame[1..], &mut ours).unwrap();
            assert_eq!(ours[1..], content);
            let mut theirs = Vec::new();
            FrameDecoder::new(&frame[1..])
                .read_to_end(&mut theirs)
                .unwrap();
            assert_eq!(theirs, content);
        }
    }

    #[test]
    fn foreign_frames_are_read() {
        let info = FrameInfo::new()
            .block_size(BlockSize::Max64KB)
            .block_mode(BlockMode::Linked)
            .content_checksum(true);
        for content in contents() {
            let mut encoder = FrameEncoder::with_frame_info(info.clone(), Vec::new());
            encoder.write_all(&content).unwrap();
            let frame = encoder.finish().unwrap();
            let mut out = Vec::new();
            decompress(&frame, &mut out).unwrap();
            assert_eq!(out, content);
        }
    }

    #[test]
    fn cut_frames_are_refused() {
        let mut frame = Vec::new();
        compress(&contents()[6], &mut frame);
        for end in [0, 3, 7, 9, 20, frame.len() - 1] {
            assert!(decompress(&frame[..end], &mut Vec::new()).is_err(), "{end}");
        }
    }
}
