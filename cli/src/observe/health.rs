//! The first line of every overview: is all well, and what is to be done?

use super::Snapshot;
use crate::screen::{counted, grouped};
use crate::stage::Stage;
use crate::status::{Act, Finding};

/// State of the pipeline in words
pub(crate) struct Health {
    pub(crate) level: Level,
    pub(crate) title: String,
    pub(crate) text: String,
    pub(crate) act: Option<Act>,
    /// The part that is meant.
    pub(crate) stage: Option<Stage>,
}

/// Urgency of a state
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Level {
    /// Not known yet.
    Unknown,
    Good,
    /// Something waits, for a person or for another part.
    Waiting,
    /// Something is wrong.
    Bad,
}

impl Health {
    /// Judges a snapshot: of several things the most urgent.
    pub(crate) fn of(snapshot: &Snapshot) -> Self {
        let findings = &snapshot.status.findings;
        if let Some(problem) = findings.iter().find(|finding| finding.is_problem) {
            return Self::finding(problem, Level::Bad);
        }
        if snapshot.log_opens {
            return Self::starting(snapshot);
        }
        if let Some(wait) = snapshot.readiness.waits.first() {
            return Self {
                level: Level::Waiting,
                title: format!("{} is waiting", title_case(wait.part.as_str())),
                text: sentence(&wait.reason),
                act: None,
                stage: Some(wait.part),
            };
        }
        let is_urgent = |finding: &&Finding| finding.stage != Stage::Postgres;
        if let Some(finding) = findings.iter().find(is_urgent) {
            return Self::finding(finding, Level::Waiting);
        }
        if !snapshot.is_complete() {
            return Self {
                level: Level::Unknown,
                title: "Looking".to_owned(),
                text: "Reading the state of the log, the files and PostgreSQL.".to_owned(),
                act: None,
                stage: None,
            };
        }
        Self::good(snapshot, findings.first())
    }

    fn starting(snapshot: &Snapshot) -> Self {
        let text = match snapshot.postgres_starts {
            true => "PostgreSQL is being started.",
            false => "The log is being opened.",
        };
        Self {
            level: Level::Unknown,
            title: "Starting".to_owned(),
            text: text.to_owned(),
            act: None,
            stage: None,
        }
    }

    fn finding(finding: &Finding, level: Level) -> Self {
        let act = match &finding.act {
            Act::Correct {
                advice: Some(advice),
                ..
            } => Act::Do(advice.clone()),
            Act::Correct { what, .. } => Act::Do(what.clone()),
            act => act.clone(),
        };
        let text = match finding.is_error {
            true => sentence(&format!("failed to {}", finding.what)),
            false => sentence(&finding.what),
        };
        Self {
            level,
            title: finding.title.clone(),
            text,
            act: Some(act),
            stage: Some(finding.stage),
        }
    }

    fn good(snapshot: &Snapshot, open: Option<&Finding>) -> Self {
        let mut text = match snapshot.lag_records() {
            Some(0) => "Every record in the log has been applied.".to_owned(),
            Some(1) => "1 record is on its way.".to_owned(),
            Some(lag) => format!("{} records are on their way.", grouped(lag)),
            None => "Files are read into the log as they grow.".to_owned(),
        };
        let count = snapshot.open_letters();
        if open.is_some() {
            let verb = if count == 1 { "waits" } else { "wait" };
            let letters = counted(count, "dead letter");
            text.push_str(&format!(" {letters} {verb} for you:"));
        }
        Self {
            level: Level::Good,
            title: "Healthy".to_owned(),
            text,
            act: open.map(|finding| finding.act.clone()),
            stage: None,
        }
    }
}

impl Level {
    /// Its name in the page's style.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Good => "good",
            Self::Waiting => "warn",
            Self::Bad => "bad",
        }
    }
}

/// A message of the terminal as a sentence.
fn sentence(text: &str) -> String {
    let text = title_case(text);
    match text.ends_with(['.', '!', '?', ':', '…']) {
        true => text,
        false => text + ".",
    }
}

fn title_case(part: &str) -> String {
    let mut letters = part.chars();
    letters.next().map_or_else(String::new, |first| {
        first.to_uppercase().chain(letters).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(what: &str, is_error: bool, act: &Act, text: &str, next: &Act) {
        let health = Health::finding(
            &Finding {
                stage: Stage::Files,
                is_problem: false,
                title: String::new(),
                what: what.to_owned(),
                is_error,
                act: act.clone(),
            },
            Level::Bad,
        );
        assert_eq!(
            (health.text.as_str(), health.act.as_ref()),
            (text, Some(next))
        );
    }

    #[test]
    fn an_error_says_what_was_tried_and_a_file_how_to_correct_it() {
        let start = Act::Do("start it".to_owned());
        let failed = "Failed to open the log: no.";
        check("open the log: no", true, &start, failed, &start);
        let correct = |advice: Option<&str>| Act::Correct {
            what: "fix `a.csv`: it is bad".to_owned(),
            advice: advice.map(str::to_owned),
        };
        for (advice, next) in [
            (Some("replace it"), "replace it"),
            (None, "fix `a.csv`: it is bad"),
        ] {
            let next = Act::Do(next.to_owned());
            let bad = "`a.csv` is bad";
            check(bad, false, &correct(advice), "`a.csv` is bad.", &next);
        }
    }
}
