//! Prints to stdout and stderr: rows as a text table or as JSON with the same words, lines of text,
//! and errors. It is no error if the reader closes its end early, as `head` does. Does not know what
//! the rows mean.
//!
//! A row is a struct that derives `Serialize`. Its fields are the columns of the table and the keys
//! of the JSON object. `None` is `-` in the table and `null` in JSON. A field whose text differs
//! from its JSON is a `serde_json::Value` that the command chooses by [`Output::is_json`].

use std::env;
use std::ffi::OsString;
use std::fmt::Display;
use std::io::{self, BufWriter, ErrorKind, IsTerminal, Write};

use anyhow::Context;
use serde::{Serialize, Serializer};

use crate::cli::{Color, Options};
use crate::error::without_errno;

mod table;

use table::TextTable;

#[derive(Clone, Copy)]
pub struct Output {
    json: bool,
    pretty: bool,
    quiet: bool,
    verbose: bool,
    color: bool,
}

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

    /// Prints rows as a table with a header, or as a JSON array of objects. Without rows, a table has no
    /// header either. All rows must have the same fields. A table takes the rows twice from the
    /// iterator, so that many rows need little memory.
    pub fn table<R: Serialize>(self, rows: impl Iterator<Item = R> + Clone) -> anyhow::Result<()> {
        if self.json {
            return write_stdout(|out| self.write_json(out, rows));
        }
        let table = TextTable::measure(rows.clone())?;
        write_stdout(|out| table.write(out, rows, self.color))
    }

    /// Prints the fields of one struct: a line for each, or a JSON array of one object.
    pub fn record(self, record: &impl Serialize) -> anyhow::Result<()> {
        if self.json {
            return self.table([record].into_iter());
        }
        print(&table::record(record)?)
    }

    /// Prints a JSON value.
    pub fn json(self, value: &impl Serialize) -> anyhow::Result<()> {
        let mut text = if self.pretty {
            serde_json::to_string_pretty(value)?
        } else {
            serde_json::to_string(value)?
        };
        text.push('\n');
        print(&text)
    }

    /// Prints the result of a command.
    pub fn lines(self, lines: &[String]) -> anyhow::Result<()> {
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        print(&text)
    }

    /// Prints what the command has changed; nothing with `--quiet`.
    pub fn changes(self, lines: &[String]) -> anyhow::Result<()> {
        if self.quiet { Ok(()) } else { self.lines(lines) }
    }

    /// Prints a step that was done, for `--verbose`: on stdout, or on stderr if stdout has JSON.
    pub fn step(self, command: &str) -> anyhow::Result<()> {
        if self.json {
            ignore_closed(writeln!(io::stderr().lock(), "{command}"))
        } else {
            print(&format!("{command}\n"))
        }
    }

    /// The text of a field with several values: commas between them, or `None` without values. A table
    /// shortens more than three to `ppp0,ppp1,+2`, so that a row fits on a line.
    pub fn list(self, values: impl IntoIterator<Item = impl ToString>) -> Option<String> {
        let values: Vec<String> = values.into_iter().map(|value| value.to_string()).collect();
        match values.as_slice() {
            [] => None,
            [first, second, _, _, ..] if !self.json => {
                Some(format!("{first},{second},+{}", values.len() - 2))
            }
            all => Some(all.join(",")),
        }
    }

    fn write_json<R: Serialize>(
        self,
        out: &mut impl Write,
        rows: impl Iterator<Item = R>,
    ) -> io::Result<()> {
        if self.pretty {
            serde_json::Serializer::pretty(&mut *out).collect_seq(rows)?;
        } else {
            serde_json::Serializer::new(&mut *out).collect_seq(rows)?;
        }
        out.write_all(b"\n")
    }
}

/// A field of a row whose value is printed by its `Display`.
pub struct Text<T>(pub T);

impl<T: Display> Serialize for Text<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

/// Prints text as it is.
pub fn print(text: &str) -> anyhow::Result<()> {
    write_stdout(|out| out.write_all(text.as_bytes()))
}

/// Prints `wanpool: what: why` on stderr. The error is an `anyhow::Error` or a text.
pub fn print_error(error: impl Display) {
    let text = without_errno(&format!("{error:#}"));
    // If stderr is closed, there is no place to report that.
    let _ = writeln!(io::stderr().lock(), "wanpool: {text}");
}

/// All output to stdout goes through here.
fn write_stdout(
    write: impl FnOnce(&mut BufWriter<io::StdoutLock>) -> io::Result<()>,
) -> anyhow::Result<()> {
    let mut out = BufWriter::new(io::stdout().lock());
    let written = write(&mut out);
    ignore_closed(written.and_then(|()| out.flush()))
}

fn ignore_closed(written: io::Result<()>) -> anyhow::Result<()> {
    match written {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written.context("writing the output"),
    }
}

/// Whether stdout is a terminal that has colours, and the user has not declined them (no-color.org).
fn wants_color() -> bool {
    io::stdout().is_terminal()
        && value_of("NO_COLOR").is_none()
        && value_of("TERM").is_none_or(|term| term != "dumb")
}

/// The value of an environment variable, if it is not empty.
fn value_of(name: &str) -> Option<OsString> {
    env::var_os(name).filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize)]
    struct Row {
        address: Text<std::net::Ipv4Addr>,
        dev: Option<Text<&'static str>>,
    }

    fn output(json: bool, pretty: bool) -> Output {
        Output { json, pretty, quiet: false, verbose: false, color: false }
    }

    #[test]
    fn rows_are_an_array_of_objects_in_json() {
        let json = |pretty| {
            let rows = [Row { address: Text([10, 0, 0, 1].into()), dev: None }];
            let mut out = Vec::new();
            output(true, pretty).write_json(&mut out, rows.iter()).unwrap();
            String::from_utf8(out).unwrap()
        };
        assert_eq!(json(false), "[{\"address\":\"10.0.0.1\",\"dev\":null}]\n");
        assert!(json(true).starts_with("[\n  {\n    \"address\": \"10.0.0.1\",\n"));
    }

    #[test]
    fn a_long_list_is_shortened_in_text_only() {
        for (values, text) in
            [("", None), ("a", Some("a")), ("a b c", Some("a,b,c")), ("a b c d", Some("a,b,+2"))]
        {
            assert_eq!(output(false, false).list(values.split_whitespace()).as_deref(), text);
        }
        assert_eq!(output(true, false).list(["a", "b", "c", "d"]).as_deref(), Some("a,b,c,d"));
    }

    #[test]
    fn a_reader_that_has_gone_is_no_error() {
        assert!(ignore_closed(Err(ErrorKind::BrokenPipe.into())).is_ok());
        assert!(ignore_closed(Err(ErrorKind::StorageFull.into())).is_err());
    }
}
