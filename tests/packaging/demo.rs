//! `scripts/demo` succeeds on this machine, and in a chroot whose / is no mount point, where
//! `ip netns` alone does not work.

use std::process::Command;

use crate::lab::{Debian, binary, copy_to};

inside_each_debian! {
    scripts_demo_succeeds_in_a_chroot,
}

const PROJECT: &str = env!("CARGO_MANIFEST_DIR");

/// Runs it by this shell script in new mount and network namespaces. $1 is this tree, $2 the
/// program, $3 a root.
#[track_caller]
fn assert_succeeds(script: &str, program: &str, root: &str) {
    let mut command = Command::new("unshare");
    command.args(["--mount", "--net", "--propagation", "private", "sh", "-ec", script, "sh"]);
    let output = command.args([PROJECT, program, root]).output().expect("unshare (util-linux)");
    let (printed, errors) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(
        output.status.success() && printed.contains("All as promised"),
        "{}\n{printed}{errors}",
        output.status
    );
}

#[test]
fn scripts_demo_succeeds() {
    let script = "mount -t tmpfs none /run; WANPOOL_BIN=$2 exec \"$1/scripts/demo\"";
    assert_succeeds(script, &binary().display().to_string(), "/");
}

fn scripts_demo_succeeds_in_a_chroot(debian: Debian) {
    let folder = tempfile::tempdir().expect("a folder");
    let program = folder.path().join("wanpool");
    copy_to(&program);
    let script = "
        mount -t proc none $3/proc
        mount --rbind /sys $3/sys
        mount --rbind /dev $3/dev
        for dir in run tmp mnt; do mount -t tmpfs none $3/$dir; done
        mkdir $3/mnt/tree $3/mnt/bin
        mount --bind \"$1\" $3/mnt/tree
        cp \"$2\" $3/mnt/bin
        ! chroot $3 unshare --mount true 2>/dev/null || { echo \"$3 is a mount point\"; exit 1; }
        exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin WANPOOL_BIN=/mnt/bin/wanpool \\
            chroot $3 /mnt/tree/scripts/demo";
    let root = debian.files().display().to_string();
    assert_succeeds(script, &program.display().to_string(), &root);
}
