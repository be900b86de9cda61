//! The content of `DIR/owner`: where the log's owner serves its guests, and the token that proves that it is the owner.

use std::net::SocketAddr;

use crate::LogId;

/// The first line of the file.
const FORMAT: &str = "bekk owner 2";

#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) address: SocketAddr,
    pub(crate) token: String,
    pub(crate) log_id: LogId,
    pub(crate) pid: u32,
}

impl Owner {
    /// Most bytes of the file that are read
    pub(crate) const BYTES_MAX: u64 = 4096;

    /// Reads the file's bytes; `None` if they are malformed or of another version.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let mut lines = std::str::from_utf8(bytes).ok()?.lines();
        if lines.next()? != FORMAT {
            return None;
        }
        let mut field = |name: &str| lines.next()?.strip_prefix(name)?.strip_prefix(' ');
        Some(Self {
            address: field("address")?.parse().ok()?,
            token: field("token")?.to_owned(),
            log_id: field("log")?.parse().ok()?,
            pid: field("pid")?.parse().ok()?,
        })
    }

    /// The file's text.
    pub(crate) fn to_text(&self) -> String {
        let Self {
            address,
            token,
            log_id,
            pid,
        } = self;
        format!("{FORMAT}\naddress {address}\ntoken {token}\nlog {log_id}\npid {pid}\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_comes_back_and_another_is_none() {
        let owner = Owner {
            address: ([127, 0, 0, 1], 9092).into(),
            token: "t0ken".to_owned(),
            log_id: LogId::random(),
            pid: 7,
        };
        let text = owner.to_text();
        assert!(Owner::parse(text.as_bytes()) == Some(owner));
        for wrong in [
            "",
            "bekk owner 3\n",
            &text.replace("pid 7", "pid -7"),
            &text[..40],
        ] {
            assert!(Owner::parse(wrong.as_bytes()).is_none(), "{wrong}");
        }
    }
}
