//! Plain tables, for people and for `awk`.

/// Columns padded to their widest cell, two blanks between, none at the end of a line.
pub(super) fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = header.iter().map(|cell| cell.chars().count()).collect();
    for row in rows {
        widths.iter_mut().zip(row).for_each(|(width, cell)| *width = cell.chars().count().max(*width));
    }
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let padded: Vec<String> = cells.zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        padded.join("  ").trim_end().to_owned() + "\n"
    };
    let mut text = line(&mut header.iter().copied());
    rows.iter().for_each(|row| text.push_str(&line(&mut row.iter().map(String::as_str))));
    text
}

/// Milliseconds as people read them.
pub(super) fn millis(ms: f64) -> String {
    match ms {
        ms if ms < 10.0 => format!("{ms:.1}ms"),
        ms if ms < 1_000.0 => format!("{ms:.0}ms"),
        ms if ms < 60_000.0 => format!("{:.2}s", ms / 1_000.0),
        _ => {
            let seconds = (ms / 1_000.0).round();
            format!("{:.0}m{:02.0}s", (seconds / 60.0).floor(), seconds % 60.0)
        }
    }
}

/// A cell that says that there is nothing to say.
pub(super) fn or_dash(text: String) -> String {
    if text.is_empty() { "-".into() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_lines_end_without_blanks() {
        let rows = [vec!["é".to_owned(), "1".to_owned()], vec!["abcdef".to_owned(), String::new()]];
        assert_eq!(table(&["name", "n"], &rows), "name    n\né       1\nabcdef\n");
    }

    #[test]
    fn times_are_short() {
        assert_eq!([millis(7.04), millis(250.4), millis(1_250.0)], ["7.0ms", "250ms", "1.25s"]);
        assert_eq!([millis(61_000.0), millis(119_900.0)], ["1m01s", "2m00s"]);
    }
}
