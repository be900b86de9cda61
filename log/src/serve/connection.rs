//! A connection: a request, its answer, the next request.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout, timeout_at};

use super::Broker;
use super::api::{self, Answer};
use super::sasl::{self, Access};
use super::wire::Malformed;

/// How long a request may take to come once it has begun, and an answer to be taken.
const TRANSFER_MAX: Duration = Duration::from_secs(30);

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
    #[error("it did not say who it is, or not rightly")]
    Unauthenticated,
    #[error("it was too slow")]
    Slow,
    /// To an append that wants no answer there is no other way to say that it failed.
    #[error("an append without acknowledgement failed")]
    Unacknowledged,
    #[error("the log has been closed")]
    Closed,
}

/// A request as it came, and its share of the memory for requests.
pub(super) struct Frame {
    pub(super) bytes: Vec<u8>,
    _room: OwnedSemaphorePermit,
}

impl Frame {
    pub(super) const fn new(bytes: Vec<u8>, room: OwnedSemaphorePermit) -> Self {
        Self { bytes, _room: room }
    }
}

/// Serves a client until it goes or is let go.
pub(super) async fn run(broker: &Arc<Broker>, stream: TcpStream, peer: SocketAddr) {
    match serve(broker, stream).await {
        Ok(()) => tracing::debug!(%peer, "connection closed"),
        Err(reason) => tracing::info!(%peer, %reason, "connection ended"),
    }
}

async fn serve(broker: &Arc<Broker>, stream: TcpStream) -> Result<(), Ended> {
    stream.set_nodelay(true)?;
    let reached = stream.local_addr()?;
    let (read, mut write) = stream.into_split();
    let mut read = BufReader::with_capacity(16 << 10, read);
    let mut access = Access::new(broker.config.credentials.as_ref());
    let stranger_until = Instant::now() + sasl::TIME_MAX;
    let mut stopping = broker.stopping.clone();
    loop {
        let config = &broker.config;
        let (bytes_max, wait_until) = match access {
            Access::Granted => (config.request_bytes_max, Instant::now() + config.idle_max),
            Access::Refused => return Err(Ended::Unauthenticated),
            _ => (sasl::REQUEST_BYTES_MAX, stranger_until),
        };
        let length = tokio::select! {
            _ = stopping.wait_for(|stop| *stop) => return Ok(()),
            length = timeout_at(wait_until, read.read_i32()) => length,
        };
        let length = match length {
            Err(_idle) => return Ok(()),
            Ok(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            Ok(length) => length?,
        };
        let frame = read_frame(broker, &mut read, length, bytes_max).await?;
        let answer = match access {
            Access::Granted => api::answer(broker, frame, reached).await?,
            _ => Some(api::answer_stranger(broker, &mut access, frame).await?),
        };
        let Some(Answer { bytes, room }) = answer else {
            continue;
        };
        let length = i32::try_from(bytes.len()).expect("answers are smaller than 2 GiB");
        let written = timeout(TRANSFER_MAX, async {
            write.write_all(&length.to_be_bytes()).await?;
            write.write_all(&bytes).await
        });
        written.await.map_err(|_| Ended::Slow)??;
        drop(room);
    }
}

/// Takes in a request. Memory is taken as its bytes come, not as its length says.
async fn read_frame(
    broker: &Broker,
    read: &mut (impl AsyncReadExt + Unpin),
    length: i32,
    bytes_max: usize,
) -> Result<Frame, Ended> {
    let bytes = usize::try_from(length).ok();
    let bytes = bytes.filter(|bytes| *bytes <= bytes_max);
    let bytes = bytes.ok_or(Ended::Length(length))?;
    let room = acquire(&broker.request_room, bytes, broker).await?;
    let mut frame = Vec::with_capacity(bytes.min(16 << 10));
    let mut body = read.take(bytes as u64);
    let taken = timeout(TRANSFER_MAX, body.read_to_end(&mut frame));
    if taken.await.map_err(|_| Ended::Slow)?? < bytes {
        return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
    }
    Ok(Frame::new(frame, room))
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
    let acquired = timeout(TRANSFER_MAX, acquired).await;
    acquired
        .map_err(|_| Ended::Slow)?
        .map_err(|_| Ended::Closed)
}
