//! A connection: a request, its answer, the next request. Requests to produce are read ahead while earlier ones
//! are written, so that those that have come meanwhile share the next fsync.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsAcceptor;

use super::Broker;
use super::api::{self, Answer};
use super::guests;
use super::requests::{Frame, Requests};
use super::sasl::{self, Access};
use super::visitor::Visitor;
use super::wire::Malformed;
use crate::places::Place;

/// How long saying goodbye may take.
const SHUTDOWN_MAX: Duration = Duration::from_secs(1);
/// How long a guest may take to say that it is one.
const GREETING_MAX: Duration = Duration::from_secs(5);
/// So many requests of a connection are read before the first of them is answered; as many as an idempotent
/// producer has under way.
const AHEAD_MAX: usize = 5;

/// A client takes so many bytes of an answer
const SEND_BYTES: usize = 64 << 10;
/// in this time, or is let go: the memory of the answer is wanted by others.
const STALL_MAX: Duration = Duration::from_secs(5);

/// Why a connection ends before its client ends it.
#[derive(Debug, thiserror::Error)]
pub(super) enum Ended {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Malformed(#[from] Malformed),
    #[error("request of {0} bytes")]
    Length(i32),
    #[error("api {key} version {version} is not offered")]
    Unsupported { key: i16, version: i16 },
    #[error("it did not prove that it is a guest of this log")]
    NoGuest,
    #[error("it failed to authenticate")]
    Unauthenticated,
    #[error("it was too slow")]
    Slow,
    #[error("other clients have all the memory for requests and answers")]
    NoRoom,
    /// To an append that wants no answer there is no other way to say that it failed.
    #[error("an append without acknowledgement failed")]
    Unacknowledged,
    #[error("the log has been closed")]
    Closed,
}

/// Serves a client until it goes or is let go.
pub(super) async fn run(broker: &Arc<Broker>, stream: TcpStream, peer: SocketAddr, place: &Place) {
    match serve(broker, stream, peer, place).await {
        Ok(()) => tracing::debug!(%peer, "connection closed"),
        Err(reason) => tracing::info!(%peer, %reason, "connection ended"),
    }
}

async fn serve(
    broker: &Arc<Broker>,
    mut stream: TcpStream,
    peer: SocketAddr,
    place: &Place,
) -> Result<(), Ended> {
    stream.set_nodelay(true)?;
    let reached = match &broker.config.guests {
        Some(token) => timeout(GREETING_MAX, guests::prove(&mut stream, token))
            .await
            .map_err(|_| Ended::Slow)??,
        None => stream.local_addr()?,
    };
    let addresses = Addresses { peer, reached };
    let Some(tls) = &broker.tls else {
        let (read, write) = stream.into_split();
        return Connection::new(broker, addresses, place, read, write)
            .serve()
            .await;
    };
    let accepted = TlsAcceptor::from(Arc::clone(tls)).accept(stream);
    let stream = timeout(broker.config.transfer_max, accepted)
        .await
        .map_err(|_| Ended::Slow)??;
    let (read, write) = tokio::io::split(stream);
    Connection::new(broker, addresses, place, read, write)
        .serve()
        .await
}

/// The two ends of a connection.
#[derive(Clone, Copy)]
struct Addresses {
    peer: SocketAddr,
    reached: SocketAddr,
}

struct Connection<'a, R, W> {
    broker: &'a Arc<Broker>,
    addresses: Addresses,
    place: &'a Place,
    requests: Requests<R>,
    write: W,
    access: Access,
    begun: Instant,
    /// Whether the client's name is noted.
    is_named: bool,
    /// Requests that have been read and wait.
    ahead: VecDeque<Frame>,
    /// How the connection ends behind them, where it is known.
    end: Option<Result<(), Ended>>,
}

impl<'a, R: AsyncRead + Unpin, W: AsyncWrite + Unpin> Connection<'a, R, W> {
    fn new(
        broker: &'a Arc<Broker>,
        addresses: Addresses,
        place: &'a Place,
        read: R,
        write: W,
    ) -> Self {
        Self {
            broker,
            addresses,
            place,
            requests: Requests::new(read),
            write,
            access: Access::new(broker.config.credentials.as_ref()),
            begun: Instant::now(),
            is_named: false,
            ahead: VecDeque::new(),
            end: None,
        }
    }

    async fn serve(mut self) -> Result<(), Ended> {
        let ended = self.answer_all().await;
        // This tells a TLS client that the stream ends here. One that has left does not need it.
        let _ = timeout(SHUTDOWN_MAX, self.write.shutdown()).await;
        ended
    }

    async fn answer_all(&mut self) -> Result<(), Ended> {
        let mut stopping = self.broker.stopping.clone();
        loop {
            let next = tokio::select! {
                biased;
                _ = stopping.wait_for(|stop| *stop) => return Ok(()),
                next = self.next() => next?,
            };
            let Some(frame) = next else {
                return Ok(());
            };
            // A client that has not said who it is keeps its place only as long as nobody else wants it.
            let Access::Granted(rights) = self.access else {
                let peer = self.addresses.peer;
                let answer =
                    api::answer_stranger(self.broker, &mut self.access, frame, peer).await?;
                self.send(answer).await?;
                if let Access::Granted(_) = self.access {
                    // From now on it is not one of those that have said nothing.
                    self.place.is_idle();
                }
                continue;
            };
            self.place.is_busy();
            if !self.is_named
                && let Some(name) = api::client_id(&frame)
            {
                self.place.is_of(name);
                self.is_named = true;
            }
            let Addresses { peer, reached } = self.addresses;
            let visitor = Visitor {
                peer,
                reached,
                rights,
            };
            if api::is_produce(&frame) {
                self.produce(frame, visitor).await?;
            } else {
                // A fetch may wait for long; for who is gone it does not.
                let may_wait = api::is_fetch(&frame);
                let answer = tokio::select! {
                    biased;
                    answer = api::answer(self.broker, frame, visitor) => answer?,
                    () = self.requests.gone(), if may_wait => return Ok(()),
                };
                self.send(answer).await?;
            }
            self.place.is_idle();
        }
    }

    /// The next request; `None` if the connection ends.
    async fn next(&mut self) -> Result<Option<Frame>, Ended> {
        if let Some(frame) = self.ahead.pop_front() {
            return Ok(Some(frame));
        }
        if let Some(end) = self.end.take() {
            return end.map(|()| None);
        }
        let config = &self.broker.config;
        let (bytes_max, idle_until) = match self.access {
            Access::Granted(_) => (config.request_bytes_max, Instant::now() + config.idle_max),
            Access::Refused => return Err(Ended::Unauthenticated),
            _ => (sasl::REQUEST_BYTES_MAX, self.begun + sasl::TIME_MAX),
        };
        self.requests.next(self.broker, bytes_max, idle_until).await
    }

    /// Answers a request to produce and those that wait behind it, and reads ahead meanwhile.
    async fn produce(&mut self, first: Frame, visitor: Visitor) -> Result<(), Ended> {
        let mut group = vec![first];
        while self.ahead.front().is_some_and(api::is_produce) {
            group.extend(self.ahead.pop_front());
        }
        let mut answering = pin!(api::answer_produces(self.broker, group, visitor));
        let answers = loop {
            let is_produce = self.ahead.back().is_none_or(api::is_produce);
            let may_read = is_produce && self.ahead.len() < AHEAD_MAX && self.end.is_none();
            let config = &self.broker.config;
            let idle_until = Instant::now() + config.idle_max;
            let next = self
                .requests
                .next(self.broker, config.request_bytes_max, idle_until);
            tokio::select! {
                biased;
                answers = &mut answering => break answers,
                next = next, if may_read => match next {
                    Ok(Some(frame)) => self.ahead.push_back(frame),
                    Ok(None) => self.end = Some(Ok(())),
                    Err(ended) => self.end = Some(Err(ended)),
                },
            }
        };
        for answer in answers {
            if let Some(answer) = answer? {
                self.send(answer).await?;
            }
        }
        Ok(())
    }

    async fn send(&mut self, Answer { bytes, room }: Answer) -> Result<(), Ended> {
        let written = timeout(self.broker.config.transfer_max, async {
            for piece in bytes.chunks(SEND_BYTES) {
                let sent = timeout(STALL_MAX, self.write.write_all(piece)).await;
                sent.map_err(|_| Ended::Slow)??;
            }
            Ok::<_, Ended>(self.write.flush().await?)
        });
        written.await.map_err(|_| Ended::Slow)??;
        drop(room);
        Ok(())
    }
}

/// Waits for a share of the memory.
pub(super) async fn acquire(
    room: &Arc<Semaphore>,
    bytes: usize,
    broker: &Broker,
) -> Result<OwnedSemaphorePermit, Ended> {
    let share = bytes.min(broker.config.memory_bytes_max);
    let share = u32::try_from(share).unwrap_or(u32::MAX);
    let acquired = Arc::clone(room).acquire_many_owned(share);
    let acquired = timeout(broker.config.transfer_max, acquired).await;
    acquired
        .map_err(|_| Ended::NoRoom)?
        .map_err(|_| Ended::Closed)
}
