//! Byte offsets as lines and columns, both from 1.

/// The line starts of one text.
pub(super) struct Lines<'t> {
    text: &'t str,
    starts: Vec<usize>,
}

impl<'t> Lines<'t> {
    pub(super) fn of(text: &'t str) -> Self {
        let breaks = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1);
        Self { text, starts: std::iter::once(0).chain(breaks).collect() }
    }

    fn row(&self, at: usize) -> usize {
        self.starts.partition_point(|start| *start <= at) - 1
    }

    /// The line of a byte offset.
    pub(super) fn line(&self, at: usize) -> u32 {
        u32::try_from(self.row(at) + 1).unwrap_or(u32::MAX)
    }

    /// The line in which a range ends; a range that ends with a line break ends in the line it breaks.
    pub(super) fn end_line(&self, range: &std::ops::Range<usize>) -> u32 {
        let trimmed = self.text.get(range.clone()).map_or(0, |text| text.trim_end_matches(['\n', '\r']).len());
        self.line(range.start + trimmed.saturating_sub(1))
    }

    /// The column of a byte offset in characters.
    pub(super) fn column(&self, at: usize) -> u32 {
        let before = self.text.get(self.starts[self.row(at)]..at).unwrap_or_default();
        u32::try_from(before.chars().count() + 1).unwrap_or(u32::MAX)
    }

    /// The start, and the text without its break, of each line.
    pub(super) fn each(&self) -> impl Iterator<Item = (usize, &'t str)> {
        let text = self.text;
        self.starts.iter().enumerate().filter_map(move |(row, start)| {
            let end = self.starts.get(row + 1).copied().unwrap_or(text.len());
            let line = &text[*start..end];
            let shown = line.strip_suffix('\n').unwrap_or(line);
            (row == 0 || *start < text.len()).then(|| (*start, shown.strip_suffix('\r').unwrap_or(shown)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_columns_count_from_one_in_characters() {
        let lines = Lines::of("ä=1\r\n\nbc");
        assert_eq!((lines.line(0), lines.column(0)), (1, 1));
        assert_eq!((lines.line(2), lines.column(2)), (1, 2));
        assert_eq!((lines.line(7), lines.column(8)), (3, 2));
        assert_eq!(lines.end_line(&(0..6)), 1);
        assert_eq!(lines.each().collect::<Vec<_>>(), [(0, "ä=1"), (6, ""), (7, "bc")]);
        assert_eq!(Lines::of("a\n").each().count(), 1);
    }
}
