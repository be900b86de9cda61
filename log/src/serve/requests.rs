//! Requests as they come in on a connection.

use std::future::pending;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout, timeout_at};

use super::Broker;
use super::connection::Ended;
use super::visitor::Sender;
use super::wire::Reader;

/// What is read from the socket at once, at least.
const CHUNK_BYTES: usize = 16 << 10;
/// A request that has begun comes at this many bytes a second at least,
const BYTES_PER_SECOND_MIN: u64 = 64 << 10;
/// but for so long in all.
const LAG_MAX: Duration = Duration::from_secs(5);

/// A request as it came, and its share of the memory for requests.
pub(super) struct Frame {
    pub(super) bytes: Vec<u8>,
    _room: Room,
}

/// A request that is answered at once: who answers it, who sends it, its version and its body.
pub(super) struct Request<'a>(
    pub(super) &'a Broker,
    pub(super) &'a Sender<'a>,
    pub(super) i16,
    pub(super) Reader<'a>,
);

/// The memory that a request takes.
#[derive(Default)]
pub(super) struct Room {
    taken: Option<OwnedSemaphorePermit>,
    /// What it may have come to: more than is taken if it may go beyond the limit.
    bytes: usize,
    finishing: Option<OwnedSemaphorePermit>,
}

impl Frame {
    pub(super) const fn new(bytes: Vec<u8>, room: Room) -> Self {
        Self { bytes, _room: room }
    }
}

impl Room {
    /// Makes room for `bytes` more. If the room is full, waits for space, or for its turn to exceed the room. A wait that is
    /// given up loses nothing.
    pub(super) async fn grow(&mut self, bytes: usize, broker: &Broker) -> Result<(), Ended> {
        let taken = self
            .taken
            .as_ref()
            .map_or(0, OwnedSemaphorePermit::num_permits);
        let left = broker.config.memory_bytes_max.saturating_sub(taken);
        if self.finishing.is_none() && left > 0 {
            let share = u32::try_from(bytes.min(left)).unwrap_or(u32::MAX);
            let room = Arc::clone(&broker.request_room);
            tokio::select! {
                biased;
                more = room.acquire_many_owned(share) => {
                    let more = more.map_err(|_| Ended::Closed)?;
                    match &mut self.taken {
                        Some(taken) => taken.merge(more),
                        none => *none = Some(more),
                    }
                }
                turn = Arc::clone(&broker.finishing).acquire_owned() => {
                    self.finishing = Some(turn.map_err(|_| Ended::Closed)?);
                }
            }
        }
        self.bytes += bytes;
        Ok(())
    }
}

/// Takes requests off a connection. A [`next`](Self::next) that is given up loses nothing.
pub(super) struct Requests<R> {
    read: BufReader<R>,
    length: [u8; 4],
    length_bytes: usize,
    /// When the one that comes began to, not counting what it waited for room; `None` before its first byte.
    begun: Option<Instant>,
    body: Option<Body>,
}

/// A request of which a part has come.
struct Body {
    bytes: Vec<u8>,
    length: usize,
    room: Room,
}

impl<R: AsyncRead + Unpin> Requests<R> {
    pub(super) fn new(read: R) -> Self {
        Self {
            read: BufReader::with_capacity(CHUNK_BYTES, read),
            length: [0; 4],
            length_bytes: 0,
            begun: None,
            body: None,
        }
    }

    /// Returns when the client is gone; while it has sent something that waits, that is not seen.
    pub(super) async fn gone(&mut self) {
        if self
            .read
            .fill_buf()
            .await
            .is_ok_and(|bytes| !bytes.is_empty())
        {
            pending().await
        }
    }

    /// The next request, of at most `bytes_max`; `None` if the client goes, or sends none until `idle_until`.
    pub(super) async fn next(
        &mut self,
        broker: &Broker,
        bytes_max: usize,
        idle_until: Instant,
    ) -> Result<Option<Frame>, Ended> {
        let transfer_max = broker.config.transfer_max;
        while self.length_bytes < self.length.len() {
            let until = self
                .begun
                .map_or(idle_until, |begun| begun + LAG_MAX.min(transfer_max));
            let read = self.read.read(&mut self.length[self.length_bytes..]);
            let read = timeout_at(until, read).await;
            match (read, self.begun) {
                (Err(_), None) | (Ok(Ok(0)), None) => return Ok(None),
                (Err(_), Some(_)) => return Err(Ended::Slow),
                (Ok(Ok(0)), Some(_)) => return Err(unexpected_end()),
                (Ok(read), _) => self.length_bytes += read?,
            }
            self.begun.get_or_insert(Instant::now());
        }
        let begun = self.begun.get_or_insert(Instant::now());
        let body = match &mut self.body {
            Some(body) => body,
            empty => {
                let given = i32::from_be_bytes(self.length);
                let length = usize::try_from(given).ok();
                let length = length.filter(|length| *length <= bytes_max);
                empty.insert(Body {
                    bytes: Vec::new(),
                    length: length.ok_or(Ended::Length(given))?,
                    room: Room::default(),
                })
            }
        };
        // Memory is taken as the bytes come, not as the length says.
        while body.bytes.len() < body.length {
            let come = body.bytes.len();
            if body.room.bytes == come {
                let step = (body.length - come).min(CHUNK_BYTES.max(come));
                let asked = Instant::now();
                let grown = timeout(transfer_max, body.room.grow(step, broker)).await;
                grown.map_err(|_| Ended::NoRoom)??;
                *begun += asked.elapsed();
                body.bytes.reserve(step);
            }
            let pace = Duration::from_secs(come as u64 / BYTES_PER_SECOND_MIN);
            let until = *begun + (LAG_MAX + pace).min(transfer_max);
            let mut rest = (&mut self.read).take((body.room.bytes - come) as u64);
            let read = timeout_at(until, rest.read_buf(&mut body.bytes)).await;
            if read.map_err(|_| Ended::Slow)?? == 0 {
                return Err(unexpected_end());
            }
        }
        self.length_bytes = 0;
        self.begun = None;
        let body = self.body.take();
        Ok(body.map(|body| Frame::new(body.bytes, body.room)))
    }
}

fn unexpected_end() -> Ended {
    io::Error::from(io::ErrorKind::UnexpectedEof).into()
}
