//! Samples of the last 15 minutes and 24 hours: one small file per process in `.bekk/history`, written every
//! five seconds, with or without viewers.

mod ring;
mod sampler;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use ring::{COARSE, FINE, Rings, Slot, Tier, VALUES};

pub(crate) use sampler::Sampler;

/// Number of processes of one role whose histories are kept.
const FILES_MAX: u32 = 8;

/// Measurements of the pipeline at one moment
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Sample {
    /// Records a second into the log.
    pub(crate) read_rate: Option<f64>,
    /// Records a second into PostgreSQL.
    pub(crate) applied_rate: Option<f64>,
    pub(crate) lag_records: Option<f64>,
    pub(crate) lag_seconds: Option<f64>,
    /// From a record's append to its row's visibility, in seconds: the median.
    pub(crate) visible_median: Option<f64>,
    /// The 99th percentile of the same.
    pub(crate) visible_p99: Option<f64>,
}

/// The value at a moment; a moment that nobody saw has none.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Point {
    /// Seconds since 1970-01-01 UTC.
    pub(crate) at: u64,
    pub(crate) sample: Sample,
}

/// Time span of a chart
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Span {
    QuarterHour,
    Day,
}

/// This process's history, and those beside it.
pub(crate) struct History {
    /// `.bekk/history`.
    dir: PathBuf,
    role: &'static str,
    own: Mutex<Own>,
}

struct Own {
    rings: Rings,
    /// Its file; `None` while it is kept in memory only.
    file: Option<(PathBuf, File)>,
}

impl History {
    /// Continues the history of a process of this role, or begins one. A directory that cannot be written to leaves
    /// it in memory.
    pub(crate) fn open(dir: &Path, role: &'static str) -> Self {
        let file = claim(dir, role);
        let rings = file.as_ref().map(|(path, _)| Rings::read(path));
        let rings = rings.unwrap_or_default();
        let file = file.filter(|(path, file)| match rings.write_all(file) {
            Ok(()) => true,
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "the history is kept in memory only");
                false
            }
        });
        Self {
            dir: dir.to_owned(),
            role,
            own: Mutex::new(Own { rings, file }),
        }
    }

    /// The histories of other processes, without one of this process.
    pub(crate) fn beside(dir: &Path) -> Self {
        Self {
            dir: dir.to_owned(),
            role: "none",
            own: Mutex::new(Own {
                rings: Rings::default(),
                file: None,
            }),
        }
    }

    /// Whether it survives a restart.
    pub(crate) fn is_persisted(&self) -> bool {
        self.own.lock().file.is_some()
    }

    /// Adds a sample to both rings.
    pub(crate) fn add(&self, seconds: u64, sample: &Sample) {
        let values = sample.to_values();
        let mut own = self.own.lock();
        for tier in [FINE, COARSE] {
            let step = seconds / tier.step_seconds;
            let slot = match own.rings.get(tier, step) {
                Some(slot) => combined(&slot, values),
                None => Slot {
                    step,
                    weight: 1.0,
                    values,
                },
            };
            let write = own.rings.set(tier, slot);
            if let Some((path, file)) = &own.file
                && let Err(error) = write.to(file)
            {
                tracing::warn!(path = %path.display(), %error, "the history is kept in memory from now on");
                own.file = None;
            }
        }
    }

    /// The latest sample, if it is no older than `seconds`.
    pub(crate) fn latest(&self, seconds: u64) -> Option<Sample> {
        let points = self.points(Span::QuarterHour);
        let since = now_seconds().saturating_sub(seconds + FINE.step_seconds);
        let fresh = points.iter().rev().take_while(|point| point.at >= since);
        let known = fresh.map(|point| point.sample);
        known.reduce(|newer, older| newer.or(&older))
    }

    /// Every step up to now, the latest last, as all processes of this directory have seen it.
    pub(crate) fn points(&self, span: Span) -> Vec<Point> {
        let tier = span.tier();
        let tracks = self.tracks();
        let last = now_seconds() / tier.step_seconds;
        let steps = last.saturating_sub(tier.slots as u64 - 1)..=last;
        steps
            .map(|step| Point {
                at: step * tier.step_seconds,
                sample: merged(&tracks, tier, step),
            })
            .collect()
    }

    /// The histories in the directory, each with its role.
    fn tracks(&self) -> Vec<(String, Rings)> {
        let own = self.own.lock();
        let own_path = own.file.as_ref().map(|(path, _)| path.clone());
        let mut tracks = vec![(self.role.to_owned(), own.rings.clone())];
        drop(own);
        for entry in fs::read_dir(&self.dir).into_iter().flatten().flatten() {
            let path = entry.path();
            let name = entry.file_name();
            let Some(stem) = name.to_str().and_then(|name| name.strip_suffix(".ring")) else {
                continue;
            };
            if Some(&path) != own_path.as_ref() {
                let role = stem.split('-').next().unwrap_or(stem);
                tracks.push((role.to_owned(), Rings::read(&path)));
            }
        }
        tracks
    }
}

impl Span {
    const fn tier(self) -> Tier {
        match self {
            Self::QuarterHour => FINE,
            Self::Day => COARSE,
        }
    }
}

impl Sample {
    fn to_values(self) -> [f32; VALUES] {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "a chart needs no more digits"
        )]
        let value = |value: Option<f64>| value.map_or(f32::NAN, |value| value as f32);
        [
            value(self.read_rate),
            value(self.applied_rate),
            value(self.lag_records),
            value(self.lag_seconds),
            value(self.visible_median),
            value(self.visible_p99),
        ]
    }

    fn from_values(values: [f32; VALUES]) -> Self {
        let value = |at: usize| Some(f64::from(values[at])).filter(|value| !value.is_nan());
        Self {
            read_rate: value(0),
            applied_rate: value(1),
            lag_records: value(2),
            lag_seconds: value(3),
            visible_median: value(4),
            visible_p99: value(5),
        }
    }

    /// These values, and where one is unknown, the other's.
    fn or(&self, other: &Self) -> Self {
        Self {
            read_rate: self.read_rate.or(other.read_rate),
            applied_rate: self.applied_rate.or(other.applied_rate),
            lag_records: self.lag_records.or(other.lag_records),
            lag_seconds: self.lag_seconds.or(other.lag_seconds),
            visible_median: self.visible_median.or(other.visible_median),
            visible_p99: self.visible_p99.or(other.visible_p99),
        }
    }

    /// Joins the samples of two processes of the same role: rates add up, and of other values the worse one counts.
    fn and(&self, other: &Self) -> Self {
        let sum = |a: Option<f64>, b: Option<f64>| either(a, b, |a, b| a + b);
        let worse = |a: Option<f64>, b: Option<f64>| either(a, b, f64::max);
        Self {
            read_rate: sum(self.read_rate, other.read_rate),
            applied_rate: sum(self.applied_rate, other.applied_rate),
            lag_records: worse(self.lag_records, other.lag_records),
            lag_seconds: worse(self.lag_seconds, other.lag_seconds),
            visible_median: worse(self.visible_median, other.visible_median),
            visible_p99: worse(self.visible_p99, other.visible_p99),
        }
    }
}

fn either(a: Option<f64>, b: Option<f64>, both: impl Fn(f64, f64) -> f64) -> Option<f64> {
    match (a, b) {
        (Some(a), Some(b)) => Some(both(a, b)),
        (a, b) => a.or(b),
    }
}

/// Joins the samples of all processes for one step. The rate into the log comes from ingest, or from the log's server if no
/// ingest reports it.
fn merged(tracks: &[(String, Rings)], tier: Tier, step: u64) -> Sample {
    let mut parts: Option<Sample> = None;
    let mut server = Sample::default();
    for (role, rings) in tracks {
        let Some(slot) = rings.get(tier, step) else {
            continue;
        };
        let sample = Sample::from_values(slot.values);
        if role == "log" {
            server = sample;
        } else {
            parts = Some(parts.map_or(sample, |parts| parts.and(&sample)));
        }
    }
    parts.unwrap_or_default().or(&server)
}

/// A slot with one more sample: the mean of rates and of the median, the maximum of the rest.
fn combined(slot: &Slot, values: [f32; VALUES]) -> Slot {
    let mut out = *slot;
    out.weight += 1.0;
    for (at, new) in values.into_iter().enumerate() {
        let old = slot.values[at];
        out.values[at] = match at {
            _ if old.is_nan() => new,
            _ if new.is_nan() => old,
            0 | 1 | 4 => old + (new - old) / out.weight,
            _ => old.max(new),
        };
    }
    out
}

/// The file of this role that no other process writes to.
fn claim(dir: &Path, role: &str) -> Option<(PathBuf, File)> {
    fs::create_dir_all(dir).ok()?;
    (1..=FILES_MAX).find_map(|number| {
        let name = match number {
            1 => format!("{role}.ring"),
            _ => format!("{role}-{number}.ring"),
        };
        let path = dir.join(name);
        let mut options = File::options();
        options.create(true).truncate(false).read(true).write(true);
        let file = options.open(&path).ok()?;
        file.try_lock().is_ok().then_some((path, file))
    })
}

pub(crate) fn now_seconds() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(read: f64, lag: f64) -> Sample {
        Sample {
            read_rate: Some(read),
            lag_records: Some(lag),
            ..Sample::default()
        }
    }

    #[test]
    fn a_restart_continues_and_two_processes_add_up() {
        let dir = tempfile::tempdir().unwrap();
        let now = now_seconds();
        let first = History::open(dir.path(), "up");
        first.add(now, &sample(10.0, 4.0));
        drop(first);
        let again = History::open(dir.path(), "up");
        assert!(again.is_persisted());
        assert_eq!(again.latest(60).unwrap().read_rate, Some(10.0));
        let second = History::open(dir.path(), "up");
        second.add(now, &sample(5.0, 9.0));
        let log = History::open(dir.path(), "log");
        log.add(now, &sample(999.0, 999.0));
        let both = again.latest(60).unwrap();
        assert_eq!((both.read_rate, both.lag_records), (Some(15.0), Some(9.0)));
        let points = again.points(Span::Day);
        assert_eq!(points.len(), COARSE.slots);
        assert_eq!(points.iter().filter_map(|p| p.sample.read_rate).count(), 1);
    }

    #[test]
    fn a_coarse_slot_holds_the_mean_rate_and_the_worst_lag() {
        let dir = tempfile::tempdir().unwrap();
        let history = History::open(dir.path(), "up");
        let now = now_seconds() / 120 * 120;
        for (at, read, lag) in [(0, 10.0, 1.0), (5, 20.0, 8.0), (10, 60.0, 2.0)] {
            history.add(now + at, &sample(read, lag));
        }
        let points = history.points(Span::Day);
        let slot = points.iter().rev().find(|p| p.sample.read_rate.is_some());
        let slot = slot.unwrap().sample;
        assert_eq!((slot.read_rate, slot.lag_records), (Some(30.0), Some(8.0)));
    }

    #[test]
    fn without_a_place_it_is_kept_in_memory() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("file");
        fs::write(&place, "").unwrap();
        let history = History::open(&place, "up");
        history.add(now_seconds(), &sample(10.0, 4.0));
        assert!(!history.is_persisted());
        assert_eq!(history.latest(60).unwrap().read_rate, Some(10.0));
    }
}
