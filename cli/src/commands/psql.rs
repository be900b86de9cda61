//! `bekk psql`: psql on the database in use.

use std::os::unix::process::ExitStatusExt;
use std::process::Command;

use anyhow::{Context as _, Result};

use super::Outcome;
use crate::args::{Global, Psql};
use crate::context::Context;
use crate::database::libpq_environment;
use crate::secrets::TYPED_POSTGRES;

pub(crate) fn run(global: &Global, args: &Psql) -> Result<Outcome> {
    let context = Context::load(global)?;
    let database = context.database(&args.postgres)?;
    let program = database
        .private
        .as_ref()
        .map_or_else(|| "psql".into(), |server| server.bin_dir().join("psql"));
    let mut command = Command::new(&program);
    // In the environment, where `ps` does not show the password.
    command
        .env_remove(TYPED_POSTGRES)
        .envs(libpq_environment(&database.options))
        .args(&args.arguments);
    let status = command.status().with_context(|| {
        format!(
            "run `{}`; install PostgreSQL's client (postgresql-client)",
            program.display()
        )
    })?;
    let code = status
        .code()
        .unwrap_or_else(|| 128 + status.signal().unwrap_or_default());
    Ok(Outcome::Code(u8::try_from(code).unwrap_or(1)))
}
