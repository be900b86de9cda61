//! SASL/SCRAM-SHA-256 and -512 (RFC 5802, RFC 7677): a client proves that it knows the password, and the server that it
//! does, without either sending it.
//!
//! As in Kafka, names and passwords are taken as they are, without SASLprep: Kafka's clients do not apply it.

use std::sync::OnceLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256, Sha512};
use subtle::ConstantTimeEq as _;
use uuid::Uuid;

/// How often a password is hashed: the least that RFC 7677 and Kafka allow. It makes a stolen key costly to guess from;
/// ours are in memory only.
const ITERATIONS: u32 = 4_096;
const SALT_BYTES: usize = 16;

/// The hash of a mechanism.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hash {
    Sha256,
    Sha512,
}

impl Hash {
    fn hmac(self, key: &[u8], text: &[u8]) -> Vec<u8> {
        fn with<M: Mac + KeyInit>(key: &[u8], text: &[u8]) -> Vec<u8> {
            let mac = <M as KeyInit>::new_from_slice(key).expect("a key of any length is one");
            mac.chain_update(text).finalize().into_bytes().to_vec()
        }
        match self {
            Self::Sha256 => with::<Hmac<Sha256>>(key, text),
            Self::Sha512 => with::<Hmac<Sha512>>(key, text),
        }
    }

    fn digest(self, text: &[u8]) -> Vec<u8> {
        match self {
            Self::Sha256 => Sha256::digest(text).to_vec(),
            Self::Sha512 => Sha512::digest(text).to_vec(),
        }
    }

    /// RFC 5802's `Hi`: PBKDF2 of one block.
    fn salted(self, password: &[u8], salt: &[u8], iterations: u32) -> Vec<u8> {
        let mut last = self.hmac(password, &[salt, &1u32.to_be_bytes()].concat());
        let mut all = last.clone();
        for _ in 1..iterations {
            last = self.hmac(password, &last);
            xor(&mut all, &last);
        }
        all
    }
}

fn xor(into: &mut [u8], other: &[u8]) {
    for (byte, other) in into.iter_mut().zip(other) {
        *byte ^= other;
    }
}

/// Random bytes, from the system.
fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    for chunk in bytes.chunks_mut(16) {
        chunk.copy_from_slice(&Uuid::new_v4().as_bytes()[..chunk.len()]);
    }
    bytes
}

/// What is derived from a password for one mechanism.
#[derive(Clone)]
pub(super) struct Keys {
    salt: Vec<u8>,
    iterations: u32,
    stored: Vec<u8>,
    server: Vec<u8>,
}

impl Keys {
    fn derive(hash: Hash, password: &str, salt: &[u8], iterations: u32) -> Self {
        let salted = hash.salted(password.as_bytes(), salt, iterations);
        let client = hash.hmac(&salted, b"Client Key");
        Self {
            salt: salt.to_vec(),
            iterations,
            stored: hash.digest(&client),
            server: hash.hmac(&salted, b"Server Key"),
        }
    }
}

/// The keys of a user for each mechanism, derived when they are first asked for.
#[derive(Default)]
pub(super) struct UserKeys {
    sha256: OnceLock<Keys>,
    sha512: OnceLock<Keys>,
}

impl UserKeys {
    pub(super) fn of(&self, hash: Hash, password: &str) -> &Keys {
        let kept = match hash {
            Hash::Sha256 => &self.sha256,
            Hash::Sha512 => &self.sha512,
        };
        kept.get_or_init(|| Keys::derive(hash, password, &random::<SALT_BYTES>(), ITERATIONS))
    }
}

/// Answers in the place of the keys of a user who does not exist, so that nobody learns who does: a name has the same salt
/// each time, and no proof fits.
pub(super) struct Stranger([u8; 64]);

impl Default for Stranger {
    fn default() -> Self {
        Self(random())
    }
}

impl Stranger {
    pub(super) fn keys(&self, hash: Hash, name: &str) -> Keys {
        let mut salt = hash.hmac(&self.0, name.as_bytes());
        salt.truncate(SALT_BYTES);
        let other = |what: &[u8]| hash.hmac(&self.0, &[what, b" ", name.as_bytes()].concat());
        Keys {
            salt,
            iterations: ITERATIONS,
            stored: other(b"stored"),
            server: other(b"server"),
        }
    }
}

/// A client's first message.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct First<'a> {
    pub(super) name: String,
    /// What stands before the message proper: whether the channel is bound, and whom to act for.
    gs2: &'a str,
    bare: &'a str,
    nonce: &'a str,
}

impl<'a> First<'a> {
    /// `None` if it is malformed, or asks for what is not offered: channel binding, another user's rights, a token of
    /// Kafka's in place of a password, or an extension that must be known.
    pub(super) fn parse(token: &'a [u8]) -> Option<Self> {
        let text = std::str::from_utf8(token).ok()?;
        let mut parts = text.splitn(3, ',');
        let (binding, acts_for, bare) = (parts.next()?, parts.next()?, parts.next()?);
        if !matches!(binding, "n" | "y") {
            return None;
        }
        let mut fields = bare.split(',');
        let name = unescaped(fields.next()?.strip_prefix("n=")?)?;
        let nonce = fields.next()?.strip_prefix("r=")?;
        let is_itself = match acts_for.strip_prefix("a=") {
            Some(other) => unescaped(other)? == name,
            None => acts_for.is_empty(),
        };
        let is_known = fields.all(|field| !field.starts_with("m=") && field != "tokenauth=true");
        let is_printable = !nonce.is_empty() && nonce.bytes().all(|byte| byte.is_ascii_graphic());
        (is_itself && is_known && is_printable).then(|| Self {
            name,
            gs2: &text[..text.len() - bare.len()],
            bare,
            nonce,
        })
    }
}

/// A name as it is meant: in the message a comma is `=2C` and an equals sign `=3D`.
fn unescaped(name: &str) -> Option<String> {
    let mut parts = name.split('=');
    let mut out = parts.next()?.to_owned();
    for part in parts {
        let (c, rest) = match part.split_at_checked(2)? {
            ("2C", rest) => (',', rest),
            ("3D", rest) => ('=', rest),
            _ => return None,
        };
        out.push(c);
        out.push_str(rest);
    }
    (!out.is_empty()).then_some(out)
}

/// An exchange in which the client's proof is awaited.
pub(super) struct Exchange {
    hash: Hash,
    keys: Keys,
    gs2: String,
    nonce: String,
    /// The client's first message and the answer, with a comma between them.
    said: String,
}

impl Exchange {
    /// Begins an exchange; returns the answer as well.
    pub(super) fn begin(hash: Hash, first: &First<'_>, keys: Keys) -> (Self, Vec<u8>) {
        Self::begin_with(hash, first, keys, &BASE64.encode(random::<24>()))
    }

    fn begin_with(hash: Hash, first: &First<'_>, keys: Keys, own: &str) -> (Self, Vec<u8>) {
        let nonce = format!("{}{own}", first.nonce);
        let salt = BASE64.encode(&keys.salt);
        let answer = format!("r={nonce},s={salt},i={}", keys.iterations);
        let exchange = Self {
            hash,
            gs2: first.gs2.to_owned(),
            said: format!("{},{answer}", first.bare),
            nonce,
            keys,
        };
        (exchange, answer.into_bytes())
    }

    /// Checks the client's last message; returns the server's proof, or `None` if the client's is wrong. The
    /// comparison takes the same time whether the proof is right or wrong.
    pub(super) fn finish(self, token: &[u8]) -> Option<Vec<u8>> {
        let text = std::str::from_utf8(token).ok()?;
        let (unproved, proof) = text.rsplit_once(",p=")?;
        let mut fields = unproved.split(',');
        let bound = BASE64.decode(fields.next()?.strip_prefix("c=")?).ok()?;
        let nonce = fields.next()?.strip_prefix("r=")?;
        // librdkafka before 2.6.1 puts its own nonce in front once more, and Kafka takes it. Our part, at the end,
        // ties a proof to this exchange.
        let is_of_this = nonce.ends_with(&self.nonce) && bound == self.gs2.as_bytes();
        if !is_of_this || fields.any(|field| field.starts_with("m=")) {
            return None;
        }
        let mut client = BASE64.decode(proof).ok()?;
        if client.len() != self.keys.stored.len() {
            return None;
        }
        let said = format!("{},{unproved}", self.said);
        xor(
            &mut client,
            &self.hash.hmac(&self.keys.stored, said.as_bytes()),
        );
        let is_right = self.hash.digest(&client).ct_eq(&self.keys.stored);
        let server = self.hash.hmac(&self.keys.server, said.as_bytes());
        bool::from(is_right).then(|| format!("v={}", BASE64.encode(server)).into_bytes())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The exchange of RFC 7677, section 3.
    #[test]
    fn the_exchange_of_the_specification_comes_out() {
        let salt = BASE64.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        let keys = Keys::derive(Hash::Sha256, "pencil", &salt, 4_096);
        let first = First::parse(b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO").unwrap();
        assert_eq!(first.name, "user");
        let own = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
        let (exchange, answer) = Exchange::begin_with(Hash::Sha256, &first, keys.clone(), own);
        assert_eq!(
            answer,
            b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
        );
        let last = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                    p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
        let proof = exchange.finish(last.as_bytes()).unwrap();
        assert_eq!(proof, b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
        for (is, not) in [
            ("p=dHzb", "p=dHzc"),
            ("c=biws", "c=eSws"),
            ("k0,p", "k1,p"),
            ("Qo=", "QoA"),
            ("VQ=", "V"),
            (",p=", ",q="),
        ] {
            let (exchange, _) = Exchange::begin_with(Hash::Sha256, &first, keys.clone(), own);
            let wrong = last.replace(is, not);
            if wrong != last {
                assert_eq!(exchange.finish(wrong.as_bytes()), None, "{wrong}");
            }
        }
    }

    #[test]
    fn a_first_message_is_a_name_and_a_nonce_and_asks_for_nothing_more() {
        let name = |message: &str| First::parse(message.as_bytes()).map(|first| first.name);
        let check = |message: &str, expected: Option<&str>| {
            assert_eq!(name(message).as_deref(), expected, "{message}");
        };
        check("n,,n=bekk,r=x", Some("bekk"));
        check("y,,n=bekk,r=x", Some("bekk"));
        check("n,a=bekk,n=bekk,r=x", Some("bekk"));
        check("n,a=other,n=bekk,r=x", None);
        check("n,,n=a=2Cb=3Dc,r=x", Some("a,b=c"));
        check("n,,n=a=2Db,r=x", None);
        check("n,,n=a=é,r=x", None);
        check("n,,n=,r=x", None);
        check("n,,n=bekk,r=", None);
        check("n,,n=bekk,r=a\u{1}", None);
        check("n,,n=bekk,r=x,other=1", Some("bekk"));
        check("n,,n=bekk,r=x,tokenauth=true", None);
        check("n,,n=bekk,r=x,m=must", None);
        check("n,,m=must,n=bekk,r=x", None);
        check("p=tls-unique,,n=bekk,r=x", None);
        check("n,,r=x,n=bekk", None);
        check("\0bekk\0brook", None);
    }

    #[test]
    fn who_does_not_exist_has_the_same_salt_each_time() {
        let stranger = Stranger::default();
        let (one, again) = (
            stranger.keys(Hash::Sha512, "a"),
            stranger.keys(Hash::Sha512, "a"),
        );
        assert_eq!(one.salt, again.salt);
        assert_ne!(one.salt, stranger.keys(Hash::Sha512, "b").salt);
        assert_eq!((one.salt.len(), one.stored.len()), (SALT_BYTES, 64));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

        /// Whatever comes, it is an error and no panic, and no proof but the right one is believed.
        #[test]
        fn no_message_makes_it_panic(
            first in "([nyp],)?(a=[a-z=]{0,3})?,?n=[a-z=23CD,é]{0,6},r=.{0,4}",
            last in "(c=[a-zA-Z=]{0,6},)?(r=.{0,6})?,p=[a-zA-Z0-9+/]{0,44}=?",
            bytes in prop::collection::vec(any::<u8>(), 0..64),
        ) {
            for token in [first.as_bytes(), &bytes] {
                if let Some(first) = First::parse(token) {
                    let keys = Stranger([0; 64]).keys(Hash::Sha256, &first.name);
                    for token in [last.as_bytes(), &bytes] {
                        let (exchange, _) = Exchange::begin(Hash::Sha256, &first, keys.clone());
                        prop_assert_eq!(exchange.finish(token), None);
                    }
                }
            }
        }
    }
}
