//! Reads the text of the configuration file.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use super::trusted;
use crate::error::Error;

/// Whether the configuration has not been written yet: there is no file, or it contains only
/// comments, as a package ships it.
pub fn is_unwritten(path: &Path) -> bool {
    match fs::read_to_string(path) {
        Ok(text) => text.lines().all(|line| line.trim().is_empty() || line.trim().starts_with('#')),
        Err(error) => error.kind() == ErrorKind::NotFound,
    }
}

pub fn read(path: &Path) -> Result<String, Error> {
    let bytes = trusted::read_named(path).map_err(|error| {
        let reason = match error.kind() {
            // The rules about trusted files name the remedy themselves.
            ErrorKind::Other => error.to_string(),
            _ => format!("{error}; write it (see wanpool(8)), or name another file with --config"),
        };
        Error::usage(path.display(), reason)
    })?;
    String::from_utf8(bytes).map_err(|_| Error::usage(path.display(), "the file is not UTF-8 text"))
}
