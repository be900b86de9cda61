//! What the owner of a log's directory answers a guest before the guest sends it anything: a proof that it knows the token
//! in `DIR/owner`, which only the log's user can read.
//!
//! The guest sends [`MAGIC`], 32 random bytes and the port that it reaches the owner by; the owner answers with their
//! HMAC-SHA-256 under the token. Then the Kafka protocol begins.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use uuid::Uuid;

/// What a guest's connection begins with.
const MAGIC: [u8; 8] = *b"bekkask2";
const NONCE_BYTES: usize = 32;

/// The secret that a log's owner shares with its guests.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct GuestToken(String);

/// What a guest asks.
pub(crate) struct GuestQuestion {
    nonce: [u8; NONCE_BYTES],
    /// The port of the guest's own process by which its client reaches the owner.
    pub(crate) port: u16,
}

impl fmt::Debug for GuestToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GuestToken")
    }
}

impl GuestToken {
    pub(crate) const ANSWER_BYTES: usize = 32;

    pub(crate) const fn new(token: String) -> Self {
        Self(token)
    }

    pub(crate) fn answer(&self, question: &GuestQuestion) -> [u8; Self::ANSWER_BYTES] {
        let mac = Hmac::<Sha256>::new_from_slice(self.0.as_bytes());
        let mut mac = mac.expect("a key of any length is one");
        mac.update(&question.to_bytes());
        mac.finalize().into_bytes().into()
    }
}

impl GuestQuestion {
    pub(crate) const BYTES: usize = MAGIC.len() + NONCE_BYTES + 2;

    pub(crate) fn new(port: u16) -> Self {
        let mut nonce = [0; NONCE_BYTES];
        nonce[..16].copy_from_slice(Uuid::new_v4().as_bytes());
        nonce[16..].copy_from_slice(Uuid::new_v4().as_bytes());
        Self { nonce, port }
    }

    pub(crate) fn to_bytes(&self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..8 + NONCE_BYTES].copy_from_slice(&self.nonce);
        bytes[8 + NONCE_BYTES..].copy_from_slice(&self.port.to_be_bytes());
        bytes
    }

    pub(crate) fn from_bytes(bytes: &[u8; Self::BYTES]) -> Option<Self> {
        let rest = bytes.strip_prefix(&MAGIC)?;
        let (nonce, port) = rest.split_first_chunk()?;
        Some(Self {
            nonce: *nonce,
            port: u16::from_be_bytes(*port.first_chunk()?),
        })
    }
}
