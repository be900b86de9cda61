//! The files: state, progress and rate of each, and on what evidence it was decided what to do with it.

use bekk_ingest::{Decision, FileState, FileStatus};
use jiff::Timestamp;
use maud::{Markup, html};

use super::layout::{nothing, prose, tag};
use super::view::View;
use super::{Section, Site};
use crate::database::shown_from;
use crate::observe::{FileList, Snapshot};
use crate::screen::{counted, grouped};
use crate::units::{bytes, rate};

/// Number of files on one page.
const PAGE: usize = 50;

pub(super) fn sections(site: &Site, view: &View, snapshot: &Snapshot) -> Vec<Section> {
    let list = site.observer.file_list();
    let found = list.as_ref().map(|list| Selection::new(site, view, list));
    vec![
        Section::new("search", search(view, found.as_ref())),
        Section::new(
            "files",
            found.map_or_else(
                || match &snapshot.files_error {
                    Some(error) => nothing(&format!("The list of files cannot be read: {error}")),
                    None => nothing("The list of files is being read."),
                },
                |found| found.markup(site, view),
            ),
        ),
    ]
}

/// The files that are asked for, those that need someone first.
struct Selection<'a> {
    list: &'a FileList,
    files: Vec<&'a FileStatus>,
    /// Number of files that match the text, by state
    counts: Vec<(FileState, usize)>,
}

const STATES: [FileState; 6] = [
    FileState::Blocked,
    FileState::Unreadable,
    FileState::Following,
    FileState::Waiting,
    FileState::Finished,
    FileState::Gone,
];

impl<'a> Selection<'a> {
    fn new(site: &Site, view: &View, list: &'a FileList) -> Self {
        let text = view.text("q").to_lowercase();
        let matches = |file: &&FileStatus| {
            let path = shown_from(&site.observer.context().base, &file.path);
            text.is_empty()
                || path.to_string_lossy().to_lowercase().contains(&text)
                || file.stream.to_lowercase().contains(&text)
        };
        let mut files: Vec<_> = list.files().files.iter().filter(matches).collect();
        let counts = STATES.map(|state| {
            let count = files.iter().filter(|file| file.state == state).count();
            (state, count)
        });
        if let Some(state) = STATES
            .into_iter()
            .find(|s| s.as_str() == view.text("state"))
        {
            files.retain(|file| file.state == state);
        }
        let urgency = |file: &&FileStatus| STATES.iter().position(|state| *state == file.state);
        files.sort_by_key(urgency);
        Self {
            list,
            files,
            counts: counts.into_iter().filter(|(_, count)| *count > 0).collect(),
        }
    }

    fn markup(&self, site: &Site, view: &View) -> Markup {
        if self.files.is_empty() {
            return nothing(
                if view.text("q").is_empty() && view.text("state").is_empty() {
                    "No file matches the streams' patterns yet. Bekk keeps looking for new files."
                } else {
                    "No file matches this search."
                },
            );
        }
        let pages = self.files.len().div_ceil(PAGE);
        let page = view.number::<usize>("page").unwrap_or(1).clamp(1, pages);
        let shown = self.files.iter().skip((page - 1) * PAGE).take(PAGE);
        html! {
            div .card tabindex="0" role="region" aria-label="Files" {
                table .files.stack {
                    thead { tr {
                        th scope="col" { "State" } th scope="col" { "File" } th scope="col" { "Read" }
                        th .n scope="col" { "Position" } th .n scope="col" { "Rate" }
                        th .n scope="col" { "Records" } th .n scope="col" { "Rejected" }
                    } }
                    tbody { @for file in shown { (self.row(site, file)) } }
                }
            }
            @if pages > 1 { (pager(view, page, pages)) }
        }
    }

    fn row(&self, site: &Site, file: &FileStatus) -> Markup {
        let path = shown_from(&site.observer.context().base, &file.path);
        let share = share(file);
        html! {
            tr {
                td { (state(file.state)) }
                td .wide.whole {
                    details {
                        summary .m { (path.display()) @if let Some(packing) = file.packing { " " span .tag { (packing.as_str()) } } }
                        (evidence(file))
                    }
                    @if let Some(why) = &file.why { div .sub { (prose(why)) } }
                    @for notice in file.notices.iter().filter(|notice| notice.kind.needs_someone()) { div .sub { (prose(&notice.text)) } }
                }
                td .bar-cell data-label="Read" {
                    progress max="100" value=(share) aria-label=(format!("{share} % read")) {}
                    span .note { (share) " %" }
                }
                td .n.whole data-label="Position" { (bytes(file.position)) " of " (bytes(file.size)) }
                td .n data-label="Rate" { @match self.list.rate(file) { Some(per_second) if per_second > 0.0 => { (bytes_rate(per_second)) } _ => "–" } }
                td .n data-label="Records" { (grouped(file.records)) }
                td .n data-label="Rejected" { @if file.rejects > 0 { span .tag.bad { (grouped(file.rejects)) } } @else { "0" } }
            }
        }
    }
}

/// A file in one line, for the overview.
pub(super) fn short_row(site: &Site, list: &FileList, file: &FileStatus) -> Markup {
    let path = shown_from(&site.observer.context().base, &file.path);
    let share = share(file);
    html! {
        tr {
            td .wide {
                span .m { (path.display()) }
                div .sub {
                    (state(file.state))
                    @if let Some(per_second) = list.rate(file).filter(|rate| *rate > 0.0) { " " (bytes_rate(per_second)) }
                    @if let Some(why) = &file.why { " " (prose(why)) }
                }
            }
            td .bar-cell {
                progress max="100" value=(share) aria-label=(format!("{share} % read")) {}
                span .note { (share) " %" }
            }
        }
    }
}

/// Share of a file that has been read, in percent
fn share(file: &FileStatus) -> u128 {
    match file.size {
        0 => 100,
        size => u128::from(file.position.min(size)) * 100 / u128::from(size),
    }
}

fn bytes_rate(per_second: f64) -> String {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a positive rate, rounded"
    )]
    let whole = per_second.round() as u64;
    match whole {
        0..1000 => format!("{} B/s", rate(per_second)),
        _ => format!("{}/s", bytes(whole)),
    }
}

/// Returns a state's word, in its colour.
pub(super) fn state(state: FileState) -> Markup {
    match state {
        FileState::Blocked => tag("bad", "set aside"),
        FileState::Unreadable => tag("bad", "unreadable"),
        FileState::Following => tag("flow", "following"),
        FileState::Waiting => tag("warn", "waiting"),
        FileState::Finished => tag("good", "finished"),
        FileState::Gone => tag("", "gone"),
    }
}

fn evidence(file: &FileStatus) -> Markup {
    html! {
        dl .evidence {
            dt { "Stream" } dd { (file.stream) }
            dt { "Id" } dd .m { @match file.id { Some(id) => (id), None => "none yet" } }
            dt { "Inode" } dd .m { (file.inode) " on device " (file.device) }
            @for notice in &file.notices {
                dt { "Noticed" } dd { (prose(&notice.text)) }
            }
            @for decision in &file.decisions {
                dt { (decision.what.as_str()) }
                dd { (prose(&decision.why)) " " span .note { (when(decision)) } }
            }
        }
    }
}

fn when(decision: &Decision) -> String {
    Timestamp::from_millisecond(decision.at_ms)
        .map_or_else(|_| String::new(), |at| format!("{at:.0}"))
}

fn search(view: &View, found: Option<&Selection<'_>>) -> Markup {
    html! {
        div .bar-title {
            h2 { "Files" }
            form .search role="search" action=(view.kind.path()) {
                label .sr for="q" { "Search by path or stream" }
                input #q type="search" name="q" value=(view.text("q")) placeholder="path or stream" data-keep;
                @if !view.text("state").is_empty() { input type="hidden" name="state" value=(view.text("state")); }
                button type="submit" { "Search" }
            }
            @if let Some(found) = found {
                nav .spans aria-label="State" {
                    @let total: usize = found.counts.iter().map(|(_, count)| count).sum();
                    a href=(view.link(&[("state", ""), ("page", "")])) aria-current=[view.text("state").is_empty().then_some("true")] {
                        (counted(total as u64, "file"))
                    }
                    @for (state, count) in &found.counts {
                        a href=(view.link(&[("state", state.as_str()), ("page", "")]))
                            aria-current=[(view.text("state") == state.as_str()).then_some("true")] {
                            (grouped(*count as u64)) " " (said(*state))
                        }
                    }
                }
            }
        }
    }
}

fn said(state: FileState) -> &'static str {
    match state {
        FileState::Blocked => "set aside",
        other => other.as_str(),
    }
}

/// Links to the pages before and after one.
pub(super) fn pager(view: &View, page: usize, pages: usize) -> Markup {
    html! {
        nav .pager aria-label="Pages" {
            @if page > 1 { a rel="prev" href=(view.link(&[("page", &(page - 1).to_string())])) { "← Previous" } }
            span .note { "page " (grouped(page as u64)) " of " (grouped(pages as u64)) }
            @if page < pages { a rel="next" href=(view.link(&[("page", &(page + 1).to_string())])) { "Next →" } }
        }
    }
}
