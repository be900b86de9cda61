//! Files that grow while a test runs, cut anywhere.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Writes files bit by bit, beside the kills.
pub(crate) struct Writer {
    thread: thread::JoinHandle<()>,
    allowed: Arc<std::sync::Mutex<usize>>,
    hurry: Arc<AtomicBool>,
}

impl Writer {
    pub(crate) fn start(dir: PathBuf, texts: Vec<String>, seed: u64) -> Self {
        let allowed = Arc::new(std::sync::Mutex::new(0));
        let hurry = Arc::new(AtomicBool::new(false));
        let thread = thread::spawn({
            let (allowed, hurry) = (Arc::clone(&allowed), Arc::clone(&hurry));
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            move || {
                for (number, text) in texts.iter().enumerate() {
                    while *allowed.lock().unwrap() <= number && !hurry.load(Ordering::Relaxed) {
                        thread::sleep(Duration::from_millis(2));
                    }
                    write_in_pieces(
                        &dir.join(format!("round-{number:04}.csv")),
                        text.as_bytes(),
                        &mut rng,
                        &hurry,
                    );
                }
            }
        });
        Self {
            thread,
            allowed,
            hurry,
        }
    }

    /// Lets it begin one more file.
    pub(crate) fn allow_file(&self) {
        *self.allowed.lock().unwrap() += 1;
    }

    /// Lets it write the rest at once.
    pub(crate) fn join(self) {
        self.hurry.store(true, Ordering::Relaxed);
        self.thread.join().unwrap();
    }
}

fn write_in_pieces(path: &Path, mut bytes: &[u8], rng: &mut ChaCha8Rng, hurry: &AtomicBool) {
    let mut file = OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .unwrap();
    while !bytes.is_empty() {
        let (piece, rest) = bytes.split_at(rng.random_range(1..=bytes.len().min(60_000)));
        file.write_all(piece).unwrap();
        bytes = rest;
        if !hurry.load(Ordering::Relaxed) {
            thread::sleep(Duration::from_millis(rng.random_range(0..20)));
        }
    }
}
