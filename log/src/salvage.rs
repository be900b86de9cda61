//! What can be had of damaged segments: each record batch has a CRC of its own, so that all but the damaged ones
//! are taken over into a segment made anew.

mod blocks;
mod kept;
mod rebuild;
mod scan;

pub(crate) use kept::{forget, keep};
pub(crate) use rebuild::{Known, REBUILT, finish_replacing, rebuild};
