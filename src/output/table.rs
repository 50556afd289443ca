//! Text tables: the fields of a row are its cells, and the fields of the first row name the columns.
//! Knows nothing of what the columns mean, except that words in the column `state` have colours.
//!
//! The rows are made twice, first to find the width of each column, then to be printed, and only a few
//! of them exist at a time: the text of 65,536 rows would take as much memory as everything else that
//! a command needs.

use std::io::{self, Write};
use std::ops::Range;

use serde::Serialize;
use serde::ser::Error as _;
use serde_json::{Error, Map, Value};
use tabled::builder::Builder;
use tabled::settings::object::Columns;
use tabled::settings::{Alignment, Padding, Style, Width};

/// A table that would be wider has one blank between its columns instead of two.
const MAX_WIDTH: usize = 80;

/// How many rows are drawn at a time.
const ROWS_AT_A_TIME: usize = 500;

/// The column that has colours, and the colours (ECMA-48) of its words.
const COLORED: &str = "state";
const COLORS: [(&str, u8); 3] = [("up", 32), ("failed-over", 33), ("down", 31)];

pub(super) struct TextTable {
    columns: Vec<Column>,
    /// Blanks between two columns.
    gap: usize,
}

struct Column {
    name: String,
    /// In characters.
    width: usize,
    /// Whether it has numbers, and whether it has texts.
    has_numbers: bool,
    has_texts: bool,
}

impl TextTable {
    /// Finds the columns and their widths. Without rows there are no columns.
    pub(super) fn measure<R: Serialize>(rows: impl Iterator<Item = R>) -> Result<Self, Error> {
        let mut columns: Vec<Column> = Vec::new();
        for row in rows {
            let fields = fields_of(&row)?;
            if columns.is_empty() {
                columns = fields.keys().map(|name| Column::new(name)).collect();
            }
            if fields.len() != columns.len() {
                return Err(Error::custom("the rows of a table have different fields"));
            }
            for (column, value) in columns.iter_mut().zip(fields.into_values()) {
                column.add(value);
            }
        }
        let widths: usize = columns.iter().map(|column| column.width).sum();
        let gaps = columns.len().saturating_sub(1);
        let gap = if widths + 2 * gaps <= MAX_WIDTH { 2 } else { 1 };
        Ok(Self { columns, gap })
    }

    /// Writes a line with the names of the columns and a line for each row.
    pub(super) fn write<R: Serialize>(
        &self,
        out: &mut impl Write,
        rows: impl Iterator<Item = R>,
        color: bool,
    ) -> io::Result<()> {
        let mut part = Builder::default();
        part.push_record(self.columns.iter().map(|column| column.name.as_str()));
        for row in rows {
            part.push_record(fields_of(&row)?.into_values().map(cell));
            if part.count_records() == ROWS_AT_A_TIME {
                self.write_part(out, std::mem::take(&mut part), color)?;
            }
        }
        self.write_part(out, part, color)
    }

    fn write_part(&self, out: &mut impl Write, part: Builder, color: bool) -> io::Result<()> {
        for line in self.draw(part).lines() {
            let line = line.trim_end();
            let colored = if color { self.state_color(line) } else { None };
            match colored {
                Some((word, code)) => {
                    let (before, after) = (&line[..word.start], &line[word.end..]);
                    writeln!(out, "{before}\x1b[{code}m{}\x1b[0m{after}", &line[word])?;
                }
                None => writeln!(out, "{line}")?,
            }
        }
        Ok(())
    }

    fn draw(&self, part: Builder) -> String {
        if part.count_records() == 0 {
            return String::new();
        }
        let mut table = part.build();
        table.with(Style::empty()).with(Padding::new(0, self.gap, 0, 0));
        for (index, column) in self.columns.iter().enumerate() {
            if column.has_numbers && !column.has_texts {
                table.modify(Columns::one(index), Alignment::right());
            }
        }
        // The last setting: each other one makes tabled measure this part of the rows again.
        table.with(Width::list(self.columns.iter().map(|column| column.width + self.gap)));
        table.to_string()
    }

    /// Where in a line the word of the column `state` is, and its colour if it has one.
    fn state_color(&self, line: &str) -> Option<(Range<usize>, u8)> {
        let index = self.columns.iter().position(|column| column.name == COLORED)?;
        let before: usize =
            self.columns[..index].iter().map(|column| column.width + self.gap).sum();
        // A device name can be in any script, so characters are counted, not bytes.
        let (start, _) = line.char_indices().nth(before)?;
        let word = line[start..].split(' ').next().unwrap_or_default();
        let (_, code) = COLORS.into_iter().find(|&(state, _)| state == word)?;
        Some((start..start + word.len(), code))
    }
}

impl Column {
    fn new(name: &str) -> Self {
        let width = name.chars().count();
        Self { name: name.to_owned(), width, has_numbers: false, has_texts: false }
    }

    fn add(&mut self, value: Value) {
        if is_number(&value) {
            self.has_numbers = true;
        } else if !value.is_null() {
            self.has_texts = true;
        }
        self.width = self.width.max(cell(value).chars().count());
    }
}

/// The fields of one struct: a line for each, with its name.
pub(super) fn record(record: &impl Serialize) -> Result<String, Error> {
    let fields = fields_of(record)?;
    let width = fields.keys().map(|name| name.chars().count()).max().unwrap_or_default();
    let mut text = String::new();
    for (name, value) in fields {
        text += &format!("{name:width$}  {}\n", cell(value));
    }
    Ok(text)
}

fn fields_of(row: &impl Serialize) -> Result<Map<String, Value>, Error> {
    match serde_json::to_value(row)? {
        Value::Object(fields) => Ok(fields),
        _ => Err(Error::custom("a row is not a struct")),
    }
}

fn cell(value: Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text,
        other => other.to_string(),
    }
}

/// A number, or two with a slash between them: `33.3/50.0`, but not `10.0.0.0/8`.
fn is_number(value: &Value) -> bool {
    let pair = value.as_str().and_then(|text| text.split_once('/'));
    value.is_number()
        || pair.is_some_and(|(a, b)| a.parse::<f64>().is_ok() && b.parse::<f64>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Serialize)]
    struct Line {
        uplink: &'static str,
        state: &'static str,
        share: Value,
        flows: Option<u64>,
        #[serde(flatten)]
        probe: Option<Probe>,
    }

    #[derive(Clone, Serialize)]
    struct Probe {
        rtt: f64,
    }

    fn line(uplink: &'static str, state: &'static str, share: &str) -> Line {
        Line { uplink, state, share: share.into(), flows: None, probe: None }
    }

    fn draw<R: Serialize>(rows: impl Iterator<Item = R> + Clone, color: bool) -> String {
        let table = TextTable::measure(rows.clone()).unwrap();
        let mut out = Vec::new();
        table.write(&mut out, rows, color).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn columns_are_aligned_and_numbers_to_the_right() {
        let rows = [
            Line { flows: Some(7), ..line("ppp0", "up", "5.0/10.0") },
            line("e", "failed-over", "33.3/33.3"),
            Line { flows: Some(10), ..line("e1", "up", "10.0.0.0/8") },
        ];
        assert_eq!(
            draw(rows[..2].iter(), false),
            "uplink  state            share  flows\n\
             ppp0    up            5.0/10.0      7\n\
             e       failed-over  33.3/33.3      -\n"
        );
        // A prefix is no number, so that the column is one of texts.
        assert!(draw(rows.iter(), false).contains("up           5.0/10.0        7\n"));
    }

    #[test]
    fn a_field_that_is_absent_from_all_rows_is_no_column() {
        let rows = [Line { probe: Some(Probe { rtt: 2.0 }), ..line("a", "b", "c") }];
        assert_eq!(
            draw(rows.iter(), false),
            "uplink  state  share  flows  rtt\na       b      c      -      2.0\n"
        );
    }

    #[test]
    fn rows_with_different_fields_are_an_error() {
        let rows =
            [line("a", "b", "c"), Line { probe: Some(Probe { rtt: 1.0 }), ..line("", "", "") }];
        assert!(TextTable::measure(rows.iter()).is_err());
    }

    #[test]
    fn a_record_has_a_line_for_each_field() {
        let text = record(&line("a", "b", "c")).unwrap();
        assert_eq!(text, "uplink  a\nstate   b\nshare   c\nflows   -\n");
    }

    #[test]
    fn a_table_wider_than_a_terminal_has_narrow_gaps() {
        #[derive(Serialize)]
        struct Wide {
            a: String,
            b: char,
        }
        let wide = |width| draw([Wide { a: "x".repeat(width), b: 'y' }].iter(), false);
        assert!(wide(77).ends_with("x  y\n"));
        assert!(wide(78).ends_with("x y\n"));
    }

    #[test]
    fn only_the_states_of_uplinks_have_colours() {
        let rows = [
            line("up", "failed-over", "down"),
            line("ppp1", "up", "-"),
            line("é", "down", "-"),
            line("e", "reachable", "up"),
        ];
        let text = "uplink  state        share  flows\n\
                    up      \x1b[33mfailed-over\x1b[0m  down   -\n\
                    ppp1    \x1b[32mup\x1b[0m           -      -\n\
                    é       \x1b[31mdown\x1b[0m         -      -\n\
                    e       reachable    up     -\n";
        assert_eq!(draw(rows.iter(), true), text);
        let probe = Probe { rtt: 1.5 };
        assert_eq!(draw([probe].iter(), true), "rtt\n1.5\n");
        assert_eq!(draw([line("", "", "")][..0].iter(), true), "", "no rows");
    }

    #[test]
    fn all_parts_of_a_long_table_have_the_same_widths() {
        #[derive(Serialize)]
        struct Count {
            n: u32,
            name: &'static str,
            of: u32,
        }
        let rows =
            (0..2000).map(|n| Count { n, name: if n == 0 { "longest" } else { "x" }, of: 1 });
        let text = draw(rows, false);
        assert_eq!(text.lines().count(), 2001);
        for (n, line) in text.lines().skip(2).enumerate() {
            assert_eq!(line, format!("{:4}  x         1", n + 1));
        }
    }
}
