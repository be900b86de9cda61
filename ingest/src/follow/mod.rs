//! Follows the files of the inbox from the listing that meets them to their receipt.
//!
//! The life of a file: each row is a [`State`], each column a [`Change`], and where they meet stands the state after it.
//! [`State::after`] is this table, which a test compares with it; nothing else changes a file's state. A `·` is a change
//! that does not come in that state.
//!
//! | | Grown | CaughtUp | CaughtUpLately | Ended | Quiet | Waits | Vanished | Refused | Readable | SetAside | Left | Finished |
//! |---|---|---|---|---|---|---|---|---|---|---|---|---|
//! | Backlog | Backlog | Idle | Active | Idle | · | Idle | Idle | Unreadable | · | Blocked | Backlog | Finished |
//! | Active | Active | Active | Active | Idle | Idle | Idle | Idle | Unreadable | · | Blocked | Active | Finished |
//! | Idle | Active | Idle | Active | Idle | · | Idle | Idle | Unreadable | · | Blocked | Active | Finished |
//! | Unreadable | Unreadable | Idle | Active | Idle | · | Idle | Idle | Unreadable | Idle | Blocked | Active | Finished |
//! | Finished | Active | Idle | Active | Idle | · | Idle | Idle | Unreadable | · | Blocked | Active | Finished |
//! | Blocked | · | · | · | · | · | · | · | · | · | · | Blocked | · |
//!
//! A blocked file that has changed is forgotten and met again: it may be another one by then.
//!
//! [`meet`] lists and meets files, [`turns`] reads them, [`perform`] changes what is known of them. What is to be done
//! is decided in [`rotate`], [`copies`], [`gone`], [`finish`] and [`packed`], by functions that ask [`look`] for evidence
//! and answer with [`step`]s. The session's parts have owners: [`catalog`] and [`known`] the files, [`queue`] whose turn it
//! is, [`outflow`] the batches on their way, [`account`] what the log has acknowledged, [`formats`] how files are read.

pub(crate) mod account;
pub(crate) mod again;
mod catalog;
mod complaints;
pub(crate) mod copies;
pub(crate) mod departure;
pub(crate) mod engine;
pub(crate) mod finish;
mod formats;
pub(crate) mod gone;
mod known;
mod look;
pub(crate) mod meet;
mod moved;
pub(crate) mod notices;
mod outflow;
pub(crate) mod packed;
mod perform;
mod queue;
pub(crate) mod register;
pub(crate) mod rotate;
mod step;
#[cfg(test)]
mod testing;
pub(crate) mod tracked;
pub(crate) mod turns;

/// What is to be done with a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// It waits for its turn to be read, among those found together.
    Backlog,
    /// It has been read to its end and changed lately; it is looked at every few milliseconds.
    Active,
    /// It has been read to its end, and each listing looks at it.
    Idle,
    /// The system refuses to let it be read; it is tried again at each listing.
    Unreadable,
    /// All of it is in the log, as a receipt says.
    Finished,
    /// It is set aside until it changes.
    Blocked,
}

/// What happens to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// It has changed, or has bytes that were not looked at.
    Grown,
    /// It has been read to its end, and was not written to lately.
    CaughtUp,
    /// It has been read to its end, and may be written to at any moment.
    CaughtUpLately,
    /// It has been read to where this run ends with it.
    Ended,
    /// It has not changed for a while.
    Quiet,
    /// It is compressed, and not to be read yet.
    Waits,
    /// Its name leads nowhere; the next listing finds out where it has gone.
    Vanished,
    /// The system does not let it be read.
    Refused,
    /// It can be read again.
    Readable,
    /// Its content cannot be taken.
    SetAside,
    /// It has left the inbox.
    Left,
    Finished,
}

impl State {
    /// The state after a change. One that does not come in this state leaves it as it is.
    pub(crate) fn after(self, change: Change) -> Self {
        match (self, change) {
            (Self::Blocked, _) => Self::Blocked,
            (Self::Backlog | Self::Unreadable, Change::Grown) => self,
            (Self::Backlog, Change::Left) => Self::Backlog,
            (_, Change::Grown | Change::Left | Change::CaughtUpLately) => Self::Active,
            (Self::Active, Change::CaughtUp) => Self::Active,
            (Self::Active, Change::Quiet) | (Self::Unreadable, Change::Readable) => Self::Idle,
            (_, Change::Quiet | Change::Readable) => self,
            (_, Change::CaughtUp | Change::Ended | Change::Waits | Change::Vanished) => Self::Idle,
            (_, Change::Refused) => Self::Unreadable,
            (_, Change::SetAside) => Self::Blocked,
            (_, Change::Finished) => Self::Finished,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATES: [State; 6] = [
        State::Backlog,
        State::Active,
        State::Idle,
        State::Unreadable,
        State::Finished,
        State::Blocked,
    ];
    const CHANGES: [Change; 12] = [
        Change::Grown,
        Change::CaughtUp,
        Change::CaughtUpLately,
        Change::Ended,
        Change::Quiet,
        Change::Waits,
        Change::Vanished,
        Change::Refused,
        Change::Readable,
        Change::SetAside,
        Change::Left,
        Change::Finished,
    ];

    #[test]
    fn the_table_above_is_the_code() {
        let rows = include_str!("mod.rs").lines();
        let cells = |row: &str| -> Vec<String> {
            let cells = row.trim_matches('|').split('|');
            cells.map(|cell| cell.trim().to_owned()).collect()
        };
        let mut rows = rows
            .filter_map(|line| line.strip_prefix("//! "))
            .filter(|line| line.starts_with('|') && !line.starts_with("|-"))
            .map(cells);
        let names: Vec<String> = CHANGES.iter().map(|change| format!("{change:?}")).collect();
        assert_eq!(rows.next().unwrap()[1..], names);
        for state in STATES {
            let row = rows.next().unwrap();
            assert_eq!(row[0], format!("{state:?}"));
            for (change, expected) in CHANGES.iter().zip(&row[1..]) {
                let expected = match expected.as_str() {
                    "·" => format!("{state:?}"),
                    other => other.to_owned(),
                };
                let after = format!("{:?}", state.after(*change));
                assert_eq!(after, expected, "{state:?}, {change:?}");
            }
        }
        assert_eq!(rows.next(), None);
    }
}
