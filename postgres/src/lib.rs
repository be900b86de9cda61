//! A private PostgreSQL server: binaries of an installed PostgreSQL are found, a cluster is
//! made, started on the loopback address, shared between processes and stopped after the last one.
//!
//! The caller names a directory. In it are left:
//!
//! | file | holds |
//! |---|---|
//! | `data/` | the cluster, unless the user it must run as cannot reach the directory |
//! | `place` | where the cluster is |
//! | `port` | the port wanted and the one taken, so that it is the same next time |
//! | `pgpass` | the users' passwords, as `psql` reads them; for its owner only |
//! | `server.log` | what the server wrote |
//! | `start.lock` | locked while a process starts or finds the server |
//! | `users.lock` | locked, shared, by each process that uses the server |
//! | `watcher.lock` | locked by the watcher |
//!
//! **Invariant:** the server runs as long as anyone holds `users.lock`. The kernel gives that lock
//! back however its holder ends, so a watcher (a shell that waits for the lock) stops the server also
//! after `kill -9` of its last user, and never under the feet of another. Where there is no `flock`
//! command, the last user stops it on a clean exit, and otherwise the next one takes it over.
//!
//! **Invariant:** no password is ever an argument or in the environment of a process.
//!
//! **Invariant:** this crate speaks no SQL of Bekk's; it makes a user and a database, through `psql`.

mod account;
mod binaries;
mod cluster;
mod error;
mod home;
mod postmaster;
mod server;
mod users;

pub use binaries::Binaries;
pub use error::Error;
pub use server::{Options, Server, Stopped};
