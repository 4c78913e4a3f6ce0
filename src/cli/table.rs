//! Listings that fit a terminal of 80 columns.

/// The width that listings fit into.
const WIDTH: usize = 80;

/// A listing: a header and rows of the same number of cells.
pub(super) struct Table {
    header: Vec<&'static str>,
    /// Columns that may be cut short when the rows are too wide.
    flexible: Vec<usize>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these columns; those whose name ends in `~` may be cut short.
    pub(super) fn new(columns: &[&'static str]) -> Self {
        let flexible = columns.iter().enumerate().filter(|(_, name)| name.ends_with('~')).map(|(at, _)| at).collect();
        let header = columns.iter().map(|name| name.trim_end_matches('~')).collect();
        Self { header, flexible, rows: Vec::new() }
    }

    /// Adds a row.
    pub(super) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        let cells: Vec<String> =
            cells.into_iter().map(|cell| crate::domain::foreign_text::display_line(&cell)).collect();
        debug_assert_eq!(cells.len(), self.header.len(), "a cell for each column");
        self.rows.push(cells);
    }

    /// The lines of the table, none wider than 80 characters where the flexible columns allow it.
    pub(super) fn lines(&self) -> Vec<String> {
        let header: Vec<String> = self.header.iter().map(|name| (*name).to_owned()).collect();
        let all = || std::iter::once(&header).chain(&self.rows);
        let mut widths: Vec<usize> =
            (0..header.len()).map(|at| all().map(|row| row[at].chars().count()).max().unwrap_or(0)).collect();
        let gaps = 2 * widths.len().saturating_sub(1);
        while widths.iter().sum::<usize>() + gaps > WIDTH {
            let widest = self.flexible.iter().copied().filter(|at| widths[*at] > 6).max_by_key(|at| widths[*at]);
            let Some(widest) = widest else { break };
            widths[widest] -= 1;
        }
        all()
            .map(|row| {
                let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| fit(cell, *width)).collect();
                cells.join("  ").trim_end().to_owned()
            })
            .collect()
    }
}

fn fit(cell: &str, width: usize) -> String {
    if cell.chars().count() <= width {
        return format!("{cell:width$}");
    }
    let cut: String = cell.chars().take(width.saturating_sub(1)).collect();
    format!("{cut}…")
}

/// A span of time in one short word, such as `3m`, `2h` or `5d`.
pub(super) fn age(seconds: i64) -> String {
    match seconds {
        ..60 => format!("{}s", seconds.max(0)),
        60..3_600 => format!("{}m", seconds / 60),
        3_600..172_800 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_cut_to_eighty_columns_in_the_flexible_ones() {
        let mut table = Table::new(&["host", "lesson~", "state"]);
        table.row(["web-07".to_owned(), "a".repeat(200), "applicable".to_owned()]);
        let lines = table.lines();
        assert!(lines.iter().all(|line| line.chars().count() <= WIDTH), "{lines:?}");
        assert!(lines[1].starts_with("web-07") && lines[1].ends_with("applicable") && lines[1].contains('…'));
    }

    #[test]
    fn foreign_text_stays_in_its_cell() {
        let mut table = Table::new(&["lesson", "state"]);
        table.row(["a\n\u{1b}[2J".to_owned(), "new".to_owned()]);
        assert_eq!(table.lines()[1], "a \\u{1b}[2J  new");
    }
}
