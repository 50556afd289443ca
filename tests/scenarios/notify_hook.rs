//! `[hook] exec`: the command that runs when an uplink goes out of service or comes back.

use std::fs;

use serde_json::Value;

use crate::lab::{Lab, QUICK, three, wait_until, write_script};

/// A hook that logs its environment and its stdin, and then runs these commands.
fn notify(lab: &Lab, then: &str) -> String {
    let file = lab.scratch().join("notify");
    let log = lab.scratch().join("hook-log").display().to_string();
    let text = format!(
        "#!/bin/sh\nread -r json\necho \"$WANPOOL_EVENT $WANPOOL_UPLINK $WANPOOL_POOL \
         $WANPOOL_CARRIED_BY $json\" >>{log}\necho ignored\n{then}\n"
    );
    write_script(&file, &text);
    format!("[hook]\nexec = \"{}\"\n", file.display())
}

/// What the hook has logged since the last call.
fn logged(lab: &Lab) -> Vec<String> {
    let log = lab.scratch().join("hook-log");
    let text = fs::read_to_string(&log).unwrap_or_default();
    let _ = fs::remove_file(log);
    text.lines().map(str::to_owned).collect()
}

#[test]
fn the_hook_runs_for_each_uplink_that_goes_down_or_up() {
    let lab = Lab::new();
    // The lock is free while the hook runs.
    let locked = lab.scratch().join("locked");
    let assign = format!("{} assign -w 0", crate::lab::binary().display());
    let hook = notify(&lab, &format!("{assign} || touch {}", locked.display()));
    lab.serve(&three(&format!("{QUICK}{hook}")));
    assert_eq!(logged(&lab).len(), 3, "all uplinks are in service");
    // These three hooks have run at the same time.
    let _ = fs::remove_file(&locked);
    lab.swallow(1, true);
    assert_eq!(lab.runs_until(1, "failed-over"), 2);
    let events = logged(&lab);
    assert_eq!(events.len(), 1, "{events:?}");
    let (words, json) = events[0].split_once(" {").unwrap();
    assert_eq!(words, "down ppp0 1 ppp1,ppp2");
    let json: Value = serde_json::from_str(&format!("{{{json}")).unwrap();
    assert_eq!((&json["event"], &json["uplink"]), (&"down".into(), &"ppp0".into()));
    assert_eq!(
        (&json["pool"], &json["loss"], &json["rtt"]),
        (&1.into(), &100.into(), &Value::Null)
    );
    assert_eq!((&json["state"], &json["carried_by"]), (&"failed-over".into(), &"ppp1,ppp2".into()));
    lab.swallow(1, false);
    assert_eq!(lab.runs_until(1, "up"), 3);
    assert!(logged(&lab)[0].starts_with("up ppp0 1 ppp0 {"));

    // Also by hand; a change by no command is reported by the next one.
    lab.wanpool(["failover", "2"]).ok();
    assert!(logged(&lab)[0].starts_with("down ppp1 2 ppp0,ppp2 {"));
    lab.wanpool(["-n", "restore", "2"]).ok();
    assert_eq!(logged(&lab), [""; 0]);
    lab.hang_up(3);
    wait_until("the device is gone", || lab.table(303).is_empty());
    lab.wanpool(["failover", "3"]).ok();
    assert!(logged(&lab)[0].starts_with("down ppp2 3 ppp0 {"));
    lab.wanpool(["assign"]).ok();
    assert_eq!(logged(&lab), [""; 0]);
    assert!(!locked.exists(), "the lock was held while the hook ran");
}

#[test]
fn a_hook_that_fails_or_hangs_changes_nothing() {
    let lab = Lab::new();
    let fails = notify(&lab, "exit 7");
    lab.serve_quietly(&three(&fails));
    let run = lab.wanpool(["failover", "1"]);
    assert_eq!((run.status, run.stdout.as_str()), (0, "uplink 1 ppp0 failed-over\n"), "{run}");
    assert!(run.stderr.lines().count() == 1 && run.stderr.contains("exit status: 7"), "{run}");

    lab.config(&three("[hook]\nexec = \"/nowhere/notify\"\n"));
    let run = lab.wanpool(["restore", "1"]);
    assert_eq!((run.status, run.stdout.as_str()), (0, "uplink 1 ppp0 up\n"), "{run}");
    assert!(run.stderr.contains("/nowhere/notify") && run.stderr.contains("No such file"), "{run}");

    // A hook that hangs is killed after ten seconds, with all its child processes.
    let pids = lab.scratch().join("pids");
    notify(&lab, &format!("sleep 3600 &\necho $! $$ >{}\nsleep 3600", pids.display()));
    lab.config(&three(&fails));
    let run = lab.wanpool(["failover", "1"]);
    assert!(run.status == 0 && run.stderr.contains("killed"), "{run}");
    let pids = fs::read_to_string(pids).unwrap();
    assert_eq!(pids.split_whitespace().count(), 2, "{pids}");
    for pid in pids.split_whitespace() {
        wait_until("the child processes of the hook have ended", || has_ended(pid));
    }
}

#[test]
fn the_command_of_the_admin_has_a_path_although_pppd_gives_none() {
    let lab = Lab::new();
    let (exec, written) = (lab.scratch().join("notify"), lab.scratch().join("path"));
    let text = format!("tr '\\0' '\\n' </proc/$$/environ | grep ^PATH= >{}", written.display());
    write_script(&exec, &format!("#!/bin/sh\n{text}\n"));
    lab.serve(&three(&format!("[hook]\nexec = \"{}\"\n", exec.display())));
    let hooks = lab.hooks();
    lab.hang_up(1);
    let run_dir = lab.scratch().join("run").display().to_string();
    hooks.ppp("ip-down", 1).var("WANPOOL_RUN_DIR", &run_dir).run().silent();
    let path = std::fs::read_to_string(&written).expect("what the command has written");
    assert_eq!(path, "PATH=/usr/sbin:/usr/bin:/sbin:/bin\n");
}

#[test]
fn a_command_that_calls_wanpool_starts_no_further_commands() {
    let lab = Lab::new();
    let wanpool = crate::lab::binary().display().to_string();
    let answer = format!(
        "case $WANPOOL_EVENT in
         down) {wanpool} restore $WANPOOL_UPLINK ;;
         up) {wanpool} failover $WANPOOL_UPLINK ;;
         esac"
    );
    lab.serve_quietly(&three(&notify(&lab, "")));
    logged(&lab);
    notify(&lab, &answer);
    lab.wanpool(["failover", "2"]).ok();
    let events = logged(&lab);
    assert_eq!(events.len(), 1, "{events:?}");
    // The answer took effect, and the next run tells it.
    notify(&lab, "");
    lab.assert_all_up(3);
    lab.wanpool(["assign"]).silent();
    let events = logged(&lab);
    assert!(events.len() == 1 && events[0].starts_with("up ppp1 2 "), "{events:?}");
}

#[test]
fn probes_count_inside_the_command_too() {
    let lab = Lab::new();
    lab.serve_quietly(&three(&(QUICK.to_owned() + &notify(&lab, ""))));
    lab.probe();
    logged(&lab);
    lab.swallow(1, true);
    for state in ["up", "failed-over"] {
        lab.script("WANPOOL_EVENT=down exec \"$WANPOOL\" failover --probe").ok();
        assert_eq!(lab.state_of(1), state);
    }
    assert_eq!(logged(&lab), [""; 0]);
    lab.wanpool(["assign"]).silent();
    let events = logged(&lab);
    assert!(events.len() == 1 && events[0].starts_with("down ppp0 1 "), "{events:?}");
}

#[test]
fn the_command_has_a_clean_environment_and_the_files_of_its_gateway() {
    let lab = Lab::new();
    let written = lab.scratch().join("environment");
    let keep = format!("tr '\\0' '\\n' </proc/$$/environ >{}", written.display());
    lab.serve_quietly(&three(&notify(&lab, &keep)));
    let (config, state) = (lab.config_file(), lab.pool_dir());
    lab.hang_up(1);
    lab.script(&format!(
        "cd {}
         unset WANPOOL_CONFIG WANPOOL_STATE_DIR
         WANPOOL_HOOK=ppp SECRET=x \"$WANPOOL\" --config {} --state-dir state failover ppp0",
        lab.scratch().display(),
        config.display(),
    ))
    .ok();
    let environment = fs::read_to_string(&written).unwrap();
    let names: Vec<&str> =
        environment.lines().map(|line| line.split('=').next().unwrap()).collect();
    assert!(!names.contains(&"WANPOOL_HOOK") && !names.contains(&"SECRET"), "{environment}");
    for line in [
        format!("WANPOOL_CONFIG={}", config.display()),
        format!("WANPOOL_STATE_DIR={}", state.display()),
        "WANPOOL_EVENT=down".to_owned(),
    ] {
        assert!(environment.lines().any(|found| found == line), "{line}: {environment}");
    }
}

#[test]
fn a_command_that_others_may_write_is_not_run() {
    let lab = Lab::new();
    lab.serve_quietly(&three(&notify(&lab, "")));
    logged(&lab);
    let folder = lab.scratch().display().to_string();
    let file = format!("{folder}/notify");
    // Who can write the folder can exchange the file.
    for (damage, path, step) in [
        ("chmod 777", &file, "chmod go-w"),
        ("chmod 755", &file, ""),
        ("chown 12345", &file, "chown root"),
        ("chown 0", &file, ""),
        ("chown 12345", &folder, "chown root"),
        ("chown 0", &folder, ""),
        ("chmod 777", &folder, "chmod go-w"),
        ("chmod 1777", &folder, ""),
    ] {
        lab.gateway.sh(&format!("{damage} {path}"));
        let run = lab.wanpool(["failover", "1"]);
        assert!(run.status == 0 && run.stderr.contains(step), "{run}");
        assert_eq!(logged(&lab).is_empty(), !step.is_empty(), "{damage}: {run}");
        lab.wanpool(["restore", "1"]);
        logged(&lab);
    }
}

#[test]
fn events_have_a_time_and_a_number_that_rises() {
    let lab = Lab::new();
    lab.serve(&three(&notify(&lab, "")));
    lab.wanpool(["failover", "1"]).ok();
    lab.wanpool(["restore", "1"]).ok();
    let mut numbers = Vec::new();
    for event in logged(&lab) {
        let json = &event[event.find('{').unwrap()..];
        let event: Value = serde_json::from_str(json).unwrap();
        assert!(event["time"].as_str().unwrap().ends_with('Z'), "{event}");
        numbers.push(event["sequence"].as_u64().unwrap());
    }
    // The first three ran at the same time.
    numbers[..3].sort_unstable();
    assert!(numbers.len() == 5 && numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
    // A reader of JSON may keep a number as a double.
    assert!(numbers[4] < 1 << 53);
}

#[test]
fn output_that_fails_neither_stops_a_run_nor_silences_the_command() {
    let lab = Lab::new();
    lab.serve(&three(&notify(&lab, "")));
    logged(&lab);
    let client = lab.member(1, 0);
    lab.release(client);
    for command in ["failover ppp0", "-v failover ppp1", "-j restore ppp0", "-v restore ppp1"] {
        let run = lab.script(&format!("exec \"$WANPOOL\" {command} >/dev/full"));
        assert!(run.status == 1 && run.stderr.contains("No space left"), "{run}");
        assert_eq!(logged(&lab).len(), 1, "{command}");
    }
    let run = lab.script(&format!("exec \"$WANPOOL\" -v assign {client} >/dev/full"));
    assert_eq!(run.status, 1, "{run}");
    assert!(lab.marks().contains_key(&client));
    lab.check().clean();
}

/// Whether there is no such process, or only its exit status.
fn has_ended(pid: &str) -> bool {
    match fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(stat) => stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with(['Z', 'X'])),
        Err(_) => true,
    }
}

impl Lab {
    /// Like `serve`, but warnings about the hook are allowed.
    fn serve_quietly(&self, config: &str) {
        self.config(config);
        self.discover(&self.everyone());
        assert_eq!(self.wanpool(["restore"]).status, 0);
        assert_eq!(self.wanpool(["assign"]).status, 0);
    }
}
