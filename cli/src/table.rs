//! Tables of text, each column as wide as its widest cell. In a terminal, long texts are shortened in the middle until
//! a line fits; in a pipe or a file they are whole, because programs search them.

use std::collections::HashSet;
use std::io::{self, IsTerminal as _};

use bekk_stream::shown;
use ratatui::crossterm::terminal;

/// Narrowest width to which a text is shortened.
const SHORTENED_MIN: usize = 12;
/// Space between two columns
const GAP: usize = 2;

/// A column: its title, and how its cells are aligned.
pub(crate) enum Column {
    /// Aligned left, as words are.
    Text(&'static str),
    /// Aligned right, as numbers are.
    Number(&'static str),
}

impl Column {
    fn name(&self) -> &'static str {
        match self {
            Self::Text(name) | Self::Number(name) => name,
        }
    }
}

/// Returns the lines of a table for standard output, the names of the columns first.
pub(crate) fn table<const N: usize>(columns: &[Column; N], rows: &[[String; N]]) -> Vec<String> {
    lines(columns, rows, terminal_width())
}

/// Characters in a line of the terminal; `None` if standard output is a pipe or a file.
fn terminal_width() -> Option<usize> {
    let size = io::stdout().is_terminal().then(terminal::size)?.ok();
    size.map(|(width, _)| usize::from(width))
        .filter(|width| *width > 0)
}

fn lines<const N: usize>(
    columns: &[Column; N],
    rows: &[[String; N]],
    line_max: Option<usize>,
) -> Vec<String> {
    let names = columns.each_ref().map(|column| column.name().to_owned());
    // Cells may hold names that others gave.
    let rows = rows
        .iter()
        .map(|row| row.each_ref().map(|cell| shown(cell).into_owned()));
    let mut rows: Vec<[String; N]> = std::iter::once(names).chain(rows).collect();
    if let Some(line_max) = line_max {
        shorten_columns(columns, &mut rows, line_max);
    }
    let widths = widths(&rows);
    let line = |row: &[String; N]| {
        let mut line = String::new();
        for ((cell, column), &width) in row.iter().zip(columns).zip(&widths) {
            match column {
                Column::Text(_) => line.push_str(&format!("{cell:<width$}  ")),
                Column::Number(_) => line.push_str(&format!("{cell:>width$}  ")),
            }
        }
        line.truncate(line.trim_end().len());
        line
    };
    rows.iter().map(line).collect()
}

fn widths<const N: usize>(rows: &[[String; N]]) -> [usize; N] {
    std::array::from_fn(|at| {
        let cells = rows.iter().map(|row| row[at].chars().count());
        cells.max().unwrap_or(0)
    })
}

/// Shortens the widest texts until a line fits, if their minimum permits it. Texts that differ stay different: a column
/// in which they would not stays whole.
fn shorten_columns<const N: usize>(columns: &[Column; N], rows: &mut [[String; N]], max: usize) {
    let mut widths = widths(rows);
    let least = columns.each_ref().map(|column| match column {
        Column::Text(name) => name.chars().count().max(SHORTENED_MIN),
        Column::Number(_) => usize::MAX,
    });
    while widths.iter().sum::<usize>() + GAP * (N - 1) > max {
        let is_wide = |at: &usize| widths[*at] > least[*at];
        let Some(widest) = (0..N).filter(is_wide).max_by_key(|at| widths[*at]) else {
            break;
        };
        widths[widest] -= 1;
    }
    for (at, width) in widths.into_iter().enumerate() {
        let cells: HashSet<&str> = rows.iter().map(|row| row[at].as_str()).collect();
        let short: HashSet<String> = cells.iter().map(|cell| shortened(cell, width)).collect();
        if short.len() == cells.len() {
            for row in &mut *rows {
                row[at] = shortened(&row[at], width);
            }
        }
    }
}

/// A text without its middle if it is wider than `width`. More is kept of its end, which has a file's name, a line or a
/// partition.
fn shortened(text: &str, width: usize) -> String {
    let len = text.chars().count();
    if len <= width {
        return text.to_owned();
    }
    let head = (width - 1) / 2;
    let tail = width - 1 - head;
    let first = text.chars().take(head);
    let last = text.chars().skip(len - tail);
    first.chain(['…']).chain(last).collect()
}

#[cfg(test)]
mod tests {
    use super::{Column, lines, shortened};

    #[test]
    fn columns_are_as_wide_as_their_cells() {
        let columns = [
            Column::Text("A"),
            Column::Number("COUNT"),
            Column::Text("B"),
        ];
        let row = |a: &str, count: &str, b: &str| [a, count, b].map(str::to_owned);
        let lines = lines(
            &columns,
            &[row("long", "1", "x"), row("é", "1,000,000", "")],
            None,
        );
        assert_eq!(
            lines,
            [
                "A         COUNT  B",
                "long          1  x",
                "é     1,000,000"
            ]
        );
    }

    #[test]
    fn long_texts_lose_their_middle_in_a_terminal_only() {
        let columns = [
            Column::Text("GROUP"),
            Column::Text("PARTITION"),
            Column::Number("NEXT"),
        ];
        let rows: Vec<_> = (0..12)
            .map(|at| {
                let partition = format!(
                    "measurements-of-the-northern-plants-{}/{at}",
                    "x".repeat(60)
                );
                ["warehouse".to_owned(), partition, "1,000".to_owned()]
            })
            .collect();
        let whole = lines(&columns, &rows, None);
        assert!(whole[1].contains(&rows[0][1]), "{whole:?}");
        let fitted = lines(&columns, &rows, Some(80));
        assert!(
            fitted.iter().all(|line| line.chars().count() <= 80),
            "{fitted:?}"
        );
        assert!(
            fitted[12].contains("measurements-") && fitted[12].contains("/11"),
            "{fitted:?}"
        );
        assert!(fitted[1].starts_with("warehouse  "), "{fitted:?}");
    }

    #[test]
    fn texts_that_differ_in_their_middle_stay_whole() {
        let columns = [Column::Text("TOPIC")];
        let rows = ["1", "2"].map(|n| [format!("{}{n}{}", "a".repeat(50), "b".repeat(50))]);
        let fitted = lines(&columns, &rows, Some(80));
        assert_eq!(fitted[1..], rows.map(|[name]| name));
    }

    #[test]
    fn more_of_the_end_is_kept() {
        assert_eq!(shortened("data/events-2026.csv:812", 13), "data/e…sv:812");
        assert_eq!(shortened("data/events-2026.csv:812", 12), "data/…sv:812");
        assert_eq!(shortened("short", 5), "short");
    }
}
