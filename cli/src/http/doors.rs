//! Limits connections by user, so that idle ones cannot use up the file descriptors that ingest needs.
//!
//! **Invariant:** where the address is on loopback, what shows rows is answered to the user that runs Bekk and to root
//! only (or to all, with `--http-open`): their input files may be closed to the machine's other users.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep, sleep, sleep_until};

/// The most connections of the user that runs Bekk, and of all others
const CONNECTIONS_MAX: usize = 128;
/// A connection over which nothing has come or gone for so long is closed.
const IDLE_MAX: Duration = Duration::from_secs(30);
/// How long nothing is accepted after the system has refused to.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Interval between messages about connections that are refused
const REPORT_INTERVAL: Duration = Duration::from_secs(60);

/// The user at the other end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Caller {
    /// The user that runs Bekk, or root.
    Own,
    /// Another user of this machine; `None` if the system does not tell which.
    Other(Option<u32>),
    /// Somebody who reaches an address that is not only this machine's.
    Anybody,
}

impl Caller {
    fn of(stream: &TcpStream, peer: SocketAddr, listening: SocketAddr) -> Self {
        if !listening.ip().to_canonical().is_loopback() {
            return Self::Anybody;
        }
        let user = stream.local_addr().ok();
        let user = user.and_then(|local| bekk_log::peer_user(local, peer));
        let own = rustix::process::geteuid().as_raw();
        match user {
            Some(user) if user == own || user == 0 => Self::Own,
            user => Self::Other(user),
        }
    }
}

/// Takes connections, each of which has its place.
pub(super) struct Doors {
    listener: TcpListener,
    address: SocketAddr,
    own: Arc<Semaphore>,
    others: Arc<Semaphore>,
    reported: Option<Instant>,
}

impl Doors {
    pub(super) fn new(listener: TcpListener, address: SocketAddr) -> Self {
        let places = || Arc::new(Semaphore::new(CONNECTIONS_MAX));
        Self {
            listener,
            address,
            own: places(),
            others: places(),
            reported: None,
        }
    }

    fn report(&mut self, peer: SocketAddr) {
        let is_due = |at: Instant| at.elapsed() >= REPORT_INTERVAL;
        if self.reported.is_none_or(is_due) {
            self.reported = Some(Instant::now());
            tracing::warn!(
                %peer,
                "{CONNECTIONS_MAX} connections to the page are open, and more are closed"
            );
        }
    }
}

impl Listener for Doors {
    type Io = Visit;
    type Addr = Caller;

    async fn accept(&mut self) -> (Visit, Caller) {
        loop {
            let (stream, peer) = match self.listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::debug!(%error, "cannot accept a connection to the page");
                    sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let caller = Caller::of(&stream, peer, self.address);
            let places = match caller {
                Caller::Own => &self.own,
                Caller::Other(_) | Caller::Anybody => &self.others,
            };
            match Arc::clone(places).try_acquire_owned() {
                Ok(place) => return (Visit::new(stream, place), caller),
                Err(_) => self.report(peer),
            }
        }
    }

    fn local_addr(&self) -> io::Result<Caller> {
        Ok(Caller::Own)
    }
}

impl Connected<IncomingStream<'_, Doors>> for Caller {
    fn connect_info(stream: IncomingStream<'_, Doors>) -> Self {
        *stream.remote_addr()
    }
}

/// A connection and its place. It ends when nothing has come or gone for long.
pub(super) struct Visit {
    stream: TcpStream,
    idle: Pin<Box<Sleep>>,
    _place: OwnedSemaphorePermit,
}

impl Visit {
    fn new(stream: TcpStream, place: OwnedSemaphorePermit) -> Self {
        Self {
            stream,
            idle: Box::pin(sleep_until(Instant::now() + IDLE_MAX)),
            _place: place,
        }
    }

    fn touch(&mut self) {
        self.idle.as_mut().reset(Instant::now() + IDLE_MAX);
    }
}

impl AsyncRead for Visit {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Poll::Ready(read) = Pin::new(&mut self.stream).poll_read(cx, buf) {
            self.touch();
            return Poll::Ready(read);
        }
        ready!(self.idle.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncWrite for Visit {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, bytes));
        self.touch();
        Poll::Ready(written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
