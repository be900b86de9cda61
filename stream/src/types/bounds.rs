//! The least and the greatest value of a column.

use std::cmp::Ordering;

use super::{Rejection, Shown, Value};
use crate::Reason;

/// The least and the greatest value that a column sets.
#[derive(Debug, Clone)]
pub(crate) struct Bounds {
    pub(crate) min: Option<Value<'static>>,
    pub(crate) max: Option<Value<'static>>,
}

impl Bounds {
    /// Checks the value of a text; `order` compares it with another one.
    ///
    /// # Errors
    /// If it is outside of the bounds, or has no order.
    #[inline]
    pub(crate) fn check(
        &self,
        bytes: &[u8],
        order: impl Fn(&Value<'static>) -> Option<Ordering>,
    ) -> Result<(), Rejection> {
        let outside = |bound: &Option<Value<'static>>, wrong: Ordering| {
            let order = bound.as_ref().map(&order);
            order.is_some_and(|order| order.is_none_or(|order| order == wrong))
        };
        if outside(&self.min, Ordering::Less) {
            return Err(beyond(bytes, "below the column's min"));
        }
        if outside(&self.max, Ordering::Greater) {
            return Err(beyond(bytes, "above the column's max"));
        }
        Ok(())
    }
}

#[cold]
fn beyond(bytes: &[u8], what: &str) -> Rejection {
    Rejection::new(Reason::OutOfRange, format!("{} is {what}", Shown(bytes)))
}
