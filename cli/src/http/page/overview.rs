//! The overview: the pipeline from left to right, charts, and what each stream has come to.

use bekk_ingest::{FileState, FileStatus};
use maud::{Markup, html};

use super::chart::{Chart, Series};
use super::view::{Kind, View};
use super::{Section, Site, files, layout, letters, streams};
use crate::observe::{Figure, Health, Part, Point, RATE_AGE_MAX, Sample, Snapshot, Span, parts};
use crate::screen::grouped;
use crate::stage::Stage;
use crate::units::{duration, rate, whole};

pub(super) fn sections(site: &Site, view: &View, snapshot: &Snapshot) -> Vec<Section> {
    let points = site.observer.history().points(view.span());
    vec![
        pipeline(site, snapshot),
        charts(
            view.span(),
            &points,
            &site
                .observer
                .history()
                .latest(RATE_AGE_MAX)
                .unwrap_or_default(),
        ),
        Section::new("outcome", streams::short_table(site, snapshot)),
        Section::new("growing", growing(site)),
        Section::new("letters", letters::newest(site, view, snapshot)),
    ]
}

fn pipeline(site: &Site, snapshot: &Snapshot) -> Section {
    let health = Health::of(snapshot);
    let stages = parts(site.observer.context(), snapshot).map(|part| {
        let is_meant = health.stage == Some(part.stage);
        let level = if is_meant { health.level.as_str() } else { "" };
        Section::new(id_of(part.stage), stage(&part, level))
    });
    Section::of_parts("pipeline", stages.into(), |stages| {
        html! {
            h2 .sr { "Pipeline" }
            ol .pipe { @for stage in stages { li #(stage.id) { (stage.markup) } } }
        }
    })
}

const fn id_of(stage: Stage) -> &'static str {
    match stage {
        Stage::Files => "stage-files",
        Stage::Ingest => "stage-ingest",
        Stage::Log => "stage-log",
        Stage::Sink => "stage-sink",
        Stage::Postgres => "stage-postgres",
    }
}

fn stage(part: &Part, level: &'static str) -> Markup {
    html! {
        div .stage.(level) {
            h3 { (part.title) }
            div .where title=(part.place) { @if part.place.is_empty() { "\u{a0}" } @else { (part.place) } }
            @match &part.figure {
                Figure::Number(number, unit) => div .big { (number) " " span .unit { (unit) } },
                Figure::Word(word, level) => div .big.word.(level.as_str()) { (word) },
            }
            @for line in &part.lines { div .sub { (line) } }
            (layout::age(part.age))
        }
    }
}

fn charts(span: Span, points: &[Point], now: &Sample) -> Section {
    let times: Vec<u64> = points.iter().map(|point| point.at).collect();
    let series = |name, is_filled, is_mean, value: fn(&Sample) -> Option<f64>| Series {
        name,
        is_filled,
        is_mean,
        values: points.iter().map(|point| value(&point.sample)).collect(),
        now: value(now),
    };
    let chart = |id, title, unit, (top_min, format): (f64, fn(f64) -> String), series| {
        let chart = Chart {
            title,
            unit,
            span,
            times: &times,
            series,
            top_min,
            format,
        };
        Section::new(id, chart.markup())
    };
    let throughput = vec![
        series("applied", true, true, |sample| sample.applied_rate),
        series("read", false, true, |sample| sample.read_rate),
    ];
    let lag = vec![series("lag", true, false, |sample| sample.lag_records)];
    let age = series("oldest record", true, false, |sample| sample.lag_seconds);
    let latency = vec![
        series("median", true, true, |sample| sample.visible_median),
        series("p99", false, false, |sample| sample.visible_p99),
    ];
    let charts = vec![
        chart(
            "throughput",
            "Throughput",
            "records/s",
            (2.0, rate),
            throughput,
        ),
        chart("lag", "Lag in records", "records", (2.0, whole), lag),
        chart(
            "lag-seconds",
            "Lag in seconds",
            "",
            (1.0, duration),
            vec![age],
        ),
        chart(
            "latency",
            "Append to visible",
            "",
            (0.01, duration),
            latency,
        ),
    ];
    Section::of_parts("charts", charts, |charts| {
        html! {
            div .bar-title {
                h2 { "History" }
                nav .spans aria-label="Time span" {
                    a href="/" aria-current=[(span == Span::QuarterHour).then_some("true")] { "15 min" }
                    a href="/?span=24h" aria-current=[(span == Span::Day).then_some("true")] { "24 h" }
                }
            }
            div .charts { @for chart in charts { div .chart-of #(chart.id) { (chart.markup) } } }
        }
    })
}

/// Number of files that the overview lists.
const FILES_SHOWN: usize = 5;

/// The files that are read now or need someone.
fn growing(site: &Site) -> Markup {
    let Some(list) = site.observer.file_list() else {
        return html! {};
    };
    let is_shown =
        |file: &&FileStatus| !matches!(file.state, FileState::Finished | FileState::Gone);
    let mut files: Vec<_> = list.files().files.iter().filter(is_shown).collect();
    let count = files.len() as u64;
    files.sort_by_key(|file| {
        (
            file.state == FileState::Following,
            std::cmp::Reverse(file.lag()),
            std::cmp::Reverse(list.rate(file).map_or(0, f64::to_bits)),
        )
    });
    html! {
        @if count > 0 {
            div .bar-title {
                h2 { "Open files" }
                a .note.right href=(Kind::Files.path()) { "all files" }
            }
            div .card tabindex="0" role="region" aria-label="Open files" {
                table { tbody {
                    @for file in files.iter().take(FILES_SHOWN) { (files::short_row(site, &list, file)) }
                } }
            }
            @if count > FILES_SHOWN as u64 { p .note { "and " (grouped(count - FILES_SHOWN as u64)) " more" } }
        }
    }
}
