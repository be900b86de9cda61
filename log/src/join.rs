//! Sharing a log's directory: the holder of its lock owns the log and serves the others, its guests.
//!
//! The owner serves on a port of the loopback interface and leaves the address and a token in `DIR/owner`,
//! which only its user can read. A guest sends nothing before the owner has proved that it knows the token. It watches the lock and that file; when the owner goes it gives its
//! client up, and joins anew: as owner or as the guest of another. The lock is never broken.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustix::fs::OFlags;
use uuid::Uuid;

use crate::client::StopHost;
use crate::files::private;
use crate::guest_token::GuestToken;
use crate::owner::Owner;
use crate::owner_watch::{OwnerWatch, has_gone, owner_path, read_owner};
use crate::relay::Relay;
use crate::remote::Remote;
use crate::serve::CONNECTIONS_MAX;
use crate::{Client, Config, Credentials, Error, RemoteConfig, ServeConfig, Server, files};

/// How long to wait before the lock is tried again.
const RETRY_EVERY: Duration = Duration::from_millis(100);
/// How often the caller is asked whether to go on waiting.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// How long an owner may take to answer a guest that comes.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Under which name guests authenticate.
const GUEST: &str = "guest";

/// What a process wants to be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wish {
    /// The owner if nobody is, else a guest.
    Any,
    Owner,
    /// The owner without guests if nobody is, else a guest: for a moment, after which a process that waits is the owner.
    Glance,
}

impl Client {
    /// Shares the log in a directory with other processes: the first one owns it and serves the others, which
    /// are its guests. An owner that goes is succeeded by whoever joins next; a guest notices within a moment,
    /// and its calls fail with [`Error::Away`].
    ///
    /// Waits while another process opens the log, and calls `waiting` each second with what it waits for and how
    /// long it has; gives up when that returns `false`.
    ///
    /// # Errors
    /// [`Error::Locked`] if it gave up; others if the log cannot be read, or is another than its owner says.
    pub fn join(
        config: Config,
        waiting: &mut dyn FnMut(&Error, Duration) -> bool,
    ) -> Result<Self, Error> {
        join(config, Wish::Any, waiting)
    }

    /// The same for a process that looks at the log for a moment. While it is the owner it has no guests: a service that
    /// starts meanwhile waits for that moment, and does not begin as the guest of a process that is about to end.
    ///
    /// # Errors
    /// As [`Self::join`].
    pub fn glance(
        config: Config,
        waiting: &mut dyn FnMut(&Error, Duration) -> bool,
    ) -> Result<Self, Error> {
        join(config, Wish::Glance, waiting)
    }

    /// The same for a process that must be the owner: it waits until there is no other.
    ///
    /// # Errors
    /// As [`Self::join`].
    pub fn own(
        config: Config,
        waiting: &mut dyn FnMut(&Error, Duration) -> bool,
    ) -> Result<Self, Error> {
        join(config, Wish::Owner, waiting)
    }
}

/// Joins as owner or guest, waiting while another process opens the log.
fn join(
    config: Config,
    wish: Wish,
    waiting: &mut dyn FnMut(&Error, Duration) -> bool,
) -> Result<Client, Error> {
    let begun = Instant::now();
    let mut asked = begun;
    loop {
        let locked = match Client::open(config.clone()) {
            Ok(client) if wish == Wish::Glance => return Ok(client),
            Ok(client) => {
                client.set_host(host(&client, &config.dir)?);
                return Ok(client);
            }
            Err(error @ Error::Locked { .. }) => error,
            Err(error) => return Err(error),
        };
        if wish != Wish::Owner
            && let Some(owner) = read_owner(&config.dir)
            && let Some(client) = visit(owner, &config.dir)?
        {
            return Ok(client);
        }
        if asked.elapsed() >= ASK_EVERY {
            asked = Instant::now();
            if !waiting(&locked, begun.elapsed()) {
                return Err(locked);
            }
        }
        thread::sleep(RETRY_EVERY);
    }
}

/// Becomes the owner's guest; `None` if it does not answer: it may have gone, or not be ready.
fn visit(owner: Owner, dir: &Path) -> Result<Option<Client>, Error> {
    let relay = match Relay::start(owner.address, GuestToken::new(owner.token.clone())) {
        Ok(relay) => relay,
        Err(error) => {
            tracing::debug!(%error, "the log's owner does not answer");
            return Ok(None);
        }
    };
    let mut config = RemoteConfig::new(relay.local_addr().to_string());
    let properties = [
        ("security.protocol", "SASL_PLAINTEXT"),
        ("sasl.mechanism", "PLAIN"),
        ("sasl.username", GUEST),
        ("sasl.password", &owner.token),
        ("broker.address.family", "v4"),
    ];
    for (key, value) in properties {
        config.properties.insert(key.to_owned(), value.to_owned());
    }
    let remote = match Remote::connect(config, CONNECT_TIMEOUT, &|| has_gone(dir, &owner)) {
        Ok(remote) => remote,
        Err(Error::Away { .. }) => return Ok(None),
        Err(error) => return Err(error),
    };
    if remote.log_id() != owner.log_id {
        return Err(Error::OtherLog {
            path: dir.to_owned(),
            found: remote.log_id(),
            expected: owner.log_id,
        });
    }
    let remote = Arc::new(remote);
    let watch = OwnerWatch::start(dir, owner, Arc::clone(&remote), relay)?;
    Ok(Some(Client::of_guest(remote, watch)))
}

/// Writes `DIR/owner`. On a full disk the file of an owner that was killed is written over, which takes no space; a guest
/// that reads it in between cannot prove itself, and tries again.
fn write_owner(owner: &Owner, dir: &Path) -> Result<(), Error> {
    match write_anew(owner, dir) {
        Err(error) if error.is_no_space() => overwrite(owner, dir).map_err(|_| error),
        done => done,
    }
}

fn overwrite(owner: &Owner, dir: &Path) -> std::io::Result<()> {
    let file = OpenOptions::new()
        .write(true)
        .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
        .open(owner_path(dir))?;
    if !private::is_ours(&file.metadata()?) {
        return Err(std::io::ErrorKind::PermissionDenied.into());
    }
    let text = owner.to_text();
    file.write_all_at(text.as_bytes(), 0)?;
    file.set_len(text.len() as u64)
}

fn write_anew(owner: &Owner, dir: &Path) -> Result<(), Error> {
    let path = owner_path(dir);
    let beside = files::temporary_name(&path);
    let failed = |source| files::io_error("write", &beside, source);
    // Not one that somebody else may have made, with other permissions.
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(failed(error));
        }
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&beside)
        .map_err(failed)?;
    file.write_all(owner.to_text().as_bytes()).map_err(failed)?;
    files::replace(&beside, &path).map_err(|source| files::io_error("write", &path, source))
}

/// Starts the owner's server for guests; returns what ends it.
fn host(client: &Client, dir: &Path) -> Result<StopHost, Error> {
    let token = format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple());
    let mut config = ServeConfig::new(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
    config.credentials = Some(Credentials {
        username: GUEST.to_owned(),
        password: token.clone(),
    });
    config.guests = Some(GuestToken::new(token.clone()));
    // Guests are programs of our own user, and not bounded for the sake of the log's files.
    config.connections_max = CONNECTIONS_MAX;
    let server = Server::start(client.without_host(), config)?;
    let owner = Owner {
        address: server.local_addr(),
        token,
        log_id: client.log_id(),
        pid: std::process::id(),
    };
    let has_stopped = Arc::new(Mutex::new(false));
    match write_owner(&owner, dir) {
        Err(error) if error.is_no_space() => {
            tracing::warn!(%error, "the log's disk is full; other processes cannot use the log until there is space");
            write_owner_later(owner, dir, &has_stopped)?;
        }
        done => done?,
    }
    let owner_path = owner_path(dir);
    Ok(Box::new(move || {
        *has_stopped.lock() = true;
        // If it stays, guests find that nobody answers.
        let _ = fs::remove_file(&owner_path);
        server.stop();
    }))
}

/// Tries to write `DIR/owner` until there is space for it, or the server for guests has stopped.
fn write_owner_later(owner: Owner, dir: &Path, stopped: &Arc<Mutex<bool>>) -> Result<(), Error> {
    let (stopped, path) = (Arc::downgrade(stopped), dir.to_owned());
    let write = move || {
        loop {
            thread::sleep(ASK_EVERY);
            let Some(stopped) = stopped.upgrade() else {
                return;
            };
            // Held meanwhile, so that the file is not written after it was removed.
            let has_stopped = stopped.lock();
            if *has_stopped {
                return;
            }
            match write_owner(&owner, &path) {
                Ok(()) => return tracing::info!("other processes can use the log again"),
                Err(error) => tracing::debug!(%error, "the log's owner is not named yet"),
            }
        }
    };
    let thread = thread::Builder::new().name("owner-file".to_owned());
    let started = thread.spawn(write).map(|_| ());
    started.map_err(|source| files::io_error("start a thread for", dir, source))
}
