//! A cluster: made by `initdb`, served by `postgres`, set up through `psql`.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

use crate::account::{Account, clean_command};
use crate::home::{HOST, Home, PGPASS};
use crate::postmaster::{self, POLL, State};
use crate::{Binaries, Error};

/// The role that owns the cluster; it sets up the caller's user and database.
pub(crate) const ADMIN: &str = "bekk_admin";

/// The number of the advisory lock that is held while user and database are made.
const SET_UP_LOCK: u64 = 5_433;
/// How many ports are tried, from the wanted one.
const PORTS_TRIED: u16 = 100;
/// Recovery after a crash may read gigabytes of WAL.
const START_WAIT: Duration = Duration::from_secs(600);
/// A fast shutdown writes a checkpoint; after this long it is made an immediate one.
const STOP_WAIT: Duration = Duration::from_secs(60);
/// Backends of a killed server notice within moments that it is gone.
const ORPHANS_WAIT: Duration = Duration::from_secs(30);
/// How long a port that is to be kept may be taken.
const PORT_WAIT: Duration = Duration::from_secs(20);
const LOG_BYTES_MAX: u64 = 16 * 1024 * 1024;
const LOG_TAIL_LINES: usize = 8;

/// A cluster on disk, and what serves it.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) data: PathBuf,
    pub(crate) binaries: Binaries,
    account: Account,
    home: Home,
    /// Given to the server as `-c name=value`.
    settings: Vec<(String, String)>,
}

/// Why a launch failed.
enum Launch {
    PortTaken,
    /// Backends of a killed server still hold its shared memory.
    Orphans(Error),
    Failed(Error),
}

impl Cluster {
    /// Opens the cluster of a home and creates it if it does not exist.
    pub(crate) fn open(
        home: &Home,
        bin_dir: Option<&Path>,
        settings: &[(String, String)],
        sync: bool,
    ) -> Result<Self, Error> {
        let (data, account, binaries) = match home.place()? {
            Some(data) => {
                let account = Account::for_existing(&data)?;
                let binaries = match bin_dir {
                    Some(directory) => Binaries::in_directory(directory)?,
                    None => Binaries::find_for(&data, major_version(&data)?)?,
                };
                (data, account, binaries)
            }
            None => {
                let binaries = match bin_dir {
                    Some(directory) => Binaries::in_directory(directory)?,
                    None => Binaries::find()?,
                };
                let account = Account::for_new()?;
                let data = create(home, &account, &binaries, sync)?;
                (data, account, binaries)
            }
        };
        Ok(Self {
            data,
            binaries,
            account,
            home: home.clone(),
            settings: settings.to_vec(),
        })
    }

    /// What its server does, once it neither starts nor stops.
    pub(crate) fn settled_state(&self) -> Result<State, Error> {
        let begin = Instant::now();
        loop {
            let state = postmaster::state(&self.data);
            if !matches!(state, State::Busy { .. }) {
                return Ok(state);
            }
            if begin.elapsed() > START_WAIT {
                return Err(Error::Timeout {
                    what: format!("the server of `{}`", self.data.display()),
                    seconds: START_WAIT.as_secs(),
                });
            }
            std::thread::sleep(POLL);
        }
    }

    /// Starts the server on the first of the ports that is free, and waits until it takes connections.
    pub(crate) fn launch_on_any(&self, preferred: Option<u16>, wanted: u16) -> Result<u16, Error> {
        postmaster::remove_stale_file(&self.data)?;
        let last = wanted.saturating_add(PORTS_TRIED - 1);
        // Port 0 is any free one, a new one with each attempt.
        let tries: Vec<u16> = if wanted == 0 {
            vec![0; PORTS_TRIED.into()]
        } else {
            (wanted..=last).collect()
        };
        for port in preferred.into_iter().chain(tries) {
            if let Some(port) = free_port(port)
                && self.launch_on(port)?
            {
                return Ok(port);
            }
        }
        Err(Error::NoPort {
            from: wanted,
            to: last,
        })
    }

    /// Starts the server on the port it had, which others may take for a moment.
    pub(crate) fn launch_again(&self, port: u16) -> Result<(), Error> {
        postmaster::remove_stale_file(&self.data)?;
        let begin = Instant::now();
        while begin.elapsed() < PORT_WAIT {
            if free_port(port).is_some() && self.launch_on(port)? {
                return Ok(());
            }
            std::thread::sleep(POLL);
        }
        Err(Error::NoPort {
            from: port,
            to: port,
        })
    }

    /// Starts the server and waits until it takes connections; returns whether the port was free.
    fn launch_on(&self, port: u16) -> Result<bool, Error> {
        let begin = Instant::now();
        loop {
            match self.launch(port) {
                Ok(()) => return Ok(true),
                Err(Launch::PortTaken) => return Ok(false),
                Err(Launch::Orphans(_)) if begin.elapsed() < ORPHANS_WAIT => {
                    std::thread::sleep(POLL * 20);
                }
                Err(Launch::Orphans(error) | Launch::Failed(error)) => return Err(error),
            }
        }
    }

    fn launch(&self, port: u16) -> Result<(), Launch> {
        let (log, log_start) = self.open_log().map_err(Launch::Failed)?;
        let program = self.binaries.program("postgres");
        let mut command = self.account.command(&program);
        command.arg("-D").arg(&self.data);
        let fixed = [
            ("listen_addresses", HOST),
            ("port", &port.to_string()),
            ("unix_socket_directories", ""),
        ];
        let own = self.settings.iter().map(|(n, v)| (n.as_str(), v.as_str()));
        for (name, value) in fixed.into_iter().chain(own) {
            command.arg("-c").arg(format!("{name}={value}"));
        }
        let stdout = log.try_clone().map_err(|error| {
            Launch::Failed(Error::io("open", self.home.path("server.log"))(error))
        })?;
        let mut child = command
            .stdout(stdout)
            .stderr(log)
            // Away from the terminal's foreground group: Ctrl-C is for Bekk, which stops it afterwards.
            .process_group(0)
            .spawn()
            .map_err(|error| Launch::Failed(Error::io("run", program)(error)))?;
        let pid = Pid::from_child(&child);
        // Waited for at once, so that no zombie looks like a running server.
        std::thread::spawn(move || child.wait());
        self.wait_ready(pid, log_start)?;
        tracing::info!(%pid, port, data = %self.data.display(), "started PostgreSQL");
        Ok(())
    }

    fn wait_ready(&self, pid: Pid, log_start: u64) -> Result<(), Launch> {
        let begin = Instant::now();
        loop {
            match postmaster::state(&self.data) {
                State::Ready { pid: ready, .. } if ready == pid => return Ok(()),
                _ if !postmaster::is_alive(pid) => break,
                _ if begin.elapsed() > START_WAIT => {
                    return Err(Launch::Failed(Error::Timeout {
                        what: format!("the server of `{}` to start", self.data.display()),
                        seconds: START_WAIT.as_secs(),
                    }));
                }
                _ => std::thread::sleep(POLL),
            }
        }
        let said = self.log_since(log_start);
        let lines: Vec<&str> = said.trim().lines().collect();
        let tail = &lines[lines.len().saturating_sub(LOG_TAIL_LINES)..];
        let error = Error::NotStarted {
            log: self.home.path("server.log"),
            tail: tail.join(" | "),
        };
        Err(if said.contains("could not bind") {
            Launch::PortTaken
        } else if said.contains("pre-existing shared memory block") {
            Launch::Orphans(error)
        } else {
            Launch::Failed(error)
        })
    }

    fn open_log(&self) -> Result<(File, u64), Error> {
        let path = self.home.path("server.log");
        if fs::metadata(&path).is_ok_and(|metadata| metadata.len() > LOG_BYTES_MAX) {
            fs::rename(&path, self.home.path("server.log.1"))
                .map_err(Error::io("rename", &path))?;
        }
        let mut log = OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(&path)
            .map_err(Error::io("open", &path))?;
        let end = log
            .seek(SeekFrom::End(0))
            .map_err(Error::io("open", &path))?;
        Ok((log, end))
    }

    fn log_since(&self, start: u64) -> String {
        let mut text = Vec::new();
        let read = File::open(self.home.path("server.log")).and_then(|mut file| {
            file.seek(SeekFrom::Start(start))?;
            file.read_to_end(&mut text)
        });
        if let Err(error) = read {
            return format!("(not readable: {error})");
        }
        String::from_utf8_lossy(&text).into_owned()
    }

    /// Stops the server, rolling back what is open; at once if that takes too long.
    pub(crate) fn stop(&self, first: Signal) -> Result<(), Error> {
        for how in [first, Signal::QUIT] {
            let pid = match postmaster::state(&self.data) {
                State::Stopped => return Ok(()),
                State::Busy { pid, .. } | State::Ready { pid, .. } => pid,
            };
            postmaster::signal(pid, how);
            if postmaster::wait_gone(pid, STOP_WAIT) {
                return Ok(());
            }
        }
        Err(Error::Timeout {
            what: format!("the server of `{}` to stop", self.data.display()),
            seconds: STOP_WAIT.as_secs() * 2,
        })
    }

    /// Makes the user and the database if they are missing, and gives the user its password.
    pub(crate) fn set_up(
        &self,
        port: u16,
        user: &str,
        password: &str,
        database: &str,
    ) -> Result<(), Error> {
        self.home.remember_password(user, password)?;
        if self
            .psql(port, user, database, "SELECT 1")?
            .status
            .success()
        {
            return Ok(());
        }
        let role = quote_identifier(user);
        let base = quote_identifier(database);
        // Of a role `bekk`, schema `bekk` would come first in the search path, and what a person makes in
        // psql would land there.
        // What fails is logged by the server with its text, except at this level. The lock is for the
        // `psql` of a process that was killed, which may still be at the same work.
        let script = format!(
            "SET log_min_error_statement = panic;\n\
             SELECT pg_advisory_lock({SET_UP_LOCK});\n\
             SELECT {create_role} WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = {user}) \\gexec\n\
             ALTER ROLE {role} LOGIN SUPERUSER PASSWORD {password};\n\
             ALTER ROLE {role} SET search_path = public;\n\
             SELECT {create_base} WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = {database}) \\gexec\n",
            create_role = quote_literal(&format!("CREATE ROLE {role}")),
            user = quote_literal(user),
            password = quote_literal(password),
            create_base = quote_literal(&format!("CREATE DATABASE {base} OWNER {role}")),
            database = quote_literal(database),
        );
        for (as_user, in_database, script) in [
            (ADMIN, "postgres", script.as_str()),
            (user, database, "SELECT 1"),
        ] {
            let output = self.psql(port, as_user, in_database, script)?;
            if !output.status.success() {
                return Err(program_failed(&self.binaries.program("psql"), &output));
            }
        }
        Ok(())
    }

    fn psql(&self, port: u16, user: &str, database: &str, script: &str) -> Result<Output, Error> {
        let program = self.binaries.program("psql");
        let mut command = clean_command(&program);
        command
            .args(["-X", "-q", "-A", "-t", "-w", "-v", "ON_ERROR_STOP=1"])
            .args(["-h", HOST, "-p", &port.to_string()])
            .args(["-U", user, "-d", database])
            .env("PGPASSFILE", self.home.path(PGPASS))
            .env("PGSSLMODE", "disable")
            .env("PGCLIENTENCODING", "UTF8");
        run_with_input(&mut command, script).map_err(Error::io("run", program))
    }
}

/// Makes a cluster under another name and renames it, so that a kill leaves none that is half made.
fn create(
    home: &Home,
    account: &Account,
    binaries: &Binaries,
    sync: bool,
) -> Result<PathBuf, Error> {
    let place = home.choose_place(account)?;
    let data = place.join("data");
    tracing::info!(data = %data.display(), user = account.name(), "making a PostgreSQL cluster");
    let new = tempfile::Builder::new()
        .prefix("new-")
        .permissions(fs::Permissions::from_mode(0o700))
        .tempdir_in(&place)
        .map_err(Error::io("make a directory in", &place))?;
    account.give(new.path())?;
    let mut pwfile =
        tempfile::NamedTempFile::new_in(&place).map_err(Error::io("make a file in", &place))?;
    writeln!(pwfile, "{}", home.password_of(ADMIN)?).map_err(Error::io("write", pwfile.path()))?;
    account.give(pwfile.path())?;

    let program = binaries.program("initdb");
    // C.UTF-8 is not everywhere, C is.
    let mut output = None;
    for locale in ["C.UTF-8", "C"] {
        let mut command = account.command(&program);
        command
            .args([
                "--encoding=UTF8",
                "--auth=scram-sha-256",
                "--username",
                ADMIN,
            ])
            .arg(format!("--locale={locale}"))
            .arg("--pwfile")
            .arg(pwfile.path());
        if !sync {
            command.arg("--no-sync");
        }
        let done = command
            .arg("-D")
            .arg(new.path())
            .output()
            .map_err(Error::io("run", &program))?;
        let bad_locale = String::from_utf8_lossy(&done.stderr).contains("invalid locale");
        output = Some(done);
        if !bad_locale {
            break;
        }
    }
    let output = output.expect("the loop runs at least once");
    if !output.status.success() {
        return Err(program_failed(&program, &output));
    }
    fs::rename(new.keep(), &data).map_err(Error::io("make", &data))?;
    home.remember_place(&data)?;
    Ok(data)
}

fn major_version(data: &Path) -> Result<u32, Error> {
    let path = data.join("PG_VERSION");
    let text = fs::read_to_string(&path).map_err(Error::io("read", &path))?;
    text.trim().parse().map_err(|_| {
        Error::io("read", path)(std::io::Error::new(
            std::io::ErrorKind::InvalidData,
            format!("`{}` is no version", text.trim()),
        ))
    })
}

/// The port, if nothing listens there; for 0 any free one.
fn free_port(port: u16) -> Option<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok()?;
    Some(listener.local_addr().ok()?.port())
}

fn run_with_input(command: &mut Command, input: &str) -> std::io::Result<Output> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that ends early says why in its output.
        drop(stdin.write_all(input.as_bytes()));
    }
    child.wait_with_output()
}

fn program_failed(program: &Path, output: &Output) -> Error {
    let said = if output.stderr.is_empty() {
        &output.stdout
    } else {
        &output.stderr
    };
    Error::Program {
        program: program.display().to_string(),
        output: format!(
            "{}: {}",
            output.status,
            String::from_utf8_lossy(said).trim()
        ),
    }
}

fn quote_identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn quote_literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
