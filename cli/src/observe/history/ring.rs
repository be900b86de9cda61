//! The file of a history: two rings of slots, a fine and a coarse one, at fixed places.
//!
//! Its form is in docs/format.md. Nothing is fsynced: what a power cut takes away is a few points of a chart.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

const MAGIC: &[u8; 8] = b"bekkhist";
const VERSION: u32 = 1;
/// Length of the head: magic, version, and four zero bytes.
const HEAD_LEN: usize = 16;
/// Length of a slot: step, weight, values, and the CRC-32C of these.
const SLOT_LEN: usize = 8 + 4 + 4 * VALUES + 4;
/// Number of values in a slot.
pub(super) const VALUES: usize = 6;

/// Interval between a ring's slots, and their number
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tier {
    pub(super) step_seconds: u64,
    pub(super) slots: usize,
    /// Number of slots before its first in the file.
    before: usize,
}

/// Fifteen minutes in steps of five seconds.
pub(super) const FINE: Tier = Tier {
    step_seconds: 5,
    slots: 180,
    before: 0,
};

/// Twenty-four hours in steps of two minutes.
pub(super) const COARSE: Tier = Tier {
    step_seconds: 120,
    slots: 720,
    before: FINE.slots,
};

const FILE_LEN: usize = HEAD_LEN + (FINE.slots + COARSE.slots) * SLOT_LEN;

/// Values of one step; NaN if unknown
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Slot {
    /// Time since 1970-01-01 UTC, in steps.
    pub(super) step: u64,
    /// Number of samples in it.
    pub(super) weight: f32,
    pub(super) values: [f32; VALUES],
}

impl Slot {
    fn encode(&self) -> [u8; SLOT_LEN] {
        let mut bytes = [0; SLOT_LEN];
        bytes[..8].copy_from_slice(&self.step.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.weight.to_le_bytes());
        for (at, value) in self.values.iter().enumerate() {
            bytes[12 + 4 * at..16 + 4 * at].copy_from_slice(&value.to_le_bytes());
        }
        let crc = crc32c::crc32c(&bytes[..SLOT_LEN - 4]);
        bytes[SLOT_LEN - 4..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Decodes a slot; `None` if it was never written, or is torn.
    fn decode(bytes: &[u8]) -> Option<Self> {
        let word = |at: usize| -> Option<[u8; 4]> { bytes.get(at..at + 4)?.try_into().ok() };
        let crc = u32::from_le_bytes(word(SLOT_LEN - 4)?);
        let step = u64::from_le_bytes(bytes.get(..8)?.try_into().ok()?);
        if step == 0 || crc != crc32c::crc32c(&bytes[..SLOT_LEN - 4]) {
            return None;
        }
        let mut values = [f32::NAN; VALUES];
        for (at, value) in values.iter_mut().enumerate() {
            *value = f32::from_le_bytes(word(12 + 4 * at)?);
        }
        Some(Self {
            step,
            weight: f32::from_le_bytes(word(8)?),
            values,
        })
    }
}

/// Both rings in memory.
#[derive(Debug, Clone)]
pub(super) struct Rings {
    slots: Vec<Option<Slot>>,
}

impl Default for Rings {
    fn default() -> Self {
        Self {
            slots: vec![None; FINE.slots + COARSE.slots],
        }
    }
}

impl Rings {
    /// Reads a file; a missing, shorter or other one holds nothing.
    pub(super) fn read(path: &Path) -> Self {
        let bytes = bekk_log::read_plain(path).unwrap_or_default();
        Self::decode(&bytes).unwrap_or_default()
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let rest = bytes.strip_prefix(MAGIC.as_slice())?;
        if bytes.len() != FILE_LEN || rest.get(..4)? != VERSION.to_le_bytes() {
            return None;
        }
        let slots = bytes[HEAD_LEN..].chunks_exact(SLOT_LEN).map(Slot::decode);
        Some(Self {
            slots: slots.collect(),
        })
    }

    /// The slot of a step, if it has been written.
    pub(super) fn get(&self, tier: Tier, step: u64) -> Option<Slot> {
        self.slots[place(tier, step)].filter(|slot| slot.step == step)
    }

    /// Sets a slot, and returns where it goes in the file, and as what.
    pub(super) fn set(&mut self, tier: Tier, slot: Slot) -> Write {
        let at = place(tier, slot.step);
        self.slots[at] = Some(slot);
        Write {
            at: (HEAD_LEN + at * SLOT_LEN) as u64,
            bytes: slot.encode(),
        }
    }

    /// Makes `file` hold these rings.
    pub(super) fn write_all(&self, file: &File) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(FILE_LEN);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.resize(HEAD_LEN, 0);
        for slot in &self.slots {
            bytes.extend_from_slice(&slot.as_ref().map_or([0; SLOT_LEN], Slot::encode));
        }
        file.set_len(0)?;
        file.write_all_at(&bytes, 0)
    }
}

/// A slot to be written to a file.
pub(super) struct Write {
    at: u64,
    bytes: [u8; SLOT_LEN],
}

impl Write {
    pub(super) fn to(&self, file: &File) -> io::Result<()> {
        file.write_all_at(&self.bytes, self.at)
    }
}

fn place(tier: Tier, step: u64) -> usize {
    let slots = tier.slots as u64;
    tier.before + usize::try_from(step % slots).expect("a ring has few slots")
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn slot(step: u64) -> Slot {
        Slot {
            step,
            weight: 3.0,
            values: [1.5, 2.5, 0.0, 0.25, 0.5, 1e9],
        }
    }

    #[test]
    fn slots_survive_and_old_ones_are_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.ring");
        let file = File::create(&path).unwrap();
        let mut rings = Rings::default();
        rings.write_all(&file).unwrap();
        let first = 1_000_000;
        for step in first..=first + FINE.slots as u64 {
            rings.set(FINE, slot(step)).to(&file).unwrap();
        }
        rings.set(COARSE, slot(7)).to(&file).unwrap();
        let found = Rings::read(&path);
        assert_eq!(found.get(FINE, first), None, "overwritten");
        assert_eq!(found.get(FINE, first + 1), Some(slot(first + 1)));
        assert_eq!(found.get(COARSE, 7), Some(slot(7)));
        assert_eq!(found.get(COARSE, 8), None);
        assert_eq!(fs::metadata(&path).unwrap().len(), FILE_LEN as u64);
    }

    #[test]
    fn a_torn_slot_or_another_file_holds_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.ring");
        let mut rings = Rings::default();
        rings.set(FINE, slot(9));
        rings.write_all(&File::create(&path).unwrap()).unwrap();
        let mut bytes = fs::read(&path).unwrap();
        bytes[HEAD_LEN + 9 * SLOT_LEN + 13] ^= 1;
        fs::write(&path, &bytes).unwrap();
        assert_eq!(Rings::read(&path).get(FINE, 9), None);
        for other in [&bytes[1..], &bytes[..100], b"", &[0; FILE_LEN]] {
            fs::write(&path, other).unwrap();
            assert!(Rings::read(&path).slots.iter().all(Option::is_none));
        }
    }

    /// A file of version 1, as it was first released.
    #[test]
    fn version_one_is_readable() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/history-v1.ring");
        let found = Rings::read(&path);
        assert_eq!(found.get(FINE, 353_000_000), Some(slot(353_000_000)));
        let coarse = found.get(COARSE, 14_000_001).unwrap();
        assert!(coarse.values[2].is_nan() && (coarse.weight - 24.0).abs() < 1e-6);
    }
}
