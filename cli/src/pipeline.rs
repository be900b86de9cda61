//! Ingest, log and sink side by side: their threads, their end, and their status line.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{self, JoinHandle, Thread};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};
use bekk_log::{Client, Server};
use bekk_sink::State;
use bekk_stream::Stream;

use crate::context::Context;
use crate::log_place::{is_refused, needs_reopening};
use crate::screen::{LiveLine, Screen, grouped};
use crate::service::Service;
use crate::signals;
use crate::standard_input::StandardInput;

/// Interval between updates of the line and checks of the threads
const TICK: Duration = Duration::from_millis(100);

/// Interval between two rounds of retention
const RETENTION_EVERY: Duration = Duration::from_secs(60);

/// A part that runs on a thread of its own.
struct Part<T> {
    thread: JoinHandle<Result<T>>,
    has_ended: Arc<AtomicBool>,
}

/// Reports the end of a part to the thread that started it, also after a panic.
struct End {
    has_ended: Arc<AtomicBool>,
    starter: Thread,
}

impl Drop for End {
    fn drop(&mut self) {
        self.has_ended.store(true, Ordering::Release);
        self.starter.unpark();
    }
}

/// The running parts; either may be absent.
pub(crate) struct Pipeline {
    log: Client,
    ingest: Option<Part<bekk_ingest::Summary>>,
    sink: Option<Part<bekk_sink::Summary>>,
    counts: Arc<Counts>,
    ingest_stop: Arc<AtomicBool>,
    sink_control: bekk_sink::Control,
    /// The sink's.
    group: String,
}

/// Statistics of the parts, for the life of the process: after the end of the log's owner there is a new
/// pipeline, which continues the counts.
#[derive(Default)]
pub(crate) struct Counts {
    ingest: OnceLock<Arc<bekk_ingest::Stats>>,
    sink: OnceLock<Arc<bekk_sink::Stats>>,
}

/// Work that the parts have done
#[derive(Default)]
pub(crate) struct Summary {
    pub(crate) ingest: Option<bekk_ingest::Summary>,
    pub(crate) sink: Option<bekk_sink::Summary>,
}

impl Counts {
    /// Sums the work of all pipelines so far.
    pub(crate) fn summary(&self) -> Summary {
        Summary {
            ingest: self.ingest.get().map(|_| bekk_ingest::Summary::default()),
            sink: self.sink.get().map(|_| bekk_sink::Summary::default()),
        }
        .counting(self)
    }
}

impl Summary {
    /// Replaces this pipeline's counts by those of all pipelines of the process.
    fn counting(mut self, counts: &Counts) -> Self {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        if let (Some(summary), Some(stats)) = (&mut self.ingest, counts.ingest.get()) {
            summary.records = load(&stats.records_logged);
            summary.rejects = load(&stats.rejects_logged);
            summary.bytes = load(&stats.bytes_logged);
        }
        if let (Some(summary), Some(stats)) = (&mut self.sink, counts.sink.get()) {
            summary.rows = load(&stats.rows);
            summary.superseded = load(&stats.superseded);
            summary.dead = load(&stats.dead);
            summary.records = stats.applied();
            summary.dead_by_reason = stats.dead_by_reason();
        }
        self
    }
}

impl Pipeline {
    /// `counts` are those of the pipelines before it in this process.
    pub(crate) fn new(log: Client, counts: &Arc<Counts>) -> Self {
        Self {
            log,
            ingest: None,
            sink: None,
            counts: Arc::clone(counts),
            ingest_stop: Arc::default(),
            sink_control: bekk_sink::Control::default(),
            group: String::new(),
        }
    }

    /// Starts ingest: of the streams' files, or of standard input in their place.
    pub(crate) fn start_ingest(
        &mut self,
        config: bekk_ingest::Config,
        streams: Vec<Stream>,
        input: Option<&StandardInput>,
    ) -> Result<()> {
        let stats = Arc::clone(self.counts.ingest.get_or_init(Arc::default));
        let (log, stop) = (self.log.clone(), Arc::clone(&self.ingest_stop));
        let input = input.cloned();
        let thread = start("ingest", move || match input {
            None => Ok(bekk_ingest::run(&config, &streams, &log, &stats, &stop)?),
            Some(input) => input.read(config, &streams, &log, &stats, &stop),
        })?;
        self.ingest = Some(thread);
        Ok(())
    }

    pub(crate) fn start_sink(
        &mut self,
        config: bekk_sink::Config,
        streams: Vec<Stream>,
    ) -> Result<()> {
        let stats = Arc::clone(self.counts.sink.get_or_init(Arc::default));
        let (log, control) = (self.log.clone(), self.sink_control.clone());
        self.group.clone_from(&config.group);
        let thread = start("sink", move || {
            Ok(bekk_sink::run(&config, &streams, &log, &stats, &control)?)
        })?;
        self.sink = Some(thread);
        Ok(())
    }

    /// Registers the started parts with a service.
    pub(crate) fn tell_of(&self, service: &Service) {
        service.has_log(&self.log);
        if let Some(stats) = self.counts.ingest.get() {
            service.has_ingest(stats);
        }
        if let Some(stats) = self.counts.sink.get() {
            service.has_sink(&self.group, stats);
        }
    }

    /// Runs until all is done that is there: ingest to the end of the files, then the sink to the end of
    /// the log. A stop in between ends both at their next batch, and so does the failure of either.
    /// `server` serves the log until then.
    pub(crate) fn run_once(
        mut self,
        screen: &Screen,
        stop: &AtomicBool,
        server: Option<Server>,
    ) -> Result<Summary> {
        let mut line = screen.bar(0);
        let sink_failed = |pipeline: &Self| pipeline.sink.is_some() && pipeline.sink_has_ended();
        self.tick_until(stop, &mut line, |pipeline| {
            pipeline.ingest_has_ended() || sink_failed(pipeline)
        });
        if signals::is_set(stop) || sink_failed(&self) {
            self.log.give_up();
            self.ingest_stop.store(true, Ordering::Relaxed);
        }
        let ingest = self.ingest.take().map(Part::join).transpose();
        if signals::is_set(stop) || ingest.is_err() {
            self.sink_control.stop();
        } else {
            self.sink_control.drain();
        }
        self.tick_until(stop, &mut line, Self::sink_has_ended);
        if signals::is_set(stop) {
            self.sink_control.stop();
        }
        let sink = self.sink.take().map(Part::join).transpose();
        drop(line);
        let (ingest, sink) = match (ingest, sink) {
            (Ok(ingest), Ok(sink)) => (ingest, sink),
            (Ok(ingest), Err(error)) => {
                ingest.iter().for_each(bekk_ingest::Summary::warn);
                server.into_iter().for_each(Server::stop);
                return Err(error);
            }
            (Err(error), _) => {
                server.into_iter().for_each(Server::stop);
                return Err(error);
            }
        };
        let summary = Summary { ingest, sink }.counting(&self.counts);
        self.apply_retention(screen);
        server.into_iter().for_each(Server::stop);
        self.log.close().context("close the log")?;
        Ok(summary)
    }

    /// Runs the parts that `start_parts` starts until a stop is requested or a part fails; returns the time of the request.
    /// `server` serves the log until then. When the context takes other streams into use, the parts end at a batch
    /// boundary, and are started again.
    pub(crate) fn run_until_stopped(
        mut self,
        screen: &Screen,
        stop: &AtomicBool,
        server: Option<Server>,
        context: &Context,
        start_parts: &dyn Fn(&mut Self) -> Result<()>,
    ) -> Result<Instant> {
        let mut line = screen.service_line();
        let has_ended = |pipeline: &Self| {
            pipeline.ingest.is_some() && pipeline.ingest_has_ended()
                || pipeline.sink.is_some() && pipeline.sink_has_ended()
                || pipeline.was_filled().is_some()
        };
        loop {
            // Before the parts take the streams: those of a later generation start the parts again.
            let generation = context.generation();
            start_parts(&mut self)?;
            self.tick_until(stop, &mut line, |pipeline| {
                has_ended(pipeline) || context.generation() != generation
            });
            if signals::is_set(stop) || has_ended(&self) {
                break;
            }
            self.end_parts()?;
        }
        let told = Instant::now();
        self.log.give_up();
        self.ingest_stop.store(true, Ordering::Relaxed);
        self.sink_control.stop();
        let ingest = self.ingest.take().map(Part::join).transpose();
        let sink = self.sink.take().map(Part::join).transpose();
        let done = match self.was_filled() {
            // Both parts may have ended well: a guest's write can be the one that failed.
            Some(error) => Err(error.into()),
            None => ingest.map(|_| ()).and(sink.map(|_| ())),
        };
        if done.as_ref().is_err_and(is_refused) {
            // Each further attempt would leave the same line.
            drop(line);
        } else {
            // After the joins, so that the line counts the parts' last batches.
            line.finish(&self.status());
        }
        if let Err(error) = done {
            if needs_reopening(&error) {
                server.into_iter().for_each(Server::stop);
                // It fails for the same reason, and still gives the directory up.
                let _ = self.log.close();
            }
            return Err(error);
        }
        server.into_iter().for_each(Server::stop);
        self.log.close().context("close the log")?;
        Ok(told)
    }

    /// The failed write of this process after which the log must be opened again, if there was one.
    fn was_filled(&self) -> Option<bekk_log::Error> {
        let failed = self.log.failed_write();
        failed.filter(bekk_log::Error::needs_reopening)
    }

    /// Ends ingest and sink at their next batch, so that others can be started in their place.
    fn end_parts(&mut self) -> Result<()> {
        self.ingest_stop.store(true, Ordering::Relaxed);
        self.sink_control.stop();
        let ingest = self.ingest.take().map(Part::join).transpose();
        let sink = self.sink.take().map(Part::join).transpose();
        self.ingest_stop = Arc::default();
        self.sink_control = bekk_sink::Control::default();
        ingest?;
        sink?;
        Ok(())
    }

    /// Whether ingest has ended or was never started.
    fn ingest_has_ended(&self) -> bool {
        self.ingest.as_ref().is_none_or(Part::has_ended)
    }

    /// Whether the sink has ended or was never started.
    fn sink_has_ended(&self) -> bool {
        self.sink.as_ref().is_none_or(Part::has_ended)
    }

    fn tick_until(&self, stop: &AtomicBool, line: &mut LiveLine, is_over: impl Fn(&Self) -> bool) {
        let mut retained = Instant::now();
        while !signals::is_set(stop) && !is_over(self) {
            if retained.elapsed() >= RETENTION_EVERY {
                self.apply_retention(line.screen());
                retained = Instant::now();
            }
            let (position, length) = self.progress();
            line.set_position(position, length);
            line.set(self.status());
            // The end of a part ends the pause.
            thread::park_timeout(TICK);
        }
    }

    /// Deletes records past their retention. If that fails, records stay longer, which harms nobody.
    fn apply_retention(&self, screen: &Screen) {
        if let Err(error) = self.log.apply_retention() {
            screen.say(&format!("retention is put off: {error}"));
        }
    }

    /// Bytes of the files that were read (with a sink: applied), and their total.
    fn progress(&self) -> (u64, u64) {
        let Some(ingest) = self.counts.ingest.get() else {
            return (0, 0);
        };
        let read = ingest.bytes_read.load(Ordering::Relaxed);
        let known = ingest.bytes_known.load(Ordering::Relaxed);
        let Some(sink) = self.counts.sink.get() else {
            return (read, known);
        };
        let (applied, lag) = (u128::from(sink.applied()), u128::from(sink.lag()));
        let share = u128::from(read) * applied / (applied + lag).max(1);
        (u64::try_from(share).unwrap_or(read), known)
    }

    /// The status line of all parts.
    fn status(&self) -> String {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let mut fields = Vec::new();
        if let Some(stats) = self.counts.ingest.get() {
            fields.push(format!("read {}", grouped(load(&stats.records_read))));
            fields.push(format!("logged {}", grouped(load(&stats.records_logged))));
        }
        if let Some(stats) = self.counts.sink.get() {
            fields.push(format!("applied {}", grouped(stats.applied())));
            fields.push(format!("lag {}", grouped(stats.lag())));
            fields.push(format!("rejected {}", grouped(load(&stats.dead))));
            if load(&stats.batches) > 0 {
                let milliseconds = load(&stats.last_visible_latency_us).div_ceil(1000);
                fields.push(format!(
                    "last row visible after {} ms",
                    grouped(milliseconds)
                ));
            }
            if let State::Waiting(reason) = stats.state() {
                fields.push(format!("waiting for PostgreSQL: {reason}"));
            }
        }
        fields.join("   ")
    }
}

impl<T> Part<T> {
    fn has_ended(&self) -> bool {
        self.has_ended.load(Ordering::Acquire)
    }

    fn join(self) -> Result<T> {
        self.thread
            .join()
            .map_err(|_| anyhow!("a thread ended by a panic, which is a fault in bekk"))?
    }
}

fn start<T: Send + 'static>(
    name: &'static str,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<Part<T>> {
    let has_ended = Arc::<AtomicBool>::default();
    let end = End {
        has_ended: Arc::clone(&has_ended),
        starter: thread::current(),
    };
    let thread = thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || {
            let _end = end;
            work()
        })
        .with_context(|| format!("start the {name} thread"))?;
    Ok(Part { thread, has_ended })
}
