//! A file system without space for the pool files.

use crate::lab::{Lab, three};

/// `assign` fails with one line that has these words, and changes no file. Once there is space
/// again, it works.
fn assert_fails_and_changes_nothing(limit: &str, fill: &str, words: &[&str]) {
    let lab = Lab::with().without_ethernet().serving(&three(""));
    let kernel = lab.kernel_state();
    let run = lab.on_own_disk(
        limit,
        &format!(
            "{fill}
             ls -A $DIR >$DIR.before
             $WANPOOL assign 192.168.7.77 192.168.7.78 && exit 99
             status=$?
             ls -A $DIR | diff $DIR.before - >&2 || exit 98
             for file in pool1 pool2 pool3; do cmp $DIR/$file $DIR.kept/$file || exit 97; done
             exit $status"
        ),
    );
    run.refused(1).naming(words).naming(&["No space left on device"]);
    lab.kernel_state().assert_is(&kernel, "the kernel");

    // What needs no space works, and so does the rest once there is some.
    let run = lab.on_own_disk(
        limit,
        &format!(
            "{fill}
             $WANPOOL failover 1 || exit 1
             $WANPOOL restore 1 || exit 2
             rm $DIR/filler*
             $WANPOOL assign 192.168.7.77 192.168.7.78 || exit 3
             grep -x 192.168.7.77 $DIR/pool1 || exit 4
             $WANPOOL pools --check || exit 5"
        ),
    );
    run.ok();
    assert_eq!(lab.marks().len(), 32);
}

#[test]
fn assign_on_a_full_disk_fails_with_one_line_and_changes_nothing() {
    let fill = "dd if=/dev/zero of=$DIR/filler bs=1k 2>/dev/null";
    assert_fails_and_changes_nothing("size=128k", fill, &["writing", "/.next/pool1"]);
}

#[test]
fn assign_on_a_disk_without_free_inodes_fails_with_one_line_and_changes_nothing() {
    let fill = "for i in $(seq 40); do touch $DIR/filler$i 2>/dev/null; done";
    assert_fails_and_changes_nothing("nr_inodes=20", fill, &["creating", "/.next"]);
}
