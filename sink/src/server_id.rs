//! Which server and database a running sink writes to: an address may lead to another one after a failover.

use tokio_postgres::Client;

use crate::session::{ConnectError, Session, judge};
use crate::{ConnectOptions, Error};

/// A server and a database of it. Standbys of a server have its identifier.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ServerId {
    system_identifier: String,
    database_oid: i64,
}

impl ServerId {
    pub(crate) async fn ask(client: &Client) -> Result<Self, tokio_postgres::Error> {
        const ASK: &str = "\
            SELECT s.system_identifier::text, d.oid::bigint
              FROM pg_control_system() s JOIN pg_database d ON d.datname = current_database()";
        let row = client.query_one(ASK, &[]).await?;
        Ok(Self {
            system_identifier: row.get(0),
            database_oid: row.get(1),
        })
    }

    /// Connects, and refuses another server than this one.
    pub(crate) async fn open(
        &self,
        options: &ConnectOptions,
        application_name: &str,
    ) -> Result<Session, ConnectError> {
        let session = Session::open(options, application_name).await?;
        let found = Self::ask(&session.client)
            .await
            .map_err(|error| judge(options, &error))?;
        if found != *self {
            return Err(ConnectError::Fatal(Error::OtherServer {
                server: options.to_string(),
                was: self.to_string(),
                found: found.to_string(),
            }));
        }
        Ok(session)
    }
}

impl std::fmt::Display for ServerId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            system_identifier,
            database_oid,
        } = self;
        write!(f, "system {system_identifier}, database {database_oid}")
    }
}
