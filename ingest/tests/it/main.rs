//! Ingest as its users see it: real files, a real log, real kills.

#![allow(
    clippy::too_many_lines,
    reason = "a test tells one accident from beginning to end"
)]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod crash;
mod damage;
mod follow;
mod layers;
mod marks;
mod once;
mod sources;
mod trim;
mod world;
