//! The client of a connection: what it may do, and the record of what it has done.

use std::net::SocketAddr;

use super::caller::Caller;
use super::code::Code;
use super::line_limit::LineLimit;

/// The most characters of a client's id that are written into a message.
const SHOWN_CHARS_MAX: usize = 64;

/// What a connection may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rights {
    All,
    /// Read records, and commit offsets for groups that are not Bekk's.
    Read,
}

/// The client at the other end of a connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Visitor {
    pub(super) peer: SocketAddr,
    /// The address that it has reached.
    pub(super) reached: SocketAddr,
    pub(super) rights: Rights,
}

/// Who sends a request, and over which connection.
pub(super) struct Sender<'a> {
    pub(super) visitor: Visitor,
    pub(super) caller: Caller,
    pub(super) client_id: &'a str,
    line_limit: &'a LineLimit,
}

impl<'a> Sender<'a> {
    pub(super) fn new(
        visitor: Visitor,
        client_id: Option<&'a str>,
        line_limit: &'a LineLimit,
    ) -> Self {
        Self {
            visitor,
            caller: Caller::of(client_id),
            client_id: client_id.unwrap_or_default(),
            line_limit,
        }
    }

    /// Refuses who may only read, with the code that says so.
    pub(super) fn may_change(&self, code: Code) -> Result<(), Code> {
        match self.visitor.rights {
            Rights::All => Ok(()),
            Rights::Read => Err(code),
        }
    }

    /// Whether it is one of Bekk's own programs, as far as its name and its rights tell.
    pub(super) fn is_own(&self) -> bool {
        self.caller.is_own() && self.visitor.rights == Rights::All
    }

    /// Writes down an administrative request. Those of Bekk's own programs, which are many, are details; those of others
    /// are seen without being asked for.
    pub(super) fn note(&self, action: &'static str, subject: &str, code: Code) {
        let Self { visitor, .. } = self;
        let (peer, client, subject) = (visitor.peer, shown(self.client_id), shown(subject));
        let outcome = if code.is_error() { "refused" } else { "done" };
        let code = code.0;
        if self.is_own() {
            tracing::info!(%peer, %client, action, %subject, outcome, code, "administrative request");
        } else if self.line_limit.may_write() {
            tracing::warn!(%peer, %client, action, %subject, outcome, code, "administrative request");
        }
    }

    /// Writes down a refusal for lack of rights, of a kind of request that is too frequent to be written down when it is
    /// granted.
    pub(super) fn note_refused(&self, action: &'static str, subject: &str, code: Code) {
        let codes = [
            Code::TOPIC_AUTHORIZATION_FAILED,
            Code::GROUP_AUTHORIZATION_FAILED,
            Code::CLUSTER_AUTHORIZATION_FAILED,
        ];
        if codes.contains(&code) {
            self.note(action, subject, code);
        }
    }
}

/// A text of a client's in a message: short, and with everything but plain characters escaped.
pub(super) fn shown(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars().take(SHOWN_CHARS_MAX) {
        match c {
            ' '..='~' => out.push(c),
            // Letters of any alphabet, but nothing invisible, and nothing that changes the direction of text.
            _ if c.is_alphanumeric()
                && !matches!(c, '\u{115f}' | '\u{1160}' | '\u{3164}' | '\u{ffa0}') =>
            {
                out.push(c);
            }
            _ => out.extend(c.escape_default()),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_clients_are_shown_on_one_line() {
        assert_eq!(shown("a\nb\u{1b}"), "a\\nb\\u{1b}");
        assert_eq!(
            shown("\u{e4}/\u{202e}\u{200b}"),
            "\u{e4}/\\u{202e}\\u{200b}"
        );
        assert_eq!(shown(&"x".repeat(1000)).len(), SHOWN_CHARS_MAX);
    }
}
