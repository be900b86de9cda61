//! Which server, database and schema `bekk` a running sink writes to: an address may lead to another server after a
//! failover, and somebody may drop the schema and make it again.

use tokio_postgres::Client;

use crate::session::{ConnectError, Session, judge};
use crate::{ConnectOptions, Error};

/// A server and a database of it. Standbys of a server have its identifier.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ServerId {
    system_identifier: String,
    database_oid: i64,
    /// The oid of bekk.offsets.
    offsets_table: Option<i64>,
}

/// Not by `to_regclass`, which fails where the role has lost the right to use the schema.
const OFFSETS_TABLE: &str = "\
    SELECT (SELECT c.oid::bigint FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
             WHERE n.nspname = 'bekk' AND c.relname = 'offsets')";

impl ServerId {
    pub(crate) async fn ask(client: &Client) -> Result<Self, tokio_postgres::Error> {
        const ASK: &str = "\
            SELECT s.system_identifier::text, d.oid::bigint
              FROM pg_control_system() s JOIN pg_database d ON d.datname = current_database()";
        let row = client.query_one(ASK, &[]).await?;
        Ok(Self {
            system_identifier: row.get(0),
            database_oid: row.get(1),
            offsets_table: client.query_one(OFFSETS_TABLE, &[]).await?.get(0),
        })
    }

    /// The oid of the table of offsets that the set-up found; 0 if there was none.
    pub(crate) fn offsets_table(&self) -> i64 {
        self.offsets_table.unwrap_or_default()
    }

    /// Whether another table is bekk.offsets by now. If none is, statements fail, which says more.
    pub(crate) async fn has_other_offsets(
        &self,
        client: &Client,
    ) -> Result<bool, tokio_postgres::Error> {
        let found = client.query_one(OFFSETS_TABLE, &[]).await?;
        Ok(self.is_other_table(found.get(0)))
    }

    fn is_other_table(&self, found: Option<i64>) -> bool {
        found.is_some() && found != self.offsets_table
    }

    /// Connects, and refuses another server than this one, or another schema `bekk`.
    pub(crate) async fn open(
        &self,
        options: &ConnectOptions,
        application_name: &str,
    ) -> Result<Session, ConnectError> {
        let session = Session::open(options, application_name).await?;
        let found = Self::ask(&session.client)
            .await
            .map_err(|error| judge(options, &error))?;
        if (&found.system_identifier, found.database_oid)
            != (&self.system_identifier, self.database_oid)
        {
            return Err(ConnectError::Fatal(Error::OtherServer {
                server: options.to_string(),
                was: self.to_string(),
                found: found.to_string(),
            }));
        }
        match self.is_other_table(found.offsets_table) {
            true => Err(ConnectError::Fatal(Error::SchemaReplaced)),
            false => Ok(session),
        }
    }
}

impl std::fmt::Display for ServerId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            system_identifier,
            database_oid,
            ..
        } = self;
        write!(f, "system {system_identifier}, database {database_oid}")
    }
}
