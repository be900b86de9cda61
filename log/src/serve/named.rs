//! What a request has named so far. To name it again is refused, as Kafka's brokers do, so that a request causes no more
//! work than there are topics, partitions and groups.

use std::collections::HashSet;

use super::code::Code;

/// The partition number under which a topic or a group as a whole is kept.
const WHOLE: i32 = -1;

/// The partitions, topics or groups that a request has named.
#[derive(Debug, Default)]
pub(super) struct Named<'a>(HashSet<(&'a str, i32)>);

impl<'a> Named<'a> {
    /// Refuses a partition that was named before.
    pub(super) fn partition(&mut self, topic: &'a str, partition: i32) -> Result<(), Code> {
        match self.0.insert((topic, partition)) {
            true => Ok(()),
            false => Err(Code::INVALID_REQUEST),
        }
    }

    /// Refuses a topic or a group that was named before.
    pub(super) fn whole(&mut self, name: &'a str) -> Result<(), Code> {
        self.partition(name, WHOLE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_time_is_refused() {
        let mut named = Named::default();
        assert_eq!(named.partition("t", 0), Ok(()));
        assert_eq!(named.partition("t", 1), Ok(()));
        assert_eq!(named.partition("u", 0), Ok(()));
        assert_eq!(named.partition("t", 0), Err(Code::INVALID_REQUEST));
        assert_eq!(named.whole("t"), Ok(()));
        assert_eq!(named.whole("t"), Err(Code::INVALID_REQUEST));
    }
}
