//! Errors of a hook go to syslog: pppd and others throw away what their hooks print. Knows nothing of
//! what went wrong.

use std::process::{Command, Stdio};

/// By its full path: pppd gives its hooks no PATH.
const LOGGER: &str = "/usr/bin/logger";

/// What a hook says of itself in `WANPOOL_HOOK`: the event and the device, as in `ip-up ppp0`. `None`
/// for a hook that says no more than that it is one (`WANPOOL_HOOK=1`, `--hook`): its stderr is read.
pub fn hook_name() -> Option<String> {
    std::env::var("WANPOOL_HOOK").ok().filter(|value| value.contains(' '))
}

/// Whether there was a logger; whether anybody listened to it is no matter.
pub fn send(text: &str) -> bool {
    let mut logger = Command::new(LOGGER);
    logger.args(["-t", "wanpool", "-p", "daemon.err", "--", text]).current_dir("/");
    logger.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
}
