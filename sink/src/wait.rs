//! A sink's waits for PostgreSQL, and the streams that it has stopped, for readers in this process and for those that only
//! reach the database.
//!
//! A sink that waits cannot write why: the disk may be full, or the server read-only. So it keeps a session whose last
//! statement is a comment, which `pg_stat_activity` shows to the same role, and closes it when the wait is over. While a
//! part of the sink has no connection it keeps none: where connections are limited, this one would take the last.

use std::collections::HashSet;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio_postgres::Client;

use crate::command::{be_impatient, with_session};
use crate::member::{Member, name_prefix};
use crate::own_schema;
use crate::render::time_text;
use crate::session::{ConnectError, Session};
use crate::{ConnectOptions, Error, PostgresError};

/// How long a wait lasts before it is announced: many end at once.
const ANNOUNCED_AFTER: Duration = Duration::from_secs(1);
/// Longest reason that is announced, in bytes; PostgreSQL keeps 1,024 of a statement by default.
const REASON_LEN_MAX: usize = 700;
/// The beginning of an announcement of a wait.
const WAITS: &str = "/* bekk waits ";
/// The beginning of an announcement of a stopped stream.
const STOPPED: &str = "/* bekk stopped ";

/// A sink's wait for PostgreSQL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wait {
    /// PostgreSQL's error, or that of the connection to it.
    pub reason: String,
    /// When it began.
    pub since: SystemTime,
}

impl Wait {
    /// The time at which it began, in ISO 8601.
    #[must_use]
    pub fn since_text(&self) -> String {
        let since = self.since.duration_since(UNIX_EPOCH).unwrap_or_default();
        // Whole seconds: nobody measures by it.
        time_text(i64::try_from(since.as_secs()).unwrap_or_default() * 1_000)
    }

    fn announcement(&self, marker: &str) -> String {
        let since = self.since.duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut reason = self.reason.replace("*/", "* /").replace("/*", "/ *");
        let mut end = reason.len().min(REASON_LEN_MAX);
        while !reason.is_char_boundary(end) {
            end -= 1;
        }
        reason.truncate(end);
        format!("{marker}{} {reason} */ SELECT 1", since.as_secs())
    }

    fn of_announcement(query: &str, marker: &str) -> Option<Self> {
        let (since, rest) = query.strip_prefix(marker)?.split_once(' ')?;
        // The server may have cut the end off.
        let reason = rest.rsplit_once(" */").map_or(rest, |(reason, _)| reason);
        Some(Self {
            reason: reason.to_owned(),
            since: UNIX_EPOCH + Duration::from_secs(since.parse().ok()?),
        })
    }
}

/// What a sink has to say that it cannot write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Announced {
    /// It waits for PostgreSQL.
    Waits(Wait),
    /// It has stopped a stream, while others continue.
    Stopped(Wait),
}

impl Announced {
    fn wait(&self) -> &Wait {
        let (Self::Waits(wait) | Self::Stopped(wait)) = self;
        wait
    }

    fn statement(&self) -> String {
        match self {
            Self::Waits(wait) => wait.announcement(WAITS),
            Self::Stopped(wait) => wait.announcement(STOPPED),
        }
    }

    fn of_statement(query: &str) -> Option<Self> {
        let waits = Wait::of_announcement(query, WAITS).map(Self::Waits);
        waits.or_else(|| Wait::of_announcement(query, STOPPED).map(Self::Stopped))
    }
}

/// The session that shows what a sink waits for, or why a stream of it is stopped.
#[derive(Default)]
pub(crate) struct Announcer {
    session: Option<Session>,
    said: String,
}

impl Announcer {
    /// Shows what the sink has to say; nothing if it has nothing, or if the server cannot be reached.
    pub(crate) async fn announce(
        &mut self,
        announced: Option<Announced>,
        open: impl AsyncFnOnce() -> Result<Session, ConnectError>,
    ) {
        let announced = announced.filter(|announced| {
            let waited = announced.wait().since.elapsed();
            waited.is_ok_and(|waited| waited >= ANNOUNCED_AFTER)
        });
        let Some(announced) = announced else {
            self.close();
            return;
        };
        let session = match self.session.take_if(|session| !session.is_lost()) {
            Some(session) => session,
            None => match open().await {
                Ok(session) => {
                    self.said.clear();
                    session
                }
                Err(_) => return,
            },
        };
        let announcement = announced.statement();
        let announcement = session.encoding.storable(&announcement).into_owned();
        if announcement != self.said {
            match session.client.batch_execute(&announcement).await {
                Ok(()) => self.said = announcement,
                Err(error) => {
                    tracing::debug!(error = %PostgresError::from(&error), "wait not announced");
                    return;
                }
            }
        }
        self.session = Some(session);
    }

    /// Gives the session's connection back, which others may need.
    pub(crate) fn close(&mut self) {
        self.session = None;
    }
}

/// A sink that waits for PostgreSQL, as the database shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SinkWait {
    /// Its process and host.
    pub sink: String,
    /// Why it waits, and since when.
    pub wait: Wait,
    /// What it waits for.
    pub cause: WaitCause,
}

/// What a sink waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WaitCause {
    /// That PostgreSQL takes what it refuses now; the sink has announced it.
    Refused,
    /// A person: the sink has stopped a stream, and has announced it.
    Person,
    /// A lock of this session, known by its process id.
    Session(i32),
    /// A lock of a prepared transaction, which no session holds.
    Prepared,
    /// A synchronous standby that confirms its commit.
    Standby,
}

/// The sinks that wait for a database, the longest wait first: those that apply one of `topics`, and those of `group` that
/// are being started. Of those under another role, only waits for locks are seen: the server shows nothing else.
///
/// # Errors
/// If the server cannot be reached or refuses.
pub fn sink_waits(
    postgres: &ConnectOptions,
    group: &str,
    topics: &[String],
) -> Result<Vec<SinkWait>, Error> {
    let prefix = name_prefix(group);
    with_session(postgres, "bekk-waits", async |session| {
        const ACT: &str = "read pg_stat_activity";
        let failed = |error| Error::postgres(ACT, &error);
        be_impatient(&session.client).await.map_err(failed)?;
        if !own_schema::has(session, "offsets", ACT).await? {
            return Ok(Vec::new());
        }
        let waits = read(&session.client, &prefix, topics).await;
        waits.map_err(failed)
    })
}

/// `pg_blocking_pids` has 0 for a prepared transaction. A session's state is hidden from other roles, and its locks are not;
/// before version 14 the server does not say since when it waits for one. Only a role that may move offsets is a sink's.
const READ: &str = "\
    SELECT a.application_name, a.query, extract(epoch FROM coalesce(a.query_start, a.lock_start, clock_timestamp()))::bigint,
           b.pid, b.name, a.is_locked AND 0 = ANY (pg_blocking_pids(a.pid)), a.is_active AND a.wait_event = 'SyncRep'
      FROM (SELECT s.*, s.state = 'active' AS is_active,
                   coalesce(s.state = 'active' AND s.wait_event_type = 'Lock', l.pid IS NOT NULL) AS is_locked,
                   l.since AS lock_start
              FROM pg_stat_activity s
              LEFT JOIN LATERAL (
                       SELECT k.pid, (to_jsonb(k) ->> 'waitstart')::timestamptz AS since
                         FROM pg_locks k WHERE k.pid = s.pid AND NOT k.granted LIMIT 1) l ON s.state IS NULL) a
      LEFT JOIN LATERAL (
               SELECT h.pid, coalesce(nullif(h.application_name, ''), h.usename, '')::text AS name
                 FROM unnest(pg_blocking_pids(a.pid)) AS blocking(pid)
                 JOIN pg_stat_activity h ON h.pid = blocking.pid
                WHERE h.application_name <> a.application_name
                LIMIT 1) b ON a.is_locked
     WHERE a.datname = current_database() AND has_table_privilege(a.usesysid, 'bekk.offsets', 'UPDATE')
       AND starts_with(a.application_name, 'bekk-sink ')
       AND (EXISTS (SELECT FROM bekk.offsets o WHERE o.owner = a.application_name AND o.topic = ANY ($2))
            OR starts_with(a.application_name, $1)
               AND NOT EXISTS (SELECT FROM bekk.offsets o WHERE o.owner = a.application_name))
     ORDER BY a.query_start, a.pid";

async fn read(
    client: &Client,
    prefix: &str,
    topics: &[String],
) -> Result<Vec<SinkWait>, tokio_postgres::Error> {
    let mut waits: Vec<SinkWait> = Vec::new();
    for row in client.query(READ, &[&prefix, &topics]).await? {
        let owner: String = row.get(0);
        let query: Option<String> = row.get(1);
        let blocked_by: Option<(i32, String)> = row.get::<_, Option<i32>>(3).zip(row.get(4));
        let is_true = |at: usize| row.get::<_, Option<bool>>(at) == Some(true);
        let begun = || {
            let since = row.get::<_, Option<i64>>(2).unwrap_or_default();
            UNIX_EPOCH + Duration::from_secs(u64::try_from(since).unwrap_or_default())
        };
        let in_statement = |reason: String, cause| {
            let since = begun();
            Some((Wait { reason, since }, cause))
        };
        let found = match blocked_by {
            Some((pid, name)) => in_statement(
                format!("session {pid} (`{name}`) holds a lock that it needs"),
                WaitCause::Session(pid),
            ),
            None if is_true(5) => in_statement(
                "a prepared transaction holds a lock that it needs, until COMMIT PREPARED or ROLLBACK PREPARED"
                    .to_owned(),
                WaitCause::Prepared,
            ),
            None if is_true(6) => in_statement(
                "its COMMIT waits for a synchronous standby, and none confirms it".to_owned(),
                WaitCause::Standby,
            ),
            None => query
                .as_deref()
                .and_then(Announced::of_statement)
                .map(|announced| match announced {
                    Announced::Waits(wait) => (wait, WaitCause::Refused),
                    Announced::Stopped(wait) => (wait, WaitCause::Person),
                }),
        };
        if let Some((wait, cause)) = found {
            waits.push(SinkWait {
                sink: Member::of_owner(&owner).to_string(),
                wait,
                cause,
            });
        }
    }
    waits.sort_by_key(|wait| wait.wait.since);
    // Several backends of a sink may wait for the same thing, which is listed once.
    let mut listed = HashSet::new();
    waits.retain(|wait| listed.insert((wait.sink.clone(), wait.wait.reason.clone())));
    Ok(waits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_announcement_is_read_back() {
        let check = |reason: &str, expected: &str| {
            let wait = Wait {
                reason: reason.to_owned(),
                since: UNIX_EPOCH + Duration::from_secs(1_764_250_000),
            };
            for announced in [Announced::Waits(wait.clone()), Announced::Stopped(wait)] {
                let statement = announced.statement();
                assert_eq!(statement.matches("*/").count(), 1, "{statement}");
                assert_eq!(statement.matches("/*").count(), 1, "{statement}");
                let found = Announced::of_statement(&statement).unwrap();
                assert_eq!(
                    (found.wait().reason.as_str(), found.wait().since),
                    (expected, announced.wait().since)
                );
            }
        };
        check("no space left", "no space left");
        check(
            "a */ SELECT pg_sleep(9); /* b",
            "a * / SELECT pg_sleep(9); / * b",
        );
        check(&"ä".repeat(400), &"ä".repeat(350));
        assert_eq!(Announced::of_statement("SELECT 1"), None);
        let cut = Announced::of_statement(&format!("{WAITS}17 no spa")).unwrap();
        assert_eq!(cut.wait().reason, "no spa");
    }
}
