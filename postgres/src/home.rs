//! The directory that the caller names, and the small files in it.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::Error;
use crate::account::Account;

/// How long another process may take to start or stop the server.
const LOCK_WAIT: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(5);

/// The file of passwords, as `psql` reads it.
pub(crate) const PGPASS: &str = "pgpass";
/// The address that servers listen on.
pub(crate) const HOST: &str = "127.0.0.1";

/// Directory for clusters whose server cannot reach the named one; `/var/lib/bekk` belongs to the services' user
const ELSEWHERE: &str = "/var/lib/bekk-private";

/// The directory that the caller names.
#[derive(Debug, Clone)]
pub(crate) struct Home {
    directory: PathBuf,
}

/// The port that was wanted and the one that was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ports {
    pub(crate) wanted: u16,
    pub(crate) taken: u16,
}

impl Home {
    /// Opens the directory, making it if it is missing.
    pub(crate) fn create(directory: &Path) -> Result<Self, Error> {
        // Root's server is another user's, who has to pass through; nobody else can list what is there.
        let is_open = rustix::process::geteuid().is_root();
        let mode = if is_open { 0o711 } else { 0o700 };
        let mut new = Vec::new();
        for path in [directory.parent(), Some(directory)].into_iter().flatten() {
            if path.as_os_str() != "" && !path.exists() {
                new.push(path);
            }
            fs::create_dir_all(path).map_err(Error::io("make", path))?;
        }
        // Whatever the umask. The inner one is there first: a process that finds the outer one open, and no server in it,
        // closes it.
        for path in new.into_iter().rev() {
            let permissions = fs::Permissions::from_mode(mode);
            fs::set_permissions(path, permissions).map_err(Error::io("make", path))?;
        }
        Self::open(directory)
    }

    /// Opens a directory that exists.
    pub(crate) fn open(directory: &Path) -> Result<Self, Error> {
        let directory = directory
            .canonicalize()
            .map_err(Error::io("open", directory))?;
        Ok(Self { directory })
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Opens a lock file, not locked yet.
    pub(crate) fn lock_file(&self, name: &str) -> Result<File, Error> {
        let path = self.path(name);
        OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(&path)
            .map_err(Error::io("open", path))
    }

    /// Waits until no other process starts or looks for the server; ends when the file is dropped.
    pub(crate) fn lock_start(&self) -> Result<File, Error> {
        let file = self.lock_file("start.lock")?;
        wait_for_lock("another process that starts the server", || file.try_lock())?;
        Ok(file)
    }

    /// Where the cluster is, if one was made and is still there.
    pub(crate) fn place(&self) -> Result<Option<PathBuf>, Error> {
        let Some(text) = self.read("place")? else {
            return Ok(None);
        };
        // Relative if it is in here, so that the directory can be moved.
        let data = self.directory.join(text.trim_end());
        if data.join("PG_VERSION").is_file() {
            return Ok(Some(data));
        }
        tracing::warn!(data = %data.display(), "the cluster is gone; a start makes a new one");
        Ok(None)
    }

    /// Chooses a directory for a new cluster that the server's user can reach.
    pub(crate) fn choose_place(&self, account: &Account) -> Result<PathBuf, Error> {
        if account.reaches(&self.directory) {
            return Ok(self.directory.clone());
        }
        let mut tried = vec![self.directory.display().to_string()];
        let temporary = std::env::temp_dir();
        for parent in [Path::new(ELSEWHERE), Path::new("/var/tmp"), &temporary] {
            match self.make_place(parent) {
                Ok(place) if account.reaches(&place) => return Ok(place),
                // It is empty and ours; if it stays, it does no harm.
                Ok(place) => drop(fs::remove_dir_all(place)),
                Err(error) => tracing::debug!(parent = %parent.display(), %error, "no place"),
            }
            tried.push(parent.display().to_string());
        }
        Err(Error::NoPlace {
            user: account.name().to_owned(),
            tried: tried.join(", "),
        })
    }

    /// Makes a directory of a new name, as one of an earlier `self` may hold someone's data still, and
    /// notes in it to whom it belongs.
    fn make_place(&self, parent: &Path) -> io::Result<PathBuf> {
        if parent == Path::new(ELSEWHERE) && !parent.exists() {
            fs::create_dir_all(parent)?;
            fs::set_permissions(parent, fs::Permissions::from_mode(0o755))?;
        }
        let place = tempfile::Builder::new()
            .prefix("bekk-postgres-")
            .tempdir_in(parent)?
            .keep();
        fs::set_permissions(&place, fs::Permissions::from_mode(0o755))?;
        fs::write(
            place.join("belongs-to"),
            format!("{}\n", self.directory.display()),
        )?;
        place.canonicalize()
    }

    /// Remembers where the cluster is.
    pub(crate) fn remember_place(&self, data: &Path) -> Result<(), Error> {
        let place = data.strip_prefix(&self.directory).unwrap_or(data);
        self.write_private("place", &format!("{}\n", place.display()))
    }

    /// The ports of the last start, if they can be read.
    pub(crate) fn ports(&self) -> Option<Ports> {
        let text = self.read("port").ok()??;
        let (wanted, taken) = text.trim_end().split_once(' ')?;
        Some(Ports {
            wanted: wanted.parse().ok()?,
            taken: taken.parse().ok()?,
        })
    }

    /// Remembers the ports for the next start.
    pub(crate) fn remember_ports(&self, ports: Ports) -> Result<(), Error> {
        self.write_private("port", &format!("{} {}\n", ports.wanted, ports.taken))
    }

    /// The password of a user; a new one, remembered, if none is known.
    pub(crate) fn password_of(&self, user: &str) -> Result<String, Error> {
        let known = self.passwords()?;
        if let Some((_, password)) = known.into_iter().find(|(name, _)| name == user) {
            return Ok(password);
        }
        let password = random_password()?;
        self.remember_password(user, &password)?;
        Ok(password)
    }

    /// Remembers a user's password, where `psql` finds it too.
    pub(crate) fn remember_password(&self, user: &str, password: &str) -> Result<(), Error> {
        let mut known = self.passwords()?;
        let own = (user.to_owned(), password.to_owned());
        if known.contains(&own) {
            return Ok(());
        }
        known.retain(|(name, _)| name != user);
        known.push(own);
        let escape = |text: &str| text.replace('\\', "\\\\").replace(':', "\\:");
        let lines: String = known
            .iter()
            .map(|(name, secret)| format!("{HOST}:*:*:{}:{}\n", escape(name), escape(secret)))
            .collect();
        self.write_private(PGPASS, &lines)
    }

    fn passwords(&self) -> Result<Vec<(String, String)>, Error> {
        let text = self.read(PGPASS)?.unwrap_or_default();
        Ok(text.lines().filter_map(parse_pgpass_line).collect())
    }

    /// Writes a file that only its owner can read, whole or not at all.
    pub(crate) fn write_private(&self, name: &str, text: &str) -> Result<(), Error> {
        let path = self.path(name);
        let write = || -> io::Result<()> {
            // Made with mode 0600.
            let mut file = tempfile::NamedTempFile::new_in(&self.directory)?;
            file.write_all(text.as_bytes())?;
            file.as_file().sync_all()?;
            file.persist(&path)?;
            Ok(())
        };
        write().map_err(Error::io("write", &path))
    }

    fn read(&self, name: &str) -> Result<Option<String>, Error> {
        let path = self.path(name);
        match fs::read_to_string(&path) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::io("read", path)(error)),
        }
    }
}

/// The user and the password of a line `host:port:database:user:password`, in which a backslash takes
/// away the next character's meaning.
fn parse_pgpass_line(line: &str) -> Option<(String, String)> {
    let mut fields = vec![String::new()];
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        match character {
            ':' => fields.push(String::new()),
            '\\' => fields.last_mut()?.extend(characters.next()),
            _ => fields.last_mut()?.push(character),
        }
    }
    let [_, _, _, user, password] = <[String; 5]>::try_from(fields).ok()?;
    Some((user, password))
}

/// Tries a lock until it is given or the wait has been too long.
pub(crate) fn wait_for_lock(
    what: &str,
    mut attempt: impl FnMut() -> Result<(), TryLockError>,
) -> Result<(), Error> {
    let begin = Instant::now();
    loop {
        match attempt() {
            Ok(()) => return Ok(()),
            Err(TryLockError::WouldBlock) if begin.elapsed() < LOCK_WAIT => {
                std::thread::sleep(POLL);
            }
            Err(TryLockError::WouldBlock) => {
                return Err(Error::Timeout {
                    what: what.to_owned(),
                    seconds: LOCK_WAIT.as_secs(),
                });
            }
            Err(TryLockError::Error(error)) => return Err(Error::io("lock", what)(error)),
        }
    }
}

/// 192 random bits as 48 hexadecimal digits.
fn random_password() -> Result<String, Error> {
    let source = Path::new("/dev/urandom");
    let mut bytes = [0u8; 24];
    File::open(source)
        .and_then(|mut file| file.read_exact(&mut bytes))
        .map_err(Error::io("read", source))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
