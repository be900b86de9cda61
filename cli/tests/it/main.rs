//! The built binary, real files, a real PostgreSQL, real signals.

#![allow(
    clippy::too_many_lines,
    reason = "a test tells one accident from beginning to end"
)]
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr)]

mod advice;
mod advice_restored;
mod backup;
mod bounds;
mod callers;
mod clock;
mod columns;
mod damage_help;
mod documents;
mod events;
mod exact;
mod file_faults;
mod files;
mod files_copied;
mod files_more;
mod forms;
mod full_disk;
mod hangup;
mod health;
mod inbox;
mod json_output;
mod kafka_proxy;
mod kills;
mod letters;
mod letters_edit;
mod live;
mod log_content;
mod log_read;
mod memory;
mod monitoring;
mod named_files;
mod offsets;
mod once;
mod page;
mod page_actions;
mod page_visitors;
mod piped;
mod quiet;
mod recipes;
mod reference;
mod replay;
mod roles;
mod running;
mod sample;
mod serve;
mod served_faults;
mod services;
mod status;
mod strangers;
mod support;
mod threat_model;
mod top;
mod trickle;
