//! A connection to PostgreSQL with our settings, and what this backend has prepared.

mod pooler;

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::time::Duration;

use tokio_postgres::config::{
    ChannelBinding as WireChannelBinding, SslMode as WireSslMode, TargetSessionAttrs,
};
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, NoTls, Statement};

use self::pooler::is_transaction_pool;
use crate::catalog::{Table, statement_name};
use crate::connect_options::{ChannelBinding, TargetSession};
use crate::offsets::rows;
use crate::search_path::SearchPath;
use crate::sqlstate::{Verdict, verdict_on_connecting};
use crate::trust::{self, OwnSchema};
use crate::{ConnectOptions, Error, PostgresError, SslMode, tls};

/// A connection to PostgreSQL.
pub(crate) struct Session {
    pub(crate) client: Client,
    /// The server's address, for messages.
    pub(crate) address: String,
    /// The backend's process id.
    pub(crate) pid: i32,
    pub(crate) encoding: Encoding,
    /// The role's search path; the session's own is empty.
    pub(crate) path: SearchPath,
    /// Statements that this backend has prepared, by their text.
    statements: HashMap<String, Statement>,
    /// Statements that SQL can EXECUTE, by their text: their names.
    named: HashMap<String, String>,
    /// Temporary tables that this backend has, by name: those whose creation has been committed.
    pub(crate) staging_tables: HashSet<String>,
    /// Whether a transaction may be open that could not be rolled back.
    is_unusable: bool,
}

/// Which characters the database's texts can hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// All of them.
    Any,
    /// Those up to U+00FF.
    Latin1,
    /// Some beyond ASCII, which are not known here.
    Ascii,
}

impl Encoding {
    fn of(server_encoding: &str) -> Self {
        match server_encoding {
            "UTF8" | "SQL_ASCII" => Self::Any,
            "LATIN1" => Self::Latin1,
            _ => Self::Ascii,
        }
    }

    /// A text as the database can store it: NUL, and characters that its encoding may lack, become `\u{…}`.
    pub(crate) fn storable(self, text: &str) -> Cow<'_, str> {
        let last = match self {
            Self::Any => char::MAX,
            Self::Latin1 => '\u{ff}',
            Self::Ascii => '\u{7f}',
        };
        let is_storable = |c: char| c != '\0' && c <= last;
        if text.chars().all(is_storable) {
            return Cow::Borrowed(text);
        }
        let mut stored = String::with_capacity(text.len() + 16);
        for c in text.chars() {
            if is_storable(c) {
                stored.push(c);
            } else {
                stored.extend(c.escape_unicode());
            }
        }
        Cow::Owned(stored)
    }
}

/// Why there is no session.
pub(crate) enum ConnectError {
    /// The server is away or not ready; wait and try again.
    Away(Box<PostgresError>),
    /// Only a person can help.
    Fatal(Error),
}

impl ConnectError {
    /// The error, for those who do not wait.
    pub(crate) fn into_error(self, options: &ConnectOptions) -> Error {
        match self {
            Self::Away(cause) => Error::Postgres {
                act: format!("connect to PostgreSQL at {options}"),
                cause,
            },
            Self::Fatal(error) => error,
        }
    }
}

/// Settings that every backend of ours gets: commits are never asynchronous. If our host vanishes within a transaction,
/// its locks go after half a minute; between two batches a session may idle for as long as no record comes. A transaction
/// that has waited for a lock sees what the former holder has committed. Texts of different numbers differ, because values
/// of some types are compared by their texts, and NULL in an array's text is null. No statement of ours runs long enough to
/// be worth compiling, and in a large catalog the server would compile each. The role's settings for dates and intervals
/// stay: `input.rs` refuses texts that depend on them.
const SETTINGS: &str = "\
    SELECT set_config('synchronous_commit', 'on', false)
     WHERE current_setting('synchronous_commit') = 'off';
    SELECT set_config('idle_in_transaction_session_timeout', '30s', false)
     WHERE current_setting('idle_in_transaction_session_timeout') = '0';
    SELECT set_config('idle_session_timeout', '0', false)
     WHERE current_setting('idle_session_timeout', true) <> '0';
    SELECT set_config('extra_float_digits', '1', false)
     WHERE current_setting('extra_float_digits')::int < 1;
    SET default_transaction_isolation = 'read committed';
    SET array_nulls = on;
    SET jit = off;
    SET client_min_messages = warning";

/// With this the server notices within a long statement that its client is gone, so that a successor need
/// not wait for it. PostgreSQL 14 and newer have it, and not on every system.
const NOTICE_GONE_CLIENTS: &str = "\
    SELECT set_config('client_connection_check_interval', '200ms', false)
     WHERE current_setting('server_version_num')::int >= 140000";

impl Session {
    /// Connects. `application_name` is what others see in `pg_stat_activity`.
    pub(crate) async fn open(
        options: &ConnectOptions,
        application_name: &str,
    ) -> Result<Self, ConnectError> {
        let hosts = u32::try_from(options.hosts().count()).unwrap_or(u32::MAX);
        let patience = options.connect_timeout.saturating_mul(hosts);
        let connected = async {
            if is_transaction_pool(options).await? {
                return Err(ConnectError::Fatal(Error::TransactionPooler {
                    server: options.to_string(),
                }));
            }
            connect(options, application_name).await
        };
        let client = match tokio::time::timeout(patience, connected).await {
            Ok(connected) => connected?,
            Err(_) => {
                let cause = PostgresError::new(format!("no answer within {patience:?}"));
                return Err(ConnectError::Away(Box::new(cause)));
            }
        };
        let address = options.to_string();
        let prepared = async {
            let path = SearchPath::take(&client).await?;
            client.batch_execute(SETTINGS).await?;
            match client.batch_execute(NOTICE_GONE_CLIENTS).await {
                // Some systems cannot watch a connection; the server refuses the value there.
                Err(error) if error.code() != Some(&SqlState::INVALID_PARAMETER_VALUE) => {
                    return Err(error);
                }
                _ => {}
            }
            let about = "SELECT pg_backend_pid(), current_setting('server_encoding')";
            let row = client.query_one(about, &[]).await?;
            let schema = trust::own_schema(&client, &address).await?;
            Ok((path, row, schema))
        };
        let (path, row, schema) = prepared.await.map_err(|error| judge(options, &error))?;
        if let OwnSchema::Foreign(error) = schema {
            return Err(ConnectError::Fatal(error));
        }
        Ok(Self {
            client,
            address,
            pid: row.get(0),
            path,
            encoding: Encoding::of(row.get(1)),
            statements: HashMap::new(),
            named: HashMap::new(),
            staging_tables: HashSet::new(),
            is_unusable: false,
        })
    }

    /// Whether this session must not be used any more.
    pub(crate) fn is_lost(&self) -> bool {
        self.is_unusable || self.client.is_closed()
    }

    /// Rolls back whatever transaction is open. If that fails, the session is lost: the next batch must not
    /// become part of this transaction.
    pub(crate) async fn roll_back(&mut self) {
        if !self.is_lost() {
            self.undo("ROLLBACK").await;
        }
    }

    /// Rolls back to the savepoint and releases it; false if the session is lost instead.
    pub(crate) async fn roll_back_to_savepoint(&mut self) -> bool {
        self.undo("ROLLBACK TO SAVEPOINT bekk; RELEASE SAVEPOINT bekk")
            .await;
        !self.is_lost()
    }

    /// Runs a statement after an error, and makes sure that the answer is its own: where COPY fails before it has
    /// taken data, the server answers once more than tokio-postgres expects, and every later answer would be taken
    /// for the next request's.
    async fn undo(&mut self, sql: &str) {
        const ANSWER: &str = "undone";
        let sql = format!("{sql}; SELECT '{ANSWER}'");
        match self.client.simple_query(&sql).await {
            Ok(answer) if rows(&answer).any(|row| row.get(0) == Some(ANSWER)) => {}
            Ok(_) => {
                tracing::debug!("closing the session: its answers no longer match the requests");
                self.is_unusable = true;
            }
            Err(error) => {
                tracing::debug!(error = %PostgresError::from(&error), "closing the session: the rollback failed");
                self.is_unusable = true;
            }
        }
    }

    /// The prepared form of a statement; prepared on first use.
    pub(crate) async fn statement(
        &mut self,
        text: &str,
    ) -> Result<Statement, tokio_postgres::Error> {
        if let Some(statement) = self.statements.get(text) {
            return Ok(statement.clone());
        }
        let statement = self.client.prepare(text).await?;
        self.statements.insert(text.to_owned(), statement.clone());
        Ok(statement)
    }
}

impl Session {
    /// The SQL that locks a table for writing and asks for its version, with a plan that this backend keeps: planning
    /// the question takes longer than answering it.
    pub(crate) async fn lock_sql(
        &mut self,
        table: &Table,
    ) -> Result<String, tokio_postgres::Error> {
        let version = table.version_sql();
        if let Some(name) = self.named.get(&version) {
            return Ok(table.lock_sql(&format!("EXECUTE {name}")));
        }
        let name = statement_name();
        let prepare = format!("PREPARE {name} AS {version}");
        self.client.batch_execute(&prepare).await?;
        let lock = table.lock_sql(&format!("EXECUTE {name}"));
        self.named.insert(version, name);
        Ok(lock)
    }
}

/// Whether to wait after an error of connecting, or to stop.
pub(crate) fn judge(options: &ConnectOptions, error: &tokio_postgres::Error) -> ConnectError {
    match verdict_on_connecting(error) {
        Verdict::Stop => ConnectError::Fatal(Error::postgres(
            format!("connect to PostgreSQL at {options}"),
            error,
        )),
        _ => ConnectError::Away(Box::new(PostgresError::from(error))),
    }
}

/// Connects, with TLS as the options say.
pub(crate) async fn connect(
    options: &ConnectOptions,
    application_name: &str,
) -> Result<Client, ConnectError> {
    // A Unix socket carries no TLS.
    let modes: &[WireSslMode] = match options.sslmode {
        _ if options.is_unix_socket() => &[WireSslMode::Disable],
        SslMode::Disable => &[WireSslMode::Disable],
        SslMode::Allow => &[WireSslMode::Disable, WireSslMode::Require],
        // libpq, too, continues without TLS if the server begins it and fails.
        SslMode::Prefer => &[WireSslMode::Prefer, WireSslMode::Disable],
        SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull => &[WireSslMode::Require],
    };
    let mut last = None;
    for mode in modes {
        match connect_once(options, application_name, *mode).await {
            Ok(client) => return Ok(client),
            Err(ConnectError::Away(error)) => return Err(ConnectError::Away(error)),
            Err(error) => last = last.or(Some(error)),
        }
    }
    Err(last.expect("there is at least one mode, and each returned or failed"))
}

async fn connect_once(
    options: &ConnectOptions,
    application_name: &str,
    mode: WireSslMode,
) -> Result<Client, ConnectError> {
    let config = wire_config(options, application_name, mode);
    if mode == WireSslMode::Disable {
        let (client, connection) = config
            .connect(NoTls)
            .await
            .map_err(|error| judge(options, &error))?;
        tokio::spawn(drive(connection));
        return Ok(client);
    }
    let connector = tls::connector(options).map_err(ConnectError::Fatal)?;
    let (client, connection) = config
        .connect(connector)
        .await
        .map_err(|error| judge(options, &error))?;
    tokio::spawn(drive(connection));
    Ok(client)
}

/// Drives a connection's traffic until it ends. Its errors also reach whoever waits for an answer.
async fn drive<C>(connection: C)
where
    C: Future<Output = Result<(), tokio_postgres::Error>>,
{
    if let Err(error) = connection.await {
        tracing::debug!(error = %PostgresError::from(&error), "connection ended");
    }
}

fn wire_config(
    options: &ConnectOptions,
    application_name: &str,
    mode: WireSslMode,
) -> tokio_postgres::Config {
    let mut config = tokio_postgres::Config::new();
    let has_addresses = options.hosts().all(|host| host.hostaddr.is_some());
    for host in options.hosts() {
        config.port(host.port);
        match host.hostaddr {
            Some(address) if has_addresses => config.host(host.name).hostaddr(address),
            // Some hosts have an address and others none, which tokio-postgres cannot express.
            Some(address) => config.host(address.to_string()),
            None => config.host(host.name),
        };
    }
    config
        .ssl_mode(mode)
        .connect_timeout(options.connect_timeout)
        .target_session_attrs(match options.target {
            TargetSession::Any => TargetSessionAttrs::Any,
            TargetSession::ReadWrite => TargetSessionAttrs::ReadWrite,
        })
        .channel_binding(match options.channel_binding {
            ChannelBinding::Disable => WireChannelBinding::Disable,
            ChannelBinding::Prefer => WireChannelBinding::Prefer,
            ChannelBinding::Require => WireChannelBinding::Require,
        })
        .application_name(application_name)
        // A host that vanishes without a word is noticed within half a minute.
        .keepalives_idle(Duration::from_secs(10))
        .keepalives_interval(Duration::from_secs(5))
        .keepalives_retries(3)
        .tcp_user_timeout(Duration::from_secs(30));
    if let Some(user) = &options.user {
        config.user(user);
    }
    if let Some(password) = &options.password {
        config.password(password);
    }
    if let Some(dbname) = &options.dbname {
        config.dbname(dbname);
    }
    if let Some(server_options) = &options.options {
        config.options(server_options);
    }
    config
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_encoding_lacks_is_escaped() {
        let check = |encoding: &str, text: &str, expected: &str| {
            assert_eq!(
                Encoding::of(encoding).storable(text),
                expected,
                "{encoding}"
            );
        };
        check("UTF8", "æ日\0", "æ日\\u{0}");
        check("SQL_ASCII", "æ日", "æ日");
        check("LATIN1", "æÿ日", "æÿ\\u{65e5}");
        check("WIN1252", "a€", "a\\u{20ac}");
    }
}
