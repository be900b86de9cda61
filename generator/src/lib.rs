//! Synthetic e-commerce events as CSV files.
//!
//! Shoppers move through a shop: each has a session, in which time only goes forward; views come
//! before an addition to the cart, and that before the purchase, of the same product at the same price;
//! many carts are abandoned. Few products and few users make most of the events. Some fields are empty,
//! and some categories hold commas, quotes or letters beyond ASCII, so that quoting is put to use.
//!
//! The same seed gives the same bytes, event times included, with [`generate_files`];
//! [`generate_live`] and [`append_lines`] take the times from the clock.
//!
//! **Invariant:** a file appears under its name only when it is complete; until then its name begins
//! with a dot and ends in `.partial`.

mod catalogue;
mod error;
mod files;
mod live;
mod shop;

pub use error::Error;
pub use files::{Plan, generate_files};
pub use live::{Append, Live, append_lines, generate_live};
pub use shop::{EVENT_TYPES, Events, HEADER, random_seed};

/// What was written: one file, or all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Written {
    /// Files.
    pub files: u64,
    /// Events, without headers.
    pub rows: u64,
    /// Bytes, with headers.
    pub bytes: u64,
}

impl std::ops::AddAssign for Written {
    fn add_assign(&mut self, other: Self) {
        self.files += other.files;
        self.rows += other.rows;
        self.bytes += other.bytes;
    }
}
