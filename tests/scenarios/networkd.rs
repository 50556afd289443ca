//! `pools --check` beside systemd-networkd, which deletes rules and routes that it does not know
//! unless its configuration says otherwise. How that is read has unit tests of its own.

use crate::lab::{Check, Lab};

/// Runs a program with that name.
const RUNNING: &str = "
cp /bin/sleep systemd-networkd
./systemd-networkd 1000 >/dev/null 2>&1 &
until grep -qx systemd-network /proc/$!/comm; do :; done
";
const KEEP_RULES: &str = "[Network]\nManageForeignRoutingPolicyRules=no\n";
const KEEP_ROUTES: &str = "[Network]\nManageForeignRoutes=no\n";

/// The check with these two files as the configuration of networkd.
fn check(lab: &Lab, running: &str, main: &str, snippet: &str) -> Check {
    lab.check_where(&format!(
        "cd {}
         for dir in /etc/systemd /run/systemd /usr/lib/systemd; do
             [ ! -d $dir ] || mount -t tmpfs none $dir
         done
         mkdir /etc/systemd/networkd.conf.d
         printf %s \"{main}\" >/etc/systemd/networkd.conf
         printf %s \"{snippet}\" >/etc/systemd/networkd.conf.d/50-wanpool.conf
         {running}",
        lab.scratch().display()
    ))
}

#[test]
fn networkd_that_deletes_unknown_rules_and_routes_is_found() {
    let lab = Lab::three_uplinks();
    for (main, snippet) in [("", ""), (KEEP_ROUTES, ""), ("", KEEP_RULES)] {
        check(&lab, RUNNING, main, snippet).found(&[
            "systemd-networkd deletes",
            "ManageForeignRoutingPolicyRules=no",
            "ManageForeignRoutes=no",
        ]);
    }
    check(&lab, RUNNING, KEEP_ROUTES, KEEP_RULES).clean();
    check(&lab, "", "", "").clean();
    let in_a_container = RUNNING.replace("./systemd", "unshare --net ./systemd");
    check(&lab, &in_a_container, "", "").clean();
}
