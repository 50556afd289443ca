//! A disk that has become read-only (`errors=remount-ro`): only what must write pool files fails.

use crate::lab::{Lab, QUICK, three};

/// What a run that was killed may have left, and that the next run would remove.
const LEFTOVERS: [&str; 4] = [
    ":",
    "mkdir $DIR/.next; cp $DIR/pool1 $DIR/.next",
    "mkdir $DIR/.commit; cp $DIR/pool1 $DIR/.commit",
    "rm $DIR/.lock",
];

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
