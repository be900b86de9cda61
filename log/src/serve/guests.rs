//! The proof that a guest gets before it sends anything.

use std::net::{Ipv4Addr, SocketAddr};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::connection::Ended;
use crate::guest_token::{GuestQuestion, GuestToken};

/// Answers a guest's question; returns the address that its client has reached.
pub(super) async fn prove<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    token: &GuestToken,
) -> Result<SocketAddr, Ended> {
    let mut bytes = [0; GuestQuestion::BYTES];
    stream.read_exact(&mut bytes).await?;
    let question = GuestQuestion::from_bytes(&bytes).ok_or(Ended::NoGuest)?;
    stream.write_all(&token.answer(&question)).await?;
    Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, question.port)))
}
