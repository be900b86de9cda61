//! Noticing new records: a thread per topic that waits for its ends to move.

use std::time::Duration;

use bekk_log::Offset;

use crate::Error;
use crate::context::Context;

/// How long one wait lasts at most, so that a stop is noticed.
const WAIT_MAX: Duration = Duration::from_millis(100);
/// Pause where a wait ended and no end has moved: a reader has an error that nobody takes, or the log went backwards.
const UNMOVED_PAUSE: Duration = Duration::from_millis(50);

/// Puts a stream's ends on the board whenever they move, until the sink stops.
pub(crate) fn watch(context: &Context, stream: usize) -> Result<(), Error> {
    let target = context.target(stream);
    let topic = &target.stream.name;
    let failed = |error| Error::log(format!("watch topic `{topic}`"), error);
    let mut known = Vec::new();
    while !context.is_stopping() {
        let ends: Vec<(u32, Offset)> = (0..)
            .zip(context.log.ends(topic).map_err(failed)?)
            .collect();
        let numbers: Vec<(u32, u64)> = ends
            .iter()
            .map(|(partition, end)| (*partition, end.get()))
            .collect();
        context.board.set_ends(stream, &numbers);
        if numbers == known {
            context.sleep(UNMOVED_PAUSE);
        }
        known = numbers;
        while !context.is_stopping() {
            if context
                .log
                .wait_for_records(topic, &ends, WAIT_MAX)
                .map_err(failed)?
            {
                break;
            }
        }
    }
    Ok(())
}
