//! The other side: asking a bekk that runs.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result};

/// Longest time that a running bekk may take to answer
const TIMEOUT: Duration = Duration::from_secs(3);
/// Nobody's answer to `/healthz` or `/readyz` is longer.
const ANSWER_BYTES_MAX: u64 = 64 * 1024;

pub(crate) struct Answer {
    pub(crate) is_ok: bool,
    pub(crate) body: String,
}

/// Asks the bekk that answers HTTP at `address` for `path`.
///
/// # Errors
/// If there is no answer, or it is not HTTP.
pub(crate) fn ask(address: SocketAddr, path: &str) -> Result<Answer> {
    let answer = exchange(address, path).with_context(|| format!("ask http://{address}{path}"))?;
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .with_context(|| format!("ask http://{address}{path}: the answer is not HTTP"))?;
    Ok(Answer {
        is_ok: head.split(' ').nth(1) == Some("200"),
        body: body.trim_end().to_owned(),
    })
}

fn exchange(address: SocketAddr, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.take(ANSWER_BYTES_MAX).read_to_string(&mut answer)?;
    Ok(answer)
}
