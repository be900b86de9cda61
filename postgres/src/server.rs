//! The server as its users see it.

use std::fmt;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Pid, Signal};
use tempfile::TempDir;

use crate::account::Account;
use crate::cluster::{ADMIN, Cluster};
use crate::home::{HOST, Home, PGPASS, Ports};
use crate::postmaster::{self, State};
use crate::users::{self, Left, User};
use crate::{Binaries, Error};

const NAME_BYTES_MAX: usize = 63;
const PASSWORD_BYTES_MAX: usize = 1_000;

/// What server is wanted.
#[derive(Clone, PartialEq, Eq)]
pub struct Options {
    /// The directory for the cluster and all that belongs to it; made if it is missing.
    pub directory: PathBuf,
    /// The port wanted; if it is taken, the next free one; 0 for any. Remembered.
    pub port: u16,
    /// The user to make, a superuser of this server.
    pub user: String,
    /// Its password; if absent, the one it had, and a random one at first.
    pub password: Option<String>,
    /// The database to make.
    pub database: String,
    /// The directory of PostgreSQL's programs; looked for if absent.
    pub bin_dir: Option<PathBuf>,
}

impl Default for Options {
    /// `.bekk/postgres`, port 5433, user `bekk`, database `ecommerce_db`.
    fn default() -> Self {
        Self {
            directory: PathBuf::from(".bekk/postgres"),
            port: 5433,
            user: "bekk".to_owned(),
            password: None,
            database: "ecommerce_db".to_owned(),
            bin_dir: None,
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("directory", &self.directory)
            .field("port", &self.port)
            .field("user", &self.user)
            .field("database", &self.database)
            .field("bin_dir", &self.bin_dir)
            .finish_non_exhaustive()
    }
}

/// A running server, and our share in it; when it is dropped, and nobody else uses it, it stops.
pub struct Server {
    cluster: Cluster,
    home: Home,
    port: u16,
    user: String,
    password: String,
    database: String,
    started: bool,
    share: Option<User>,
    temporary: Option<TempDir>,
}

/// What became of a server that we left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stopped {
    /// It has stopped.
    Yes,
    /// It runs on, as another process uses it.
    StillUsed,
}

impl Server {
    /// Finds the server of a directory running, or starts it, making the cluster, the user and the
    /// database where they are missing.
    ///
    /// # Errors
    ///
    /// Any [`Error`]; those that a person can mend say how.
    pub fn start(options: &Options) -> Result<Self, Error> {
        check_options(options)?;
        let home = Home::create(&options.directory)?;
        Self::start_in(home, options, &[], None)
    }

    /// Finds the server of a directory if it runs, and does not start it.
    ///
    /// # Errors
    ///
    /// As for [`Server::start`].
    pub fn find(options: &Options) -> Result<Option<Self>, Error> {
        check_options(options)?;
        if !options.directory.is_dir() {
            return Ok(None);
        }
        let home = Home::open(&options.directory)?;
        let running = {
            let _lock = home.lock_start()?;
            match home.place()? {
                Some(data) => postmaster::state(&data) != State::Stopped,
                None => false,
            }
        };
        // Should its last user leave at this moment, it is started again, which does no harm.
        running
            .then(|| Self::start_in(home, options, &[], None))
            .transpose()
    }

    /// Whether the server of a directory runs and is not stopping. Neither joins nor starts it.
    ///
    /// # Errors
    ///
    /// As for [`Server::start`].
    pub fn runs(options: &Options) -> Result<bool, Error> {
        if !options.directory.is_dir() {
            return Ok(false);
        }
        let data = Home::open(&options.directory)?.place()?;
        Ok(data.is_some_and(|data| match postmaster::state(&data) {
            State::Stopped => false,
            State::Busy { stopping, .. } => !stopping,
            State::Ready { .. } => true,
        }))
    }

    /// Starts a server of our own in a temporary directory, on any free port; it and its data are
    /// gone with this value, or soon after this process if that is killed.
    ///
    /// # Errors
    ///
    /// As for [`Server::start`].
    pub fn temporary() -> Result<Self, Error> {
        Self::temporary_with(&[])
    }

    /// As [`Server::temporary`], with settings such as `("fsync", "off")` or `("max_wal_size", "4GB")`.
    ///
    /// # Errors
    ///
    /// As for [`Server::start`].
    pub fn temporary_with(settings: &[(&str, &str)]) -> Result<Self, Error> {
        let account = Account::for_new()?;
        let directory = temporary_directory(&account)?;
        let home = Home::open(directory.path())?;
        let options = Options {
            directory: directory.path().to_owned(),
            port: 0,
            ..Options::default()
        };
        let settings: Vec<_> = settings
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        Self::start_in(home, &options, &settings, Some(directory))
    }

    fn start_in(
        home: Home,
        options: &Options,
        settings: &[(String, String)],
        temporary: Option<TempDir>,
    ) -> Result<Self, Error> {
        let _starting = home.lock_start()?;
        let share = User::join(&home)?;
        let sync = temporary.is_none();
        let cluster = Cluster::open(&home, options.bin_dir.as_deref(), settings, sync)?;
        // Before the launch, so that no server is left alone if we are killed in between.
        users::watch(
            &home.path(""),
            &cluster.data,
            if sync { "INT" } else { "QUIT" },
            temporary.as_ref().map(TempDir::path),
        );
        let password = match &options.password {
            Some(password) => password.clone(),
            None => home.password_of(&options.user)?,
        };
        let mut server = Self {
            cluster,
            home,
            port: 0,
            user: options.user.clone(),
            password,
            database: options.database.clone(),
            started: false,
            share: Some(share),
            temporary,
        };
        server.launch(options.port)?;
        server.cluster.set_up(
            server.port,
            &server.user,
            &server.password,
            &server.database,
        )?;
        Ok(server)
    }

    fn launch(&mut self, wanted: u16) -> Result<(), Error> {
        if let State::Ready { pid, port } = self.cluster.settled_state()? {
            tracing::info!(%pid, port, "found PostgreSQL running");
            self.port = port;
            return Ok(());
        }
        let remembered = self.home.ports().filter(|ports| ports.wanted == wanted);
        let preferred = remembered.map(|ports| ports.taken);
        let taken = self.cluster.launch_on_any(preferred, wanted)?;
        self.port = taken;
        self.started = true;
        self.home.remember_ports(Ports { wanted, taken })
    }

    /// Always the loopback address.
    #[must_use]
    pub fn host(&self) -> &str {
        HOST
    }

    /// The port it listens on.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The user that was made.
    #[must_use]
    pub fn user(&self) -> &str {
        &self.user
    }

    /// The user's password.
    #[must_use]
    pub fn password(&self) -> &str {
        &self.password
    }

    /// The database that was made.
    #[must_use]
    pub fn database(&self) -> &str {
        &self.database
    }

    /// The connection's address with the password in it: not for display.
    #[must_use]
    pub fn url(&self) -> String {
        format!(
            "postgresql://{}:{}@{HOST}:{}/{}?sslmode=disable",
            percent_encode(&self.user),
            percent_encode(&self.password),
            self.port,
            percent_encode(&self.database),
        )
    }

    /// Where the cluster is; elsewhere than in the directory named if the server's user cannot reach that.
    #[must_use]
    pub fn data_dir(&self) -> &Path {
        &self.cluster.data
    }

    /// PostgreSQL's programs, `psql` among them.
    #[must_use]
    pub fn binaries(&self) -> &Binaries {
        &self.cluster.binaries
    }

    /// The directory of PostgreSQL's programs.
    #[must_use]
    pub fn bin_dir(&self) -> &Path {
        self.cluster.binaries.directory()
    }

    /// A file for `PGPASSFILE`, with which `psql` asks for no password.
    #[must_use]
    pub fn pgpass(&self) -> PathBuf {
        self.home.path(PGPASS)
    }

    /// What the server writes to its standard error.
    #[must_use]
    pub fn log_file(&self) -> PathBuf {
        self.home.path("server.log")
    }

    /// Whether we started it; if not, it was running.
    #[must_use]
    pub fn started(&self) -> bool {
        self.started
    }

    /// The server's process id, if it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.running()
            .map(|pid| pid.as_raw_nonzero().get().unsigned_abs())
    }

    fn running(&self) -> Option<Pid> {
        match postmaster::state(&self.cluster.data) {
            State::Stopped => None,
            State::Busy { pid, .. } | State::Ready { pid, .. } => Some(pid),
        }
    }

    /// Starts the server again, on its port if that is free, if it has gone while we use it.
    ///
    /// # Errors
    ///
    /// As for [`Server::start`].
    pub fn ensure_running(&mut self) -> Result<(), Error> {
        let _starting = self.home.lock_start()?;
        let wanted = self.home.ports().map_or(self.port, |ports| ports.wanted);
        self.launch(wanted)
    }

    /// Kills the server and its backends, as a power cut of theirs would: for tests.
    pub fn kill(&self) {
        if let Some(pid) = self.running() {
            postmaster::kill_all(pid);
        }
    }

    /// Stops the server cleanly and leaves it so until [`Server::restart`]: for tests.
    ///
    /// # Errors
    ///
    /// [`Error::Timeout`] if it does not stop.
    pub fn pause(&self) -> Result<(), Error> {
        self.cluster.stop(Signal::INT)
    }

    /// Stops the server if it runs, and starts it again on the same port: for tests.
    ///
    /// # Errors
    ///
    /// As for [`Server::start`]; [`Error::NoPort`] if its port has been taken meanwhile.
    pub fn restart(&self) -> Result<(), Error> {
        let _starting = self.home.lock_start()?;
        self.cluster.stop(Signal::INT)?;
        self.cluster.launch_again(self.port)
    }

    /// Leaves the server, and stops it if nobody else uses it.
    ///
    /// # Errors
    ///
    /// [`Error::Timeout`] if it does not stop.
    pub fn stop(mut self) -> Result<Stopped, Error> {
        self.leave()
    }

    fn leave(&mut self) -> Result<Stopped, Error> {
        let Some(share) = self.share.take() else {
            return Ok(Stopped::Yes);
        };
        let how = if self.temporary.is_some() {
            Signal::QUIT
        } else {
            Signal::INT
        };
        match share.leave() {
            Left::InUse => return Ok(Stopped::StillUsed),
            Left::Last(_lock) => self.cluster.stop(how)?,
            Left::WatcherStops => {
                if let Some(pid) = self.running() {
                    postmaster::wait_gone(pid, Duration::from_secs(60));
                }
            }
        }
        Ok(Stopped::Yes)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Err(error) = self.leave() {
            tracing::warn!(%error, "the server was not stopped");
        }
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("host", &HOST)
            .field("port", &self.port)
            .field("user", &self.user)
            .field("database", &self.database)
            .field("data_dir", &self.cluster.data)
            .field("started", &self.started)
            .finish_non_exhaustive()
    }
}

/// A temporary directory that the server's user can reach.
fn temporary_directory(account: &Account) -> Result<TempDir, Error> {
    let parents = [std::env::temp_dir(), "/tmp".into(), "/var/tmp".into()];
    for parent in &parents {
        let made = tempfile::Builder::new()
            .prefix("bekk-postgres-")
            .tempdir_in(parent)
            .and_then(|directory| {
                fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755))?;
                Ok(directory)
            });
        match made {
            Ok(directory) if account.reaches(directory.path()) => return Ok(directory),
            Ok(_) => {}
            Err(error) => tracing::debug!(parent = %parent.display(), %error, "no place"),
        }
    }
    Err(Error::NoPlace {
        user: account.name().to_owned(),
        tried: parents.map(|path| path.display().to_string()).join(", "),
    })
}

fn check_options(options: &Options) -> Result<(), Error> {
    let check = |what, text: &str, max| {
        if text.is_empty() || text.len() > max || text.contains(['\n', '\r', '\0']) {
            return Err(Error::BadSetting { what, max });
        }
        Ok(())
    };
    if options.user == ADMIN {
        return Err(Error::ReservedName(ADMIN));
    }
    check("the user's name", &options.user, NAME_BYTES_MAX)?;
    check("the database's name", &options.database, NAME_BYTES_MAX)?;
    match &options.password {
        Some(password) => check("the password", password, PASSWORD_BYTES_MAX),
        None => Ok(()),
    }
}

fn percent_encode(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded += &format!("%{byte:02X}");
        }
    }
    encoded
}
