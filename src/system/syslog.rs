//! Sends the errors of a hook to syslog, because pppd and other programs discard what their hooks
//! print.

use std::process::{Command, Stdio};

/// The full path: the hooks of pppd have no PATH.
const LOGGER: &str = "/usr/bin/logger";

/// The event and the device that a hook names in `WANPOOL_HOOK`, such as `ip-up ppp0`. `None` if the
/// hook does not name them (`WANPOOL_HOOK=1`, `--hook`): then its stderr is read.
pub fn hook_name() -> Option<String> {
    let name = std::env::var("WANPOOL_HOOK").ok()?;
    if name.contains(' ') { Some(name) } else { None }
}

/// Returns whether `logger` could be run. Whether a syslog daemon listens makes no difference.
pub fn send(text: &str) -> bool {
    let mut logger = Command::new(LOGGER);
    logger.args(["-t", "wanpool", "-p", "daemon.err", "--", text]).current_dir("/");
    logger.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
}
