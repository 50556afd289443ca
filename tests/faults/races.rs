//! What changes while it is read or acted upon: told, or looked at again, never half believed.

mod changing_dumps;
mod vanishing_devices;

use crate::lab::{Lab, Run};

/// The program under strace, with these words of strace's own; 124 where it hangs.
fn strace(lab: &Lab, words: &str, command: &str) -> Run {
    lab.script(&format!("timeout 60 strace -f -qq -o /dev/null {words} \"$WANPOOL\" {command}"))
}
