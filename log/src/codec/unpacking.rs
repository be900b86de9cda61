//! Limits the memory for checking the content of produced batches. A codec may keep as much as a batch holds, and many
//! clients may send such batches at once, so all of them share one room.

use parking_lot::{Condvar, Mutex};

use super::{GZIP, LZ4, PRODUCED_BYTES_MAX, SNAPPY, ZSTD, snappy_length};

/// Bytes that all codecs together may keep: the largest content of one batch
const ROOM_BYTES: usize = PRODUCED_BYTES_MAX;
/// Least bytes for which a codec needs a share: a smaller one would cost more than it saves.
const SHARE_BYTES_MIN: usize = 256 << 10;

static ROOM: Room = Room::new(ROOM_BYTES);

/// Waits for the memory that a batch's codec may keep. It is free again when the share is dropped.
pub(crate) fn share(compression: i16, bytes: &[u8]) -> Option<Share<'static>> {
    let needed = needed(compression, bytes);
    (needed >= SHARE_BYTES_MIN).then(|| ROOM.take(needed))
}

/// Bytes that a codec may keep while it decompresses a batch.
fn needed(compression: i16, bytes: &[u8]) -> usize {
    match compression {
        // Snappy has no streams: all of the content is in memory.
        SNAPPY => snappy_length(bytes).unwrap_or(ROOM_BYTES),
        ZSTD => zstd_window(bytes).unwrap_or(0),
        // A block, compressed and not.
        LZ4 => 2 * lz4_block(bytes).unwrap_or(0),
        GZIP => 64 << 10,
        _ => 0,
    }
    .min(ROOM_BYTES)
}

/// Window size of a zstd frame in bytes: how far back its content may refer (RFC 8878, 3.1.1.1).
fn zstd_window(frame: &[u8]) -> Option<usize> {
    let descriptor = *frame.get(4)?;
    let is_single_segment = descriptor & 0x20 != 0;
    if !is_single_segment {
        let window = *frame.get(5)?;
        let base = 1u64 << (10 + (window >> 3));
        let window = base + base / 8 * u64::from(window & 7);
        return Some(usize::try_from(window).unwrap_or(usize::MAX));
    }
    let at = 5 + [0, 1, 2, 4][usize::from(descriptor & 3)];
    let len = 1 << (descriptor >> 6);
    let mut size = [0; 8];
    size[..len].copy_from_slice(frame.get(at..)?.get(..len)?);
    // Two bytes count from 256.
    let size = u64::from_le_bytes(size).saturating_add(if len == 2 { 256 } else { 0 });
    Some(usize::try_from(size).unwrap_or(usize::MAX))
}

/// The largest block of an LZ4 frame: 64 KiB, 256 KiB, 1 MiB or 4 MiB.
fn lz4_block(frame: &[u8]) -> Option<usize> {
    let id = frame.get(5)? >> 4 & 7;
    Some(1 << (8 + 2 * id))
}

/// Memory that several threads share. They get it in the order in which they ask for it.
#[derive(Debug)]
struct Room {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    free: usize,
    /// Number of the next caller
    next: u64,
    /// Number of the caller that gets memory next
    turn: u64,
}

impl Room {
    const fn new(bytes: usize) -> Self {
        Self {
            state: Mutex::new(State {
                free: bytes,
                next: 0,
                turn: 0,
            }),
            changed: Condvar::new(),
        }
    }

    /// Waits until `bytes` are free. A room never has more than it began with, so `bytes` must not exceed that.
    fn take(&self, bytes: usize) -> Share<'_> {
        let mut state = self.state.lock();
        let number = state.next;
        state.next += 1;
        (self.changed).wait_while(&mut state, |state| {
            state.turn != number || state.free < bytes
        });
        state.free -= bytes;
        state.turn += 1;
        drop(state);
        self.changed.notify_all();
        Share { room: self, bytes }
    }
}

/// A part of a room
#[derive(Debug)]
pub(crate) struct Share<'a> {
    room: &'a Room,
    bytes: usize,
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        self.room.state.lock().free += self.bytes;
        self.room.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;

    use super::*;

    #[test]
    fn the_first_bytes_show_how_much_a_codec_may_keep() {
        let zstd = |frame: &[u8]| needed(ZSTD, &[&[0x28, 0xb5, 0x2f, 0xfd], frame].concat());
        assert_eq!(zstd(&[0, 0]), 1 << 10);
        assert_eq!(zstd(&[0, 11 << 3 | 4]), (1 << 21) + (1 << 20));
        assert_eq!(zstd(&[0, 0xff]), ROOM_BYTES);
        assert_eq!(zstd(&[0x20, 7]), 7);
        assert_eq!(zstd(&[0x60, 1, 0]), 257);
        assert_eq!(zstd(&[0xa1, 9, 0, 0, 16, 0]), 1 << 20);
        assert_eq!(zstd(&[0xe0]), 0);
        assert_eq!(needed(LZ4, &[4, 0x22, 0x4d, 0x18, 0x60, 0x70]), 8 << 20);
        assert_eq!(needed(LZ4, &[4, 0x22, 0x4d, 0x18, 0x60, 0x40]), 128 << 10);
        assert_eq!(needed(SNAPPY, &[0x80, 0x80, 0x80, 0x10, 0]), 32 << 20);
        let level = ruzstd::encoding::CompressionLevel::Fastest;
        let frame = ruzstd::encoding::compress_to_vec(&[7u8; 3_000_000][..], level);
        assert!(needed(ZSTD, &frame) >= 128 << 10);
    }

    #[test]
    fn all_shares_together_fit_into_the_room() {
        static SMALL: Room = Room::new(10);
        static TAKEN: AtomicUsize = AtomicUsize::new(0);
        let threads: Vec<_> = (0..8)
            .map(|at| {
                thread::spawn(move || {
                    for round in 0..200 {
                        let bytes = 1 + (at + round) % 10;
                        let share = SMALL.take(bytes);
                        let taken = TAKEN.fetch_add(bytes, Ordering::SeqCst) + bytes;
                        assert!(taken <= 10, "{taken}");
                        thread::yield_now();
                        TAKEN.fetch_sub(bytes, Ordering::SeqCst);
                        drop(share);
                    }
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
        assert_eq!(SMALL.state.lock().free, 10);
    }
}
