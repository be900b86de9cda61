//! The repair of schema `bekk`: tables that were dropped are made anew, empty.

use crate::command::{be_impatient, with_session};
use crate::ddl::quote_literal;
use crate::migrations::{MIGRATIONS, MIGRATIONS_TABLE, SETUP_LOCK};
use crate::own_schema::{SchemaFault, fault};
use crate::{ConnectOptions, Error};

/// What schema `bekk` of a database lacks; `None` if it is whole or does not exist.
///
/// # Errors
/// If the server cannot be reached or refuses.
pub fn schema_fault(postgres: &ConnectOptions) -> Result<Option<SchemaFault>, Error> {
    with_session(postgres, "bekk-check", async |session| {
        const ACT: &str = "look at schema `bekk`";
        be_impatient(&session.client)
            .await
            .map_err(|error| Error::postgres(ACT, &error))?;
        fault(session).await.map_err(|error| error.into_error(ACT))
    })
}

/// Makes tables of schema `bekk` anew, empty, that were dropped; returns their names. A table that was renamed is left
/// to a person.
///
/// # Errors
/// If the server cannot be reached or refuses.
pub fn repair_schema(postgres: &ConnectOptions) -> Result<Vec<&'static str>, Error> {
    with_session(postgres, "bekk-repair", async |session| {
        const ACT: &str = "repair schema `bekk`";
        let client = &session.client;
        let failed = |error| Error::postgres(ACT, &error);
        client.batch_execute("BEGIN").await.map_err(failed)?;
        client.batch_execute(SETUP_LOCK).await.map_err(failed)?;
        let found = fault(session)
            .await
            .map_err(|error| error.into_error(ACT))?;
        let made = found.map_or_else(Vec::new, |found| found.creatable);
        for name in &made {
            client
                .batch_execute(&create_sql(name))
                .await
                .map_err(failed)?;
        }
        client.batch_execute("COMMIT").await.map_err(failed)?;
        Ok(made)
    })
}

/// The statements of all migrations that make one table.
fn create_sql(name: &str) -> String {
    if name == "migrations" {
        let rows = MIGRATIONS
            .iter()
            .map(|(version, name, _)| format!("({version}, {})", quote_literal(name)));
        let rows: Vec<_> = rows.collect();
        return format!(
            "{MIGRATIONS_TABLE}; INSERT INTO bekk.migrations (version, name) VALUES {}",
            rows.join(", ")
        );
    }
    let table = format!("bekk.{name}");
    let mut statements = Vec::new();
    for (.., sql) in &MIGRATIONS {
        let lines = sql
            .lines()
            .map(|line| line.split("--").next().unwrap_or(line));
        let plain: Vec<_> = lines.collect();
        let plain = plain.join("\n");
        let of_table = plain.split(';').filter(|statement| {
            let mut words = statement.split_whitespace();
            words.any(|word| word == table)
        });
        statements.extend(of_table.map(str::to_owned));
    }
    statements.join(";")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::own_schema::TABLES;

    /// Each statement of the migrations makes one of the tables.
    #[test]
    fn every_statement_of_the_migrations_is_of_one_table() {
        let all: usize = MIGRATIONS
            .iter()
            .map(|(.., sql)| {
                let plain: String = sql
                    .lines()
                    .map(|line| line.split("--").next().unwrap_or(line))
                    .collect();
                plain.split(';').filter(|s| !s.trim().is_empty()).count()
            })
            .sum();
        let of_tables: usize = TABLES[1..]
            .iter()
            .map(|table| create_sql(table.name).split(';').count())
            .sum();
        assert_eq!(all, of_tables);
    }
}
