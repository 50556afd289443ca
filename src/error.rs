//! Errors that a caller tells apart or that have an exit status of their own. All other errors are
//! `anyhow` errors with exit status 1. Context ("what was tried, on what") is added with `anyhow`.

use std::fmt;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

/// Exit statuses, as in EXIT STATUS of the man pages.
pub const FAILED: u8 = 1;
pub const USAGE: u8 = 2;
pub const DRIFT: u8 = 3;
pub const LOCKED: u8 = 4;

#[derive(Debug)]
pub enum Error {
    /// A mistake on the command line or in the configuration: where it is, and the reason.
    Usage { place: String, reason: String },
    /// Another run held the lock for the whole waiting time.
    Locked { path: PathBuf, waited: Duration },
    /// The slice was removed, and a hook or a timer must not create it again.
    Flushed,
    /// The kernel refused a request.
    Kernel(KernelError),
    /// A program that was run failed.
    Program { program: PathBuf, status: ExitStatus, stderr: String },
}

impl Error {
    pub fn usage(place: impl fmt::Display, reason: impl Into<String>) -> Self {
        Error::Usage { place: place.to_string(), reason: reason.into() }
    }

    pub fn exit_code(&self) -> u8 {
        match self {
            Error::Usage { .. } => USAGE,
            Error::Locked { .. } => LOCKED,
            Error::Flushed | Error::Kernel(_) | Error::Program { .. } => FAILED,
        }
    }
}

/// The exit status of an error with its context: that of the first [`Error`] in its chain.
pub fn exit_code(error: &anyhow::Error) -> u8 {
    let known = error.chain().find_map(|cause| cause.downcast_ref::<Error>());
    known.map_or(FAILED, Error::exit_code)
}

/// The number of the kernel's refusal, if the error is one.
pub fn errno(error: &anyhow::Error) -> Option<i32> {
    match error.downcast_ref() {
        Some(Error::Kernel(refusal)) => Some(refusal.errno),
        _ => None,
    }
}

/// What `flush` left behind.
pub const FLUSHED: &str = "wanpool flush removed the slice, and hooks and timers do not create it";

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Usage { place, reason } => write!(f, "{place}: {reason}"),
            Error::Locked { path, waited } => write!(
                f,
                "locking {}: another run holds it, waited {} s; try again, or wait longer with --wait",
                path.display(),
                waited.as_secs_f32()
            ),
            Error::Flushed => f.write_str(FLUSHED),
            Error::Kernel(refusal) => refusal.fmt(f),
            Error::Program { program, status, stderr } => {
                write!(f, "running {}: {stderr} ({status})", program.display())
            }
        }
    }
}

impl std::error::Error for Error {}

/// A refusal of the kernel, with its own words where it gave any.
#[derive(Debug)]
pub struct KernelError {
    /// A positive errno. ipset has numbers of its own from 4096 on.
    pub errno: i32,
    pub words: Option<String>,
}

impl fmt::Display for KernelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(text) = ipset_text(self.errno) {
            f.write_str(text)?;
        } else {
            let text = std::io::Error::from_raw_os_error(self.errno).to_string();
            f.write_str(&without_errno(&text))?;
        }
        match &self.words {
            Some(words) => write!(f, " ({words})"),
            None => Ok(()),
        }
    }
}

/// `IPSET_ERR_BUSY`.
pub const SET_IN_USE: i32 = 4100;

/// ipset's own error numbers (`IPSET_ERR_*` in `linux/netfilter/ipset/ip_set.h`), in the words of
/// ipset(8).
fn ipset_text(errno: i32) -> Option<&'static str> {
    match errno {
        4097 => Some("ipset protocol error"),
        4098 => Some("the kernel does not support sets of type hash:ip"),
        4099 => Some("the maximum number of sets is reached"),
        SET_IN_USE => Some("the set is in use by a rule"),
        4352 => Some("the set is full"),
        _ => None,
    }
}

/// Removes each ` (os error 2)` that Rust adds to the text of a system error.
pub fn without_errno(text: &str) -> String {
    let mut parts = text.split(" (os error ");
    let mut result = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        result += part.split_once(')').map_or(part, |(_, rest)| rest);
    }
    result
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::*;

    #[test]
    fn each_kind_of_error_has_its_exit_status_whatever_its_context() {
        let kernel = |errno| Error::Kernel(KernelError { errno, words: None });
        for (error, status) in [
            (Error::usage("w.toml:1:1", "no uplink"), USAGE),
            (Error::Locked { path: "/x".into(), waited: Duration::ZERO }, LOCKED),
            (kernel(2), FAILED),
        ] {
            let error = Err::<(), _>(error).context("tried").unwrap_err();
            assert_eq!(exit_code(&error), status, "{error:#}");
        }
        assert_eq!(exit_code(&anyhow::anyhow!("other")), FAILED);
        let refused = Err::<(), _>(kernel(17)).context("ip rule add").unwrap_err();
        assert_eq!(errno(&refused), Some(17));
    }

    #[test]
    fn a_refusal_has_the_words_of_the_kernel() {
        let error = |errno, words: Option<&str>| {
            KernelError { errno, words: words.map(str::to_owned) }.to_string()
        };
        let words = Some("Nexthop id does not exist");
        assert_eq!(error(2, words), "No such file or directory (Nexthop id does not exist)");
        assert_eq!(error(17, None), "File exists");
        assert_eq!(error(4352, None), "the set is full");
        assert_eq!(without_errno("a: b (os error 2): c (os error 13)"), "a: b: c");
    }
}
