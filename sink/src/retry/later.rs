//! Later records of the keys that dead letters have.

use std::collections::{BTreeMap, HashMap};

use bekk_log::{Client, Offset, Record};
use bekk_stream::{JsonReader, Origin, Payload, Stream};

use super::Candidate;
use crate::Error;
use crate::taken::take;

/// How much is read from the log at a time, in compressed bytes.
const READ_BYTES_MAX: usize = 512 * 1024;

/// When and from where a record came into the log.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Written {
    pub(crate) timestamp_ms: i64,
    pub(crate) origin: Origin,
}

/// Which letters have a later record of their key in the log. Reads each partition once, from the first
/// letter on, and continues where it stopped.
pub(crate) struct LaterRecords<'a> {
    log: &'a Client,
    topic: &'a str,
    /// Where other producers write, a key's records may be in any partition.
    json: Option<&'a JsonReader>,
    /// How far each partition has been read; `None` before the beginning has been found.
    next: BTreeMap<u32, Place>,
    letters: HashMap<Vec<u8>, Vec<Letter>>,
}

/// Where to read on in a partition.
#[derive(Debug, Clone, Copy)]
enum Place {
    /// At the first record that is not older than this.
    Time(i64),
    Offset(u64),
}

struct Letter {
    partition: u32,
    offset: u64,
    written: Written,
    has_later: bool,
}

impl Letter {
    fn time(&self) -> i64 {
        self.written.timestamp_ms
    }
}

impl<'a> LaterRecords<'a> {
    /// Those of letters whose record the log still has; of the others nothing can be said.
    pub(crate) fn new<'c>(
        log: &'a Client,
        stream: &'a Stream,
        json: Option<&'a JsonReader>,
        candidates: impl Iterator<Item = &'c Candidate>,
    ) -> Self {
        let mut next: BTreeMap<u32, Place> = BTreeMap::new();
        let mut letters: HashMap<Vec<u8>, Vec<Letter>> = HashMap::new();
        for candidate in candidates {
            let (Some(written), Some(key)) = (candidate.written, &candidate.row.key) else {
                continue;
            };
            let time = written.timestamp_ms;
            let place = next
                .entry(candidate.row.partition)
                .or_insert(Place::Time(time));
            if let Place::Time(first) = place {
                *first = time.min(*first);
            }
            letters.entry(key.clone()).or_default().push(Letter {
                partition: candidate.partition,
                offset: candidate.offset,
                written,
                has_later: false,
            });
        }
        Self {
            log,
            topic: &stream.name,
            json,
            next,
            letters,
        }
    }

    /// Reads on to the end of the log.
    pub(crate) fn look(&mut self) -> Result<(), Error> {
        let failed = |error| Error::log(format!("read topic `{}`", self.topic), error);
        let ends = self.log.partition_ends(self.topic).map_err(failed)?;
        if self.json.is_some()
            && let Some(first) = self.letters.values().flatten().map(Letter::time).min()
        {
            for ends in &ends {
                let place = Place::Time(first);
                self.next.entry(ends.partition).or_insert(place);
            }
        }
        for (&partition, place) in &mut self.next {
            let Some(ends) = ends.iter().find(|ends| ends.partition == partition) else {
                continue;
            };
            let mut next = match *place {
                Place::Offset(next) => Offset::new(next),
                Place::Time(time) => self
                    .log
                    .offset_for_time(self.topic, partition, time)
                    .map_err(failed)?
                    .unwrap_or(ends.end),
            };
            while next < ends.end {
                let records = self
                    .log
                    .read(self.topic, partition, next, READ_BYTES_MAX)
                    .map_err(failed)?;
                for record in records.iter() {
                    note(&mut self.letters, self.json, partition, &record);
                }
                if records.next_offset() <= next {
                    break;
                }
                next = records.next_offset();
            }
            *place = Place::Offset(next.get());
        }
        Ok(())
    }

    /// Whether a later record of the letter's key has been met.
    pub(crate) fn has(&self, candidate: &Candidate) -> bool {
        let letters = candidate
            .row
            .key
            .as_ref()
            .and_then(|key| self.letters.get(key));
        letters.into_iter().flatten().any(|letter| {
            letter.has_later
                && letter.offset == candidate.offset
                && letter.partition == candidate.partition
        })
    }
}

/// Within a partition the offset says which is later, within a file the place; otherwise the time does,
/// and of equal times the record counts as later: the row that is there stays.
fn note(
    letters: &mut HashMap<Vec<u8>, Vec<Letter>>,
    json: Option<&JsonReader>,
    partition: u32,
    record: &Record<'_>,
) {
    let Ok(taken) = take(json, record) else {
        return;
    };
    let payload = taken.payload().map(Payload::decode);
    let file = payload
        .and_then(Result::ok)
        .map(|payload| payload.origin)
        .filter(|origin| *origin != Origin::ELSEWHERE);
    let Some(letters) = taken.key.and_then(|key| letters.get_mut(&*key)) else {
        return;
    };
    for letter in letters {
        letter.has_later |= match file {
            _ if partition == letter.partition => record.offset.get() > letter.offset,
            Some(origin) if origin.file == letter.written.origin.file => {
                origin.start > letter.written.origin.start
            }
            _ => record.timestamp_ms >= letter.written.timestamp_ms,
        };
    }
}
