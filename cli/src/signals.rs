//! What ends a command early: SIGINT and SIGTERM (the first asks for an end at the next batch, the second ends at
//! once), and a time limit.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;
use signal_hook::iterator::Signals;

/// The exit code after a second signal.
const INTERRUPTED: i32 = 130;

/// Returns a flag that the first signal sets; the second ends the process.
///
/// # Errors
/// If the system refuses.
pub(crate) fn stop_flag() -> io::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // In this order: at the first signal the flag is not yet set when the shutdown looks at it.
        flag::register_conditional_shutdown(signal, INTERRUPTED, Arc::clone(&stop))?;
        flag::register(signal, Arc::clone(&stop))?;
    }
    Ok(stop)
}

/// Has a long-running command look at its configuration at each SIGHUP, which ends it no more.
///
/// # Errors
/// If the system refuses.
pub(crate) fn on_hangup(mut look: impl FnMut() + Send + 'static) -> io::Result<()> {
    let mut signals = Signals::new([SIGHUP])?;
    let look = move || signals.forever().for_each(|_| look());
    thread::Builder::new()
        .name("hangup".to_owned())
        .spawn(look)?;
    Ok(())
}

/// A time limit of a command that ends by itself.
#[derive(Clone, Default)]
pub(crate) struct TimeLimit(Arc<AtomicBool>);

impl TimeLimit {
    /// Starts a limit, if there is one, which sets the flag `stop` when it has run out.
    pub(crate) fn start(limit: Option<Duration>, stop: &Arc<AtomicBool>) -> Self {
        let expired = Self::default();
        if let Some(limit) = limit {
            let (expired, stop) = (expired.clone(), Arc::clone(stop));
            thread::spawn(move || {
                thread::sleep(limit);
                if !stop.swap(true, Ordering::Relaxed) {
                    expired.0.store(true, Ordering::Relaxed);
                }
            });
        }
        expired
    }

    /// Whether the time ran out before the command ended or was told to.
    pub(crate) fn has_expired(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

pub(crate) fn is_set(stop: &AtomicBool) -> bool {
    stop.load(Ordering::Relaxed)
}
