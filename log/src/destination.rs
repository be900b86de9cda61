//! Where a read puts the batches that it finds.

use crate::Offset;
use crate::batch::BatchView;

/// Takes the batches of a read, in order.
pub(crate) trait Destination {
    /// Takes a batch whose CRC has been checked and moves behind it.
    fn push_batch(&mut self, batch: &BatchView<'_>) -> Result<(), String>;

    /// Moves behind a gap.
    fn pass_to(&mut self, next: Offset);

    /// The offset to go on at.
    fn next_offset(&self) -> Offset;

    /// Whether it has no batch yet.
    fn is_empty(&self) -> bool;
}
