//! The sink against a real PostgreSQL and a real log.

#![allow(
    clippy::too_many_lines,
    reason = "a test tells one accident from its beginning to its end"
)]
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout)]

mod altered;
mod apply;
mod audit;
mod crash;
mod deletions;
mod evolution;
mod faults;
mod fits;
mod groups;
mod harness;
mod identity;
mod keyless;
mod keys;
mod lease;
mod left_out;
mod letters;
mod meanwhile;
mod model;
mod names;
mod other_producers;
mod other_sessions;
mod poison;
mod proxy;
mod publications;
mod replaced;
mod retry;
mod search_path;
mod server;
mod set_back;
mod setup;
mod storm;
mod strangers;
mod table;
mod tls;
mod types;
mod waits;
