//! Opening the state, and finding it again where it is damaged: from its copy, or from the segments.

use std::path::Path;

use super::deletion::is_deleted;
use super::{State, copy};
use crate::clock::now_ms;
use crate::files::{self, DAMAGED};
use crate::segment::{self, Header, Summary};
use crate::{Error, Offset, Topic, TopicConfig, journal};

/// Opens the state of the log in `dir` and creates it if it does not exist. A damaged one is set aside and made again
/// from its copy. Without that it begins with what the segments say of themselves: the topics come back without
/// retention, groups and holds do not. Sessions go on above any earlier number.
pub(crate) fn open(dir: &Path) -> Result<State, Error> {
    let path = dir.join("state");
    if path.is_dir() {
        match open_whole(&path, dir) {
            Err(error @ Error::Corrupt { .. }) => {
                let kept = segment::rename_away(&path, &format!("{DAMAGED}{}", now_ms()))?;
                tracing::warn!(%error, kept = %kept.display(), "the log's state is damaged and set aside");
            }
            opened => return opened,
        }
    }
    let found = topics_of_segments(&dir.join("topics"))?;
    let copied = copy::read(dir);
    State::create(&path, |state| {
        if let Some(entries) = &copied {
            state.put_all(entries)?;
        }
        if found.is_empty() && copied.is_none() {
            return Ok(());
        }
        state.put_session_floor(now_ms().unsigned_abs())?;
        let known = state.topics()?;
        let lost = |topic: &Topic| known.iter().all(|known| known.name != topic.name);
        for (topic, starts) in found.iter().filter(|(topic, _)| lost(topic)) {
            state.put_topic(topic)?;
            state.put_log_starts(&topic.name, starts)?;
        }
        match &copied {
            Some(_) => tracing::warn!("the log's state is restored from its copy; nothing is lost"),
            None => tracing::error!(
                "the log's state is rebuilt from its segments; the groups' offsets are unknown until their \
                sinks run again"
            ),
        }
        Ok(())
    })?;
    State::open(&path)
}

/// Opens a state and reads all of it once.
fn open_whole(path: &Path, dir: &Path) -> Result<State, Error> {
    for cut in journal::cut(path, dir, now_ms())? {
        cut.report();
    }
    let state = State::open(path)?;
    state.entries()?;
    check_topics(&state, path, &dir.join("topics"))?;
    Ok(state)
}

/// Fails if the state has lost a topic: each is in the state before it has a directory.
fn check_topics(state: &State, path: &Path, topics_dir: &Path) -> Result<(), Error> {
    if !topics_dir.is_dir() {
        return Ok(());
    }
    let known = state.topics()?;
    let is_known = |name: &str| known.iter().any(|topic| topic.name == name);
    for dir in files::entries(topics_dir)? {
        let name = dir.file_name().and_then(|name| name.to_str());
        let Some(name) = name.filter(|name| dir.is_dir() && !is_known(name)) else {
            continue;
        };
        let segments = files::entries(&dir)?;
        let mut headers = segments.iter().filter_map(|dir| Header::read(dir).ok());
        if headers.any(|header| header.topic == name) && !state.is_being_deleted(name)? {
            return Err(Error::Corrupt {
                path: path.to_owned(),
                detail: format!("it does not have topic `{name}`, which has segments"),
            });
        }
    }
    Ok(())
}

/// The topics that have segments, and where each begins.
fn topics_of_segments(dir: &Path) -> Result<Vec<(Topic, Vec<Offset>)>, Error> {
    let mut topics = Vec::new();
    if !dir.is_dir() {
        return Ok(topics);
    }
    for topic_dir in files::entries(dir)? {
        if is_deleted(&topic_dir) || !topic_dir.is_dir() {
            continue;
        }
        let mut segments: Vec<_> = files::entries(&topic_dir)?
            .into_iter()
            .filter_map(|dir| Some((Header::read(&dir).ok()?, dir)))
            .collect();
        segments.sort_by_key(|(header, _)| header.number);
        let Some((first, first_dir)) = segments.first() else {
            continue;
        };
        let summary = Summary::read(first_dir, first.partitions)?;
        let starts =
            summary.map(|summary| summary.ranges.iter().map(|range| range.start).collect());
        let topic = Topic {
            name: first.topic.clone(),
            config: TopicConfig::new(first.partitions),
        };
        topics.push((topic, starts.unwrap_or_default()));
    }
    Ok(topics)
}
