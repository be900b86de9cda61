//! The log served over the Kafka protocol: a thin adapter over the operations of [`Client`].
//!
//! A connection is a task that reads a request, has it answered, writes the answer, and then continues with the
//! next one, so that answers come in order; only requests to produce are answered together. What touches the log runs
//! on tokio's threads for blocking calls; a fetch that waits for records holds none. `docs/format.md` lists the APIs
//! and their versions.
//!
//! **Invariant:** nothing that a client sends makes the server panic, or take more memory than the limits in
//! [`ServeConfig`]; a malformed request ends its connection and no other.

mod api;
mod caller;
mod clocks;
mod code;
mod configs;
mod connection;
mod create_topics;
mod deletion;
mod fetch;
mod group_offsets;
mod groups;
mod guard;
mod guesses;
mod guests;
mod line_limit;
mod list_offsets;
mod metadata;
mod named;
mod produce;
mod producer_id;
mod requests;
mod sasl;
mod scram;
#[cfg(test)]
mod tests;
mod tls;
mod visitor;
mod wire;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::rustls;

use self::clocks::ClocksAhead;
use self::code::Code;
use self::guesses::Guesses;
use self::line_limit::LineLimit;
pub use self::sasl::Credentials;
use self::sasl::Users;
pub use self::tls::TlsConfig;
use crate::guest_token::GuestToken;
use crate::peer::{self, Holding};
use crate::places::Places;
use crate::store::Store;
use crate::{Client, Error, Session};

/// How long connections may take to end when the server stops.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);
/// How long nothing is accepted after the system has refused to.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Bounds of the number of connections; one of Bekk's own programs has nine.
const CONNECTIONS_MIN: usize = 10;
pub(crate) const CONNECTIONS_MAX: usize = 512;
/// Open files of the log itself and of what runs beside it: some forty with two topics, and half a dozen for each further
/// segment that is open
const OWN_FILES: u64 = 128;

/// Where the log is served, and within which limits.
#[derive(Debug, Clone)]
pub struct ServeConfig {
    /// The address to listen at; port 0 is any free one.
    pub listen: SocketAddr,
    /// The host and port to which clients connect; `None`: the address that they have reached.
    pub advertise: Option<(String, u16)>,
    /// What a client has to know; `None`: whoever reaches the address may do all.
    pub credentials: Option<Credentials>,
    /// Further credentials, of clients that may only read; `None`: no client may only read.
    pub read_credentials: Option<Credentials>,
    /// For the guests of a log's directory: what it proves to them that it knows. Nobody else is let in.
    pub(crate) guests: Option<GuestToken>,
    /// The certificate; `None`: connections are not encrypted.
    pub tls: Option<TlsConfig>,
    /// The most connections. A further one takes the place of a client that asks for nothing; it is closed if every client
    /// asks for something.
    pub connections_max: usize,
    /// The largest request in bytes; a larger one ends its connection.
    pub request_bytes_max: usize,
    /// The most bytes of requests, and of answers to fetches, that are in memory at once; a request that
    /// would exceed it waits.
    pub memory_bytes_max: usize,
    /// The most bytes of records in an answer, unless one batch alone has more.
    pub fetch_bytes_max: usize,
    /// A connection without a request for so long is closed.
    pub idle_max: Duration,
    /// How long a request may take to arrive once it has begun, and an answer to be taken; a slower client is disconnected.
    pub transfer_max: Duration,
}

impl ServeConfig {
    /// The defaults: 512 connections, or fewer where the process may have fewer than 1,536 files open; requests of 32 MiB,
    /// 256 MiB of requests and as many of answers, 16 MiB of records in an answer, ten minutes idle, 30 seconds for a
    /// request or an answer.
    #[must_use]
    pub fn new(listen: SocketAddr) -> Self {
        let files_max = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        Self {
            listen,
            advertise: None,
            credentials: None,
            read_credentials: None,
            guests: None,
            tls: None,
            connections_max: connections_of(files_max),
            request_bytes_max: 32 << 20,
            memory_bytes_max: 256 << 20,
            fetch_bytes_max: 16 << 20,
            idle_max: Duration::from_secs(600),
            transfer_max: Duration::from_secs(30),
        }
    }
}

/// The most connections in a process that may have so many files open. Clients must not take the descriptors that others
/// need: a quarter is for the files that ingest follows, [`OWN_FILES`] are for the log, and half of the rest for guests.
fn connections_of(files_max: Option<u64>) -> usize {
    let share = files_max.map_or(u64::MAX, |max| {
        (max - max / 4).saturating_sub(OWN_FILES) / 2
    });
    usize::try_from(share)
        .unwrap_or(usize::MAX)
        .clamp(CONNECTIONS_MIN, CONNECTIONS_MAX)
}

/// A running server.
#[derive(Debug)]
pub struct Server {
    local_addr: SocketAddr,
    stop: watch::Sender<bool>,
    accepting: Option<JoinHandle<()>>,
    /// Absent once the server is stopped.
    runtime: Option<Runtime>,
}

/// What the connections share.
#[derive(Debug)]
struct Broker {
    client: Client,
    config: ServeConfig,
    tls: Option<Arc<rustls::ServerConfig>>,
    /// Bytes of requests that may still be taken in.
    request_room: Arc<Semaphore>,
    /// Bytes of answers to fetches that may still be made.
    answer_room: Arc<Semaphore>,
    /// Held by the one request that may take more memory than there is, so that of many that came in part one is
    /// always completed.
    finishing: Arc<Semaphore>,
    places: Arc<Places>,
    guesses: Guesses,
    line_limit: LineLimit,
    users: Users,
    /// Whether a write was refused because the disk was full, and no append has succeeded since
    is_full: AtomicBool,
    clocks_ahead: ClocksAhead,
    stopping: watch::Receiver<bool>,
}

impl Server {
    /// Serves a log until it is stopped.
    ///
    /// # Errors
    /// [`Error::Listen`] if the address cannot be had, [`Error::Certificate`] if the certificate cannot be used.
    pub fn start(client: Client, config: ServeConfig) -> Result<Self, Error> {
        let failed = |source| Error::Listen {
            address: config.listen,
            source,
        };
        let tls = config.tls.as_ref().map(tls::load).transpose()?;
        let runtime = Builder::new_multi_thread()
            .worker_threads(2)
            .max_blocking_threads(config.connections_max.max(1))
            .thread_name("serve")
            .enable_io()
            .enable_time()
            .build()
            .map_err(failed)?;
        let listener = runtime
            .block_on(TcpListener::bind(config.listen))
            .map_err(failed)?;
        let local_addr = listener.local_addr().map_err(failed)?;
        let (stop, stopping) = watch::channel(false);
        let room = config.memory_bytes_max.min(Semaphore::MAX_PERMITS);
        let closed = client
            .store()
            .map(|store| Arc::clone(&store.core().shared.counts.connections_closed))
            .unwrap_or_default();
        let places = Places::new(config.connections_max, config.guests.is_some(), closed);
        let places = Arc::new(places);
        client.is_served_to(&places);
        let broker = Arc::new(Broker {
            client,
            tls,
            request_room: Arc::new(Semaphore::new(room)),
            answer_room: Arc::new(Semaphore::new(room)),
            finishing: Arc::new(Semaphore::new(1)),
            places,
            guesses: Guesses::default(),
            line_limit: LineLimit::default(),
            users: Users::new(&config),
            is_full: AtomicBool::new(false),
            clocks_ahead: ClocksAhead::default(),
            stopping,
            config,
        });
        let accepting = runtime.spawn(accept(broker, listener));
        Ok(Self {
            local_addr,
            stop,
            accepting: Some(accepting),
            runtime: Some(runtime),
        })
    }

    /// Where it listens.
    #[must_use]
    pub const fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Ends the connections, each behind the request that it is at. The log stays open.
    pub fn stop(mut self) {
        self.stop.send_replace(true);
        let Some((runtime, accepting)) = self.runtime.take().zip(self.accepting.take()) else {
            return;
        };
        let ended = runtime.block_on(async { tokio::time::timeout(STOP_TIMEOUT, accepting).await });
        if ended.is_err() {
            tracing::warn!("some connections did not end in time and were cut off");
        }
        runtime.shutdown_timeout(STOP_TIMEOUT);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The last one to hold a log may be a task of another runtime, in which none may be waited for.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Broker {
    fn store(&self) -> Result<Arc<Store>, Error> {
        self.client.store()
    }

    /// The code of an error, which is reported.
    fn checked<T>(&self, done: Result<T, Error>) -> Result<T, Code> {
        done.map_err(|error| {
            self.note_refused(&error);
            Code::from(&error)
        })
    }

    /// Reports, once for each session, that an ingest's clock is more than an hour ahead of this machine's.
    fn note_clock(&self, session: &Session) {
        if self.clocks_ahead.note(session) && self.line_limit.may_write() {
            tracing::warn!(
                ingest = visitor::shown(&session.ingest),
                "the ingest's clock is more than an hour ahead of this machine's; its records are taken, and have its \
                 times; set both clocks"
            );
        }
    }

    /// Notes what became of an append.
    fn note_append<T>(&self, appended: &Result<T, Error>) {
        match appended {
            Ok(_) if self.is_full.swap(false, Ordering::Relaxed) => {
                tracing::info!("the log has space again");
            }
            Ok(_) => {}
            Err(error) => self.note_refused(error),
        }
    }

    /// Reports the error of a request: a full disk once, until an append succeeds. A failed write has been reported where
    /// it failed, and whoever opened the log finds it with [`Client::failed_write`].
    fn note_refused(&self, error: &Error) {
        if error.is_no_space() {
            if !self.is_full.swap(true, Ordering::Relaxed) {
                tracing::warn!(
                    %error,
                    "writes of other processes are refused until there is space; they try again, and reads continue"
                );
            }
        } else if matches!(
            error,
            Error::Io { .. } | Error::Corrupt { .. } | Error::Store { .. }
        ) && self.client.failed_write().is_none()
            && self.line_limit.may_write()
        {
            let error = error.with_cause();
            tracing::warn!(error, "a request of another program failed");
        }
    }
}

fn is_trusted(stream: &TcpStream, peer: SocketAddr) -> bool {
    let local = stream.local_addr();
    local.map_or(true, |local| peer::holding(local, peer) == Holding::Trusted)
}

async fn accept(broker: Arc<Broker>, listener: TcpListener) {
    let mut stopping = broker.stopping.clone();
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            _ = stopping.wait_for(|stop| *stop) => break,
            accepted = listener.accept() => accepted,
        };
        while connections.try_join_next().is_some() {}
        match accepted {
            Ok((stream, peer)) => {
                if broker.config.guests.is_some() && !is_trusted(&stream, peer) {
                    tracing::debug!(%peer, "a connection of another user, or of a process that has ended, is closed");
                    continue;
                }
                let Some(place) = broker.places.take(peer) else {
                    continue;
                };
                let broker = Arc::clone(&broker);
                connections.spawn(async move {
                    tokio::select! {
                        () = connection::run(&broker, stream, peer, &place) => {}
                        () = place.is_given_away() => {}
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}
