//! Who sends a request, as its client id says. Bekk's own programs name themselves, so that the log does for them
//! what it does for those that have it open: an ingest appends in its session, a sink's commits hold records.
//! The names keep programs from accidents, not from each other: whoever may connect may use them.

use crate::Session;
pub(super) use crate::config::META_TOPIC;

/// Who sends a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Caller {
    /// `bekk-ingest/<ingest>/<session>`.
    Ingest(Session),
    /// `bekk-sink/…`.
    Sink,
    /// Another of Bekk's programs: `bekk-…`.
    Bekk,
    Foreign,
}

impl Caller {
    pub(super) fn of(client_id: Option<&str>) -> Self {
        let client_id = client_id.unwrap_or_default();
        if let Some((ingest, number)) = client_id
            .strip_prefix("bekk-ingest/")
            .and_then(|rest| rest.rsplit_once('/'))
            && let Ok(number) = number.parse()
        {
            let ingest = ingest.to_owned();
            return Self::Ingest(Session { ingest, number });
        }
        if client_id.starts_with("bekk-sink/") {
            return Self::Sink;
        }
        match client_id.starts_with("bekk-") {
            true => Self::Bekk,
            false => Self::Foreign,
        }
    }

    /// The session whose appends its appends are.
    pub(super) const fn session(&self) -> Option<&Session> {
        match self {
            Self::Ingest(session) => Some(session),
            _ => None,
        }
    }

    /// Whether it is one of Bekk's programs.
    pub(super) fn is_own(&self) -> bool {
        *self != Self::Foreign
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn client_ids_tell_who_it_is() {
        let check = |client_id: &str, expected| {
            assert_eq!(Caller::of(Some(client_id)), expected, "{client_id}");
        };
        let ingest = |ingest: &str, number| {
            let ingest = ingest.to_owned();
            Caller::Ingest(Session { ingest, number })
        };
        check("bekk-ingest/a/7", ingest("a", 7));
        check("bekk-ingest/a/b/7", ingest("a/b", 7));
        check("bekk-ingest/a/", Caller::Bekk);
        check("bekk-ingest/a/-1", Caller::Bekk);
        check("bekk-ingest/7", Caller::Bekk);
        check("bekk-sink/main", Caller::Sink);
        check("bekk-status", Caller::Bekk);
        check("bekk", Caller::Foreign);
        check("rdkafka", Caller::Foreign);
        assert_eq!(Caller::of(None), Caller::Foreign);
    }
}
