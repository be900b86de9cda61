//! The private PostgreSQL server of a command that runs until it is stopped: started again whenever it ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context as _, Result};
use bekk_postgres::Server;

use crate::screen::Screen;

/// Interval between two checks of the server
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Longest pause after starts that failed
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// A private server that is kept running; its share in the server ends with it.
pub(crate) struct PrivateServer {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl PrivateServer {
    /// Keeps a server running, on a thread of its own.
    ///
    /// # Errors
    /// If the thread cannot be started.
    pub(crate) fn keep(server: Server, screen: &Screen) -> Result<Self> {
        let stop = Arc::<AtomicBool>::default();
        let (stopping, screen) = (Arc::clone(&stop), screen.clone());
        let thread = thread::Builder::new()
            .name("postgres".to_owned())
            .spawn(move || look_after(server, &screen, &stopping))
            .context("start the thread of the private PostgreSQL")?;
        Ok(Self {
            stop,
            thread: Some(thread),
        })
    }
}

impl Drop for PrivateServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // A panic there has been reported by its hook.
            let _ = thread.join();
        }
    }
}

fn look_after(mut server: Server, screen: &Screen, stop: &AtomicBool) {
    let port = server.port();
    let mut pause = LOOK_EVERY;
    let mut failed = None;
    while !stop.load(Ordering::Relaxed) {
        thread::park_timeout(pause);
        if stop.load(Ordering::Relaxed) || server.pid().is_some() {
            pause = LOOK_EVERY;
            continue;
        }
        if failed.is_none() {
            screen.say(&format!(
                "the private PostgreSQL has ended; starting it again (its own messages: {})",
                server.log_file().display()
            ));
        }
        let outcome = server.ensure_running().map_err(|error| error.to_string());
        match outcome {
            Ok(()) if server.port() == port => {
                screen.say("the private PostgreSQL runs again");
                failed = None;
            }
            Ok(()) => {
                screen.say(&format!(
                    "the private PostgreSQL runs again, but on port {}, because another program has taken port {port}; stop bekk and start it again",
                    server.port()
                ));
                return await_stop(stop);
            }
            Err(error) => {
                if failed.as_ref() != Some(&error) {
                    screen.say(&format!(
                        "the private PostgreSQL does not start, and bekk tries again until it does: {error}"
                    ));
                }
                failed = Some(error);
                pause = (pause * 2).min(PAUSE_MAX);
            }
        }
    }
}

/// Keeps the share in the server until the command ends.
fn await_stop(stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        thread::park_timeout(PAUSE_MAX);
    }
}
