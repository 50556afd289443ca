//! What goes to stdout: rows as aligned columns or as JSON, by the same column names, through one
//! locked writer. A reader that has gone away is no error.

use std::env;
use std::io::{self, ErrorKind, IsTerminal, Write};

use anyhow::{Context, Result};
use serde_json::{Map, Value};
use tabled::builder::Builder;
use tabled::settings::object::Columns;
use tabled::settings::{Alignment, Padding, Style};

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
    /// No rows are no text at all.
    pub fn table(self, columns: &[&str], rows: Vec<Row>) -> Result<()> {
        if self.json {
            let object = |row: Row| -> Value {
                let keys = columns.iter().map(|&name| name.to_owned());
                Value::Object(keys.zip(row).collect())
            };
            return self.value(&Value::Array(rows.into_iter().map(object).collect()));
        }
        if rows.is_empty() {
            return Ok(());
        }
        let text = align(columns, rows);
        self.text(&if self.color { painted(&text) } else { text })
    }

    /// One thing's fields: a line each in text, an array of one flat object in JSON.
    pub fn record(self, fields: &[(&str, Value)]) -> Result<()> {
        if self.json {
            let (columns, row): (Vec<&str>, Row) = fields.iter().cloned().unzip();
            return self.table(&columns, vec![row]);
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

fn align(columns: &[&str], rows: Vec<Row>) -> String {
    let numeric: Vec<usize> = (0..columns.len())
        .filter(|&at| rows.iter().all(|row| is_number(&row[at]) || row[at].is_null()))
        .filter(|&at| rows.iter().any(|row| is_number(&row[at])))
        .collect();
    let mut builder = Builder::with_capacity(rows.len() + 1, columns.len());
    builder.push_record(columns.iter().copied());
    for row in rows {
        builder.push_record(row.iter().map(cell));
    }
    let mut table = builder.build();
    table.with(Style::empty()).with(Padding::new(0, 2, 0, 0));
    for at in numeric {
        table.modify(Columns::one(at), Alignment::right());
    }
    let wide = trimmed(&table.to_string());
    if wide.lines().all(|line| line.chars().count() <= WIDTH) {
        return wide;
    }
    trimmed(&table.with(Padding::new(0, 1, 0, 0)).to_string())
}

fn trimmed(text: &str) -> String {
    text.lines().map(|line| line.trim_end().to_owned() + "\n").collect()
}

/// A number, or two with a slash between them.
fn is_number(value: &Value) -> bool {
    let pair = value.as_str().and_then(|text| text.split_once('/'));
    value.is_number()
        || pair.is_some_and(|(a, b)| a.parse::<f64>().is_ok() && b.parse::<f64>().is_ok())
}

/// The words of the column of states, which begin below its name, in their colours.
fn painted(table: &str) -> String {
    let head = table.lines().next().unwrap_or_default();
    let Some(at) = format!("{head} ").find(&format!(" {COLORED} ")).map(|at| at + 1) else {
        return table.to_owned();
    };
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
    table.lines().map(paint).collect()
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
        let table =
            "uplink  state        carried_by\nup      failed-over  down\nppp1    up           -\n";
        let colored = "uplink  state        carried_by\nup      \x1b[33mfailed-over\x1b[0m  down\n\
                       ppp1    \x1b[32mup\x1b[0m           -\n";
        assert_eq!(painted(table), colored);
        assert_eq!(painted("state\nreachable\n"), "state\nreachable\n");
    }
}
