//! What the kernel answers instead of "done", in its own words where it gave any.

use std::fmt;

/// `NLMSGERR_ATTR_MSG` of `linux/netlink.h`: the kernel's own words.
const ERROR_TEXT: u16 = 1;

/// Of `asm-generic/errno-base.h`.
pub const ENOENT: i32 = 2;
pub const ESRCH: i32 = 3;
pub const EEXIST: i32 = 17;
pub const ENODEV: i32 = 19;

#[derive(Debug)]
pub struct KernelError {
    /// A positive errno; ipset has numbers of its own from 4096.
    pub errno: i32,
    words: Option<String>,
}

impl KernelError {
    /// What the kernel would have answered, had it been asked.
    pub fn of_errno(errno: i32) -> Self {
        Self { errno, words: None }
    }

    /// `errno` as the kernel sends it, negative; `attributes` those behind the error.
    pub fn new(errno: i32, attributes: &[(u16, &[u8])]) -> Self {
        let words = attributes.iter().find(|(kind, _)| *kind == ERROR_TEXT).map(|(_, value)| {
            String::from_utf8_lossy(value).trim_end_matches(['\0', '.']).to_owned()
        });
        Self { errno: errno.saturating_neg(), words }
    }
}

impl fmt::Display for KernelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match ipset_text(self.errno) {
            Some(text) => text.to_owned(),
            None => errno_text(self.errno),
        };
        match &self.words {
            Some(words) => write!(f, "{text} ({words})"),
            None => f.write_str(&text),
        }
    }
}

impl std::error::Error for KernelError {}

/// Whether this is what the kernel answered.
pub fn is_errno(error: &anyhow::Error, errno: i32) -> bool {
    error.downcast_ref::<KernelError>().is_some_and(|error| error.errno == errno)
}

/// `strerror(3)`, without the number that Rust adds.
fn errno_text(errno: i32) -> String {
    let text = std::io::Error::from_raw_os_error(errno).to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}

/// ipset's own numbers, `IPSET_ERR_*` of `linux/netfilter/ipset/ip_set.h`, in words like those of
/// ipset(8).
fn ipset_text(errno: i32) -> Option<&'static str> {
    match errno {
        4097 => Some("ipset protocol error"),
        4098 => Some("the kernel does not know sets of type hash:ip"),
        4099 => Some("the maximal number of sets is reached"),
        4100 => Some("the set is in use by a rule"),
        4352 => Some("the set is full"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_carry_the_words_of_the_kernel() {
        let words: &[u8] = b"Nexthop id does not exist.\0";
        let error = KernelError::new(-2, &[(ERROR_TEXT, words)]);
        assert_eq!(error.to_string(), "No such file or directory (Nexthop id does not exist)");
        assert_eq!(KernelError::new(-17, &[]).to_string(), "File exists");
        assert_eq!(KernelError::new(-4352, &[]).to_string(), "the set is full");
    }
}
