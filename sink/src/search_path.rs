//! Where names are looked up: nowhere but in PostgreSQL's own schema.
//!
//! **Invariant:** no name that Bekk writes is looked up in a schema that others may write to. A function or an operator
//! of theirs would run with the rights of Bekk's role (CVE-2018-1058). So the first statement of each session, which
//! needs no lookup itself, empties `search_path`, and every table is named with its schema.
//!
//! The role's own path is put back only while the stream's table is written, since triggers and defaults may rely on
//! it. The statements sent meanwhile name the schema of everything, operators included.

use bekk_stream::TableName;
use tokio_postgres::{Client, SimpleQueryMessage};

use crate::ddl::quote_literal;

/// Reads the role's path and empties it. Every function is named with its schema, and every argument has exactly the
/// type that the function takes.
const TAKE: &str = "\
    SELECT pg_catalog.current_setting('search_path'), current_user;
    SELECT pg_catalog.unnest(pg_catalog.current_schemas(false));
    SELECT pg_catalog.set_config('search_path', '', false)";

/// Empties the path again, for the session and not only the transaction: a trigger may have set it.
pub(crate) const EMPTY: &str = "SELECT pg_catalog.set_config('search_path', '', false)";

/// The `search_path` that a session's role has.
#[derive(Debug, Clone, Default)]
pub(crate) struct SearchPath {
    /// The setting's text: `"$user", public`.
    setting: String,
    /// The schemas of it that exist, in order, without Bekk's own and PostgreSQL's.
    pub(crate) schemas: Vec<String>,
    /// The session's current role.
    pub(crate) role: String,
}

impl SearchPath {
    /// Takes the path from a new session, whose own is empty afterwards.
    pub(crate) async fn take(client: &Client) -> Result<Self, tokio_postgres::Error> {
        let mut path = Self::default();
        let mut statement = 0;
        for message in client.simple_query(TAKE).await? {
            match message {
                SimpleQueryMessage::CommandComplete(_) => statement += 1,
                SimpleQueryMessage::Row(row) if statement == 0 => {
                    path.setting = row.get(0).unwrap_or_default().to_owned();
                    path.role = row.get(1).unwrap_or_default().to_owned();
                }
                SimpleQueryMessage::Row(row) if statement == 1 => {
                    // A role that is called `bekk` has Bekk's own schema first in its path.
                    let schema = row.get(0).unwrap_or_default();
                    if schema != "bekk" && !schema.starts_with("pg_") {
                        path.schemas.push(schema.to_owned());
                    }
                }
                _ => {}
            }
        }
        if path.schemas.is_empty() {
            path.schemas.push("public".to_owned());
        }
        Ok(path)
    }

    /// The statement that puts the path back until the transaction ends or [`EMPTY`] is sent.
    pub(crate) fn restore_sql(&self) -> String {
        format!(
            "SELECT pg_catalog.set_config('search_path', {}, true)",
            quote_literal(&self.setting)
        )
    }

    /// A table's name with its schema: of those in the path the first that has a table of that name, or the first of
    /// all if none has.
    pub(crate) async fn resolve(
        &self,
        client: &Client,
        table: &TableName,
    ) -> Result<TableName, tokio_postgres::Error> {
        if table.schema.is_some() {
            return Ok(table.clone());
        }
        let found = client
            .query_opt(
                "SELECT name FROM unnest($1::text[]) WITH ORDINALITY AS path (name, place)
                  WHERE EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                                 WHERE n.nspname = path.name AND c.relname = $2::text)
                  ORDER BY place LIMIT 1",
                &[&self.schemas, &table.name],
            )
            .await?;
        let schema = found.map_or_else(|| self.schemas[0].clone(), |row| row.get(0));
        Ok(TableName {
            schema: Some(schema),
            name: table.name.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_quoted() {
        let path = SearchPath {
            setting: r#""a'b\c", public"#.to_owned(),
            ..SearchPath::default()
        };
        assert_eq!(
            path.restore_sql(),
            r#"SELECT pg_catalog.set_config('search_path', E'"a''b\\c", public', true)"#
        );
    }
}
