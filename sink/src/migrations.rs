//! Bekk's own schema: numbered files in `db/migrations`, each applied once.

use crate::Error;
use crate::session::Session;
use crate::trust::{self, OwnSchema};

/// A migration: its number, its name, and the file with both in its name.
macro_rules! migration {
    ($number:literal, $name:literal) => {{
        const FILE: &str = include_str!(concat!(
            "../../db/migrations/000",
            $number,
            "_",
            $name,
            ".sql"
        ));
        ($number, $name, FILE)
    }};
}

/// The migrations, by number. A released one never changes.
pub(crate) const MIGRATIONS: [(i32, &str, &str); 5] = [
    migration!(1, "offsets_and_dead_letters"),
    migration!(2, "dead_letter_resolutions"),
    migration!(3, "marks_and_identities"),
    migration!(4, "definitions"),
    migration!(5, "definition_epochs"),
];

/// The statement that makes the table of the applied migrations
pub(crate) const MIGRATIONS_TABLE: &str = "\
    CREATE TABLE bekk.migrations (version integer PRIMARY KEY, name text NOT NULL, \
                                  applied_at timestamptz NOT NULL DEFAULT now())";

/// A transaction lock that every start of a sink takes while it makes schemas and tables, so that of
/// several one does it and the others find it done. If its holder's host vanishes, the server ends the session (see
/// `session.rs`).
pub(crate) const SETUP_LOCK: &str =
    "SET LOCAL lock_timeout = '10s'; SELECT pg_advisory_xact_lock(1650814827)";

/// The number of [`SETUP_LOCK`], which means nothing: "bekk" in ASCII
pub(crate) const SETUP_LOCK_KEY: u32 = 1_650_814_827;

/// Whether schema `bekk` exists. It may have been made after the session began, and then by anybody; so everything asks
/// this before it reads the schema. One check is enough: a role that is not trusted cannot replace what a trusted one owns.
///
/// # Errors
/// [`Error::ForeignObject`] if a role that is not trusted owns a part of the schema; others if the server refuses.
pub(crate) async fn schema_exists(session: &Session) -> Result<bool, MigrateError> {
    match trust::own_schema(&session.client, &session.address).await? {
        OwnSchema::Missing => Ok(false),
        OwnSchema::Trusted => Ok(true),
        OwnSchema::Foreign(error) => Err(MigrateError::Stop(error)),
    }
}

/// Applies what is missing. The caller has begun a transaction and holds [`SETUP_LOCK`].
pub(crate) async fn migrate(session: &Session) -> Result<(), MigrateError> {
    let client = &session.client;
    // Not IF NOT EXISTS: that asks for the privilege even where there is nothing to do. A schema that another role has made
    // since the check makes this fail.
    if !schema_exists(session).await? {
        client.batch_execute("CREATE SCHEMA bekk").await?;
    }
    let has_migrations = "SELECT to_regclass('bekk.migrations') IS NOT NULL";
    if !client
        .query_one(has_migrations, &[])
        .await?
        .get::<_, bool>(0)
    {
        client.batch_execute(MIGRATIONS_TABLE).await?;
    }
    let found = schema_version(session).await?;
    for (version, name, sql) in MIGRATIONS.iter().filter(|(version, ..)| *version > found) {
        client.batch_execute(sql).await?;
        client
            .execute(
                "INSERT INTO bekk.migrations (version, name) VALUES ($1, $2)",
                &[version, name],
            )
            .await?;
        tracing::info!(version, name, "bekk's schema brought up to date");
    }
    Ok(())
}

/// Returns the schema's version, and changes nothing.
///
/// # Errors
/// [`Error::NewerSchema`] if this program does not know that version; others if the server refuses.
pub(crate) async fn schema_version(session: &Session) -> Result<i32, MigrateError> {
    let row = session
        .client
        .query_one("SELECT coalesce(max(version), 0) FROM bekk.migrations", &[])
        .await?;
    let found: i32 = row.get(0);
    let known = MIGRATIONS[MIGRATIONS.len() - 1].0;
    match found > known {
        true => Err(MigrateError::Stop(Error::NewerSchema {
            database: session.address.clone(),
            found,
            known,
        })),
        false => Ok(found),
    }
}

/// Why a migration or another step of the set-up failed.
pub(crate) enum MigrateError {
    /// The server's answer, to be judged by its SQLSTATE.
    Postgres(tokio_postgres::Error),
    /// Only a person can help.
    Stop(Error),
}

impl MigrateError {
    /// The error, for those who do not wait. `act` says what was tried.
    pub(crate) fn into_error(self, act: &str) -> Error {
        match self {
            Self::Postgres(error) => Error::postgres(act, &error),
            Self::Stop(error) => error,
        }
    }
}

impl From<tokio_postgres::Error> for MigrateError {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Postgres(error)
    }
}
