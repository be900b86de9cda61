//! Arguments of `bekk generate`.

use std::path::PathBuf;
use std::time::Duration;

use bekk_stream::parse_duration;
use clap::Args;

#[derive(Args, Clone)]
pub(crate) struct Generate {
    /// Directory to write to
    #[arg(long, value_name = "DIR", default_value = "data", env = "BEKK_OUT")]
    pub(crate) out: PathBuf,
    /// Number of events to write before stopping [default: a new file every --interval, until stopped]
    #[arg(long, value_name = "N", env = "BEKK_ROWS")]
    pub(crate) rows: Option<u64>,
    /// With --rows: number of files
    #[arg(
        long,
        value_name = "N",
        default_value_t = 1,
        requires = "rows",
        env = "BEKK_FILES"
    )]
    pub(crate) files: u32,
    /// Smallest number of events per file
    #[arg(long, value_name = "N", default_value_t = 50, env = "MIN_EVENTS")]
    pub(crate) min_events: u32,
    /// Largest number of events per file
    #[arg(long, value_name = "N", default_value_t = 200, env = "MAX_EVENTS")]
    pub(crate) max_events: u32,
    /// Time between files; a bare number is seconds
    #[arg(long, value_name = "TIME", default_value = "15s", value_parser = parse_duration, env = "SLEEP_INTERVAL")]
    pub(crate) interval: Duration,
    /// File to append to, line by line, instead of writing new files
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with = "rows",
        env = "BEKK_APPEND"
    )]
    pub(crate) append: Option<PathBuf>,
    /// With --append: lines per second
    #[arg(
        long,
        value_name = "N",
        default_value_t = 10.0,
        requires = "append",
        env = "BEKK_RATE"
    )]
    pub(crate) rate: f64,
    /// Event types to write, separated by commas
    #[arg(
        long,
        value_name = "TYPES",
        value_delimiter = ',',
        default_value = "view,purchase,add_to_cart",
        env = "EVENT_TYPES"
    )]
    pub(crate) event_types: Vec<String>,
    /// Share of events that repeat an earlier one, 0 to below 1
    #[arg(
        long,
        value_name = "SHARE",
        default_value_t = 0.0,
        env = "BEKK_DUPLICATES"
    )]
    pub(crate) duplicates: f64,
    /// Seed; the same seed gives the same bytes [default: random]
    #[arg(long, value_name = "N", env = "BEKK_SEED")]
    pub(crate) seed: Option<u64>,
}
