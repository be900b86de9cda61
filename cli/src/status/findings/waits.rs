//! What waits for a person although no part is at fault.

use bekk_ingest::fault_and_advice;

use super::{Act, DEFAULT_GROUP, Finding, problem};
use crate::positions::Line;
use crate::screen::{counted, grouped, plural};
use crate::stage::Stage;
use crate::status::Status;

/// Age in seconds from which a record that waits for a running sink is reported.
const LONG_WAIT_SECONDS: f64 = 60.0;

/// Lists the waits, the most urgent first.
pub(super) fn of(status: &Status) -> Vec<Finding> {
    let found = [
        no_sink_runs(status),
        no_sink_has_run(status),
        stream_is_gone(status),
        sink_is_behind(status),
        state_is_not_written(status),
        files_are_set_aside(status),
        nothing_has_run(status),
        no_ingest_runs(status),
        letters_are_open(status),
        file_is_noticed(status),
        other_group_waits(status),
    ];
    found.into_iter().flatten().collect()
}

fn wait(stage: Stage, title: &str, what: String, act: Act) -> Finding {
    Finding {
        is_problem: false,
        ..problem(stage, title, what, act)
    }
}

/// The partitions whose records wait while no sink holds them.
fn unheld(status: &Status) -> impl Iterator<Item = &Line> {
    let lines = status.groups.iter();
    lines.filter(|line| line.lag.is_some_and(|lag| lag > 0) && line.owner.is_none())
}

/// Returns the command that starts a sink, and an ingest if none runs.
fn start_sink(status: &Status) -> Act {
    let command = match status.files.running {
        true => "bekk sink",
        false => "bekk up",
    };
    Act::Run(command.to_owned())
}

fn no_sink_runs(status: &Status) -> Option<Finding> {
    let what = if status.postgres.is_stopped {
        "the private PostgreSQL is stopped: it runs while a sink uses it"
    } else if unheld(status).any(|line| line.group == DEFAULT_GROUP) {
        "records wait, and no sink runs"
    } else {
        return None;
    };
    let act = start_sink(status);
    Some(wait(Stage::Sink, "No sink runs", what.to_owned(), act))
}

fn no_sink_has_run(status: &Status) -> Option<Finding> {
    let of = status.unapplied.iter().find(|of| !of.is_remembered)?;
    let what = format!(
        "{} of stream `{}` in the log, and no sink has applied any to this database",
        counted(of.records, "record"),
        of.stream
    );
    let act = start_sink(status);
    Some(wait(Stage::Sink, "No sink has run", what, act))
}

fn stream_is_gone(status: &Status) -> Option<Finding> {
    let of = status.removed.first()?;
    let what = format!(
        "{} of topic `{}` {} for group `{}`, and the configuration has no stream of that name",
        counted(of.records, "record"),
        of.topic,
        if of.records == 1 { "waits" } else { "wait" },
        of.group
    );
    let act = Act::Do(format!(
        "if stream `{0}` was renamed, call it `{0}` until its records are applied; if it was removed: bekk offsets delete \
         --group {1} --stream {0} --execute ({what})",
        of.topic, of.group
    ));
    Some(wait(Stage::Sink, "A stream is gone", what, act))
}

fn sink_is_behind(status: &Status) -> Option<Finding> {
    let held = status.groups.iter().filter(|line| line.owner.is_some());
    let aged = held.filter_map(|line| Some((line, line.lag_seconds?)));
    let (line, seconds) = aged.max_by(|a, b| a.1.total_cmp(&b.1))?;
    if seconds < LONG_WAIT_SECONDS {
        return None;
    }
    let what = format!(
        "the next record of {}/{} that group `{}` is to apply is {seconds:.0} s old, and a sink holds the partition",
        line.topic, line.partition, line.group
    );
    let act = "see whether NEXT moves in `bekk offsets list`: the sink is catching up, or its messages say what it \
               waits for";
    let act = Act::Do(act.to_owned());
    Some(wait(Stage::Sink, "The sink is behind", what, act))
}

fn state_is_not_written(status: &Status) -> Option<Finding> {
    let reason = status.files.unwritable.as_ref()?;
    let what = format!(
        "ingest cannot write its state in .bekk/ingest, because {reason}; it continues, and reads more of the log after a \
         restart"
    );
    let act = "free space for .bekk/ingest, or mount it writable".to_owned();
    let title = "Ingest's state cannot be written";
    Some(wait(Stage::Ingest, title, what, Act::Do(act)))
}

fn files_are_set_aside(status: &Status) -> Option<Finding> {
    let set_aside = &status.files.set_aside;
    let file = set_aside.first()?;
    let others = set_aside.len() as u64 - 1;
    let more = match others {
        0 => String::new(),
        _ => format!(" (and {} more {})", grouped(others), plural(others, "file")),
    };
    let (fault, advice) = fault_and_advice(&file.reason);
    let what = format!("`{}` is set aside: {fault}{more}", file.path);
    let act = Act::Correct {
        what: format!("fix `{}`: {}", file.path, file.reason),
        advice: advice.map(str::to_owned),
    };
    let title = match others {
        0 => "A file is set aside".to_owned(),
        _ => format!("{} files are set aside", grouped(others + 1)),
    };
    Some(wait(Stage::Files, &title, what, act))
}

fn nothing_has_run(status: &Status) -> Option<Finding> {
    let what = "nothing has run here yet".to_owned();
    let act = Act::Run("bekk up".to_owned());
    let title = "Nothing has run here yet";
    let is_new = !status.log.exists && status.groups.iter().all(|line| line.next == 0);
    is_new.then(|| wait(Stage::Ingest, title, what, act))
}

fn no_ingest_runs(status: &Status) -> Option<Finding> {
    let files = &status.files;
    if files.running || files.unread == 0 {
        return None;
    }
    let verb = if files.unread == 1 { "waits" } else { "wait" };
    let what = format!(
        "{} {verb} to be read, and no ingest runs",
        counted(files.unread, "file")
    );
    // A sink that runs is not started a second time.
    let command = match status.groups.iter().any(|line| line.owner.is_some()) {
        true => "bekk ingest",
        false => "bekk up",
    };
    let act = Act::Run(command.to_owned());
    Some(wait(Stage::Ingest, "No ingest runs", what, act))
}

fn letters_are_open(status: &Status) -> Option<Finding> {
    let open: u64 = status.dead_letters.iter().map(|count| count.open).sum();
    let what = format!("{} open", grouped(open));
    let act = Act::Run("bekk dead-letters list".to_owned());
    (open > 0).then(|| wait(Stage::Postgres, "Dead letters", what, act))
}

fn file_is_noticed(status: &Status) -> Option<Finding> {
    let mut notices = status.files.notices.iter();
    let notice = notices.find(|notice| notice.needs_someone)?;
    let (fault, advice) = fault_and_advice(&notice.text);
    let what = format!("`{}`: {fault}", notice.path);
    let act = Act::Correct {
        what: format!("look at `{}`: {}", notice.path, notice.text),
        advice: advice.map(str::to_owned),
    };
    Some(wait(Stage::Files, "A file needs you", what, act))
}

fn other_group_waits(status: &Status) -> Option<Finding> {
    let line = unheld(status).find(|line| line.group != DEFAULT_GROUP)?;
    let group = &line.group;
    let act = format!(
        "bekk sink --group {group} --table …, or bekk offsets delete --group {group} (records wait for it)"
    );
    let what = format!("records wait for group `{group}`, and no sink of it runs");
    let act = Act::Do(act);
    Some(wait(Stage::Sink, "A group has no sink", what, act))
}
