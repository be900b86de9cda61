//! A guest's way to its owner: librdkafka connects to a port of the guest's own process, and what it sends continues
//! only to an owner that has proved that it knows the token.
//!
//! The owner's port is on the loopback interface, where any user may listen as soon as the owner has gone. So each
//! connection begins with a question that only who has read `DIR/owner` can answer (see `serve/guests.rs`), and nothing
//! is sent before the answer has come. As long as the owner lives the port is its own; a connection that is open stays
//! with the process that answered.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use subtle::ConstantTimeEq as _;

use crate::guest_token::{GuestQuestion, GuestToken};
use crate::peer::{self, Holding};

/// How long the owner may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes that are passed on at once, at most.
const CHUNK_BYTES: usize = 256 << 10;
/// The most connections at once; librdkafka has a handful.
const CONNECTIONS_MAX: usize = 64;

/// A running relay; it ends when this is dropped.
pub(crate) struct Relay {
    local: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Relay {
    /// Starts a relay to the owner's port; fails unless the owner answers rightly now.
    pub(crate) fn start(owner: SocketAddr, token: GuestToken) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let local = listener.local_addr()?;
        drop(connect(owner, &token, local.port())?);
        let stop = Arc::new(AtomicBool::new(false));
        let thread = thread::Builder::new().name("relay".to_owned()).spawn({
            let stop = Arc::clone(&stop);
            move || accept(&listener, owner, &token, &stop)
        })?;
        Ok(Self {
            local,
            stop,
            thread: Some(thread),
        })
    }

    /// The address that librdkafka connects to.
    pub(crate) const fn local_addr(&self) -> SocketAddr {
        self.local
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        // Wakes the thread, which waits for a connection.
        let _ = TcpStream::connect(self.local);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn accept(listener: &TcpListener, owner: SocketAddr, token: &GuestToken, stop: &AtomicBool) {
    let open = Arc::new(());
    while let Ok((stream, from)) = listener.accept() {
        if stop.load(Ordering::Acquire) {
            return;
        }
        let local = listener.local_addr().unwrap_or(owner);
        match peer::holding(local, from) {
            Holding::Trusted => {}
            Holding::Stranger(user) => {
                tracing::warn!(peer = %from, user, "another user's connection to this guest is closed");
                continue;
            }
            Holding::Nobody => continue,
        }
        if Arc::strong_count(&open) > 2 * CONNECTIONS_MAX {
            tracing::warn!(peer = %from, "a connection to this guest is closed: there are too many");
            continue;
        }
        let (token, open) = (token.clone(), Arc::clone(&open));
        // If no thread can be had the connection is closed, and librdkafka tries again.
        let _ = thread::Builder::new()
            .name("relay-guest".to_owned())
            .spawn(move || {
                let _open = open;
                if let Err(error) = connect(owner, &token, local.port())
                    .and_then(|upstream| pass_both(stream, upstream))
                {
                    tracing::debug!(%error, "a connection to the log's owner ended");
                }
            });
    }
}

fn connect(owner: SocketAddr, token: &GuestToken, port: u16) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect_timeout(&owner, ANSWER_TIMEOUT)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
    let question = GuestQuestion::new(port);
    stream.write_all(&question.to_bytes())?;
    let mut answer = [0; GuestToken::ANSWER_BYTES];
    stream.read_exact(&mut answer)?;
    if !bool::from(answer.ct_eq(&token.answer(&question))) {
        return Err(io::Error::other(
            "the process at the owner's port does not know the owner's token",
        ));
    }
    stream.set_read_timeout(None)?;
    Ok(stream)
}

/// Passes on what comes from either side until one ends.
fn pass_both(near: TcpStream, far: TcpStream) -> io::Result<()> {
    near.set_nodelay(true)?;
    let (near_read, far_write) = (near.try_clone()?, far.try_clone()?);
    let there = thread::Builder::new()
        .name("relay-there".to_owned())
        .spawn(move || pass(near_read, far_write))?;
    pass(far, near);
    let _ = there.join();
    Ok(())
}

fn pass(mut from: TcpStream, mut to: TcpStream) {
    let mut buffer = vec![0; CHUNK_BYTES];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => {
                if to.write_all(&buffer[..read]).is_err() {
                    break;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    // Either end of the one is the end of both.
    let _ = to.shutdown(Shutdown::Both);
    let _ = from.shutdown(Shutdown::Both);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_does_not_know_the_token_is_sent_nothing() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let owner = listener.local_addr().unwrap();
        let liar = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut question = [0; GuestQuestion::BYTES];
            stream.read_exact(&mut question).unwrap();
            stream.write_all(&[7; GuestToken::ANSWER_BYTES]).unwrap();
            let mut rest = Vec::new();
            let _ = stream.read_to_end(&mut rest);
            rest
        });
        let token = GuestToken::new("secret".to_owned());
        let error = Relay::start(owner, token).err().unwrap();
        assert!(error.to_string().contains("token"), "{error}");
        assert_eq!(liar.join().unwrap(), b"");
    }
}
