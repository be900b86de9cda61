//! The sink against a real PostgreSQL and a real log.

#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout)]

mod apply;
mod crash;
mod harness;
mod lease;
mod model;
mod poison;
mod table;
mod tls;
