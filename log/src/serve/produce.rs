//! Produce: batches that are stored as they come. A request is begun, which gives its appends their place, and
//! then finished, so that those that follow each other on a connection share an fsync.

use super::Broker;
use super::caller::{Caller, META_TOPIC};
use super::code::Code;
use super::connection::Ended;
use super::visitor::Sender;
use super::wire::{Malformed, Reader, Writer};
use crate::clock::now_ms;
use crate::group_commit::Placed;
use crate::produced::{Produced, Unfit};
use crate::raw::Appending;
use crate::{Error, Offset};

/// Before this version requests carry an older record format.
const VERSION_MIN: i16 = 3;
/// Before this version clients do not know zstd.
const ZSTD_FROM: i16 = 7;

struct Request<'a> {
    has_transaction: bool,
    acks: i16,
    topics: Vec<(&'a str, Vec<Sent<'a>>)>,
}

/// What was sent for a partition.
struct Sent<'a> {
    partition: i32,
    records: Option<&'a [u8]>,
}

/// What became of it.
struct Stored {
    partition: i32,
    code: Code,
    base_offset: Option<Offset>,
    log_start: Option<Offset>,
    message: Option<String>,
}

/// A request whose appends have their place.
pub(super) struct Begun<'a> {
    version: i16,
    acks: i16,
    topics: Vec<(&'a str, Vec<Sent<'a>>, Appends)>,
}

/// What was sent for a topic.
struct Appends {
    /// What is refused before it is appended; `None` for the others, in their order.
    refused: Vec<Option<Stored>>,
    /// The append of the others; `None` if all are refused.
    appending: Option<Result<Appending, Error>>,
}

/// Begins the appends of a request.
pub(super) fn begin<'a>(
    broker: &Broker,
    sender: &Sender<'_>,
    version: i16,
    body: Reader<'a>,
) -> Result<Begun<'a>, Malformed> {
    let Request {
        has_transaction,
        acks,
        topics,
    } = decode(version, body)?;
    let refusal = if version < VERSION_MIN {
        Some(Code::UNSUPPORTED_VERSION)
    } else if !(-1..=1).contains(&acks) {
        Some(Code::INVALID_REQUIRED_ACKS)
    } else if has_transaction {
        Some(Code::INVALID_REQUEST)
    } else {
        sender.may_change(Code::TOPIC_AUTHORIZATION_FAILED).err()
    };
    let topics = topics.into_iter().map(|(topic, sent)| {
        let appends = match refusal {
            Some(code) => {
                sender.note_refused("append to", topic, code);
                Appends::refused(&sent, code, None)
            }
            None => Appends::begin(broker, sender, version, topic, &sent),
        };
        (topic, sent, appends)
    });
    Ok(Begun {
        version,
        acks,
        topics: topics.collect(),
    })
}

impl Begun<'_> {
    /// Waits for the appends; says whether an answer is wanted.
    pub(super) fn finish(self, broker: &Broker, out: &mut Writer) -> Result<bool, Ended> {
        let topics = self.topics.into_iter();
        let stored: Vec<_> = topics
            .map(|(topic, sent, appends)| (topic, appends.finish(broker, topic, &sent)))
            .collect();
        if self.acks == 0 {
            let mut all = stored.iter().flat_map(|(_, stored)| stored);
            if all.any(|stored| stored.code.is_error()) {
                return Err(Ended::Unacknowledged);
            }
            return Ok(false);
        }
        put(self.version, &stored, out);
        Ok(true)
    }
}

fn decode(version: i16, mut body: Reader<'_>) -> Result<Request<'_>, Malformed> {
    let transactional_id = body.when(version >= 3, Reader::nullable_string)?.flatten();
    let acks = body.i16()?;
    let _timeout_ms = body.i32()?;
    let topics = body.array(|body| {
        let topic = body.string()?;
        let sent = body.array(|body| {
            Ok(Sent {
                partition: body.i32()?,
                records: body.nullable_bytes()?,
            })
        })?;
        Ok((topic, sent))
    })?;
    body.end()?;
    Ok(Request {
        has_transaction: transactional_id.is_some(),
        acks,
        topics,
    })
}

const fn refused(sent: &Sent<'_>, code: Code, message: Option<String>) -> Stored {
    Stored {
        partition: sent.partition,
        code,
        base_offset: None,
        log_start: None,
        message,
    }
}

impl Appends {
    fn refused(sent: &[Sent<'_>], code: Code, message: Option<&str>) -> Self {
        let refused = |sent| Some(refused(sent, code, message.map(str::to_owned)));
        Self {
            refused: sent.iter().map(refused).collect(),
            appending: None,
        }
    }

    /// Begins to append what is fit to be stored, together.
    fn begin(
        broker: &Broker,
        sender: &Sender<'_>,
        version: i16,
        topic: &str,
        sent: &[Sent<'_>],
    ) -> Self {
        let caller = &sender.caller;
        if topic == META_TOPIC && caller.session().is_none() {
            let text = format!("only an ingest of bekk's writes to `{META_TOPIC}`");
            let code = Code::TOPIC_AUTHORIZATION_FAILED;
            sender.note("append to", topic, code);
            return Self::refused(sent, code, Some(&text));
        }
        let partitions = match broker.client.topic_named(topic) {
            Ok(found) => found.config.partitions,
            Err(error) => return Self::refused(sent, Code::from(&error), None),
        };
        let mut batches = Vec::new();
        let mut refused = Vec::with_capacity(sent.len());
        for sent in sent {
            refused.push(match check(broker, caller, version, partitions, sent) {
                Ok(batch) => {
                    batches.push(batch);
                    None
                }
                Err(refused) => Some(refused),
            });
        }
        let client = &broker.client;
        let appending =
            (!batches.is_empty()).then(|| client.begin_append(caller.session(), topic, batches));
        Self { refused, appending }
    }

    fn finish(self, broker: &Broker, topic: &str, sent: &[Sent<'_>]) -> Vec<Stored> {
        let Some(appending) = self.appending else {
            return self.refused.into_iter().flatten().collect();
        };
        let placed = appending.and_then(Appending::finish);
        broker.note_append(&placed);
        let starts = broker.client.partition_ends(topic).unwrap_or_default();
        let mut placed = placed.map(Vec::into_iter);
        let slots = self.refused.into_iter().zip(sent);
        let stored = slots.map(|(refused, sent)| {
            if let Some(refused) = refused {
                return refused;
            }
            let of_one = match &mut placed {
                Ok(placed) => Ok(placed.next().expect("each batch has been placed")),
                Err(error) => Err(&*error),
            };
            let mut one = placed_as(sent, of_one);
            let ends = usize::try_from(sent.partition).ok();
            let ends = ends.and_then(|partition| starts.get(partition));
            one.log_start = ends.map(|ends| ends.start);
            one
        });
        stored.collect()
    }
}

fn check(
    broker: &Broker,
    caller: &Caller,
    version: i16,
    partitions: u32,
    sent: &Sent<'_>,
) -> Result<(u32, Produced), Stored> {
    let partition = u32::try_from(sent.partition).ok();
    let Some(partition) = partition.filter(|partition| *partition < partitions) else {
        return Err(refused(sent, Code::UNKNOWN_TOPIC_OR_PARTITION, None));
    };
    let bytes_max = broker.client.batch_bytes_max();
    let parsed = sent
        .records
        .ok_or_else(|| Unfit::Invalid("no record batch".to_owned()))
        .and_then(|records| Produced::parse(records, bytes_max))
        .and_then(|batch| check_times(broker, caller, &batch).map(|()| batch))
        .and_then(|batch| {
            // A guest has proved to be a program of ours, and our programs' batches can be read.
            match broker.config.guests {
                Some(_) => Ok(batch),
                None => batch.check_content().map(|()| batch),
            }
        });
    match parsed {
        Ok(batch) if batch.is_zstd() && version < ZSTD_FROM => {
            Err(refused(sent, Code::UNSUPPORTED_COMPRESSION_TYPE, None))
        }
        Ok(batch) => Ok((partition, batch)),
        Err(unfit) => {
            let message = match &unfit {
                Unfit::Damaged(text) | Unfit::Invalid(text) | Unfit::Timestamp(text) => {
                    text.clone()
                }
                Unfit::TooLarge { bytes, max } => {
                    format!("a record batch of {bytes} bytes; at most {max} are allowed")
                }
            };
            Err(refused(sent, Code::from(&unfit), Some(message)))
        }
    }
}

/// Checks the times of a batch. Those of an ingest are taken as they are, as from an ingest in this process: its clock or
/// this machine's may be hours off, and it must not end for that.
fn check_times(broker: &Broker, caller: &Caller, batch: &Produced) -> Result<(), Unfit> {
    match (batch.check_times(now_ms()), caller) {
        (Err(_), Caller::Ingest(session)) => {
            broker.note_clock(session);
            Ok(())
        }
        (Err(_), _) if broker.config.guests.is_some() => Ok(()),
        (checked, _) => checked,
    }
}

fn placed_as(sent: &Sent<'_>, placed: Result<Placed, &Error>) -> Stored {
    match placed {
        Ok(Placed::At(offset)) => Stored {
            base_offset: Some(offset),
            ..refused(sent, Code::NONE, None)
        },
        Ok(Placed::Refused(refusal)) => refused(sent, Code::from(refusal), None),
        Err(error) => refused(sent, Code::from(error), Some(error.to_string())),
    }
}

fn put(version: i16, stored: &[(&str, Vec<Stored>)], out: &mut Writer) {
    let offset = |offset: Option<Offset>| offset.map_or(-1, |offset| offset.get().cast_signed());
    out.array(stored, |out, (topic, stored)| {
        out.string(topic);
        out.array(stored, |out, stored| {
            out.i32(stored.partition);
            out.i16(stored.code.0);
            out.i64(offset(stored.base_offset));
            out.when(version >= 2, |out| out.i64(-1)); // time of the append: the records keep their own
            out.when(version >= 5, |out| out.i64(offset(stored.log_start)));
            if version >= 8 {
                out.count(0); // errors of single records
                out.nullable_string(stored.message.as_deref());
            }
        });
    });
    out.when(version >= 1, |out| out.i32(0)); // throttle time
}
