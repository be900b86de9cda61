//! The built binary, real files, a real PostgreSQL, real signals.

#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr)]

mod events;
mod exact;
mod files;
mod files_more;
mod health;
mod inbox;
mod kills;
mod live;
mod log_content;
mod memory;
mod once;
mod ops;
mod serve;
mod services;
mod support;
mod trickle;
