//! Requests as they come in on a connection.

use std::future::pending;
use std::io;

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout_at};

use super::Broker;
use super::connection::{Ended, acquire};

/// What is read from the socket at once, at least.
const CHUNK_BYTES: usize = 16 << 10;

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

/// Takes requests off a connection. A [`next`](Self::next) that is given up loses nothing.
pub(super) struct Requests<R> {
    read: BufReader<R>,
    length: [u8; 4],
    length_bytes: usize,
    /// When the one that comes has to be there; `None` before its first byte.
    until: Option<Instant>,
    body: Option<Body>,
}

/// A request of which a part has come.
struct Body {
    bytes: Vec<u8>,
    length: usize,
    room: OwnedSemaphorePermit,
}

impl<R: AsyncRead + Unpin> Requests<R> {
    pub(super) fn new(read: R) -> Self {
        Self {
            read: BufReader::with_capacity(CHUNK_BYTES, read),
            length: [0; 4],
            length_bytes: 0,
            until: None,
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
        while self.length_bytes < self.length.len() {
            let read = self.read.read(&mut self.length[self.length_bytes..]);
            let read = timeout_at(self.until.unwrap_or(idle_until), read).await;
            match (read, self.until) {
                (Err(_), None) | (Ok(Ok(0)), None) => return Ok(None),
                (Err(_), Some(_)) => return Err(Ended::Slow),
                (Ok(Ok(0)), Some(_)) => return Err(unexpected_end()),
                (Ok(read), _) => self.length_bytes += read?,
            }
            self.until
                .get_or_insert(Instant::now() + broker.config.transfer_max);
        }
        let until = self.until.unwrap_or(idle_until);
        let body = match &mut self.body {
            Some(body) => body,
            empty => {
                let given = i32::from_be_bytes(self.length);
                let length = usize::try_from(given).ok();
                let length = length.filter(|length| *length <= bytes_max);
                let length = length.ok_or(Ended::Length(given))?;
                let room = acquire(&broker.request_room, length, broker).await?;
                empty.insert(Body {
                    bytes: Vec::with_capacity(length.min(CHUNK_BYTES)),
                    length,
                    room,
                })
            }
        };
        // Memory is taken as the bytes come, not as the length says.
        while body.bytes.len() < body.length {
            let left = body.length - body.bytes.len();
            body.bytes
                .reserve(left.min(CHUNK_BYTES.max(body.bytes.len())));
            let mut rest = (&mut self.read).take(left as u64);
            let read = timeout_at(until, rest.read_buf(&mut body.bytes)).await;
            if read.map_err(|_| Ended::Slow)?? == 0 {
                return Err(unexpected_end());
            }
        }
        self.length_bytes = 0;
        self.until = None;
        let body = self.body.take();
        Ok(body.map(|body| Frame::new(body.bytes, body.room)))
    }
}

fn unexpected_end() -> Ended {
    io::Error::from(io::ErrorKind::UnexpectedEof).into()
}
