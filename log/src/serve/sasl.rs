//! SASL: who a client is, before anything else is answered. The mechanisms are PLAIN and SCRAM.

use std::fmt;
use std::time::Duration;

use subtle::ConstantTimeEq as _;

use super::ServeConfig;
use super::code::Code;
use super::scram::{self, Hash, Keys, UserKeys};
use super::visitor::Rights;
use super::wire::{Malformed, Reader, Writer};

const PLAIN: &str = "PLAIN";
const SCRAM_SHA_256: &str = "SCRAM-SHA-256";
const SCRAM_SHA_512: &str = "SCRAM-SHA-512";
const MECHANISMS: [&str; 3] = [PLAIN, SCRAM_SHA_256, SCRAM_SHA_512];
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

/// The users of a server, and what is derived from their passwords.
#[derive(Default)]
pub(super) struct Users {
    known: Vec<User>,
    stranger: scram::Stranger,
}

struct User {
    credentials: Credentials,
    rights: Rights,
    keys: UserKeys,
}

impl fmt::Debug for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Users").finish_non_exhaustive()
    }
}

impl Users {
    pub(super) fn new(config: &ServeConfig) -> Self {
        let named = [
            (&config.credentials, Rights::All),
            (&config.read_credentials, Rights::Read),
        ];
        let known = named.into_iter().filter_map(|(credentials, rights)| {
            Some(User {
                credentials: credentials.clone()?,
                rights,
                keys: UserKeys::default(),
            })
        });
        Self {
            known: known.collect(),
            stranger: scram::Stranger::default(),
        }
    }

    /// What PLAIN's message gives a right to.
    fn plain(&self, token: &[u8]) -> Option<Rights> {
        // All are compared, so that the time tells nothing.
        self.known.iter().fold(None, |found, user| {
            let is_right = is_right(token, &user.credentials);
            found.or(is_right.then_some(user.rights))
        })
    }

    fn keys(&self, hash: Hash, name: &str) -> (Option<Rights>, Keys) {
        let stranger = self.stranger.keys(hash, name);
        self.known.iter().fold((None, stranger), |found, user| {
            let keys = user.keys.of(hash, &user.credentials.password);
            let is_it = name.as_bytes().ct_eq(user.credentials.username.as_bytes());
            match bool::from(is_it) {
                true => (Some(user.rights), keys.clone()),
                false => found,
            }
        })
    }
}

/// How far a connection has come.
pub(super) enum Access {
    /// It has to say who it is.
    Stranger,
    /// Its next request is a message of a mechanism: bare bytes after version 0 of the handshake.
    Asked {
        is_bare: bool,
        exchange: Exchange,
    },
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

    /// Whether its next request is a message of a mechanism, without a header.
    pub(super) const fn is_bare(&self) -> bool {
        matches!(self, Self::Asked { is_bare: true, .. })
    }
}

/// Which message of which mechanism is awaited.
pub(super) enum Exchange {
    Plain,
    Scram(Hash),
    /// The client's proof, who it has said it is, and what that gives a right to if it is right.
    Proof(Box<scram::Exchange>, String, Option<Rights>),
}

/// What a message comes to.
pub(super) enum Step {
    /// Another message is awaited.
    Continue(Exchange, Vec<u8>),
    Granted(Rights, Vec<u8>),
    /// The user whose password was wrong.
    Refused(String),
}

impl Exchange {
    fn of(mechanism: &str) -> Option<Self> {
        match mechanism {
            PLAIN => Some(Self::Plain),
            SCRAM_SHA_256 => Some(Self::Scram(Hash::Sha256)),
            SCRAM_SHA_512 => Some(Self::Scram(Hash::Sha512)),
            _ => None,
        }
    }

    /// Whether the next message has a password in it, or the proof of one.
    pub(super) const fn is_guess(&self) -> bool {
        !matches!(self, Self::Scram(_))
    }

    /// Takes a message.
    pub(super) fn step(self, token: &[u8], users: &Users) -> Step {
        match self {
            Self::Plain => match users.plain(token) {
                Some(rights) => Step::Granted(rights, Vec::new()),
                None => Step::Refused(user(token)),
            },
            Self::Scram(hash) => {
                let Some(first) = scram::First::parse(token) else {
                    return Step::Refused(String::new());
                };
                let (rights, keys) = users.keys(hash, &first.name);
                let (exchange, answer) = scram::Exchange::begin(hash, &first, keys);
                let proof = Self::Proof(Box::new(exchange), first.name, rights);
                Step::Continue(proof, answer)
            }
            Self::Proof(exchange, name, rights) => match exchange.finish(token).zip(rights) {
                Some((proof, rights)) => Step::Granted(rights, proof),
                None => Step::Refused(name),
            },
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
    let code = match (&*access, Exchange::of(mechanism)) {
        (Access::Stranger, Some(exchange)) => {
            *access = Access::Asked {
                is_bare: version == 0,
                exchange,
            };
            Code::NONE
        }
        (Access::Stranger, None) => Code::UNSUPPORTED_SASL_MECHANISM,
        _ => Code::ILLEGAL_SASL_STATE,
    };
    out.i16(code.0);
    out.array(&MECHANISMS, |out, mechanism| out.string(mechanism));
    Ok(())
}

/// Takes a mechanism's message from SaslAuthenticate.
pub(super) fn decode_token<'a>(body: &mut Reader<'a>) -> Result<&'a [u8], Malformed> {
    let token = body.nullable_bytes()?.unwrap_or_default();
    body.end()?;
    Ok(token)
}

/// Answers SaslAuthenticate: with the mechanism's message, or with why it is refused.
pub(super) fn authenticate(answer: Result<&[u8], (Code, &str)>, version: i16, out: &mut Writer) {
    let refused = answer.err();
    out.i16(refused.map_or(Code::NONE, |(code, _)| code).0);
    out.nullable_string(refused.map(|(_, message)| message));
    out.bytes(answer.unwrap_or_default());
    out.when(version >= 1, |out| out.i64(0)); // the connection may last as long as it likes
}

/// A message that comes where none is awaited.
pub(super) const NO_HANDSHAKE: (Code, &str) = (Code::ILLEGAL_SASL_STATE, "a handshake comes first");
/// A wrong password, or a wrong proof of one.
pub(super) const WRONG: (Code, &str) = (
    Code::SASL_AUTHENTICATION_FAILED,
    "wrong username or password",
);

/// The name in PLAIN's message.
fn user(token: &[u8]) -> String {
    let name = token.split(|byte| *byte == 0).nth(1).unwrap_or_default();
    String::from_utf8_lossy(name).into_owned()
}

/// Checks PLAIN's message (RFC 4616): whom to act for, NUL, the name, NUL, the password. The
/// comparison takes the same time whether they are right or wrong.
fn is_right(token: &[u8], credentials: &Credentials) -> bool {
    let Credentials { username, password } = credentials;
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
            assert_eq!(is_right(token, &credentials), expected, "{token:?}");
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
        assert!(!format!("{credentials:?}").contains("brook"));
    }
}
