//! A disk that has become read-only (`errors=remount-ro`): only what must write pool files fails.

use crate::lab::{Lab, QUICK, three};

/// What a run that was killed may have left, and that the next run would remove.
const LEFTOVERS: [&str; 4] = [
    ":",
    "mkdir $DIR/.next; cp $DIR/pool1 $DIR/.next",
    "mkdir $DIR/.commit; cp $DIR/pool1 $DIR/.commit",
    "rm $DIR/.lock",
];

/// Whoever may read the state folder could lock the folder itself, and so block every run.
#[test]
fn another_user_cannot_block_the_runs_on_a_read_only_disk() {
    let lab = Lab::with().without_ethernet().serving(&three(""));
    let script = "set -e
         rm $DIR/.lock
         mount -o remount,ro $DIR
         $WANPOOL restore
         test $(stat -c %a $WANPOOL_RUN_DIR/.lock) = 600
         setpriv --reuid 65534 --clear-groups flock --no-fork $DIR sleep 600 &
         while flock -n $DIR true; do sleep 0.01; done
         status=0
         $WANPOOL -w 0 failover 1 || status=$?
         kill $!
         exit $status";
    lab.on_own_disk("", script).ok();
}

#[test]
fn a_missing_state_folder_on_a_read_only_disk_stops_only_placing() {
    let lab = Lab::with().without_ethernet().serving(&three(""));
    let script = "set -e
         rm -r $DIR/*
         mount -o remount,ro $DIR
         export WANPOOL_STATE_DIR=$DIR/missing
         $WANPOOL failover 1
         $WANPOOL flush
         $WANPOOL restore";
    let run = lab.on_own_disk("", script);
    assert_eq!(run.status, 1, "{run}");
    run.naming(&["creating", "missing: Read-only file system"]);
    assert!(
        run.stdout.ends_with("uplink 1 ppp0 up\nuplink 2 ppp1 up\nuplink 3 ppp2 up\n"),
        "{run}"
    );
}

#[test]
fn failover_probes_hooks_and_flush_work_on_a_read_only_disk() {
    let lab = Lab::with().without_ethernet().serving(&three(QUICK));
    for leftover in LEFTOVERS {
        let script = format!(
            "set -e
             {leftover}
             mount -o remount,ro $DIR
             for command in \"failover 1\" \"restore 1\" \"--hook failover ppp1\" \
                 \"--hook restore ppp1\" \"failover --probe\" assign \"multipath on\" \
                 \"multipath off\" restore flush restore \"pools --check\"; do
                 $WANPOOL $command >&2 || exit 90
             done
             $WANPOOL assign 192.168.7.77 && exit 91
             $WANPOOL pools --check"
        );
        let run = lab.on_own_disk("", &script);
        assert_eq!(run.status, 0, "{leftover}: {run}");
        assert_eq!(run.stderr.matches("wanpool: ").count(), 1, "{leftover}: {run}");
        run.naming(&["Read-only file system"]);
        assert!(run.stderr.contains("uplink 1 ppp0 failed-over"), "{run}");
        assert_eq!(lab.marks().len(), 30, "{leftover}");
    }
}
