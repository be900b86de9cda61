//! The order of folders, modules and crates.

/// What every folder may use, and what uses no folder.
pub(super) const BASE: [&str; 5] = ["Error", "clock", "config", "stats", "testing"];

/// The folders, `run.rs` and `piped.rs` from top to bottom: each may use those named with it.
pub(super) const FOLDERS: [(&str, &[&str]); 9] = [
    ("run", &["follow", "ledger", "inbox", "file"]),
    ("piped", &["ask", "inbox", "file", "text", "source"]),
    ("follow", &["ledger", "inbox", "file", "text", "source"]),
    ("ask", &["ledger", "inbox", "file", "text", "source"]),
    ("ledger", &["inbox", "file", "text", "source"]),
    ("inbox", &["source"]),
    ("file", &["text", "source"]),
    ("text", &["source"]),
    ("source", &[]),
];

/// The folders and files of the command line from top to bottom: each may use those after it.
pub(super) const CLI: &str = "commands http observe pipeline reload retrier status standard_input context \
    log_place service database private_server topics outcome units decoded infer screen args environment \
    positions found_file json_line lag letters open_files remedy secrets signals stage table";

/// The parts that commands share, from top to bottom.
pub(super) const COMMAND_PARTS: &str =
    "running matched summary served named_files new_stream live moves";

/// The commands that pass their work on to others, and to which.
pub(super) const DISPATCHERS: [(&str, &[&str]); 2] = [
    (
        "log",
        &["backup", "copy", "read", "salvage", "serve", "verify"],
    ),
    ("offsets", &["adopt"]),
];

/// The modules of the log, from top to bottom: each may use those after it.
pub(super) const LOG: &str = "salvage join serve raw produced deletion copy backup client verify content \
    store snapshot network_fs identity record_mark places owner_watch remote relay peer guest_token owner \
    lock background retention core readers topic recovery writer shared sessions producer_ids remains \
    records state journal segment notes handle destination database space mark files group_commit producers \
    poison wire facts histogram gap error full clock batch record headers varint offset codec lz4 config";

/// The same of the sink.
pub(super) const SINK: &str = "trace tables run worker watch setup parents retry moved keeper audit \
    identity encode_only control config backoff groups letters apply isolate write prepare taken context \
    server_id meta_cache board stats wait member job batch dead_letter target repair command own_schema \
    lock_holder migrations encode numeric session trust tls search_path offsets connect_options catalog \
    input error refusal render ddl sqlstate";

/// The same of streams.
pub(super) const STREAM: &str = "testing shown partitioner meta source json payload key config stream \
    schema parse types wire postgres_type decimal reject table_name dialect units";

/// The same of the private PostgreSQL.
pub(super) const POSTGRES: &str = "server users cluster postmaster home binaries account error";

/// The crates from top to bottom, with the crates of the workspace that each may depend on.
pub(super) const CRATES: [(&str, &[&str]); 9] = [
    (
        "cli",
        &["generator", "ingest", "log", "postgres", "sink", "stream"],
    ),
    ("bench", &["generator", "log", "postgres"]),
    ("sink", &["log", "stream"]),
    ("ingest", &["log", "stream"]),
    ("generator", &[]),
    ("testing", &["stream"]),
    ("postgres", &[]),
    ("log", &[]),
    ("stream", &[]),
];
