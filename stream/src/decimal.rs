//! An exact decimal number.

use std::cmp::Ordering;
use std::fmt;

use bincode::{Decode, Encode};

/// An exact decimal number of at most 38 digits: `unscaled / 10^scale`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Decimal {
    /// The digits without the point.
    pub unscaled: i128,
    /// How many of them stand behind the point, 0 to 38.
    pub scale: u8,
}

impl Decimal {
    /// Returns `unscaled / 10^scale`.
    #[must_use]
    pub const fn new(unscaled: i128, scale: u8) -> Self {
        Self { unscaled, scale }
    }

    /// Compares two decimals by value, whatever their scales; 1.0 equals 1.00.
    #[must_use]
    pub fn compare(&self, other: &Self) -> Ordering {
        if self.scale == other.scale {
            return self.unscaled.cmp(&other.unscaled);
        }
        let scale = self.scale.max(other.scale);
        match (self.rescaled(scale), other.rescaled(scale)) {
            (Some(left), Some(right)) => left.cmp(&right),
            // Only the one with fewer digits behind the point can overflow, and then it is the greater
            // in magnitude.
            (None, _) => self.unscaled.cmp(&0),
            (_, None) => 0.cmp(&other.unscaled),
        }
    }

    /// The digits at another scale; `None` if digits would be lost or 128 bits do not hold them.
    #[must_use]
    pub fn rescaled(&self, scale: u8) -> Option<i128> {
        if scale >= self.scale {
            let factor = 10i128.checked_pow(u32::from(scale - self.scale))?;
            return self.unscaled.checked_mul(factor);
        }
        let factor = 10i128.checked_pow(u32::from(self.scale - scale))?;
        (self.unscaled % factor == 0).then(|| self.unscaled / factor)
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.unscaled.unsigned_abs().to_string();
        let scale = usize::from(self.scale);
        let padded = format!("{digits:0>width$}", width = scale + 1);
        let (whole, fraction) = padded.split_at(padded.len() - scale);
        let sign = if self.unscaled < 0 { "-" } else { "" };
        if fraction.is_empty() {
            write!(f, "{sign}{whole}")
        } else {
            write!(f, "{sign}{whole}.{fraction}")
        }
    }
}
