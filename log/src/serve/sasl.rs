//! SASL/PLAIN: who a client is, before anything else is answered.

use std::fmt;
use std::time::Duration;

use subtle::ConstantTimeEq as _;

use super::ServeConfig;
use super::code::Code;
use super::visitor::Rights;
use super::wire::{Malformed, Reader, Writer};

/// The one mechanism.
pub(super) const PLAIN: &str = "PLAIN";
/// A connection that has not said who it is sends no larger requests,
pub(super) const REQUEST_BYTES_MAX: usize = 64 << 10;
/// and has so long to do it.
pub(super) const TIME_MAX: Duration = Duration::from_secs(30);
/// An answer to wrong credentials waits for so long, so that guessing takes time.
pub(super) const FAILED_PAUSE: Duration = Duration::from_millis(100);

/// The name and password that a client has to know.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The name.
    pub username: String,
    /// The password; it is not printed.
    pub password: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}

/// How far a connection has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// It has to say who it is.
    Stranger,
    /// Its next request has its name and password.
    Mechanism,
    /// The same, as bare bytes: after version 0 of the handshake.
    BareMechanism,
    /// It was wrong.
    Refused,
    Granted(Rights),
}

impl Access {
    pub(super) const fn new(credentials: Option<&Credentials>) -> Self {
        match credentials {
            Some(_) => Self::Stranger,
            None => Self::Granted(Rights::All),
        }
    }
}

/// Answers SaslHandshake.
pub(super) fn handshake(
    access: &mut Access,
    version: i16,
    mut body: Reader<'_>,
    out: &mut Writer,
) -> Result<(), Malformed> {
    let mechanism = body.string()?;
    body.end()?;
    let code = match *access {
        Access::Stranger if mechanism == PLAIN => {
            *access = match version {
                0 => Access::BareMechanism,
                _ => Access::Mechanism,
            };
            Code::NONE
        }
        Access::Stranger => Code::UNSUPPORTED_SASL_MECHANISM,
        _ => Code::ILLEGAL_SASL_STATE,
    };
    out.i16(code.0);
    out.array(&[PLAIN], |out, mechanism| out.string(mechanism));
    Ok(())
}

/// Takes PLAIN's message from SaslAuthenticate.
pub(super) fn decode_token<'a>(body: &mut Reader<'a>) -> Result<&'a [u8], Malformed> {
    let token = body.nullable_bytes()?.unwrap_or_default();
    body.end()?;
    Ok(token)
}

/// Answers SaslAuthenticate; `rights` are those that the message gives.
pub(super) fn authenticate(
    access: &mut Access,
    rights: Option<Rights>,
    version: i16,
    out: &mut Writer,
) {
    let (code, message) = match (*access, rights) {
        (Access::Mechanism, Some(rights)) => {
            *access = Access::Granted(rights);
            (Code::NONE, None)
        }
        (Access::Mechanism, None) => (
            Code::SASL_AUTHENTICATION_FAILED,
            Some("wrong username or password"),
        ),
        _ => (Code::ILLEGAL_SASL_STATE, Some("a handshake comes first")),
    };
    out.i16(code.0);
    out.nullable_string(message);
    out.bytes(&[]);
    if version >= 1 {
        out.i64(0); // the connection may last as long as it likes
    }
}

/// What PLAIN's message gives a right to.
pub(super) fn rights(token: &[u8], config: &ServeConfig) -> Option<Rights> {
    // Both are compared, so that the time tells nothing.
    let all = is_right(token, config.credentials.as_ref());
    let read = is_right(token, config.read_credentials.as_ref());
    match (all, read) {
        (true, _) => Some(Rights::All),
        (false, true) => Some(Rights::Read),
        (false, false) => None,
    }
}

/// The name in PLAIN's message.
pub(super) fn user(token: &[u8]) -> String {
    let name = token.split(|byte| *byte == 0).nth(1).unwrap_or_default();
    String::from_utf8_lossy(name).into_owned()
}

/// Checks PLAIN's message (RFC 4616): whom to act for, NUL, the name, NUL, the password. What is compared takes
/// the same time whether it is right or not.
pub(super) fn is_right(token: &[u8], credentials: Option<&Credentials>) -> bool {
    let Some(Credentials { username, password }) = credentials else {
        return false;
    };
    let mut parts = token.split(|byte| *byte == 0);
    let (Some(acts_for), Some(name), Some(given), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return false;
    };
    let is_itself = acts_for.is_empty() || acts_for == name;
    let is_known = name.ct_eq(username.as_bytes()) & given.ct_eq(password.as_bytes());
    is_itself && bool::from(is_known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_right_name_and_password_are() {
        let credentials = Credentials {
            username: "bekk".to_owned(),
            password: "brook".to_owned(),
        };
        let check = |token: &[u8], expected| {
            assert_eq!(is_right(token, Some(&credentials)), expected, "{token:?}");
        };
        check(b"\0bekk\0brook", true);
        check(b"bekk\0bekk\0brook", true);
        check(b"other\0bekk\0brook", false);
        check(b"\0bekk\0brooks", false);
        check(b"\0bekk\0broo", false);
        check(b"\0bekk\0", false);
        check(b"\0bek\0brook", false);
        check(b"bekk\0brook", false);
        check(b"\0bekk\0brook\0", false);
        check(b"", false);
        assert!(!is_right(b"\0\0", None));
        assert!(!format!("{credentials:?}").contains("brook"));
    }
}
