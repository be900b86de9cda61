//! What is known of one file, and the evidence by which it is known again.

pub(crate) mod decision;
pub(crate) mod entry;
pub(crate) mod evidence;
pub(crate) mod owner;
pub(crate) mod put_away;
pub(crate) mod replace;
pub(crate) mod siblings;
