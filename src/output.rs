//! What goes to stdout: rows as aligned columns or as JSON, by the same column names, through one
//! locked writer. A reader that has gone away is no error.

use std::io::{self, ErrorKind, Write};

use anyhow::{Context, Result};
use serde_json::{Map, Value};
use tabled::builder::Builder;
use tabled::settings::object::Columns;
use tabled::settings::{Alignment, Padding, Style};

use crate::cli::Options;

#[derive(Clone, Copy)]
pub struct Output {
    json: bool,
    pretty: bool,
    quiet: bool,
    verbose: bool,
}

/// A row's cells, in the order of the columns. `Null` is `-` in text.
pub type Row = Vec<Value>;

impl Output {
    pub fn new(options: &Options) -> Self {
        let Options { json, pretty, quiet, verbose, .. } = *options;
        Self { json: json || pretty, pretty, quiet, verbose }
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
        self.text(&align(columns, rows))
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

fn align(columns: &[&str], rows: Vec<Row>) -> String {
    let numeric: Vec<usize> = (0..columns.len())
        .filter(|&at| rows.iter().all(|row| row[at].is_number() || row[at].is_null()))
        .filter(|&at| rows.iter().any(|row| row[at].is_number()))
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
    let lines: Vec<String> =
        table.to_string().lines().map(|line| line.trim_end().to_owned()).collect();
    lines.join("\n") + "\n"
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
}
