//! `bekk log serve`: the log for Kafka clients.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use bekk_log::Client;

use super::Outcome;
use super::running::say_stopped;
use super::served::{config, start};
use crate::args::{Global, LogServe};
use crate::context::Context;
use crate::http::Http;
use crate::log_place::Run;
use crate::observe::Observer;
use crate::reload::{self, Scope};
use crate::screen::Screen;
use crate::service::Service;
use crate::signals;

/// Shutdown poll interval.
const TICK: Duration = Duration::from_millis(50);

pub(crate) fn run(
    global: &Global,
    context: &Arc<Context>,
    args: &LogServe,
    screen: &Screen,
) -> Result<Outcome> {
    let mut config = config(args.listen, &args.serve)?;
    let stop = signals::stop_flag().context("listen for signals")?;
    let service = Arc::<Service>::default();
    reload::watch(global, context, &service, Scope::Fixed, &stop, screen)?;
    let place = context.log_place(&args.log)?;
    let observe = || Ok(Observer::new(&service, context, place.clone(), "log"));
    let _http = Http::start(args.http.http, &args.http, "log serve", observe, screen)?;
    let run = Run {
        screen,
        service: &service,
        stop: &stop,
    };
    screen.say_part(&format!(
        "log        {place}   {}",
        context.shown_durability()
    ));
    service.serves_log();
    let told = place.work_as_owner(run, |log| {
        service.has_log(&log);
        let server = start(&log, config.clone(), screen)?;
        // A free port that was found stays when the log is opened again.
        config.listen = server.local_addr();
        let ended = wait(&stop, &log);
        let told = Instant::now();
        server.stop();
        let closed = log.close().context("close the log");
        ended.and(closed).map(|()| told)
    })?;
    say_stopped(screen, told);
    Ok(Outcome::Done)
}

/// Waits for a signal.
///
/// # Errors
/// If the log has failed.
fn wait(stop: &AtomicBool, log: &Client) -> Result<()> {
    while !signals::is_set(stop) {
        if let Some(error) = log.failed_write() {
            return Err(error).context("serve the log");
        }
        thread::sleep(TICK);
    }
    Ok(())
}
