//! How far each group has come in each partition, beside the log.

use std::collections::{BTreeMap, HashMap};

use bekk_log::{Client, MarkCheck, Offset, PartitionEnds, judge_mark};
use bekk_sink::{GroupOffset, Refusal};
use bekk_stream::Stream;
use serde::Serialize;

use crate::lag::age_seconds;

/// One partition of one group.
#[derive(Clone, Serialize)]
pub(crate) struct Line {
    pub(crate) group: String,
    pub(crate) topic: String,
    pub(crate) partition: u32,
    pub(crate) next: u64,
    /// Whether it counts in another log than this.
    #[serde(rename = "other_log")]
    pub(crate) is_of_other_log: bool,
    /// The log's end and how far it is; absent where the log cannot be asked.
    pub(crate) end: Option<u64>,
    pub(crate) lag: Option<u64>,
    /// Age in seconds of the first record that has not been applied; 0 if all have been.
    pub(crate) lag_seconds: Option<f64>,
    pub(crate) owner: Option<String>,
    pub(crate) rows: u64,
    pub(crate) superseded: u64,
    pub(crate) dead_letters: u64,
    /// Offsets that were passed and that the counts do not explain.
    pub(crate) unaccounted: i64,
    /// Why no record is applied until someone has decided, and what can be typed.
    pub(crate) refused: Option<Refused>,
}

/// Why a partition's records are not applied, or would not be.
#[derive(Clone, Serialize)]
pub(crate) struct Refused {
    pub(crate) why: String,
    pub(crate) advice: String,
}

/// The offsets beside the log's ends, as far as this process has the log.
pub(crate) fn lines(
    offsets: Vec<GroupOffset>,
    log: Option<&Client>,
    streams: &[Stream],
) -> Vec<Line> {
    let ends = log.map_or_else(HashMap::new, |log| look_ahead(&offsets, log));
    offsets
        .into_iter()
        .map(|offset| {
            let stream = streams.iter().find(|stream| stream.name == offset.topic);
            let refused = stream.and_then(|stream| refused(&offset, log, stream));
            let ends = ends.get(&offset.topic).into_iter().flatten();
            let end = ends
                .filter(|ends| ends.partition == offset.partition)
                .map(|ends| ends.end.get())
                .next();
            line(offset, log, end, refused)
        })
        .collect()
}

/// Returns the ends of the partitions of the offsets' topics, and fetches the records at the marks side by side from a log
/// elsewhere.
fn look_ahead(offsets: &[GroupOffset], log: &Client) -> HashMap<String, Vec<PartitionEnds>> {
    let log_id = log.log_id().to_string();
    let mut marks: HashMap<String, BTreeMap<u32, Offset>> = HashMap::new();
    for offset in offsets.iter().filter(|offset| offset.log_id == log_id) {
        let places = marks.entry(offset.topic.clone()).or_default();
        if let Some(mark) = &offset.mark {
            // One record of each partition is fetched ahead: the one at the first group's mark.
            places.entry(offset.partition).or_insert(mark.offset);
        }
    }
    let mut all = HashMap::new();
    for (topic, places) in marks {
        let Ok(ends) = log.partition_ends(&topic) else {
            continue;
        };
        let is_there = |(partition, at): &(u32, Offset)| {
            let mut ends = ends.iter();
            ends.any(|ends| ends.partition == *partition && (ends.start..ends.end).contains(at))
        };
        let places: Vec<(u32, Offset)> = places.into_iter().filter(is_there).collect();
        // A record that cannot be fetched ahead is reported when it is read.
        let _ = log.read_ahead(&topic, &places);
        all.insert(topic, ends);
    }
    all
}

/// Why a sink would not apply a partition's records, or does not: what it has written down, or what differs now.
fn refused(offset: &GroupOffset, log: Option<&Client>, stream: &Stream) -> Option<Refused> {
    let (group, partition) = (&offset.group, offset.partition);
    let of = |refusal: &Refusal| Refused {
        why: format!("group `{group}` is refused: {}", refusal.detail),
        advice: refusal.advice(group, stream, partition),
    };
    if let Some(refusal) = &offset.refusal {
        return Some(of(refusal));
    }
    let log = log?;
    if log.log_id().to_string() != offset.log_id {
        return Some(Refused {
            why: format!(
                "the offsets of group `{group}` in topic `{}` belong to a different log ({})",
                offset.topic, offset.log_id
            ),
            advice: bekk_sink::advice_for_lost_log(group, stream, &offset.log_id),
        });
    }
    let (topic, next) = (offset.topic.as_str(), Offset::new(offset.next));
    let mark = offset.mark.as_ref();
    let at = log.at_mark(topic, partition, mark).ok()?;
    match judge_mark(next, mark, &at) {
        MarkCheck::Differs(difference) => {
            let place = (topic, partition);
            Some(of(&Refusal::of_difference(
                place, next, mark, &at, difference,
            )))
        }
        MarkCheck::Same | MarkCheck::KeptBack => None,
    }
}

fn line(
    offset: GroupOffset,
    log: Option<&Client>,
    end: Option<u64>,
    refused: Option<Refused>,
) -> Line {
    let end = end.filter(|_| log.is_some_and(|log| log.log_id().to_string() == offset.log_id));
    let lag_seconds = match (log, end) {
        _ if refused.is_some() => None,
        (Some(_), Some(end)) if end <= offset.next => Some(0.0),
        (Some(log), Some(_)) => age_seconds(log, &offset.topic, offset.partition, offset.next),
        _ => None,
    };
    Line {
        is_of_other_log: log.is_some_and(|log| log.log_id().to_string() != offset.log_id),
        lag_seconds,
        // The offset means nothing in this log, so the lag is unknown.
        lag: end
            .filter(|_| refused.is_none())
            .map(|end| end.saturating_sub(offset.next)),
        refused,
        unaccounted: offset.unaccounted,
        end,
        group: offset.group,
        topic: offset.topic,
        partition: offset.partition,
        next: offset.next,
        owner: offset.owner,
        rows: offset.rows,
        superseded: offset.superseded,
        dead_letters: offset.dead,
    }
}

/// The sink that holds a partition, by process and host.
pub(crate) fn shown_owner(owner: &str) -> String {
    bekk_sink::Member::of_owner(owner).to_string()
}
