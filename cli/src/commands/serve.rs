//! `bekk log serve`: the log for Kafka clients.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use bekk_log::Server;

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
    let config = config(args.listen, &args.serve)?;
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
    let Some(log) = place.await_ownership(run)? else {
        say_stopped(screen, None);
        return Ok(Outcome::Done);
    };
    service.has_log(&log);
    let server = start(&log, config, screen)?;
    let failure = wait(&stop, &server);
    let told = Instant::now();
    server.stop();
    if let Some(failure) = failure {
        bail!("serve the log: {failure}");
    }
    log.close().context("close the log")?;
    say_stopped(screen, Some(told));
    Ok(Outcome::Done)
}

/// Waits for a signal, or for the log to fail.
fn wait(stop: &AtomicBool, server: &Server) -> Option<String> {
    while !signals::is_set(stop) {
        if let Some(failure) = server.failure() {
            return Some(failure);
        }
        thread::sleep(TICK);
    }
    None
}
