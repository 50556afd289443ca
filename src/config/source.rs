//! The text of the configuration file: turns the place of a mistake into `file:line:column` and
//! checks single values. Knows no key of the file.

use std::fmt;
use std::ops::{Range, RangeInclusive};
use std::path::Path;
use std::str::FromStr;

use toml::Spanned;

use crate::error::Error;

pub(super) struct Source<'a> {
    pub(super) text: &'a str,
    pub(super) path: &'a Path,
}

/// The message of a parser may quote a line, and a line may be a megabyte long.
const MAX_REASON: usize = 500;
const MAX_SHOWN_LINE: usize = 80;

impl Source<'_> {
    /// `file:line:column: reason: shown line`, all of it one line.
    pub(super) fn error(&self, span: Range<usize>, reason: impl fmt::Display) -> Error {
        let before = &self.text.as_bytes()[..span.start.min(self.text.len())];
        let line = before.iter().filter(|&&byte| byte == b'\n').count() + 1;
        let start = before.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
        let column = String::from_utf8_lossy(&before[start..]).chars().count() + 1;
        let place = format!("{}:{line}:{column}", self.path.display());
        let shown = self.text[start..].lines().next().unwrap_or_default();
        let shown = printable(shown.trim(), MAX_SHOWN_LINE);
        let reason = printable(&reason.to_string().replace('\n', ", "), MAX_REASON);
        if shown.is_empty() {
            Error::usage(place, reason)
        } else {
            Error::usage(place, format!("{reason}: {shown}"))
        }
    }

    /// What the TOML parser found.
    pub(super) fn toml_error(&self, error: &toml::de::Error) -> Error {
        self.error(error.span().unwrap_or(0..0), error.message())
    }

    /// An error about a value that need not be in the file; without it, the error is about line 1.
    pub(super) fn error_at<T>(
        &self,
        given: Option<&Spanned<T>>,
        reason: impl fmt::Display,
    ) -> Error {
        self.error(given.map_or(0..0, Spanned::span), reason)
    }

    pub(super) fn parse<T: FromStr<Err = String>>(
        &self,
        given: &Spanned<String>,
    ) -> Result<T, Error> {
        given.get_ref().parse().map_err(|reason| self.error(given.span(), reason))
    }

    /// A number in this range; the default if it is absent.
    pub(super) fn number<T>(
        &self,
        given: &Option<Spanned<i64>>,
        default: T,
        range: RangeInclusive<T>,
    ) -> Result<T, Error>
    where
        T: TryFrom<i64> + PartialOrd + fmt::Display,
    {
        let Some(given) = given else { return Ok(default) };
        match T::try_from(*given.get_ref()) {
            Ok(number) if range.contains(&number) => Ok(number),
            _ => {
                let reason = format!("must be from {} to {}", range.start(), range.end());
                Err(self.error(given.span(), reason))
            }
        }
    }
}

/// At most this many characters, without control characters, which a terminal would interpret.
fn printable(text: &str, max: usize) -> String {
    let mut result = String::new();
    for c in text.chars().take(max) {
        result.push(if c.is_control() { char::REPLACEMENT_CHARACTER } else { c });
    }
    result
}
