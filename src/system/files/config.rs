//! Reads the text of the configuration file.

use std::io::{self, ErrorKind};
use std::path::Path;

use super::trusted;
use crate::error::Error;

/// Whether the configuration has not been written yet: there is no file, or it contains only
/// comments, as a package ships it.
pub fn is_unwritten(path: &Path) -> bool {
    match trusted::read_config(path) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).lines().all(is_comment),
        Err(error) => error.kind() == ErrorKind::NotFound,
    }
}

fn is_comment(line: &str) -> bool {
    let line = line.trim();
    line.is_empty() || line.starts_with('#')
}

pub fn read(path: &Path) -> Result<String, Error> {
    let bytes = trusted::read_config(path)
        .map_err(|error| Error::usage(path.display(), reason(&error, path)))?;
    String::from_utf8(bytes)
        .map_err(|_| Error::usage(path.display(), "the file is not UTF-8 text; convert it"))
}

fn reason(error: &io::Error, path: &Path) -> String {
    match error.kind() {
        ErrorKind::NotFound | ErrorKind::NotADirectory => {
            format!("{error}; write it (see wanpool(8)), or name another file with --config")
        }
        ErrorKind::PermissionDenied => {
            format!("{error}; run wanpool as root, or chmod a+r {}", path.display())
        }
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_file_that_cannot_be_read_is_an_error_with_the_next_step() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("wanpool.toml");
        let error = || read(&path).unwrap_err().to_string();
        let hint = "(os error 2); write it (see wanpool(8)), or name another file with --config";
        assert!(error().ends_with(hint), "{}", error());
        fs::write(&path, b"lan = [\"\xff\"]").unwrap();
        assert!(error().ends_with("wanpool.toml: the file is not UTF-8 text; convert it"));
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(error().ends_with(": it is a folder, not a plain file; move it away"));
    }

    #[test]
    fn a_file_with_comments_only_is_not_written_yet() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("wanpool.toml");
        assert!(is_unwritten(&path));
        for (text, expected) in [("# lan\n\n  # uplink\n", true), ("# lan\nlan = []\n", false)] {
            fs::write(&path, text).unwrap();
            assert_eq!(is_unwritten(&path), expected, "{text:?}");
        }
    }
}
