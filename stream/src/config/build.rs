//! From what is written to what is meant: defaults, units, the environment, absolute paths.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use globset::{Glob, GlobBuilder};

use super::{Config, Durability, Environment, Fault, IngestOptions, LogLocation, kafka_hosts, raw};
use crate::units::{parse_duration, parse_size};
use crate::{
    Accept, Column, ColumnSource, CsvDialect, Finished, OnConflict, Retention, Stream, TableName,
};

const PARTITIONS_DEFAULT: u32 = 4;
const RETENTION_AGE_DEFAULT: Duration = Duration::from_secs(7 * 24 * 60 * 60);

struct Builder<'a> {
    base: &'a Path,
    environment: Environment<'a>,
}

pub(super) fn config(
    raw: raw::Config,
    base: &Path,
    environment: Environment<'_>,
) -> Result<Config, Fault> {
    let builder = Builder { base, environment };
    let has_plain_secret = has_plain_secret(&raw);
    let postgres_url = raw
        .postgres
        .url
        .map(|url| builder.expand(&url, "postgres.url"))
        .transpose()?;
    let mut streams: Vec<_> = raw.streams.into_iter().collect();
    streams.sort_by_key(|(_, stream)| stream.span().start);
    Ok(Config {
        durability: durability(raw.log.durability.as_deref())?,
        log: builder.log(&raw.log)?,
        kafka: builder.kafka(&raw.log.kafka)?,
        ingest: ingest(&raw.ingest)?,
        postgres_url,
        has_plain_secret,
        streams: streams
            .into_iter()
            .map(|(name, stream)| builder.stream(name, stream.into_inner()))
            .collect::<Result<_, _>>()?,
    })
}

/// Whether a password stands in the configuration's text, and not in the environment.
fn has_plain_secret(raw: &raw::Config) -> bool {
    let in_url = raw.postgres.url.as_ref().is_some_and(|url| {
        let credentials = url.rsplit_once('@').map_or("", |(before, _)| before);
        let (_, credentials) = credentials.split_once("://").unwrap_or(("", credentials));
        let password = credentials
            .split_once(':')
            .map_or("", |(_, password)| password);
        (!password.is_empty() && !password.starts_with("${")) || url.contains("password=")
    });
    let in_kafka = raw.log.kafka.iter().any(|(key, value)| {
        (key.contains("password") || key.contains("secret")) && !value.starts_with("${")
    });
    in_url || in_kafka
}

impl Builder<'_> {
    fn log(&self, raw: &raw::Log) -> Result<LogLocation, Fault> {
        match (&raw.dir, &raw.url) {
            (Some(_), Some(_)) => Err(Fault::new(
                "log",
                "`dir` and `url` exclude each other: keep one",
            )),
            (None, Some(url)) => {
                let url = self.expand(url, "log.url")?;
                let hosts = kafka_hosts(&url).unwrap_or(Err(
                    "it is not the address of a log; write kafka://host:port",
                ));
                match hosts {
                    Ok(hosts) => Ok(LogLocation::Kafka(hosts.to_owned())),
                    Err(why) => Err(Fault::new("log.url", why)),
                }
            }
            (dir, None) => {
                let dir = self.expand(dir.as_deref().unwrap_or(".bekk/log"), "log.dir")?;
                Ok(LogLocation::Directory(self.absolute(&dir)))
            }
        }
    }

    fn kafka(&self, raw: &BTreeMap<String, String>) -> Result<BTreeMap<String, String>, Fault> {
        raw.iter()
            .map(|(key, value)| {
                let value = self.expand(value, &format!("log.kafka.{key}"))?;
                Ok((key.clone(), value))
            })
            .collect()
    }

    fn stream(&self, name: String, raw: raw::Stream) -> Result<Stream, Fault> {
        let at = |key: &str| format!("streams.{name}.{key}");
        let patterns = |texts: &[String], key: &str| -> Result<Vec<String>, Fault> {
            texts
                .iter()
                .map(|text| self.pattern(text, &at(key)))
                .collect()
        };
        let table = self.expand(raw.table.as_deref().unwrap_or(&name), &at("table"))?;
        Ok(Stream {
            accept: accept(raw.accept.as_deref(), raw.deletes, &at)?,
            files: patterns(&raw.files, "files")?,
            exclude: patterns(&raw.exclude, "exclude")?,
            finished: self.finished(raw.finished.as_deref(), &at("finished"))?,
            table: table_name(&table, &at("table"))?,
            on_conflict: on_conflict(
                raw.on_conflict.as_deref(),
                raw.key.is_empty(),
                &at("on_conflict"),
            )?,
            key: raw.key,
            newer_by: raw.newer_by,
            partitions: raw.partitions.unwrap_or(PARTITIONS_DEFAULT),
            retention: retention(&raw.retention, &at("retention"))?,
            indexes: raw.indexes,
            csv: CsvDialect::from_table(&raw.csv)
                .map_err(|(key, detail)| Fault::new(format!("{}.{key}", at("csv")), detail))?,
            columns: raw
                .columns
                .into_iter()
                .map(|column| build_column(column, &name))
                .collect::<Result<_, _>>()?,
            name,
        })
    }

    fn finished(&self, text: Option<&str>, place: &str) -> Result<Finished, Fault> {
        match text {
            None | Some("keep") => Ok(Finished::Keep),
            Some("delete") => Ok(Finished::Delete),
            Some(text) => match text.strip_prefix("move:") {
                Some(dir) if !dir.is_empty() => {
                    Ok(Finished::Move(self.absolute(&self.expand(dir, place)?)))
                }
                _ => Err(Fault::new(
                    place,
                    format!("`{text}` is not one of: keep, delete, move:DIRECTORY"),
                )),
            },
        }
    }

    fn pattern(&self, text: &str, place: &str) -> Result<String, Fault> {
        let text = self.expand(text, place)?;
        if text.is_empty() {
            return Err(Fault::new(place, "an empty pattern matches no file"));
        }
        let base = self.base.to_str().ok_or_else(|| {
            Fault::new(
                place,
                format!(
                    "the directory `{}` is not UTF-8; patterns must be",
                    self.base.display()
                ),
            )
        })?;
        // The directory's name is no pattern.
        let absolute = without_dots(&Path::new(&escape_pattern(base)).join(&text));
        let absolute = absolute.to_string_lossy().into_owned();
        pattern_glob(&absolute).map_err(|error| {
            let wrong = error.kind();
            let detail = format!(
                "pattern `{text}`: {wrong}; for the character itself, write it in brackets: [[] or [{{]"
            );
            Fault::new(place, detail)
        })?;
        Ok(absolute)
    }

    fn absolute(&self, path: &str) -> PathBuf {
        without_dots(&self.base.join(path))
    }

    /// Puts the environment's values in the place of `${NAME}`.
    fn expand(&self, text: &str, place: &str) -> Result<String, Fault> {
        let mut out = String::new();
        let mut rest = text;
        while let Some((before, behind)) = rest.split_once("${") {
            let (name, behind) = behind
                .split_once('}')
                .ok_or_else(|| Fault::new(place, "`${` without its `}`"))?;
            let value = (self.environment)(name).ok_or_else(|| {
                Fault::new(
                    place,
                    format!("${{{name}}} is not set in the environment (nor in .env)"),
                )
            })?;
            out.push_str(before);
            out.push_str(&value);
            rest = behind;
        }
        out.push_str(rest);
        Ok(out)
    }
}

fn without_dots(path: &Path) -> PathBuf {
    path.components()
        .filter(|component| *component != Component::CurDir)
        .collect()
}

/// Returns what a pattern of files matches.
///
/// # Errors
/// If the pattern is badly written.
pub fn pattern_glob(pattern: &str) -> Result<Glob, globset::Error> {
    GlobBuilder::new(pattern)
        .literal_separator(true)
        .backslash_escape(true)
        .build()
}

/// Returns the text as a pattern that matches nothing else.
#[must_use]
pub fn escape_pattern(text: &str) -> String {
    let mut pattern = String::new();
    for c in text.chars() {
        match c {
            '*' | '?' | '[' | ']' | '{' | '}' | '\\' => pattern.extend(['[', c, ']']),
            c => pattern.push(c),
        }
    }
    pattern
}

fn durability(text: Option<&str>) -> Result<Durability, Fault> {
    match text {
        None | Some("sync") => Ok(Durability::Sync),
        Some("os") => Ok(Durability::Os),
        Some(text) => match parse_duration(text) {
            Ok(interval) if !interval.is_zero() => Ok(Durability::Interval(interval)),
            _ => Err(Fault::new(
                "log.durability",
                format!("`{text}` is not one of: sync, os, an interval such as 100ms"),
            )),
        },
    }
}

fn ingest(raw: &raw::Ingest) -> Result<IngestOptions, Fault> {
    let duration = |text: &Option<String>, key: &str| {
        let parsed = text.as_deref().map(parse_duration).transpose();
        parsed.map_err(|detail| Fault::new(format!("ingest.{key}"), detail))
    };
    if raw.open_files_max == Some(0) {
        return Err(Fault::new("ingest.open_files_max", "it is at least 1"));
    }
    Ok(IngestOptions {
        notify: raw.notify,
        close_after: duration(&raw.close_after, "close_after")?,
        partial_after: duration(&raw.partial_after, "partial_after")?,
        open_files_max: raw.open_files_max,
    })
}

fn on_conflict(text: Option<&str>, keyless: bool, place: &str) -> Result<OnConflict, Fault> {
    match text {
        None if keyless => Ok(OnConflict::Append),
        None | Some("update") => Ok(OnConflict::Update),
        Some("ignore") => Ok(OnConflict::Ignore),
        Some("append") => Ok(OnConflict::Append),
        Some(other) => Err(Fault::new(
            place,
            format!("`{other}` is not one of: update, ignore, append"),
        )),
    }
}

fn accept(
    text: Option<&str>,
    deletes: Option<bool>,
    at: &dyn Fn(&str) -> String,
) -> Result<Accept, Fault> {
    let deletes = deletes.unwrap_or(false);
    match text {
        None | Some("bekk") if deletes => Err(Fault::new(
            at("deletes"),
            "only records of other producers delete rows: set accept = \"json\", or remove it",
        )),
        None | Some("bekk") => Ok(Accept::Bekk),
        Some("json") => Ok(Accept::Json { deletes }),
        Some(other) => Err(Fault::new(
            at("accept"),
            format!("`{other}` is not one of: bekk, json"),
        )),
    }
}

fn table_name(text: &str, place: &str) -> Result<TableName, Fault> {
    TableName::parse(text).ok_or_else(|| {
        let detail = format!(
            "`{text}` is not a table name; write name or schema.name, and a name with a dot in double quotes"
        );
        Fault::new(place, detail)
    })
}

fn retention(raw: &raw::Retention, place: &str) -> Result<Retention, Fault> {
    let fault = |detail| Fault::new(place, detail);
    let age = raw
        .age
        .as_deref()
        .map(parse_duration)
        .transpose()
        .map_err(fault)?;
    let size = raw
        .size
        .as_deref()
        .map(parse_size)
        .transpose()
        .map_err(fault)?;
    Ok(match (age, size) {
        (None, None) => Retention {
            age: Some(RETENTION_AGE_DEFAULT),
            size: None,
        },
        (age, size) => Retention { age, size },
    })
}

fn build_column(raw: raw::Column, stream: &str) -> Result<Column, Fault> {
    let fault = |detail| Fault::new(format!("streams.{stream}, column `{}`", raw.name), detail);
    let column_type = raw
        .column_type
        .parse()
        .map_err(|error: crate::ParseColumnTypeError| fault(error.to_string()))?;
    let decimal = raw.decimal.as_deref().map(|mark| match mark {
        "." => Ok(b'.'),
        "," => Ok(b','),
        other => Err(fault(format!(
            "`decimal` is `{}`, which is not one of: \".\", \",\"",
            other.escape_debug()
        ))),
    });
    let decimal = decimal.transpose()?;
    let source = match (raw.source, raw.value) {
        (Some(_), Some(_)) => return Err(fault("`source` and `value` exclude each other".into())),
        (Some(source), None) => Some(ColumnSource::parse(&source).map_err(fault)?),
        (None, value) => value.map(ColumnSource::Constant),
    };
    if source.is_some() && raw.header.is_some() {
        let detail =
            "a column with `source` or `value` is not a field of the file: remove its `header`";
        return Err(fault(detail.into()));
    }
    Ok(Column {
        header: raw.header.unwrap_or_else(|| raw.name.clone()),
        name: raw.name,
        column_type,
        nullable: raw.nullable,
        allowed: raw.allowed,
        min: raw.min,
        max: raw.max,
        format: raw.format,
        zone: raw.zone,
        null: raw.null,
        decimal,
        strip: raw.strip,
        source,
        true_values: raw.true_values,
        false_values: raw.false_values,
    })
}
