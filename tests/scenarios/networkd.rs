//! `pools --check` beside systemd-networkd, which deletes rules and routes that it does not know
//! unless its configuration says otherwise. How that is read has tables in `system/networkd`.

use crate::lab::{Check, Lab};

/// Runs a program with that name.
const RUNNING: &str = "
cp /bin/sleep systemd-networkd
./systemd-networkd 1000 >/dev/null 2>&1 &
until grep -qx systemd-network /proc/$!/comm; do :; done
";

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
    let keep_rules = "[Network]\nManageForeignRoutingPolicyRules=no\n";
    let keep_routes = "[Network]\nManageForeignRoutes=no\n";
    check(&lab, RUNNING, keep_routes, "").found(&[
        "systemd-networkd deletes rules and routes",
        "ManageForeignRoutingPolicyRules=no and ManageForeignRoutes=no",
    ]);
    check(&lab, RUNNING, keep_routes, keep_rules).clean();
    check(&lab, "", "", "").clean();
    let in_a_container = RUNNING.replace("./systemd", "unshare --net ./systemd");
    check(&lab, &in_a_container, "", "").clean();
}
