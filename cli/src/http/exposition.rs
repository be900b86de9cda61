//! Prometheus' text format, version 0.0.4.

use std::fmt::Write as _;

use bekk_log::Durations;

/// A label's name and value.
pub(super) type Label<'a> = (&'a str, &'a str);

/// Metrics as they are written down.
#[derive(Default)]
pub(super) struct Exposition(String);

/// The samples of one metric.
pub(super) struct Family<'a> {
    text: &'a mut String,
    name: &'static str,
}

impl Exposition {
    /// A metric that only grows, until the process ends; its name ends in `_total`.
    pub(super) fn counter(&mut self, name: &'static str, help: &str) -> Family<'_> {
        self.family(name, "counter", help)
    }

    /// A metric that goes up and down.
    pub(super) fn gauge(&mut self, name: &'static str, help: &str) -> Family<'_> {
        self.family(name, "gauge", help)
    }

    pub(super) fn histogram(&mut self, name: &'static str, help: &str) -> Family<'_> {
        self.family(name, "histogram", help)
    }

    pub(super) fn into_text(self) -> String {
        self.0
    }

    fn family(&mut self, name: &'static str, kind: &str, help: &str) -> Family<'_> {
        let text = &mut self.0;
        let _ = writeln!(text, "# HELP {name} {help}");
        let _ = writeln!(text, "# TYPE {name} {kind}");
        Family { text, name }
    }
}

impl Family<'_> {
    pub(super) fn sample(&mut self, labels: &[Label<'_>], value: f64) {
        self.line("", labels, None, value);
    }

    pub(super) fn count(&mut self, labels: &[Label<'_>], value: u64) {
        self.sample(labels, value as f64);
    }

    pub(super) fn durations(&mut self, labels: &[Label<'_>], durations: &Durations) {
        for (bound, count) in &durations.buckets {
            let bound = bound.to_string();
            self.line("_bucket", labels, Some(("le", &bound)), *count as f64);
        }
        let count = durations.count as f64;
        self.line("_bucket", labels, Some(("le", "+Inf")), count);
        self.line("_sum", labels, None, durations.sum_seconds);
        self.line("_count", labels, None, count);
    }

    fn line(&mut self, suffix: &str, labels: &[Label<'_>], last: Option<Label<'_>>, value: f64) {
        let _ = write!(self.text, "{}{suffix}", self.name);
        let mut begin = '{';
        for (name, value) in labels.iter().copied().chain(last) {
            let _ = write!(self.text, "{begin}{name}=\"{}\"", escaped(value));
            begin = ',';
        }
        if begin == ',' {
            self.text.push('}');
        }
        let _ = writeln!(self.text, " {value}");
    }
}

fn escaped(value: &str) -> String {
    value
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_written_as_prometheus_reads_them() {
        let mut text = Exposition::default();
        let mut family = text.counter("bekk_x_total", "What it counts.");
        family.count(&[], 3);
        family.count(&[("stream", "a\"b\\c\nd"), ("partition", "0")], 4);
        let durations = Durations {
            buckets: vec![(0.5, 1)],
            count: 2,
            sum_seconds: 7.25,
        };
        text.histogram("bekk_y_seconds", "How long.")
            .durations(&[("group", "g")], &durations);
        assert_eq!(
            text.into_text(),
            "# HELP bekk_x_total What it counts.\n\
             # TYPE bekk_x_total counter\n\
             bekk_x_total 3\n\
             bekk_x_total{stream=\"a\\\"b\\\\c\\nd\",partition=\"0\"} 4\n\
             # HELP bekk_y_seconds How long.\n\
             # TYPE bekk_y_seconds histogram\n\
             bekk_y_seconds_bucket{group=\"g\",le=\"0.5\"} 1\n\
             bekk_y_seconds_bucket{group=\"g\",le=\"+Inf\"} 2\n\
             bekk_y_seconds_sum{group=\"g\"} 7.25\n\
             bekk_y_seconds_count{group=\"g\"} 2\n"
        );
    }
}
