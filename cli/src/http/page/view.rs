//! Which view is looked at, and with which parameters.

use std::collections::{BTreeMap, HashMap};

use crate::observe::Span;

/// Longest text of a parameter; more is cut off.
const TEXT_MAX: usize = 200;
/// The parameters that views have.
const NAMES: [&str; 13] = [
    "span",
    "q",
    "state",
    "page",
    "stream",
    "reason",
    "before",
    "topic",
    "partition",
    "from",
    "key",
    "resolved",
    "said",
];

/// View of the page
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    Overview,
    Streams,
    Files,
    Log,
    Groups,
    DeadLetters,
    Config,
}

/// The views as the head lists them: path and title.
const KINDS: [(Kind, &str, &str); 7] = [
    (Kind::Overview, "/", "Overview"),
    (Kind::Streams, "/streams", "Streams"),
    (Kind::Files, "/files", "Files"),
    (Kind::Log, "/log", "Log"),
    (Kind::Groups, "/groups", "Groups"),
    (Kind::DeadLetters, "/dead-letters", "Dead letters"),
    (Kind::Config, "/config", "Config"),
];

impl Kind {
    pub(super) fn all() -> impl Iterator<Item = Self> {
        KINDS.into_iter().map(|(kind, ..)| kind)
    }

    pub(super) fn paths() -> impl Iterator<Item = &'static str> {
        KINDS.into_iter().map(|(_, path, _)| path)
    }

    pub(super) const fn path(self) -> &'static str {
        KINDS[self as usize].1
    }

    pub(super) const fn title(self) -> &'static str {
        KINDS[self as usize].2
    }

    pub(super) fn at(path: &str) -> Option<Self> {
        Self::all().find(|kind| kind.path() == path)
    }
}

pub(super) type Parameters = HashMap<String, String>;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct View {
    pub(super) kind: Kind,
    parameters: BTreeMap<&'static str, String>,
}

impl View {
    pub(super) fn new(kind: Kind, given: &Parameters) -> Self {
        let known = NAMES.into_iter().filter_map(|name| {
            let text = given.get(name).filter(|text| !text.is_empty())?;
            Some((name, text.chars().take(TEXT_MAX).collect()))
        });
        Self {
            kind,
            parameters: known.collect(),
        }
    }

    /// A parameter's text, empty if it was not given.
    pub(super) fn text(&self, name: &str) -> &str {
        self.parameters.get(name).map_or("", String::as_str)
    }

    pub(super) fn number<T: std::str::FromStr>(&self, name: &str) -> Option<T> {
        self.text(name).parse().ok()
    }

    pub(super) fn span(&self) -> Span {
        match self.text("span") {
            "24h" => Span::Day,
            _ => Span::QuarterHour,
        }
    }

    /// The address of this view with some parameters changed; an empty text takes one away.
    pub(super) fn link(&self, changes: &[(&'static str, &str)]) -> String {
        let mut parameters = self.parameters.clone();
        for (name, text) in changes {
            parameters.insert(name, (*text).to_owned());
        }
        let pairs: Vec<_> = parameters
            .iter()
            .filter(|(_, text)| !text.is_empty())
            .map(|(name, text)| format!("{name}={}", percent_encoded(text)))
            .collect();
        match pairs.is_empty() {
            true => self.kind.path().to_owned(),
            false => format!("{}?{}", self.kind.path(), pairs.join("&")),
        }
    }
}

/// The address of a view with one parameter.
pub(super) fn link_to(kind: Kind, name: &str, text: &str) -> String {
    format!("{}?{name}={}", kind.path(), percent_encoded(text))
}

fn percent_encoded(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                out.push(char::from(byte));
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_stand_at_their_place() {
        for (at, kind) in Kind::all().enumerate() {
            assert_eq!(kind as usize, at);
            assert_eq!(Kind::at(kind.path()), Some(kind));
        }
    }

    #[test]
    fn links_keep_what_is_not_changed() {
        let given = [("q", "a b&c"), ("page", "3"), ("other", "x")];
        let given = given.map(|(name, text)| (name.to_owned(), text.to_owned()));
        let view = View::new(Kind::Files, &given.into());
        assert_eq!(view.link(&[("page", "4")]), "/files?page=4&q=a%20b%26c");
        assert_eq!(view.link(&[("page", ""), ("q", "")]), "/files");
        assert_eq!(view.number("page"), Some(3));
        let long = Parameters::from([("q".to_owned(), "ü".repeat(9999))]);
        assert_eq!(
            View::new(Kind::Files, &long).text("q").chars().count(),
            TEXT_MAX
        );
    }
}
