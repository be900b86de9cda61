//! The four views of `bekk top`, each on 80 by 24 characters or more.

use std::io;

use bekk_ingest::{FileState, FileStatus};
use ratatui::layout::Constraint::{self, Fill, Length};
use ratatui::layout::{Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Cell, Paragraph, Row, Sparkline, Table, Wrap};
use ratatui::{DefaultTerminal, Frame};

use crate::database::shown_from;
use crate::observe::{
    Figure, Health, Level, Observer, Part, Point, Snapshot, Span as TimeSpan, parts,
};
use crate::positions::shown_owner;
use crate::screen::grouped;
use crate::status::Act;
use crate::units::{bytes, duration, rate, whole};

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Tab {
    #[default]
    Overview,
    Files,
    Groups,
    DeadLetters,
}

const TABS: [(Tab, &str); 4] = [
    (Tab::Overview, "Overview"),
    (Tab::Files, "Files"),
    (Tab::Groups, "Groups"),
    (Tab::DeadLetters, "Dead letters"),
];

impl Tab {
    pub(super) fn at(digit: char) -> Self {
        let place = digit.to_digit(10).unwrap_or(1).saturating_sub(1) as usize;
        TABS.get(place).map_or_else(Self::default, |(tab, _)| *tab)
    }

    pub(super) fn next(self) -> Self {
        TABS[(self as usize + 1) % TABS.len()].0
    }

    pub(super) fn previous(self) -> Self {
        TABS[(self as usize + TABS.len() - 1) % TABS.len()].0
    }
}

/// A terminal that shows us; left as it was when this is dropped, and when the process panics.
pub(super) struct Terminal(DefaultTerminal);

impl Terminal {
    pub(super) fn start() -> io::Result<Self> {
        ratatui::try_init().map(Self)
    }

    pub(super) fn draw(
        &mut self,
        observer: &Observer,
        snapshot: &Snapshot,
        tab: Tab,
        scroll: usize,
    ) -> io::Result<()> {
        self.0
            .draw(|frame| draw(frame, observer, snapshot, tab, scroll))?;
        Ok(())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        ratatui::restore();
    }
}

fn draw(frame: &mut Frame<'_>, observer: &Observer, snapshot: &Snapshot, tab: Tab, scroll: usize) {
    let [head, health, body, foot] =
        Layout::vertical([Length(1), Length(3), Fill(1), Length(1)]).areas(frame.area());
    frame.render_widget(tabs(tab, snapshot), head);
    frame.render_widget(health_line(snapshot), health);
    match tab {
        Tab::Overview => overview(frame, body, observer, snapshot),
        Tab::Files => files(frame, body, observer, scroll),
        Tab::Groups => groups(frame, body, snapshot, scroll),
        Tab::DeadLetters => letters(frame, body, snapshot, scroll),
    }
    let keys = "1-4 or Tab: view   ↑ ↓: scroll   q: quit";
    frame.render_widget(Paragraph::new(keys).style(faint()), foot);
}

fn tabs(tab: Tab, snapshot: &Snapshot) -> Paragraph<'static> {
    let mut spans = vec![Span::styled("bekk  ", bold())];
    for (at, (each, name)) in TABS.into_iter().enumerate() {
        let style = match each == tab {
            true => bold().add_modifier(Modifier::UNDERLINED),
            false => faint(),
        };
        spans.push(Span::styled(format!("{} ", at + 1), faint()));
        spans.push(Span::styled(name, style));
        if each == Tab::DeadLetters && snapshot.open_letters() > 0 {
            let open = format!(" {}", grouped(snapshot.open_letters()));
            spans.push(Span::styled(open, Style::new().fg(Color::Red)));
        }
        spans.push(Span::raw("   "));
    }
    Paragraph::new(Line::from(spans))
}

fn health_line(snapshot: &Snapshot) -> Paragraph<'static> {
    let health = Health::of(snapshot);
    let mut spans = vec![
        Span::styled(health.title.clone(), bold().patch(colour(health.level))),
        Span::raw(format!("  {} ", one_line(&health.text))),
    ];
    match &health.act {
        Some(Act::Run(command)) => spans.push(Span::styled(command.clone(), bold())),
        Some(Act::Do(what)) if *what != health.text => {
            spans.push(Span::raw(format!("Next: {}.", one_line(what))));
        }
        _ => {}
    }
    Paragraph::new(Line::from(spans)).wrap(Wrap { trim: true })
}

fn overview(frame: &mut Frame<'_>, area: Rect, observer: &Observer, snapshot: &Snapshot) {
    let [pipeline, charts] = Layout::vertical([Length(11), Fill(1)]).areas(area);
    let rows = parts(observer.context(), snapshot).map(|part| part_row(&part));
    let widths = [Length(10), Length(20), Fill(1)];
    frame.render_widget(Table::new(rows, widths).column_spacing(1), pipeline);
    let points = observer.history().points(TimeSpan::QuarterHour);
    let areas: [Rect; 3] = Layout::horizontal([Fill(1); 3]).spacing(2).areas(charts);
    let [applied, lag, visible] = areas;
    let rates = |value| format!("{} records/s", rate(value));
    let records = |value| format!("{} records", whole(value));
    let mut draw =
        |area, name, read: Read, shown| sparkline(frame, area, name, &points, read, shown);
    draw(applied, "applied", |at| at.sample.applied_rate, rates);
    draw(lag, "lag", |at| at.sample.lag_records, records);
    draw(
        visible,
        "visible after",
        |at| at.sample.visible_median,
        duration,
    );
}

type Read = fn(&Point) -> Option<f64>;

/// Writes a value with its unit.
type Show = fn(f64) -> String;

fn part_row(part: &Part) -> Row<'static> {
    let figure = match &part.figure {
        Figure::Number(number, unit) => Line::from(vec![
            Span::styled(number.clone(), bold()),
            Span::raw(format!(" {unit}")),
        ]),
        Figure::Word(word, level) => Line::from(Span::styled(*word, bold().patch(colour(*level)))),
    };
    let lines = one_line(&part.lines.join(" · "));
    Row::new([
        Cell::from(Span::styled(part.title, bold())),
        Cell::from(figure),
        Cell::from(vec![
            Line::from(lines),
            Line::styled(part.place.clone(), faint()),
        ]),
    ])
    .height(2)
}

fn sparkline(
    frame: &mut Frame<'_>,
    area: Rect,
    name: &str,
    points: &[Point],
    read: Read,
    shown: Show,
) {
    let width = usize::from(area.width).max(1);
    let share = points.len().div_ceil(width).max(1);
    let values: Vec<Option<f64>> = points
        .rchunks(share)
        .rev()
        .map(|chunk| chunk.iter().filter_map(read).reduce(f64::max))
        .collect();
    let top = values.iter().flatten().copied().fold(0.0, f64::max);
    let latest = points.iter().rev().take(3).find_map(read);
    let title = match latest {
        Some(latest) => format!("{name} {}", shown(latest)),
        None => format!("{name} not known"),
    };
    let [head, bars, foot] = Layout::vertical([Length(1), Fill(1), Length(1)]).areas(area);
    frame.render_widget(Paragraph::new(title), head);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share of a thousand"
    )]
    let scaled = |value: f64| (1000.0 * value / top.max(f64::MIN_POSITIVE)) as u64;
    let data: Vec<u64> = values.iter().map(|value| value.map_or(0, scaled)).collect();
    let sparkline = Sparkline::default().max(1000).data(data);
    frame.render_widget(sparkline.style(Style::new().fg(Color::Blue)), bars);
    let most = format!("15 min, at most {}", shown(top));
    frame.render_widget(Paragraph::new(most).style(faint()), foot);
}

fn files(frame: &mut Frame<'_>, area: Rect, observer: &Observer, scroll: usize) {
    let Some(list) = observer.file_list() else {
        frame.render_widget(Paragraph::new("The files are not known yet."), area);
        return;
    };
    let mut files: Vec<&FileStatus> = list.files().files.iter().collect();
    files.sort_by_key(|file| match file.state {
        FileState::Blocked | FileState::Unreadable => 0,
        FileState::Following => 1,
        FileState::Waiting => 2,
        FileState::Finished => 3,
        FileState::Gone => 4,
    });
    let rows = files
        .iter()
        .skip(scroll.min(files.len().saturating_sub(1)))
        .map(|file| {
            let path = shown_from(&observer.context().base, &file.path)
                .display()
                .to_string();
            let name = match &file.why {
                Some(why) => format!("{path}: {why}"),
                None => path,
            };
            Row::new([
                Cell::from(file.state.as_str()).style(state_colour(file.state)),
                right(grouped(file.records)),
                right(grouped(file.rejects)),
                right(bytes(file.lag())),
                Cell::from(one_line(&name)),
            ])
        });
    let columns = [
        ("state", Length(10)),
        (">records", Length(12)),
        (">rejected", Length(9)),
        (">to read", Length(9)),
        ("file", Fill(1)),
    ];
    table(frame, area, rows, columns);
}

fn groups(frame: &mut Frame<'_>, area: Rect, snapshot: &Snapshot, scroll: usize) {
    let rows = snapshot.status.groups.iter().skip(scroll).map(|line| {
        let owner = line.owner.as_deref();
        Row::new([
            Cell::from(line.group.clone()),
            Cell::from(format!("{}/{}", line.topic, line.partition)),
            right(grouped(line.next)),
            right(line.lag.map_or("not known".to_owned(), grouped)),
            right(line.lag_seconds.map_or("not known".to_owned(), duration)),
            Cell::from(owner.map_or("nobody".to_owned(), shown_owner)),
        ])
    });
    let columns = [
        ("group", Length(10)),
        ("partition", Fill(1)),
        (">next", Length(12)),
        (">lag", Length(11)),
        (">waits for", Length(9)),
        ("held by", Length(20)),
    ];
    table(frame, area, rows, columns);
}

fn letters(frame: &mut Frame<'_>, area: Rect, snapshot: &Snapshot, scroll: usize) {
    if snapshot.status.dead_letters.is_empty() {
        let text = match &snapshot.status.postgres.error {
            Some(_) => "PostgreSQL is unreachable.",
            None => "No open dead letters.",
        };
        frame.render_widget(Paragraph::new(text), area);
        return;
    }
    let counts = snapshot.status.dead_letters.iter().skip(scroll);
    let rows = counts.map(|count| {
        Row::new([
            Cell::from(count.stream.clone()),
            Cell::from(count.reason.clone()),
            Cell::from(count.group.clone()),
            right(grouped(count.open)),
        ])
    });
    let columns = [
        ("stream", Fill(1)),
        ("reason", Length(20)),
        ("group", Length(16)),
        (">open", Length(12)),
    ];
    table(frame, area, rows, columns);
}

/// A table with a head; names that begin with `>` stand right.
fn table<'a, const N: usize>(
    frame: &mut Frame<'_>,
    area: Rect,
    rows: impl Iterator<Item = Row<'a>>,
    columns: [(&'static str, Constraint); N],
) {
    let widths = columns.map(|(_, width)| width);
    let head = columns.map(|(name, _)| match name.strip_prefix('>') {
        Some(name) => right(name.to_owned()),
        None => Cell::from(name),
    });
    let rows = rows.take(usize::from(area.height));
    let table = Table::new(rows, widths).header(Row::new(head).style(faint()));
    frame.render_widget(table.column_spacing(1), area);
}

fn right(text: String) -> Cell<'static> {
    Cell::from(Line::from(text).right_aligned())
}

/// A text without line ends and control characters, which a terminal would obey.
fn one_line(text: &str) -> String {
    text.chars()
        .map(|c| if bekk_stream::is_deceptive(c) { ' ' } else { c })
        .collect()
}

const fn bold() -> Style {
    Style::new().add_modifier(Modifier::BOLD)
}

const fn faint() -> Style {
    Style::new().add_modifier(Modifier::DIM)
}

const fn colour(level: Level) -> Style {
    match level {
        Level::Unknown => Style::new(),
        Level::Good => Style::new().fg(Color::Green),
        Level::Waiting => Style::new().fg(Color::Yellow),
        Level::Bad => Style::new().fg(Color::Red),
    }
}

const fn state_colour(state: FileState) -> Style {
    match state {
        FileState::Blocked | FileState::Unreadable => Style::new().fg(Color::Red),
        FileState::Following => Style::new().fg(Color::Blue),
        FileState::Waiting => Style::new().fg(Color::Yellow),
        FileState::Finished => Style::new().fg(Color::Green),
        FileState::Gone => faint(),
    }
}
