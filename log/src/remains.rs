//! What can be had of damaged segments: each record batch has a CRC of its own, so that all but the damaged ones
//! are taken over into a segment made anew.

mod blocks;
mod made_for;
mod rebuild;
mod scan;

pub(crate) use made_for::others;
pub(crate) use rebuild::{Known, REBUILT, Rebuilt, finish_replacing, rebuild, rebuild_from};
pub(crate) use scan::Scan;
