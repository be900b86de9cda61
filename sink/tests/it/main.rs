//! The sink against a real PostgreSQL and a real log.

#![allow(missing_docs, clippy::unwrap_used)]

mod apply;
mod harness;
mod model;
