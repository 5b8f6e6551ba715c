//! Aligned columns: Go's `text/tabwriter` with spaces, and the tables of `get`.

/// `tabwriter` with padding 2, which `describe` uses: a column is as wide as its widest cell in adjacent lines.
pub fn align(text: &str) -> String {
    columns(text, 0, 2)
}

/// `printers.GetNewTabWriter`: at least 6 wide, 3 apart.
pub fn table(text: &str) -> String {
    columns(text, 6, 3)
}

/// Lines whose cells end in tabs, as `tabwriter` with this `minwidth` and `padding` sets them.
pub fn columns(text: &str, min_width: usize, padding: usize) -> String {
    let lines: Vec<Vec<&str>> = text.split('\n').map(|l| l.split('\t').collect()).collect();
    let mut out = String::with_capacity(text.len() * 2);
    format(&lines, min_width, padding, &mut Vec::new(), &mut out);
    out.pop(); // the newline after the text's last, empty line
    out
}

fn format(lines: &[Vec<&str>], min_width: usize, padding: usize, widths: &mut Vec<usize>, out: &mut String) {
    let column = widths.len();
    let mut from = 0;
    while from < lines.len() {
        // a block is a run of lines that have a cell in this column, the last cell of a line not counted
        let has = |l: &Vec<&str>| column + 1 < l.len();
        let plain = lines[from..].iter().position(has).unwrap_or(lines.len() - from);
        write(&lines[from..from + plain], widths, out);
        from += plain;
        let block = lines[from..].iter().position(|l| !has(l)).unwrap_or(lines.len() - from);
        if block > 0 {
            let cells = lines[from..from + block].iter().map(|l| l[column].chars().count() + padding);
            widths.push(cells.max().unwrap_or(0).max(min_width));
            format(&lines[from..from + block], min_width, padding, widths, out);
            widths.pop();
            from += block;
        }
    }
}

fn write(lines: &[Vec<&str>], widths: &[usize], out: &mut String) {
    for line in lines {
        for (i, cell) in line.iter().enumerate() {
            out.push_str(cell);
            if let Some(width) = widths.get(i)
                && i + 1 < line.len()
            {
                out.extend(std::iter::repeat_n(' ', width.saturating_sub(cell.chars().count())));
            }
        }
        out.push('\n');
    }
}

/// Rows that keep the widths of earlier ones, so that a watch stays in its columns.
#[derive(Default)]
pub struct Rows {
    widths: Vec<usize>,
}

impl Rows {
    /// The lines of these rows.
    pub fn add(&mut self, rows: &[Vec<String>]) -> String {
        for row in rows {
            self.widths.resize(self.widths.len().max(row.len()), 6);
            for (i, cell) in row.iter().enumerate() {
                self.widths[i] = self.widths[i].max(cell.chars().count() + 3);
            }
        }
        let mut out = String::new();
        for row in rows {
            for (i, cell) in row.iter().enumerate() {
                out.push_str(cell);
                if i + 1 < row.len() {
                    out.extend(std::iter::repeat_n(' ', self.widths[i] - cell.chars().count()));
                }
            }
            out.push('\n');
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_align_by_themselves() {
        assert_eq!(align("Name:\tx\nLong label:\ty\n"), "Name:        x\nLong label:  y\n");
        assert_eq!(align("A:\tb\nplain\nLonger:\tc\n"), "A:  b\nplain\nLonger:  c\n");
        assert_eq!(align("a\tbb\tc\naa\tb\td\n"), "a   bb  c\naa  b   d\n");
    }

    #[test]
    fn rows_remember_their_widths() {
        let mut rows = Rows::default();
        let cells = |a: &str, b: &str| vec![a.to_owned(), b.to_owned()];
        assert_eq!(rows.add(&[cells("NAME", "AGE"), cells("longname", "1s")]), "NAME       AGE\nlongname   1s\n");
        assert_eq!(rows.add(&[cells("x", "2s")]), "x          2s\n");
    }
}
