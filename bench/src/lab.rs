//! A directory, a server, the binary, and statements.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use bekk_generator::{Events, Plan};
use bekk_postgres::Server;
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};
use tokio_postgres::{NoTls, SimpleQueryMessage};

/// The columns of the sample stream.
pub(crate) const COLUMNS: &str =
    "event_id, event_type, user_id, product_id, category, price, quantity, session_id, event_time";

/// Where it is measured.
pub(crate) struct Lab {
    bekk: PathBuf,
    dir: PathBuf,
    _temporary: Option<TempDir>,
    pub(crate) server: Server,
    runtime: Runtime,
    client: tokio_postgres::Client,
}

impl Lab {
    pub(crate) fn new(bekk: &Path, dir: Option<&Path>) -> Result<Self> {
        let bekk = fs::canonicalize(bekk).with_context(|| {
            format!("find `{}`; build it: cargo build --release", bekk.display())
        })?;
        let temporary = if dir.is_none() {
            Some(TempDir::with_prefix("bekk-bench-")?)
        } else {
            None
        };
        let dir = dir
            .or(temporary.as_ref().map(TempDir::path))
            .expect("one of the two")
            .to_owned();
        fs::create_dir_all(dir.join("data"))?;
        let server = Server::temporary()?;
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()?;
        let (client, connection) =
            runtime.block_on(tokio_postgres::connect(&server.url(), NoTls))?;
        runtime.spawn(connection);
        let lab = Self {
            bekk,
            dir,
            _temporary: temporary,
            server,
            runtime,
            client,
        };
        println!(
            "machine: {}, PostgreSQL {}",
            machine(),
            lab.one("SHOW server_version")?
        );
        Ok(lab)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// The binary, to be run in the lab's directory on the lab's server.
    pub(crate) fn bekk(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.bekk);
        command
            .current_dir(&self.dir)
            .args(arguments)
            .env("DATABASE_URL", self.server.url());
        command
    }

    /// psql on the lab's server.
    pub(crate) fn psql(&self) -> Command {
        let mut command = Command::new(self.server.bin_dir().join("psql"));
        command
            .arg("-Xq")
            .env("PGHOST", self.server.host())
            .env("PGPORT", self.server.port().to_string());
        command
            .env("PGUSER", self.server.user())
            .env("PGPASSWORD", self.server.password());
        command.env("PGDATABASE", self.server.database());
        command
    }

    /// Writes generated files to the inbox, the same for the same numbers.
    pub(crate) fn generate(&self, rows: u64, files: u32) -> Result<()> {
        let plan = Plan {
            events: Events {
                seed: 7,
                ..Events::new(7)
            },
            out: self.path("data"),
            rows,
            files,
        };
        bekk_generator::generate_files(&plan, &AtomicBool::new(false), |_, _| {})?;
        Ok(())
    }

    /// Forgets what was ingested and applied; the tables stay, empty.
    pub(crate) fn reset(&self) -> Result<()> {
        let _ = fs::remove_dir_all(self.path(".bekk"));
        self.execute("DROP SCHEMA IF EXISTS bekk CASCADE; TRUNCATE events; CHECKPOINT")
    }

    pub(crate) fn execute(&self, sql: &str) -> Result<()> {
        let executed = self.runtime.block_on(self.client.batch_execute(sql));
        executed.map_err(|error| match error.as_db_error() {
            Some(refusal) => anyhow!("{sql}: {refusal}"),
            None => anyhow!("{sql}: {error}"),
        })
    }

    /// The first column of the first row.
    pub(crate) fn one(&self, sql: &str) -> Result<String> {
        for message in self.runtime.block_on(self.client.simple_query(sql))? {
            if let SimpleQueryMessage::Row(row) = message {
                return Ok(row.get(0).unwrap_or_default().to_owned());
            }
        }
        bail!("{sql}: no row")
    }
}

/// The middle of some figures.
pub(crate) fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// The one at a share of some durations, in milliseconds.
pub(crate) fn percentile_ms(durations: &[Duration], share: f64) -> f64 {
    let mut sorted = durations.to_vec();
    sorted.sort();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "an index"
    )]
    let at = ((sorted.len() - 1) as f64 * share).round() as usize;
    sorted[at].as_secs_f64() * 1e3
}

fn machine() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = text
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .unwrap_or("unknown processor");
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    format!(
        "{cores} cores, {}",
        model.trim_start_matches([' ', '\t', ':'])
    )
}
