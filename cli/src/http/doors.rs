//! Limits connections by user, so that idle ones cannot use up the file descriptors that ingest needs.
//!
//! **Invariant:** where the address is on loopback, what shows rows is answered to the user that runs Bekk and to root
//! only (or to all, with `--http-open`): their input files may be closed to the machine's other users.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep, sleep, sleep_until};

/// The most connections of the user that runs Bekk, and of all others
const CONNECTIONS_MAX: usize = 128;
/// The most connections from one address of another machine
const ADDRESS_CONNECTIONS_MAX: usize = 32;
/// Time after which a connection is closed: without a byte, or from the first byte of a request to that of its answer
const IDLE_MAX: Duration = Duration::from_secs(30);
/// Pause after the system has refused to accept a connection
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Interval between messages about connections that are refused
const REPORT_INTERVAL: Duration = Duration::from_secs(60);

/// The user at the other end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Caller {
    /// The user that runs Bekk, or root.
    Own,
    /// Another user of this machine; `None` if the system does not say which one.
    Other(Option<u32>),
    /// A client of an address that other machines reach, too.
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

/// Number of connections from each address of another machine
type ByAddress = HashMap<IpAddr, usize>;

/// Takes connections, each of which has its place.
pub(super) struct Doors {
    listener: TcpListener,
    address: SocketAddr,
    own: Arc<Semaphore>,
    others: Arc<Semaphore>,
    by_address: Arc<Mutex<ByAddress>>,
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
            by_address: Arc::default(),
            reported: None,
        }
    }

    /// Takes a place for a connection. This machine's own programs, such as a health check, keep theirs where others can
    /// reach the address.
    fn place(&self, caller: Caller, peer: SocketAddr) -> Option<Place> {
        let ip = peer.ip().to_canonical();
        let is_near = caller == Caller::Own || caller == Caller::Anybody && ip.is_loopback();
        let places = if is_near { &self.own } else { &self.others };
        let permit = Arc::clone(places).try_acquire_owned().ok()?;
        let counted = (caller == Caller::Anybody && !is_near).then_some(ip);
        if let Some(ip) = counted {
            let mut by_address = self.by_address.lock();
            let count = by_address.entry(ip).or_default();
            if *count >= ADDRESS_CONNECTIONS_MAX {
                return None;
            }
            *count += 1;
        }
        Some(Place {
            _permit: permit,
            counted: counted.map(|ip| (ip, Arc::clone(&self.by_address))),
        })
    }

    fn report(&mut self, peer: SocketAddr) {
        let is_due = |at: Instant| at.elapsed() >= REPORT_INTERVAL;
        if self.reported.is_none_or(is_due) {
            self.reported = Some(Instant::now());
            tracing::warn!(
                %peer,
                "{CONNECTIONS_MAX} connections to the page are open, or {ADDRESS_CONNECTIONS_MAX} from one address, and more \
                 are closed"
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
            match self.place(caller, peer) {
                Some(place) => return (Visit::new(stream, place, IDLE_MAX), caller),
                None => self.report(peer),
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

/// A connection's place; it is free again when this is dropped.
struct Place {
    _permit: OwnedSemaphorePermit,
    /// The address of another machine, and where its connections are counted.
    counted: Option<(IpAddr, Arc<Mutex<ByAddress>>)>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some((ip, by_address)) = &self.counted else {
            return;
        };
        let mut by_address = by_address.lock();
        if let Some(count) = by_address.get_mut(ip) {
            *count -= 1;
            if *count == 0 {
                by_address.remove(ip);
            }
        }
    }
}

/// A connection and its place. It ends when nothing has come or gone for long, or a request comes too slowly: a client
/// that sends a byte now and then must not keep its place for ever.
pub(super) struct Visit {
    stream: TcpStream,
    idle_max: Duration,
    idle: Pin<Box<Sleep>>,
    /// Whether a request has begun to arrive and has no answer yet.
    is_asking: bool,
    _place: Place,
}

impl Visit {
    fn new(stream: TcpStream, place: Place, idle_max: Duration) -> Self {
        Self {
            stream,
            idle_max,
            idle: Box::pin(sleep_until(Instant::now() + idle_max)),
            is_asking: false,
            _place: place,
        }
    }

    fn touch(&mut self) {
        self.idle.as_mut().reset(Instant::now() + self.idle_max);
    }
}

impl AsyncRead for Visit {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // The time first: bytes that always come would hide it.
        if self.idle.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        let read = ready!(Pin::new(&mut self.stream).poll_read(cx, buf));
        if !std::mem::replace(&mut self.is_asking, true) {
            self.touch();
        }
        Poll::Ready(read)
    }
}

impl AsyncWrite for Visit {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, bytes));
        self.is_asking = false;
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

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    async fn doors() -> Doors {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Doors::new(listener, ([0, 0, 0, 0], 8080).into())
    }

    #[tokio::test]
    async fn one_address_of_another_machine_does_not_take_all_places() {
        let doors = doors().await;
        let peer = |ip: [u8; 4]| SocketAddr::from((ip, 1));
        let place = |ip| doors.place(Caller::Anybody, peer(ip));
        let taken: Vec<_> = (0..ADDRESS_CONNECTIONS_MAX)
            .map(|_| place([10, 0, 0, 1]).unwrap())
            .collect();
        assert!(place([10, 0, 0, 1]).is_none());
        let others = (0..CONNECTIONS_MAX).filter_map(|at| place([10, 1, 0, at.to_le_bytes()[0]]));
        let others: Vec<_> = others.collect();
        assert_eq!(others.len(), CONNECTIONS_MAX - ADDRESS_CONNECTIONS_MAX);
        assert!(place([127, 0, 0, 1]).is_some(), "a health check");
        drop((taken, others));
        assert!(doors.by_address.lock().is_empty());
        assert!(place([10, 0, 0, 1]).is_some());
    }

    #[tokio::test]
    async fn who_sends_a_byte_now_and_then_does_not_keep_its_place() {
        let doors = doors().await;
        let address = doors.listener.local_addr().unwrap();
        let mut client = TcpStream::connect(address).await.unwrap();
        let (stream, peer) = doors.listener.accept().await.unwrap();
        let place = doors.place(Caller::Anybody, peer).unwrap();
        let begun = Instant::now();
        let mut visit = Visit::new(stream, place, Duration::from_millis(400));
        let slow = tokio::spawn(async move {
            while client.write_all(b"x").await.is_ok() {
                sleep(Duration::from_millis(20)).await;
            }
        });
        let mut byte = [0];
        let ended = loop {
            if let Err(error) = visit.read_exact(&mut byte).await {
                break error;
            }
        };
        assert_eq!(ended.kind(), io::ErrorKind::TimedOut);
        assert!(begun.elapsed() < Duration::from_secs(10));
        slow.abort();
    }
}
