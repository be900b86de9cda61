//! Charts: inline SVG whose lines are drawn at the width of the screen and never scaled (`non-scaling-stroke`), and
//! whose texts are HTML; with the values in a table, for screen readers and for the values under the pointer.

use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use maud::{Markup, html};

use crate::observe::Span;

/// Number of points of a chart.
const POINTS: usize = 180;

pub(super) struct Chart<'a> {
    pub(super) title: &'a str,
    /// Unit of a value, such as `records/s`
    pub(super) unit: &'a str,
    pub(super) span: Span,
    /// Seconds since 1970-01-01 UTC of each value, rising.
    pub(super) times: &'a [u64],
    pub(super) series: Vec<Series>,
    /// Least value at which the axis ends.
    pub(super) top_min: f64,
    /// Writes a value, with its unit if it has one of its own.
    pub(super) format: fn(f64) -> String,
}

/// A line of a chart.
pub(super) struct Series {
    pub(super) name: &'static str,
    pub(super) is_filled: bool,
    /// Whether several values become their mean where they share a point, else the greatest.
    pub(super) is_mean: bool,
    pub(super) values: Vec<Option<f64>>,
    /// The present value; the last point of a chart of many hours is a mean or a maximum.
    pub(super) now: Option<f64>,
}

impl Chart<'_> {
    pub(super) fn markup(mut self) -> Markup {
        let times = self.thin_out();
        let values = || {
            self.series
                .iter()
                .flat_map(|series| series.values.iter().flatten())
        };
        let top = nice(values().copied().fold(self.top_min, f64::max));
        let has_values = values().next().is_some();
        let format = self.format;
        let latest: Vec<_> = self.series.iter().map(|series| series.now).collect();
        html! {
            figure .chart {
                figcaption {
                    b { (self.title) }
                    span .readout {
                        span .hover data-keep {}
                        span .latest { (self.legend(&latest)) }
                    }
                }
                div .plot tabindex="0" role="img" aria-label=(self.summary(&latest, has_values)) {
                    div .y aria-hidden="true" {
                        span { (format(top)) } span { (format(top / 2.0)) } span { "0" }
                    }
                    div .area {
                        svg viewBox=(format!("0 0 {} 100", POINTS - 1)) preserveAspectRatio="none" aria-hidden="true" {
                            path .grid d=(grid()) {}
                            @for series in &self.series {
                                @if series.is_filled { path .fill d=(area(&series.values, top)) {} }
                            }
                            @for series in &self.series {
                                path .line.faint[!series.is_filled] d=(line(&series.values, top)) {}
                            }
                        }
                        div .cursor data-keep {}
                        @if !has_values { span .none { span { "nothing recorded yet" } } }
                    }
                    div .x aria-hidden="true" { @for label in self.span.labels() { span { (label) } } }
                }
                (self.table(&times))
            }
        }
    }

    /// Brings times and values down to the points of the chart.
    fn thin_out(&mut self) -> Vec<u64> {
        let share = self.times.len().div_ceil(POINTS).max(1);
        for series in &mut self.series {
            let chunks = series.values.chunks(share);
            series.values = chunks
                .map(|values| together(values, series.is_mean))
                .collect();
        }
        self.times.chunks(share).map(|times| times[0]).collect()
    }

    /// The newest values, each with the mark of its line if there are several.
    fn legend(&self, latest: &[Option<f64>]) -> Markup {
        let has_several = self.series.len() > 1;
        html! {
            @for (series, value) in self.series.iter().zip(latest) {
                @if has_several { i .mark.faint[!series.is_filled] {} (series.name) " " }
                b { @match value { Some(value) => ((self.format)(*value)), None => "–" } }
                " "
            }
            @if latest.iter().any(Option::is_some) { (self.unit) }
        }
    }

    fn said(&self, latest: &[Option<f64>]) -> String {
        let mut parts = Vec::new();
        for (series, value) in self.series.iter().zip(latest) {
            let value = value.map_or_else(|| "–".to_owned(), self.format);
            match self.series.len() {
                1 => parts.push(value),
                _ => parts.push(format!("{} {value}", series.name)),
            }
        }
        let text = parts.join(" · ");
        match self.unit {
            "" => text,
            unit => format!("{text} {unit}"),
        }
    }

    fn summary(&self, latest: &[Option<f64>], has_values: bool) -> String {
        let over = self.span.said();
        if !has_values {
            return format!("{} over {over}: nothing recorded yet", self.title);
        }
        let mut text = format!("{} over {over}. Now: {}.", self.title, self.said(latest));
        for series in &self.series {
            let values = series.values.iter().flatten().copied();
            let (least, most) = values.fold((f64::INFINITY, 0.0), |(least, most), value| {
                (f64::min(least, value), f64::max(most, value))
            });
            if least <= most {
                let (least, most) = ((self.format)(least), (self.format)(most));
                text.push_str(&format!(
                    " {}: {least} to {most} {}.",
                    series.name, self.unit
                ));
            }
        }
        text
    }

    fn table(&self, times: &[u64]) -> Markup {
        let zone = TimeZone::system();
        let shown = |seconds: u64| -> Option<Zoned> {
            let at = Timestamp::from_second(i64::try_from(seconds).ok()?).ok()?;
            Some(at.to_zoned(zone.clone()))
        };
        let now = times.last().and_then(|time| shown(*time));
        let zone_name = now.map_or_else(String::new, |now| now.strftime("%Z").to_string());
        html! {
            details {
                summary { "Table" span .sr { " of " (self.title) } }
                div .scroll tabindex="0" role="region" aria-label=(format!("{}, values", self.title)) {
                    table {
                        thead { tr {
                            th scope="col" { "Time (" (zone_name) ")" }
                            @for series in &self.series { th .n scope="col" { (series.name) @if !self.unit.is_empty() { ", " (self.unit) } } }
                        } }
                        tbody {
                            @for (at, time) in times.iter().enumerate() {
                                tr {
                                    th scope="row" { @if let Some(time) = shown(*time) { (time.strftime("%H:%M:%S")) } }
                                    @for series in &self.series {
                                        td { @if let Some(value) = series.values[at] { ((self.format)(value)) } }
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

impl Span {
    fn labels(self) -> [&'static str; 4] {
        match self {
            Self::QuarterHour => ["−15 min", "−10", "−5", "now"],
            Self::Day => ["−24 h", "−16", "−8", "now"],
        }
    }

    fn said(self) -> &'static str {
        match self {
            Self::QuarterHour => "the last 15 minutes",
            Self::Day => "the last 24 hours",
        }
    }
}

/// Lines at the ends and the middle of the vertical axis, and at the labels of the horizontal one.
fn grid() -> String {
    let end = POINTS - 1;
    let mut path = format!("M0 0H{end}M0 50H{end}M0 100H{end}");
    for third in 0..=3 {
        let x = (end * third) as f64 / 3.0;
        path.push_str(&format!("M{x:.1} 0V100"));
    }
    path
}

fn together(values: &[Option<f64>], is_mean: bool) -> Option<f64> {
    let known = values.iter().flatten();
    let count = known.clone().count();
    match (count, is_mean) {
        (0, _) => None,
        (_, true) => Some(known.sum::<f64>() / count as f64),
        (_, false) => known.copied().reduce(f64::max),
    }
}

/// The least of 1, 2, 4, 6, 8 or 10 times a power of ten that is not below a value: half of it is a short number too.
fn nice(value: f64) -> f64 {
    if value <= 0.0 || !value.is_finite() {
        return 1.0;
    }
    let power = 10f64.powf(value.log10().floor());
    let steps = [1.0, 2.0, 4.0, 6.0, 8.0, 10.0];
    let step = steps
        .into_iter()
        .find(|step| step * power >= value * 0.999_999);
    step.unwrap_or(10.0) * power
}

/// The runs of known values as points of the drawing.
fn runs(values: &[Option<f64>], top: f64) -> Vec<Vec<(usize, f64)>> {
    let mut runs: Vec<Vec<(usize, f64)>> = vec![Vec::new()];
    for (at, value) in values.iter().enumerate() {
        match value {
            Some(value) => {
                let y = 100.0 - 100.0 * (value / top).clamp(0.0, 1.0);
                runs.last_mut().expect("there is a run").push((at, y));
            }
            None => runs.push(Vec::new()),
        }
    }
    runs.retain(|run| !run.is_empty());
    runs
}

fn line(values: &[Option<f64>], top: f64) -> String {
    let mut path = String::new();
    for run in runs(values, top) {
        path.push_str(&format!("M{}", points(&run)));
        if run.len() == 1 {
            path.push_str("h0");
        }
    }
    path
}

fn area(values: &[Option<f64>], top: f64) -> String {
    let mut path = String::new();
    for run in runs(values, top) {
        let (first, last) = (run[0].0, run[run.len() - 1].0);
        path.push_str(&format!("M{first} 100L{}L{last} 100Z", points(&run)));
    }
    path
}

fn points(run: &[(usize, f64)]) -> String {
    let points: Vec<_> = run.iter().map(|(x, y)| format!("{x} {y:.1}")).collect();
    points.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_end_at_short_numbers() {
        for (value, top) in [
            (0.0, 1.0),
            (0.9, 1.0),
            (1.0, 1.0),
            (52_000.0, 60_000.0),
            (0.03, 0.04),
            (1000.0, 1000.0),
            (f64::NAN, 1.0),
        ] {
            let found = nice(value);
            assert!((found - top).abs() < top * 1e-9, "{value}: {found}");
        }
    }

    #[test]
    fn a_gap_breaks_the_line_and_a_single_value_is_a_dot() {
        let values = [Some(0.0), Some(1.0), None, Some(0.5), None];
        assert_eq!(line(&values, 1.0), "M0 100.0 1 0.0M3 50.0h0");
        assert_eq!(
            area(&values, 1.0),
            "M0 100L0 100.0 1 0.0L1 100ZM3 100L3 50.0L3 100Z"
        );
        assert_eq!(line(&[None; 3], 1.0), "");
    }
}
