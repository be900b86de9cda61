//! `bekk log serve`: the log for Kafka clients.

use std::env;
use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use bekk_log::{Client, Credentials, ServeConfig, Server, TlsConfig};

use super::{Outcome, up};
use crate::args::{LogServe, ServeArgs};
use crate::context::Context;
use crate::http::Http;
use crate::log_place::Run;
use crate::observe::Observer;
use crate::screen::Screen;
use crate::service::Service;
use crate::signals;

/// The environment variable with the password of clients.
const PASSWORD: &str = "BEKK_SASL_PASSWORD";
/// How often it is looked whether to end.
const TICK: Duration = Duration::from_millis(50);

pub(crate) fn run(context: &Arc<Context>, args: &LogServe, screen: &Screen) -> Result<Outcome> {
    let stop = signals::stop_flag().context("listen for signals")?;
    let service = Arc::<Service>::default();
    let place = context.log_place(&args.log)?;
    let observe = || Ok(Observer::new(&service, context, place.clone(), "log"));
    let _http = Http::start(args.http.http, "log serve", observe, screen)?;
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
    let server = start(&log, args.listen, &args.serve, screen)?;
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
    args: &ServeArgs,
    screen: &Screen,
) -> Result<Server> {
    let mut config = ServeConfig::new(listen);
    config.advertise.clone_from(&args.advertise);
    config.credentials = credentials(args)?;
    let files = args.tls_cert.clone().zip(args.tls_key.clone());
    config.tls = files.map(|(cert, key)| TlsConfig { cert, key });
    let (is_closed, is_encrypted) = (config.credentials.is_some(), config.tls.is_some());
    let server =
        Server::start(log.clone(), config).context("serve the log (--listen names the address)")?;
    let address = server.local_addr();
    let advertised = match &args.advertise {
        Some((host, port)) => format!(", advertised as {host}:{port}"),
        None => String::new(),
    };
    let secured = match (is_closed, is_encrypted) {
        (true, true) => ", SASL/PLAIN over TLS",
        (true, false) => ", SASL/PLAIN",
        (false, true) => ", TLS",
        (false, false) => "",
    };
    screen.say(&format!(
        "listening  {address}   the Kafka protocol{advertised}{secured}"
    ));
    if !address.ip().to_canonical().is_loopback() {
        warn_of(address, is_closed, is_encrypted);
    }
    Ok(server)
}

/// Says what whoever can reach an address that is not loopback can do.
fn warn_of(address: SocketAddr, is_closed: bool, is_encrypted: bool) {
    if !is_closed {
        tracing::warn!(
            %address,
            "whoever can reach this address can read and write the log: there is no authentication (--sasl-user)"
        );
    }
    if !is_encrypted {
        tracing::warn!(
            %address,
            "records and passwords cross the network in the clear: there is no encryption (--tls-cert)"
        );
    }
}

fn credentials(args: &ServeArgs) -> Result<Option<Credentials>> {
    let Some(username) = args.sasl_user.clone() else {
        if args.sasl_password_file.is_some() {
            bail!("--sasl-password-file needs --sasl-user");
        }
        return Ok(None);
    };
    let password = match &args.sasl_password_file {
        Some(file) => {
            let read = fs::read_to_string(file);
            let text =
                read.with_context(|| format!("read the password in `{}`", file.display()))?;
            text.trim_end_matches(['\r', '\n']).to_owned()
        }
        None => env::var(PASSWORD).with_context(|| {
            format!("--sasl-user needs {PASSWORD} in the environment, or --sasl-password-file")
        })?,
    };
    if username.is_empty() || password.is_empty() {
        bail!("the name and the password of --sasl-user must not be empty");
    }
    Ok(Some(Credentials { username, password }))
}
