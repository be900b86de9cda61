//! Changes that a viewer with the token may make: retry and discard of dead letters, pause and resume of the
//! sink.
//!
//! **Invariant:** without `--http-token-file` nothing here is reachable, and the page only reads.
//!
//! **Invariant:** a change is made for a request that carries the token itself, which no other page knows, or for one
//! with the cookie of a session whose `Origin` is this page; tokens are compared in constant time.

use std::collections::VecDeque;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context as _, Result};
use axum::http::{HeaderMap, header};
use parking_lot::Mutex;
use subtle::ConstantTimeEq as _;

use crate::outcome::WrongUsage;
use crate::secrets::warn_if_open;

/// Shortest token, in bytes.
const TOKEN_LEN_MIN: usize = 16;
/// Number of sessions that are remembered; the oldest goes first.
const SESSIONS_MAX: usize = 32;
/// Number of results that are remembered.
const SAID_MAX: usize = 32;

/// Checks a viewer's right to act.
pub(crate) struct Actions {
    token: Vec<u8>,
    sessions: Mutex<VecDeque<String>>,
    said: Mutex<VecDeque<(u64, String)>>,
    count: AtomicU64,
}

/// Proof that a request may make a change
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Proof {
    /// It carries the token.
    Token,
    /// It comes from this page, in a session.
    Session,
}

impl Actions {
    /// Reads the token.
    ///
    /// # Errors
    /// If the file cannot be read, or its token is short.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let shown = bekk_stream::shown_path(path);
        let text = fs::read_to_string(path)
            .with_context(|| format!("read the token of the page (--http-token-file) in `{shown}`"))
            .map_err(|error| WrongUsage(format!("{error:#}")))?;
        let token = text.trim().as_bytes().to_vec();
        if token.len() < TOKEN_LEN_MIN {
            let advice = format!("to make one: (umask 077; openssl rand -hex 32 >'{shown}')");
            return Err(WrongUsage(format!(
                "the token in `{shown}` has {} bytes and needs at least {TOKEN_LEN_MIN}; {advice}",
                token.len()
            ))
            .into());
        }
        warn_if_open(path);
        Ok(Self {
            token,
            sessions: Mutex::default(),
            said: Mutex::default(),
            count: AtomicU64::new(0),
        })
    }

    /// Whether a text is the token. Takes the same time for every wrong text.
    pub(super) fn is_token(&self, text: &str) -> bool {
        self.token.ct_eq(text.trim().as_bytes()).into()
    }

    /// Begins a session, and returns its secret name.
    pub(super) fn begin_session(&self) -> String {
        let name = format!(
            "{:032x}{:032x}",
            rand::random::<u128>(),
            rand::random::<u128>()
        );
        let mut sessions = self.sessions.lock();
        if sessions.len() == SESSIONS_MAX {
            sessions.pop_front();
        }
        sessions.push_back(name.clone());
        name
    }

    /// Returns the proof of a request that may make a change.
    pub(super) fn proof(&self, headers: &HeaderMap, cookie: &str) -> Option<Proof> {
        let bearer = text(headers, header::AUTHORIZATION).strip_prefix("Bearer ");
        if bearer.is_some_and(|token| self.is_token(token)) {
            return Some(Proof::Token);
        }
        (self.session(headers, cookie).is_some() && is_same_origin(headers))
            .then_some(Proof::Session)
    }

    /// The session that a request's cookie names, if there is one.
    pub(super) fn session(&self, headers: &HeaderMap, cookie: &str) -> Option<String> {
        let given = text(headers, header::COOKIE)
            .split(';')
            .filter_map(|pair| pair.trim().split_once('='))
            .find_map(|(name, value)| (name == cookie).then_some(value))?;
        let sessions = self.sessions.lock();
        let is_given = |session: &&String| bool::from(session.as_bytes().ct_eq(given.as_bytes()));
        sessions.iter().find(is_given).cloned()
    }

    pub(super) fn end_session(&self, name: &str) {
        self.sessions.lock().retain(|session| session != name);
    }

    /// Keeps a result until the page has shown it, and returns its number.
    pub(super) fn keep(&self, result: String) -> u64 {
        let number = self.count.fetch_add(1, Ordering::Relaxed) + 1;
        let mut said = self.said.lock();
        if said.len() == SAID_MAX {
            said.pop_front();
        }
        said.push_back((number, result));
        number
    }

    /// A result that was kept.
    pub(super) fn said(&self, number: u64) -> Option<String> {
        let said = self.said.lock();
        let found = said.iter().find(|(own, _)| *own == number);
        found.map(|(_, result)| result.clone())
    }
}

/// Whether a browser says that the request comes from a page of this server.
pub(super) fn is_same_origin(headers: &HeaderMap) -> bool {
    let host = text(headers, header::HOST);
    let origin = text(headers, header::ORIGIN);
    let of_origin = origin.split_once("://").map(|(_, host)| host);
    !host.is_empty() && of_origin == Some(host)
}

fn text(headers: &HeaderMap, name: header::HeaderName) -> &str {
    headers
        .get(name)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(header::HeaderName, &str)]) -> HeaderMap {
        let pairs = pairs.iter();
        pairs
            .map(|(name, value)| (name.clone(), value.parse().unwrap()))
            .collect()
    }

    #[test]
    fn only_the_token_or_a_session_of_this_page_proves_anything() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        fs::write(&path, "0123456789abcdef\n").unwrap();
        let actions = Actions::read(&path).unwrap();
        let proof = |pairs: &[_]| actions.proof(&headers(pairs), "bekk-1");
        let bearer = |token| proof(&[(header::AUTHORIZATION, token)]);
        assert_eq!(bearer("Bearer 0123456789abcdef"), Some(Proof::Token));
        for wrong in ["Bearer 0123456789abcde", "Bearer ", "0123456789abcdef"] {
            assert_eq!(bearer(wrong), None, "{wrong}");
        }
        let cookie = format!("other=1; bekk-1={}", actions.begin_session());
        let from = |origin, cookie| {
            proof(&[
                (header::HOST, "127.0.0.1:8080"),
                (header::ORIGIN, origin),
                (header::COOKIE, cookie),
            ])
        };
        assert_eq!(from("http://127.0.0.1:8080", &cookie), Some(Proof::Session));
        assert_eq!(from("http://127.0.0.1:8080", "bekk-1=guess"), None);
        let ended = format!("bekk-1={}", actions.begin_session());
        assert_eq!(from("http://127.0.0.1:8080", &ended), Some(Proof::Session));
        actions.end_session(ended.trim_start_matches("bekk-1="));
        assert_eq!(from("http://127.0.0.1:8080", &ended), None);
        for other in ["http://127.0.0.1:9090", "https://evil.example", "null"] {
            assert_eq!(from(other, &cookie), None, "{other}");
        }
        assert_eq!(
            proof(&[(header::COOKIE, cookie.as_str())]),
            None,
            "no origin"
        );
    }

    #[test]
    fn a_short_token_is_refused_and_old_results_go() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        assert!(Actions::read(&path).is_err());
        fs::write(&path, "short\n").unwrap();
        let error = Actions::read(&path).err().unwrap().to_string();
        assert!(error.contains("openssl rand -hex 32"), "{error}");
        fs::write(&path, "x".repeat(40)).unwrap();
        let actions = Actions::read(&path).unwrap();
        for at in 1..=40 {
            assert_eq!(actions.keep(format!("result {at}")), at);
        }
        assert_eq!(actions.said(1), None);
        assert_eq!(actions.said(40).as_deref(), Some("result 40"));
    }
}
