//! Follows the files of the inbox from the listing that meets them to their receipt.

pub(crate) mod account;
mod catalog;
pub(crate) mod copies;
pub(crate) mod engine;
pub(crate) mod finish;
mod formats;
pub(crate) mod gone;
mod known;
pub(crate) mod meet;
pub(crate) mod notices;
mod outflow;
pub(crate) mod packed;
mod queue;
pub(crate) mod register;
pub(crate) mod rotate;
pub(crate) mod tracked;
pub(crate) mod turns;
