//! Starting a sink, watching over its threads, and summing up.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread::{Scope, ScopedJoinHandle};
use std::time::{Duration, Instant};

use bekk_log::{Client, PartitionEnds, TopicConfig};
use bekk_stream::Stream;
use tokio::runtime::Handle;

use crate::board::{Board, Slot};
use crate::context::{Context, Phase};
use crate::keeper::keep;
use crate::member;
use crate::parents;
use crate::setup::{Prepared, Setup};
use crate::stats::{Position, State, Stats};
use crate::watch::watch;
use crate::worker::{Tally, work};
use crate::{Config, ConnectOptions, Control, Error, schema_fault};

/// How often the threads and the control are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Interval between attempts to insert rows whose parents were missing.
const RETRY_EVERY: Duration = Duration::from_secs(1);
/// How long records may be kept back before it is told that they are waited for.
const KEPT_BACK_SILENT: Duration = Duration::from_secs(2);

/// What a sink has done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    /// Rows inserted.
    pub rows: u64,
    /// Records accepted that added no row.
    pub superseded: u64,
    /// Records that became dead letters.
    pub dead: u64,
    /// Records applied: the sum of the other three.
    pub records: u64,
    /// How many dead letters there were of each reason.
    pub dead_by_reason: BTreeMap<String, u64>,
}

/// Applies the streams' records to PostgreSQL until it is told to stop, or has drained what it was told to.
///
/// Waits without end for a server that is away, busy or full; [`Stats::state`] says so. Makes a tokio
/// runtime of its own and blocks: not to be called from an async task.
///
/// # Errors
/// What only a person can help with: a refused login, a table that does not fit, another log or target
/// than the group's, a table that refuses everything, a log that fails.
pub fn run(
    config: &Config,
    streams: &[Stream],
    log: &Client,
    stats: &Stats,
    control: &Control,
) -> Result<Summary, Error> {
    let result = run_until_told(config, streams, log, stats, control);
    stats.end();
    result.map_err(|error| explain(&config.postgres, error))
}

/// Looks whether schema `bekk` is whole after an error that a missing part of it explains.
fn explain(postgres: &ConnectOptions, error: Error) -> Error {
    if !error.names_what_is_missing() {
        return error;
    }
    match schema_fault(postgres) {
        Ok(Some(fault)) => fault.into_error(),
        Ok(None) | Err(_) => error,
    }
}

fn run_until_told(
    config: &Config,
    streams: &[Stream],
    log: &Client,
    stats: &Stats,
    control: &Control,
) -> Result<Summary, Error> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("bekk-sink-io")
        .enable_all()
        .build()
        .map_err(|source| Error::Io {
            act: "start a runtime",
            source,
        })?;
    stats.begin();
    let ends = open_topics(streams, log)?;
    let owner = member::new_name(&config.group);
    let setup = Setup {
        config,
        streams,
        log,
        ends: &ends,
        owner: &owner,
    };
    let Some(prepared) = setup.run(&runtime, stats, control)? else {
        return Ok(Summary::default());
    };
    let Prepared {
        targets,
        parents,
        halts,
        server,
    } = prepared;
    let slots = targets.iter().enumerate().flat_map(|(stream, target)| {
        let name = &target.stream.name;
        let at = streams.iter().position(|stream| stream.name == *name);
        let ends = at.map_or(&[][..], |at| ends[at].as_slice());
        ends.iter()
            .map(move |ends| Slot::new(stream, name, ends.partition, ends.end.get()))
    });
    let slots: Vec<Slot> = slots.collect();
    let context = Arc::new(Context::new(
        (config.postgres.clone(), server),
        config.group.clone(),
        owner,
        log.clone(),
        targets,
        Board::new(slots, parents),
    ));
    for (stream, error) in halts {
        tracing::error!(stream, %error, "stream stopped; the others continue");
        context.note_halt(&stream, error);
    }
    stats.set_state(State::Running);
    let summary = run_threads(&context, config, runtime.handle(), stats, control);
    match context.take_failure() {
        Some(error) => Err(error),
        None => Ok(summary),
    }
}

/// Makes the streams' topics where they do not exist, and says where their partitions begin and end.
fn open_topics(streams: &[Stream], log: &Client) -> Result<Vec<Vec<PartitionEnds>>, Error> {
    let open = |stream: &Stream| {
        let config = TopicConfig {
            partitions: stream.partitions,
            retention: bekk_log::Retention {
                age: stream.retention.age,
                size: stream.retention.size,
            },
        };
        log.create_topic(&stream.name, config)?;
        log.partition_ends(&stream.name)
    };
    streams
        .iter()
        .map(|stream| {
            open(stream).map_err(|error| Error::log(format!("open topic `{}`", stream.name), error))
        })
        .collect()
}

fn run_threads(
    context: &Arc<Context>,
    config: &Config,
    runtime: &Handle,
    stats: &Stats,
    control: &Control,
) -> Summary {
    std::thread::scope(|scope| {
        let keeper = spawn(scope, context, "sink-keeper", || {
            if let Err(error) = keep(context, stats, runtime) {
                context.fail(error);
            }
        });
        for stream in 0..context.streams() {
            spawn(scope, context, "sink-watch", move || {
                if let Err(error) = watch(context, stream) {
                    context.fail(error);
                }
            });
        }
        if context.board.has_children() {
            spawn(scope, context, "sink-retry", || {
                retry_while_running(context);
            });
        }
        let workers: Vec<_> = (0..config.connections.max(1))
            .filter_map(|number| spawn_worker(scope, context, config, (number, runtime), stats))
            .collect();
        supervise(context, stats, control, || {
            keeper.iter().any(ScopedJoinHandle::is_finished)
                || workers.iter().any(ScopedJoinHandle::is_finished)
        });
        context.enter(Phase::Stopping);
        let mut summary = Summary::default();
        for worker in workers {
            match worker.join() {
                Ok(tally) => summary.add(tally),
                Err(panicked) => {
                    context.enter(Phase::Releasing);
                    std::panic::resume_unwind(panicked);
                }
            }
        }
        stats.set_positions(context.board.positions());
        context.enter(Phase::Releasing);
        summary
    })
}

/// Starts a thread; where the system has none left, the sink stops. (`Scope::spawn` panics, and the scope then waits for
/// threads that nobody tells to stop.)
fn spawn<'scope, T: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    context: &Context,
    name: &str,
    work: impl FnOnce() -> T + Send + 'scope,
) -> Option<ScopedJoinHandle<'scope, T>> {
    let named = std::thread::Builder::new().name(name.to_owned());
    let thread = named.spawn_scoped(scope, work);
    let act = "start a thread";
    thread
        .map_err(|source| context.fail(Error::Io { act, source }))
        .ok()
}

fn spawn_worker<'scope>(
    scope: &'scope Scope<'scope, '_>,
    context: &'scope Arc<Context>,
    config: &'scope Config,
    (number, runtime): (usize, &Handle),
    stats: &'scope Stats,
) -> Option<ScopedJoinHandle<'scope, Tally>> {
    let runtime = runtime.clone();
    spawn(scope, context, "sink-worker", move || {
        work(context, config, stats, (number, runtime)).unwrap_or_else(|error| {
            context.fail(error);
            Tally::default()
        })
    })
}

/// Tries letters again whose parents were missing, whenever parents have been applied.
fn retry_while_running(context: &Context) {
    let mut seen = context.board.parents_applied();
    while !context.is_stopping() {
        context.sleep(RETRY_EVERY);
        let now = context.board.parents_applied();
        if now == seen || context.is_stopping() {
            continue;
        }
        seen = now;
        // What cannot be tried now is tried after the next parents, or at the next start.
        if let Err(error) = retry_orphans(context) {
            tracing::debug!(%error, "letters not tried again");
        }
    }
}

fn retry_orphans(context: &Context) -> Result<(), Error> {
    for stream in context.board.children() {
        let target = context.target(stream);
        let found = &target.stream;
        let (postgres, group) = (&context.postgres, context.group.as_str());
        let landed = parents::retry_orphans(postgres, &context.log, group, found)?;
        if landed > 0 {
            tracing::info!(
                stream = found.name,
                rows = landed,
                "dead letters are rows now, because the rows that they refer to have arrived"
            );
        }
    }
    Ok(())
}

/// Topics, partitions and where those end.
type Ends = Vec<(String, u32, u64)>;

/// Waits until the sink is to stop, and keeps the positions in `stats` up to date.
fn supervise(context: &Context, stats: &Stats, control: &Control, has_ended: impl Fn() -> bool) {
    let mut drain_to: Option<(Ends, Instant)> = None;
    let mut has_told = false;
    while !control.is_stopping() && !context.is_stopping() && !has_ended() {
        let positions = context.board.positions();
        if control.is_draining() && drain_to.is_none() {
            match ends_now(context) {
                Ok(ends) => {
                    drain_to = Some((ends, Instant::now()));
                    context.set_draining();
                }
                Err(error) => context.fail(error),
            }
        }
        let halted = context.halted();
        stats.set_halted(&halted);
        if let Some((ends, since)) = &drain_to {
            let is_at = |place: fn(&Position) -> u64| {
                ends.iter().all(|(topic, partition, end)| {
                    let is_halted = halted.iter().any(|(stream, _)| stream == topic);
                    is_halted
                        || positions.iter().any(|position| {
                            position.topic == *topic
                                && position.partition == *partition
                                && place(position) >= *end
                        })
                })
            };
            if is_at(|position| position.next) {
                if let Err(error) = retry_orphans(context) {
                    context.fail(error);
                }
                return;
            }
            let is_late = since.elapsed() >= KEPT_BACK_SILENT;
            if is_late && !has_told && !is_at(|position| position.end) {
                has_told = true;
                tracing::warn!(
                    "waiting for another producer's open transaction: it hides records that existed at the start"
                );
            }
        }
        stats.set_positions(positions);
        std::thread::sleep(LOOK_EVERY);
    }
}

/// Where the partitions end, what a cluster's open transactions keep back included: it counts as there.
fn ends_now(context: &Context) -> Result<Ends, Error> {
    let mut all = Vec::new();
    for stream in 0..context.streams() {
        let target = context.target(stream);
        let topic = &target.stream.name;
        let ends = context
            .log
            .high_watermarks(topic)
            .map_err(|error| Error::log(format!("read the ends of topic `{topic}`"), error))?;
        all.extend(
            ends.iter()
                .map(|ends| (topic.clone(), ends.partition, ends.end.get())),
        );
    }
    Ok(all)
}

impl Summary {
    fn add(&mut self, tally: Tally) {
        self.rows += tally.rows;
        self.superseded += tally.superseded;
        self.dead += tally.dead;
        self.records = self.rows + self.superseded + self.dead;
        for (reason, count) in tally.dead_by_reason {
            *self.dead_by_reason.entry(reason).or_default() += count;
        }
    }
}
