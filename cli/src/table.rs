//! Tables of text, each column as wide as its widest cell.

use bekk_stream::shown;

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

/// Returns the lines of a table, the names of the columns first.
pub(crate) fn table<const N: usize>(columns: &[Column; N], rows: &[[String; N]]) -> Vec<String> {
    let names = columns.each_ref().map(|column| column.name().to_owned());
    // Cells may hold names that others gave.
    let rows = rows
        .iter()
        .map(|row| row.each_ref().map(|cell| shown(cell).into_owned()));
    let rows: Vec<[String; N]> = std::iter::once(names).chain(rows).collect();
    let width = |at: usize| {
        rows.iter()
            .map(|row| row[at].chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..N).map(width).collect();
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

#[cfg(test)]
mod tests {
    use super::{Column, table};

    #[test]
    fn columns_are_as_wide_as_their_cells() {
        let columns = [
            Column::Text("A"),
            Column::Number("COUNT"),
            Column::Text("B"),
        ];
        let row = |a: &str, count: &str, b: &str| [a, count, b].map(str::to_owned);
        let lines = table(
            &columns,
            &[row("long", "1", "x"), row("é", "1,000,000", "")],
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
}
