//! The dead letters: counts by reason, and each with its raw text, the field at fault marked, and what to type.

mod mark;

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use bekk_sink::{ConnectOptions, Letter, LetterFilter};
use maud::{Markup, html};

use super::act::buttons;
use super::layout::{command, nothing, prose};
use super::view::{Kind, View, link_to};
use super::{Section, Site};
use crate::letters::{resolving_command, shown_place};
use crate::observe::Snapshot;
use crate::screen::{counted, grouped};
use crate::status::DeadLetters;
use mark::{Marked, Marker};

/// Number of letters on one page.
const PAGE_LEN: u32 = 50;
/// Number of letters on the overview.
const NEWEST_LEN: u32 = 3;
/// Number of reasons on the overview.
const REASONS_SHOWN: usize = 4;
/// Number of pages of letters that are kept.
const KEPT_MAX: usize = 16;

/// Pages of letters that were read, each for as long as the counts stay the same.
#[derive(Default)]
pub(super) struct Kept(HashMap<View, Page>);

struct Page {
    /// The counts that it was read at.
    counts: Vec<DeadLetters>,
    letters: Vec<Letter>,
}

pub(super) fn sections(site: &Site, view: &View, snapshot: &Snapshot) -> Vec<Section> {
    vec![
        Section::new("counts", counts(site, view, snapshot)),
        Section::new("letters", letters(site, view, snapshot)),
    ]
}

/// The newest open letters, and how many there are by reason, for the overview.
pub(super) fn newest(site: &Site, view: &View, snapshot: &Snapshot) -> Markup {
    let open = snapshot.open_letters();
    if open == 0 {
        return html! {};
    }
    let mut reasons: Vec<_> = by_reason(snapshot).into_iter().collect();
    reasons.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let counts = &snapshot.status.dead_letters;
    let postgres = match snapshot.status.postgres.error {
        Some(_) => None,
        None => site.observer.postgres(),
    };
    let found = postgres.and_then(|options| site.letters(view, counts, &options, NEWEST_LEN).ok());
    let letters = found.unwrap_or_default();
    let mut marker = Marker::new(site.observer.context(), site.observer.file_list());
    html! {
        div .bar-title {
            h2 { "Open dead letters" }
            @for (reason, count) in reasons.iter().take(REASONS_SHOWN) {
                a .note href=(link_to(Kind::DeadLetters, "reason", reason)) { (grouped(*count)) " " (in_words(reason)) }
            }
            a .note.right href=(Kind::DeadLetters.path()) { "all " (grouped(open)) }
        }
        @if !letters.is_empty() {
            ol .card.letters { @for letter in &letters { (one(site, letter, &marker.mark(letter))) } }
        }
    }
}

fn by_reason(snapshot: &Snapshot) -> BTreeMap<&str, u64> {
    let mut reasons = BTreeMap::new();
    for count in &snapshot.status.dead_letters {
        *reasons.entry(count.reason.as_str()).or_default() += count.open;
    }
    reasons
}

fn counts(site: &Site, view: &View, snapshot: &Snapshot) -> Markup {
    let reasons = by_reason(snapshot);
    let mut streams: BTreeMap<&str, u64> = BTreeMap::new();
    for count in &snapshot.status.dead_letters {
        *streams.entry(&count.stream).or_default() += count.open;
    }
    let open = snapshot.open_letters();
    let current = |name: &str, value: &str| (view.text(name) == value).then_some("true");
    html! {
        div .bar-title {
            h2 { (counted(open, "open dead letter")) }
            @if open > 0 {
                nav .spans aria-label="Reason" {
                    a href=(view.link(&[("reason", ""), ("before", "")])) aria-current=[current("reason", "")] { "every reason" }
                    @for (reason, count) in &reasons {
                        a href=(view.link(&[("reason", reason), ("before", "")])) aria-current=[current("reason", reason)] {
                            (grouped(*count)) " " (in_words(reason))
                        }
                    }
                }
                @if streams.len() > 1 {
                    nav .spans aria-label="Stream" {
                        a href=(view.link(&[("stream", ""), ("before", "")])) aria-current=[current("stream", "")] { "every stream" }
                        @for (stream, count) in &streams {
                            a href=(view.link(&[("stream", stream), ("before", "")])) aria-current=[current("stream", stream)] {
                                (stream) " " (grouped(*count))
                            }
                        }
                    }
                }
            }
        }
        @if open > 0 {
            p .note.advice {
                span { "Correct one record: " (command("bekk dead-letters edit ID")) }
                span { "After a change of configuration or table: " (command("bekk dead-letters retry --all")) }
                span { "Close one without a row: " (command("bekk dead-letters discard ID")) }
            }
            @let shown = [("id", "all"), ("reason", view.text("reason")), ("stream", view.text("stream"))];
            (buttons(site, &shown, &[("retry", "Retry all of these")]))
        }
    }
}

fn letters(site: &Site, view: &View, snapshot: &Snapshot) -> Markup {
    let postgres = &snapshot.status.postgres;
    if let Some(error) = &postgres.error {
        return nothing(&format!("PostgreSQL is unreachable: {error}"));
    }
    if postgres.is_stopped {
        return nothing("The private PostgreSQL is stopped: it runs while a sink uses it.");
    }
    let Some(options) = site.observer.postgres() else {
        return nothing(
            "This process is not connected to PostgreSQL, so it cannot show the dead letters.",
        );
    };
    let letters = match site.letters(view, &snapshot.status.dead_letters, &options, PAGE_LEN) {
        Err(error) => return nothing(&format!("The dead letters cannot be read: {error}")),
        Ok(letters) if letters.is_empty() => {
            return nothing(
                if view.text("reason").is_empty() && view.text("stream").is_empty() {
                    "No open dead letters: every record that was applied is a row or was superseded by a newer one."
                } else {
                    "No dead letter matches."
                },
            );
        }
        Ok(letters) => letters,
    };
    let mut marker = Marker::new(site.observer.context(), site.observer.file_list());
    let last = letters.last().map(|letter| letter.id.to_string());
    html! {
        ol .card.letters { @for letter in &letters { (one(site, letter, &marker.mark(letter))) } }
        @if letters.len() == PAGE_LEN as usize || !view.text("before").is_empty() {
            nav .pager aria-label="Pages" {
                @if !view.text("before").is_empty() { a href=(view.link(&[("before", "")])) { "← Newest" } }
                @if let Some(last) = last.filter(|_| letters.len() == PAGE_LEN as usize) {
                    a rel="next" href=(view.link(&[("before", &last)])) { "Older →" }
                }
            }
        }
    }
}

fn one(site: &Site, letter: &Letter, marked: &Marked) -> Markup {
    let level = if letter.reason == "refused" {
        "warn"
    } else {
        "bad"
    };
    html! {
        li .letter {
            div .letter-head {
                span .tag.(level) { (in_words(&letter.reason)) }
                @match (&letter.file, letter.line) {
                    (Some(file), Some(line)) => span title=(bekk_stream::shown(file)) { (name(file)) ", line " (grouped(line)) },
                    _ => span .m { (shown_place(letter)) },
                }
                @if let Some(column) = &letter.column { span { "column " b { (column) } } }
                @if let Some(sqlstate) = &letter.sqlstate { span .m { (sqlstate) } }
                span .note.right {
                    "stream " (letter.stream) " · "
                    time datetime=(letter.created_at) title=(letter.created_at) { (letter.created_at.replace('T', " ")) }
                }
            }
            pre .raw { code { (marked.before) @if let Some(field) = &marked.field { mark { (field) } } (marked.after) } }
            @if let Some(detail) = letter.detail.as_deref().filter(|detail| !detail.is_empty()) { p .sub { (prose(detail)) } }
            div .letter-act {
                (command(&resolving_command(letter)))
                (buttons(site, &[("id", &letter.id.to_string())], &[("retry", "Retry")]))
                @if site.actions.is_some() {
                    details .confirm {
                        summary { "Discard" }
                        p .note { "The record does not become a row. It stays in the log, and in the list of resolved dead letters." }
                        (buttons(site, &[("id", &letter.id.to_string())], &[("discard", "Discard this dead letter")]))
                    }
                }
            }
        }
    }
}

fn name(file: &str) -> String {
    let name = Path::new(file).file_name();
    name.map_or_else(
        || file.to_owned(),
        |name| name.to_string_lossy().into_owned(),
    )
}

/// A reason in words; others than Bekk's own as they are.
pub(super) fn in_words(reason: &str) -> &str {
    match reason {
        "field_count" => "wrong number of fields",
        "bad_value" => "not a value of its type",
        "out_of_range" => "out of range",
        "too_many_decimals" => "too many decimals",
        "bad_encoding" => "bad encoding",
        "nul" => "contains NUL",
        "missing_value" => "missing value",
        "not_allowed" => "value not allowed",
        "too_long" => "record too long",
        "unclosed_quote" => "quote never closed",
        "bad_quote" => "stray quote",
        "refused" => "refused by PostgreSQL",
        "not_stored" => "left out by a trigger",
        "no_payload" => "not a record of Bekk's",
        "not_json" => "not a JSON object",
        "key_differs" => "key of another row",
        other => other,
    }
}

impl Site {
    /// A page of letters; read again only when the counts have changed, or it could not be read.
    fn letters(
        &self,
        view: &View,
        counts: &[DeadLetters],
        options: &ConnectOptions,
        count: u32,
    ) -> Result<Vec<Letter>, String> {
        let mut kept = self.letters.lock();
        if let Some(page) = kept.0.get(view)
            && page.counts == counts
        {
            return Ok(page.letters.clone());
        }
        let text = |name| Some(view.text(name).to_owned()).filter(|text| !text.is_empty());
        let filter = LetterFilter {
            reason: text("reason"),
            stream: text("stream"),
            ..LetterFilter::default()
        };
        let letters = bekk_sink::latest_letters(options, &filter, view.number("before"), count)
            .map_err(|error| format!("{:#}", anyhow::Error::from(error)))?;
        if kept.0.len() >= KEPT_MAX {
            kept.0.clear();
        }
        let page = Page {
            counts: counts.to_vec(),
            letters: letters.clone(),
        };
        kept.0.insert(view.clone(), page);
        Ok(letters)
    }
}
