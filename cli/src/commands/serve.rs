//! `bekk log serve`: the log for Kafka clients.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use bekk_log::{Client, ServeConfig, Server};

use super::{Outcome, up};
use crate::args::{AdvertiseArgs, LogServe};
use crate::context::Context;
use crate::http::Http;
use crate::log_place::Run;
use crate::screen::Screen;
use crate::service::Service;
use crate::signals;

/// How often it is looked whether to end.
const TICK: Duration = Duration::from_millis(50);

pub(crate) fn run(context: &Context, args: &LogServe, screen: &Screen) -> Result<Outcome> {
    let stop = signals::stop_flag().context("listen for signals")?;
    let service = Arc::<Service>::default();
    let _http = Http::start(args.http.http, &service, screen)?;
    let place = context.log_place(&args.log)?;
    let run = Run {
        screen,
        service: &service,
        stop: &stop,
    };
    screen.say(&format!(
        "log        {place}   {}",
        context.shown_durability()
    ));
    let Some(log) = place.await_ownership(run)? else {
        up::say_stopped(screen, None);
        return Ok(Outcome::Done);
    };
    service.has_log(&log);
    let server = start(&log, args.listen, &args.advertise, screen)?;
    let failure = wait(&stop, &server);
    let told = Instant::now();
    server.stop();
    if let Some(failure) = failure {
        bail!("serve the log: {failure}");
    }
    log.close().context("close the log")?;
    up::say_stopped(screen, Some(told));
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

/// Starts to serve a log, and says where.
pub(super) fn start(
    log: &Client,
    listen: SocketAddr,
    advertise: &AdvertiseArgs,
    screen: &Screen,
) -> Result<Server> {
    let mut config = ServeConfig::new(listen);
    config.advertise.clone_from(&advertise.advertise);
    let server = Server::start(log.clone(), config).context("serve the log")?;
    let address = server.local_addr();
    let advertised = match &advertise.advertise {
        Some((host, port)) => format!(", advertised as {host}:{port}"),
        None => String::new(),
    };
    screen.say(&format!(
        "listening  {address}   the Kafka protocol{advertised}"
    ));
    if !address.ip().to_canonical().is_loopback() {
        tracing::warn!(
            %address,
            "whoever can reach this address can read and write the log: there is no authentication"
        );
    }
    Ok(server)
}
