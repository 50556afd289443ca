//! `pools --check` beside systemd-networkd, which deletes rules and routes that it does not know
//! unless told otherwise.

use crate::lab::{Check, Lab, three};

/// A program of that name runs, and nothing of networkd's configuration is this machine's.
const RUNNING: &str = "
cp /bin/sleep systemd-networkd
./systemd-networkd 1000 >/dev/null 2>&1 &
until grep -qx systemd-network /proc/$!/comm; do :; done
";

/// The check with these files below `/etc/systemd`.
#[track_caller]
fn check(lab: &Lab, running: &str, files: &[(&str, &str)]) -> Check {
    println!("{files:?}");
    let mut script = format!(
        "cd {}
         for dir in /etc/systemd /run/systemd /usr/lib/systemd; do
             [ ! -d $dir ] || mount -t tmpfs none $dir
         done
         mkdir /etc/systemd/networkd.conf.d\n",
        lab.scratch().display()
    );
    for (name, text) in files {
        script += &format!("cat >/etc/systemd/{name} <<'END'\n{text}\nEND\n");
    }
    // The last line's end is the shell's, not the file's.
    for (name, _) in files {
        script += &format!("truncate -s -1 /etc/systemd/{name}\n");
    }
    lab.check_where(&(script + running))
}

const WORDS: [&str; 3] =
    ["systemd-networkd deletes", "ManageForeignRoutingPolicyRules=no", "ManageForeignRoutes=no"];
const BOTH: &str = "[Network]\nManageForeignRoutingPolicyRules=no\nManageForeignRoutes=no\n";

#[test]
fn networkd_that_deletes_what_it_does_not_know_is_found() {
    let lab = Lab::three_uplinks();
    let main = "networkd.conf";
    let deleting: [&[(&str, &str)]; 6] = [
        &[],
        &[(main, "[Network]\nManageForeignRoutes=no\n")],
        &[(main, "[Network]\nManageForeignRoutingPolicyRules=no\n")],
        &[(main, "[Network]\n#ManageForeignRoutingPolicyRules=no\n#ManageForeignRoutes=no\n")],
        &[(main, "[Network]\nManageForeignRoutingPolicyRules=yes\nManageForeignRoutes=no\n")],
        &[(main, BOTH), ("networkd.conf.d/50-on.conf", "[Network]\nManageForeignRoutes=yes\n")],
    ];
    for files in deleting {
        check(&lab, RUNNING, files).found(&WORDS);
    }
}

#[test]
fn networkd_that_was_told_not_to_is_not() {
    let lab = Lab::three_uplinks();
    let spelled = |rules: &str, routes: &str| {
        format!("[Network]\nManageForeignRoutingPolicyRules{rules}\nManageForeignRoutes{routes}\n")
    };
    let odd = spelled(" = False", "=0");
    let told: [&[(&str, &str)]; 5] = [
        &[("networkd.conf", BOTH)],
        &[("networkd.conf", &odd)],
        &[("networkd.conf", &spelled("=off", "=NO"))],
        &[("networkd.conf.d/wanpool.conf", BOTH)],
        &[("networkd.conf.d/10.conf", &spelled("=yes", "=yes")), ("networkd.conf.d/20.conf", BOTH)],
    ];
    for files in told {
        check(&lab, RUNNING, files).clean();
    }
}

#[test]
fn networkd_that_was_told_in_its_shortest_words_was_told() {
    let lab = Lab::three_uplinks();
    let short = "[Network]\nManageForeignRoutingPolicyRules=n\nManageForeignRoutes=f\n";
    check(&lab, RUNNING, &[("networkd.conf", short)]).clean();
}

#[test]
fn a_file_without_a_newline_at_its_end_is_read_as_one_with() {
    let lab = Lab::three_uplinks();
    let main = "[Network]\nManageForeignRoutingPolicyRules=no";
    let more = "[Network]\nManageForeignRoutes=no";
    check(&lab, RUNNING, &[("networkd.conf", main), ("networkd.conf.d/a.conf", more)]).clean();
}

#[test]
fn networkd_that_does_not_run_deletes_nothing() {
    let lab = Lab::three_uplinks();
    check(&lab, "", &[]).clean();
}

#[test]
fn networkd_of_a_container_deletes_nothing_of_ours() {
    let lab = Lab::three_uplinks();
    let in_a_container = RUNNING.replace("./systemd", "unshare --net ./systemd");
    check(&lab, &in_a_container, &[]).clean();
}
