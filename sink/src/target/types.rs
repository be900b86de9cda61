//! The types of the database that a stream names: found by their names before a table is made with them.

use bekk_stream::{ColumnType, Stream};

use super::is_keyed;
use crate::Error;
use crate::ddl::quote;
use crate::migrations::MigrateError;
use crate::session::Session;
use crate::trust::{self, TypePlace};

/// The stream with the schema of each type that it names, as a table is made with it.
pub(super) async fn resolved(session: &Session, stream: &Stream) -> Result<Stream, MigrateError> {
    let mut resolved = stream.clone();
    let problems = resolve(session, &mut resolved).await?;
    match problems.is_empty() {
        true => Ok(resolved),
        false => Err(MigrateError::Stop(Error::TableMismatch {
            table: stream.table.to_string(),
            stream: stream.name.clone(),
            problems,
        })),
    }
}

/// Names the schema of each type that a stream names, and returns what keeps a table from being made with them.
pub(super) async fn resolve(
    session: &Session,
    stream: &mut Stream,
) -> Result<Vec<String>, tokio_postgres::Error> {
    let mut problems = Vec::new();
    let is_keyed = is_keyed(stream);
    for column in &mut stream.columns {
        let ColumnType::Postgres(wanted) = &column.column_type else {
            continue;
        };
        let name = &column.name;
        let found = trust::find_type(&session.client, &session.path, wanted).await?;
        match found {
            TypePlace::Found {
                schema,
                is_indexable,
                has_order,
            } => {
                if is_keyed && stream.newer_by.as_ref() == Some(name) && !has_order {
                    problems.push(no_order(name, &wanted.to_string()));
                }
                if is_keyed && stream.key.contains(name) && !is_indexable {
                    problems.push(format!(
                        "key column `{name}` is of type {wanted}, which has no order that a primary key needs; make it \
                         text, or choose another key"
                    ));
                }
                column.column_type = ColumnType::Postgres(wanted.in_schema(&schema));
            }
            TypePlace::Missing => problems.push(format!(
                "column `{name}` is of type {wanted}, which the database does not have in {}; make it (CREATE TYPE, \
                 CREATE DOMAIN or CREATE EXTENSION), or name its schema: pg:SCHEMA.{}",
                match wanted.schema() {
                    Some(schema) => format!("schema {}", quote(schema)),
                    None => "PostgreSQL's own schema or the role's search path".to_owned(),
                },
                wanted.name(),
            )),
            TypePlace::Prepared { schema, owner } => problems.push(format!(
                "column `{name}` is of type {wanted}, which belongs to role `{owner}` in schema `{schema}`, where every \
                 role may create types: its functions would run with the rights of role `{}`; if you trust that role, \
                 name the schema: pg:{schema}.{}",
                session.path.role,
                wanted.name(),
            )),
        }
    }
    Ok(problems)
}

/// Says that `newer_by` names a column whose values have no order.
pub(super) fn no_order(name: &str, type_text: &str) -> String {
    format!(
        "column `{name}`, which `newer_by` names, has type {type_text}, whose values PostgreSQL cannot compare by >=, so \
         that none is the newer one; name another column in `newer_by`, or leave it out: then the later record wins"
    )
}
