//! Dead letters tried again: their texts under the headers of their files, and what becomes of them.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use anyhow::Result;
use bekk_ingest::{InFile, Reparser, TextForm};
use bekk_log::{Client, Offset};
use bekk_sink::{ConnectOptions, Corrected, Letter, LetterFilter, LetterText, Retried};
use bekk_stream::{FileId, FileRecord, META_TOPIC, Meta, Stream};
use serde::Serialize;

use crate::context::Context;
use crate::decoded::READ_BYTES_MAX;
use crate::letters::for_each_page;
use crate::outcome::Outcome;
use crate::screen::{Screen, grouped};

/// Outcome of the letters that were tried again
#[derive(Default, Serialize)]
pub(crate) struct Tally {
    pub(crate) retried: u64,
    pub(crate) superseded: u64,
    pub(crate) open: u64,
    /// Why letters stay open, by their numbers.
    reasons: BTreeMap<i64, String>,
}

/// Says why a letter stays open, if it does.
pub(crate) fn tell(letter: &Letter, retried: &Retried, screen: &Screen) {
    if let Retried::Open(why) = retried {
        screen.say(&format!("{} stays: {why}", letter.id));
    }
}

/// Tries the open letters that a filter leaves once more, under a header if one is named.
///
/// # Errors
/// If the log or PostgreSQL is unreachable; the letters that were retried until then are resolved.
pub(crate) fn retry(
    context: &Context,
    postgres: &ConnectOptions,
    log: &Client,
    (filter, header): (&LetterFilter, Option<&str>),
    report: &mut dyn FnMut(&Letter, &Retried),
) -> Result<Tally> {
    let retrier = Retrier::new(context, postgres, log, header)?;
    let mut tally = Tally::default();
    for_each_page(postgres, filter, |letters| {
        retrier.retry(letters, &mut tally, report)
    })?;
    Ok(tally)
}

/// The parts and facts that a retry needs
pub(crate) struct Retrier<'a> {
    context: &'a Context,
    postgres: &'a ConnectOptions,
    log: &'a Client,
    /// The header that was typed.
    header: Option<&'a str>,
    files: Files,
}

impl<'a> Retrier<'a> {
    /// Reads which files the log knows.
    ///
    /// # Errors
    /// If the log cannot be read.
    pub(crate) fn new(
        context: &'a Context,
        postgres: &'a ConnectOptions,
        log: &'a Client,
        header: Option<&'a str>,
    ) -> Result<Self> {
        Ok(Self {
            context,
            postgres,
            log,
            header,
            files: Files::read(log)?,
        })
    }

    /// Tries letters once more, each with the text in `letters`, which may differ from that in the database.
    ///
    /// # Errors
    /// As [`retry`].
    pub(crate) fn retry(
        &self,
        letters: &[Letter],
        tally: &mut Tally,
        report: &mut dyn FnMut(&Letter, &Retried),
    ) -> Result<()> {
        let mut parts: BTreeMap<(&str, &str), Vec<Letter>> = BTreeMap::new();
        for letter in letters {
            let part = parts.entry((&letter.group, &letter.stream)).or_default();
            part.push(letter.clone());
        }
        for ((_, name), letters) in parts {
            let streams = self.context.streams();
            let mut streams = streams.iter();
            let Some(stream) = streams.find(|stream| stream.name == name) else {
                let why = format!("the configuration has no stream `{name}`");
                for letter in &letters {
                    let open = Retried::Open(why.clone());
                    tally.count(letter, &open);
                    report(letter, &open);
                }
                continue;
            };
            let mut texts = Texts {
                stream,
                header: self.header,
                files: &self.files,
                reparser: None,
            };
            bekk_sink::retry_letters(
                self.postgres,
                self.log,
                stream,
                &letters,
                &mut |text| texts.parse(&text),
                &mut |letter, retried| {
                    tally.count(letter, retried);
                    report(letter, retried);
                },
            )?;
        }
        Ok(())
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} retried, {} superseded by a newer record, {} still open",
            grouped(self.retried),
            grouped(self.superseded),
            grouped(self.open)
        )
    }
}

impl Tally {
    /// Whether there was no letter to retry.
    pub(crate) fn is_empty(&self) -> bool {
        self.retried + self.superseded + self.open == 0
    }

    /// The outcome of a command that retried these letters.
    pub(crate) fn outcome(&self) -> Outcome {
        match self.open {
            0 => Outcome::Done,
            _ => Outcome::Incomplete,
        }
    }

    fn count(&mut self, letter: &Letter, retried: &Retried) {
        match retried {
            Retried::Landed => self.retried += 1,
            Retried::Superseded => self.superseded += 1,
            Retried::Open(why) => {
                self.open += 1;
                self.reasons.insert(letter.id, why.clone());
            }
        }
    }
}

/// Parses letters' texts as a stream is configured now.
struct Texts<'a> {
    stream: &'a Stream,
    /// The header that was typed.
    header: Option<&'a str>,
    files: &'a Files,
    reparser: Option<Reparser<'a>>,
}

impl Texts<'_> {
    fn parse(&mut self, text: &LetterText<'_>) -> Result<Corrected, String> {
        let letter = text.letter;
        let form = match (self.header, letter.file.as_deref()) {
            _ if text.is_plain => TextForm::Plain,
            (Some(header), _) => TextForm::Under(header),
            (None, Some(path)) => TextForm::InFile(InFile {
                path: Path::new(path),
                file: self.files.find(text.origin.file, path),
                original: text.original,
            }),
            (None, None) => {
                return Err("its file is not known; name its header: --header \"…\"".to_owned());
            }
        };
        let reparser = self
            .reparser
            .get_or_insert_with(|| Reparser::new(self.stream, text.partitions));
        let parsed = reparser.reparse(form, &letter.raw, text.origin);
        let row = parsed.map_err(|error| format!("{:#}", anyhow::Error::from(error)))??;
        Ok(Corrected {
            partition: row.partition,
            key: row.key,
            payload: row.payload,
        })
    }
}

/// The files that a log has records of.
#[derive(Default)]
struct Files(HashMap<FileId, FileRecord>);

impl Files {
    fn read(log: &Client) -> Result<Self> {
        let mut files = Self::default();
        if log.topics()?.iter().all(|topic| topic.name != META_TOPIC) {
            return Ok(files);
        }
        let mut next = Offset::ZERO;
        loop {
            let records = log.read(META_TOPIC, 0, next, READ_BYTES_MAX)?;
            for record in records.iter() {
                if let Ok(Meta::File(file)) = Meta::decode(record.value) {
                    files.0.insert(file.id, file);
                }
            }
            if records.next_offset() <= next {
                return Ok(files);
            }
            next = records.next_offset();
        }
    }

    /// The file with an id, or else the only file that ever had the path.
    fn find(&self, id: FileId, path: &str) -> Option<&FileRecord> {
        if let Some(file) = self.0.get(&id) {
            return Some(file);
        }
        let mut of_path = self.0.values().filter(|file| file.path == path.as_bytes());
        of_path.next().filter(|_| of_path.next().is_none())
    }
}
