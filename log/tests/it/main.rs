//! The log as its users see it, on real directories.

#![allow(
    clippy::too_many_lines,
    reason = "a test tells one accident from beginning to end"
)]
#![allow(missing_docs, clippy::unwrap_used)]

mod api;
mod apis;
mod backup;
mod cluster;
mod copy;
mod damage;
mod every_file;
mod fixture;
mod full_disk;
mod guest;
mod hostile;
mod kill;
mod marks;
mod model;
mod salvage;
mod segments;
mod serve;
mod serve_admin;
mod serve_bekk;
mod serve_deletion;
mod serve_sasl;
mod serve_tls;
mod served;
mod size;
mod strangers;
mod support;
mod swapped;
mod write_error;
