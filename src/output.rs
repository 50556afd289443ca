//! What goes to stdout: rows as aligned columns or as JSON, by the same column names, through one
//! locked writer. A reader that has gone away is no error.

use std::env;
use std::io::{self, BufWriter, ErrorKind, IsTerminal, Write};

use anyhow::{Context, Result};
use serde::Serializer;
use serde_json::{Map, Value};
use tabled::builder::Builder;
use tabled::settings::object::Columns;
use tabled::settings::{Alignment, Padding, Style, Width};

use crate::cli::{Color, Options};

#[derive(Clone, Copy)]
pub struct Output {
    json: bool,
    pretty: bool,
    quiet: bool,
    verbose: bool,
    color: bool,
}

/// A table of text that is wider has but one blank between its columns.
const WIDTH: usize = 80;

/// How many rows are drawn at a time.
const PART: usize = 1000;

/// The column that may be coloured, and the colours (ECMA-48) of its words.
const COLORED: &str = "state";
const COLORS: [(&str, u8); 3] = [("up", 32), ("failed-over", 33), ("down", 31)];

/// A row's cells, in the order of the columns. `Null` is `-` in text.
pub type Row = Vec<Value>;

impl Output {
    pub fn new(options: &Options) -> Self {
        let Options { json, pretty, quiet, verbose, color, .. } = *options;
        let color = match color {
            Color::Always => true,
            Color::Auto => wants_color(),
            Color::Never => false,
        };
        Self { json: json || pretty, pretty, quiet, verbose, color }
    }

    pub fn is_json(self) -> bool {
        self.json
    }

    pub fn is_verbose(self) -> bool {
        self.verbose
    }

    /// Rows under their columns' names: aligned text with a header, or an array of flat objects.
    /// No rows are no text at all. `rows` is gone through twice, so that of a hundred thousand only
    /// a few are there at a time.
    pub fn table<R>(self, columns: &[&str], rows: R) -> Result<()>
    where
        R: Iterator<Item = Row> + Clone,
    {
        let mut out = BufWriter::new(io::stdout().lock());
        if self.json {
            let object = |row: Row| -> Map<String, Value> {
                columns.iter().map(|&name| name.to_owned()).zip(row).collect()
            };
            return ignore_closed(self.array(&mut out, rows.map(object)));
        }
        let Some(layout) = Layout::of(columns, rows.clone()) else { return Ok(()) };
        let mut rows = rows.map(|row| row.iter().map(cell).collect());
        let mut names = Some(columns.iter().map(|&name| name.to_owned()).collect());
        let written = loop {
            let part: Vec<Vec<String>> =
                names.take().into_iter().chain(&mut rows).take(PART).collect();
            if part.is_empty() {
                break out.flush();
            }
            let text = layout.draw(part);
            let text = if self.color { layout.painted(columns, &text) } else { text };
            if let Err(error) = out.write_all(text.as_bytes()) {
                break Err(error);
            }
        };
        ignore_closed(written)
    }

    fn array(
        self,
        out: &mut impl Write,
        objects: impl Iterator<Item = Map<String, Value>>,
    ) -> io::Result<()> {
        match self.pretty {
            true => serde_json::Serializer::pretty(&mut *out).collect_seq(objects)?,
            false => serde_json::Serializer::new(&mut *out).collect_seq(objects)?,
        }
        out.write_all(b"\n").and_then(|()| out.flush())
    }

    /// One thing's fields: a line each in text, an array of one flat object in JSON.
    pub fn record(self, fields: &[(&str, Value)]) -> Result<()> {
        if self.json {
            let (columns, row): (Vec<&str>, Row) = fields.iter().cloned().unzip();
            return self.table(&columns, [row].into_iter());
        }
        let width = fields.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
        let line = |(name, value): &(&str, Value)| format!("{name:width$}  {}", cell(value));
        self.lines(&fields.iter().map(line).collect::<Vec<_>>())
    }

    /// Lines that were asked for.
    pub fn lines(self, lines: &[String]) -> Result<()> {
        match lines.is_empty() {
            true => Ok(()),
            false => self.text(&(lines.join("\n") + "\n")),
        }
    }

    /// Lines that tell what was done; none with `--quiet`.
    pub fn news(self, lines: &[String]) -> Result<()> {
        if self.quiet { Ok(()) } else { self.lines(lines) }
    }

    pub fn object(self, object: Map<String, Value>) -> Result<()> {
        self.value(&Value::Object(object))
    }

    pub fn value(self, value: &Value) -> Result<()> {
        let text = match self.pretty {
            true => serde_json::to_string_pretty(value)?,
            false => serde_json::to_string(value)?,
        };
        self.text(&(text + "\n"))
    }

    /// A step that was done, for `--verbose`: on stdout, or beside it where that carries JSON.
    pub fn step(self, command: &str) -> Result<()> {
        match self.json {
            true => ignore_closed(writeln!(io::stderr().lock(), "{command}")),
            false => self.text(&format!("{command}\n")),
        }
    }

    fn text(self, text: &str) -> Result<()> {
        let mut stdout = io::stdout().lock();
        ignore_closed(stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()))
    }
}

fn ignore_closed(written: io::Result<()>) -> Result<()> {
    match written {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written.context("writing the output"),
    }
}

/// A terminal that can, before somebody who has not said no (no-color.org).
fn wants_color() -> bool {
    let set = |name| env::var_os(name).filter(|value| !value.is_empty());
    io::stdout().is_terminal()
        && set("NO_COLOR").is_none()
        && set("TERM").is_none_or(|term| term != "dumb")
}

/// How a table is drawn, whichever part of it.
struct Layout {
    /// Of each column, without the gap behind it.
    widths: Vec<usize>,
    gap: usize,
    /// Columns of numbers.
    right: Vec<usize>,
}

impl Layout {
    /// `None` where there are no rows.
    fn of(columns: &[&str], rows: impl Iterator<Item = Row>) -> Option<Self> {
        let mut widths: Vec<usize> = columns.iter().map(|name| name.chars().count()).collect();
        let (mut any, mut all) = (vec![false; columns.len()], vec![true; columns.len()]);
        let mut count = 0;
        for row in rows {
            for (at, value) in row.iter().enumerate() {
                widths[at] = widths[at].max(cell(value).chars().count());
                any[at] |= is_number(value);
                all[at] &= is_number(value) || value.is_null();
            }
            count += 1;
        }
        let gaps = widths.len().saturating_sub(1);
        let gap = if widths.iter().sum::<usize>() + 2 * gaps <= WIDTH { 2 } else { 1 };
        let right = (0..columns.len()).filter(|&at| any[at] && all[at]).collect();
        (count > 0).then_some(Self { widths, gap, right })
    }

    fn draw(&self, part: Vec<Vec<String>>) -> String {
        let mut table = Builder::from(part).build();
        table.with(Style::empty()).with(Padding::new(0, self.gap, 0, 0));
        table.with(Width::list(self.widths.iter().map(|width| width + self.gap)));
        for &at in &self.right {
            table.modify(Columns::one(at), Alignment::right());
        }
        table.to_string().lines().map(|line| line.trim_end().to_owned() + "\n").collect()
    }

    /// The words of the column of states in their colours.
    fn painted(&self, columns: &[&str], text: &str) -> String {
        let Some(column) = columns.iter().position(|&name| name == COLORED) else {
            return text.to_owned();
        };
        let at: usize = self.widths[..column].iter().map(|width| width + self.gap).sum();
        let paint = |line: &str| {
            // A name may be in any script; what stands before it has the width of as many letters.
            let at = line.char_indices().nth(at).map_or(line.len(), |(at, _)| at);
            let (before, rest) = line.split_at(at);
            let word = rest.split(' ').next().unwrap_or_default();
            match COLORS.iter().find(|(state, _)| *state == word) {
                Some((_, color)) => {
                    format!("{before}\x1b[{color}m{word}\x1b[0m{}\n", &rest[word.len()..])
                }
                None => format!("{line}\n"),
            }
        };
        text.lines().map(paint).collect()
    }
}

/// A number, or two with a slash between them.
fn is_number(value: &Value) -> bool {
    let pair = value.as_str().and_then(|text| text.split_once('/'));
    value.is_number()
        || pair.is_some_and(|(a, b)| a.parse::<f64>().is_ok() && b.parse::<f64>().is_ok())
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".into(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn align(columns: &[&str], rows: Vec<Row>) -> String {
        let layout = Layout::of(columns, rows.iter().cloned()).unwrap();
        let head = columns.iter().map(|&name| name.to_owned()).collect();
        let body = rows.iter().map(|row| row.iter().map(cell).collect());
        layout.draw(std::iter::once(head).chain(body).collect())
    }

    #[test]
    fn columns_are_aligned_and_numbers_to_the_right() {
        let rows = vec![
            vec![json!("ppp0"), json!(7), Value::Null],
            vec![json!("e"), json!(10), json!("x")],
        ];
        assert_eq!(align(&["dev", "n", "to"], rows), "dev    n  to\nppp0   7  -\ne     10  x\n");
    }

    #[test]
    fn two_numbers_with_a_slash_are_numbers_and_a_prefix_is_none() {
        let rows = vec![
            vec![json!("5.0/10.0"), json!("10.0.0.0/8")],
            vec![json!("33.3/33.3"), json!("-")],
        ];
        let text = "share      of\n 5.0/10.0  10.0.0.0/8\n33.3/33.3  -\n";
        assert_eq!(align(&["share", "of"], rows), text.replacen("share    ", "    share", 1));
    }

    #[test]
    fn a_table_wider_than_a_terminal_is_drawn_together() {
        let wide = |width| align(&["a", "b"], vec![vec![json!("x".repeat(width)), json!("y")]]);
        assert!(wide(77).ends_with("x  y\n"));
        assert!(wide(78).ends_with("x y\n"));
    }

    #[test]
    fn only_the_states_of_uplinks_are_coloured() {
        let columns = ["uplink", "state", "carried_by"];
        let rows = [["up", "failed-over", "down"], ["ppp1", "up", "-"], ["e", "reachable", "up"]];
        let rows = rows.map(|row| row.map(Value::from).to_vec());
        let layout = Layout::of(&columns, rows.iter().cloned()).unwrap();
        let text = align(&columns, rows.to_vec());
        let colored = "uplink  state        carried_by\nup      \x1b[33mfailed-over\x1b[0m  down\n\
                       ppp1    \x1b[32mup\x1b[0m           -\ne       reachable    up\n";
        assert_eq!(layout.painted(&columns, &text), colored);
        assert_eq!(layout.painted(&["a", "b", "c"], &text), text);
    }
}
