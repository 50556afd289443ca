//! By which uplink probes leave, what they send, and what counts as an answer.

use std::net::Ipv4Addr;
use std::thread;

use crate::lab::{EchoServer, FAR, Lab, QUICK, four, three, uplinks};

#[test]
fn an_uplink_with_30_percent_loss_is_never_failed_over() {
    let fifty_runs = || {
        let lab = Lab::serving(&four(QUICK));
        for number in 1..=4 {
            lab.lose(number, 30);
        }
        let mut lost = 0;
        for _ in 0..50 {
            lab.probe().silent();
            lost += (1..=4).filter(|&no| lab.health(no)["last"]["loss"] != 0).count();
        }
        assert!(lost > 100, "only {lost} of 200 probes lost anything");
        lab.assert_all_up(4);
    };
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(fifty_runs);
        }
    });
}

#[test]
fn one_target_of_three_is_enough_unless_need_asks_for_more() {
    let three_targets = "[probe]\ntimeout = \"200ms\"\n\
                         targets = [\"100.66.0.77\", \"tcp:100.66.0.1:9\", \"100.66.0.1\"]\n";
    let lab = Lab::serving(&three(three_targets));
    lab.probe().silent();
    assert_eq!(lab.health(1)["healthy_runs"], 1);
    lab.config(&three(&format!("{three_targets}[uplink.2.probe]\nneed = 2\n")));
    lab.probe().silent();
    assert_eq!(lab.probe().stdout, "uplink 2 ppp1 failed-over\n");
}

#[test]
fn a_probe_leaves_by_its_own_uplink_and_no_other() {
    let lab = Lab::with().rp_filter(1).raise();
    let host = |number: u8| Ipv4Addr::new(100, 66, 0, 10 + number);
    let own = |number: u8| {
        let targets =
            format!("\"{0}\", \"tcp:{0}:9\", \"dns:{0}:a\", \"http://{0}/\"", host(number));
        format!("[uplink.{number}.probe]\ntargets = [{targets}]\ntimeout = \"200ms\"\n")
    };
    lab.serve(&four(&(1..=4).map(own).collect::<String>()));
    lab.wanpool(["multipath", "on"]).ok();
    for number in 1..=4 {
        lab.count_for(host(number));
    }
    lab.far_host(host(2));
    lab.far_host(host(4));
    // One is failed over, one is unhealthy, one is lost while it is probed, and one has no address.
    lab.wanpool(["failover", "4"]).ok();
    lab.swallow(3, true);
    lab.probe();
    thread::scope(|scope| {
        let run = scope.spawn(|| lab.probe());
        lab.await_counted(1, host(1));
        lab.hang_up(1);
        run.join().unwrap()
    });
    lab.redial(1);
    lab.wanpool(["restore", "1"]).ok();
    lab.gateway.sh("ip addr flush dev ppp1");
    lab.probe();
    for number in 1..=4 {
        let used = [1, 2, 3, 4].map(|uplink| lab.counted(uplink, host(number)) > 0);
        assert_eq!(used, [1, 2, 3, 4].map(|uplink| uplink == number), "probes of uplink {number}");
    }
}

#[test]
fn each_kind_of_target_uses_its_protocol() {
    let lab = Lab::new();
    let host = Ipv4Addr::new(100, 66, 0, 9);
    lab.far_host(host);
    let kinds =
        ["tcp:100.66.0.9:80", "dns:100.66.0.9:example.org", "http://100.66.0.9/generate_204"];
    // A run ends when everything is answered; only silence takes the whole time.
    let config = |target: &str, answers: bool| {
        let timeout = if answers { "5s" } else { "200ms" };
        three(&format!("[probe]\ntargets = [\"{target}\"]\ntimeout = \"{timeout}\"\n"))
    };
    lab.serve(&config(kinds[0], false));
    let assert_answers = |uplink: u8, target: &str, answers: bool, what: &str| {
        lab.config(&config(target, answers));
        lab.wanpool(["failover", "--probe", &uplink.to_string()]).ok();
        let loss = if answers { 0 } else { 100 };
        assert_eq!(lab.health(uplink)["last"]["loss"], loss, "{target}, {what}");
    };
    for target in kinds {
        assert_answers(2, target, false, "without a server");
    }
    let servers = lab.start_servers(host);
    // The answers of the server, and for which kinds of target they count.
    for (code, status, answers) in [
        (0, "204 No Content", [true, true, true]),
        (3, "302 Found", [true, true, false]),
        (2, "503 Pay First", [true, false, false]),
    ] {
        servers.say(code, status);
        for (target, answers) in kinds.into_iter().zip(answers) {
            assert_answers(3, target, answers, &format!("code {code}, {status}"));
        }
    }
}

#[test]
fn without_targets_the_peer_or_the_gateway_is_probed() {
    let lab = Lab::serving(&four("[probe]\ntimeout = \"200ms\"\n"));
    lab.probe().silent();
    for number in 1..=4 {
        assert_eq!(lab.health(number)["last"]["loss"], 0, "uplink {number}");
    }
    lab.swallow(1, true);
    lab.swallow(4, true);
    assert_eq!(lab.runs_until(1, "failed-over"), 2);
    assert_eq!(lab.state_of(4), "failed-over");
}

#[test]
fn an_uplink_without_a_target_is_reported_and_the_others_are_probed() {
    let lab = Lab::new();
    lab.gateway.sh("ip addr flush dev ppp2\nip addr add 10.64.3.2/32 dev ppp2");
    lab.serve(&three("[probe]\ntimeout = \"200ms\"\n"));
    let run = lab.wanpool(["failover", "--probe"]);
    run.refused(1).naming(&["uplink 3 (ppp2)", "set targets in [probe]"]);
    assert_eq!(lab.health(1)["healthy_runs"], 1);
}

#[test]
fn fifty_uplinks_are_probed_in_one_run() {
    let lab = Lab::with().point_to_point(50).without_ethernet().client_addresses(1).raise();
    let devs: Vec<String> = (0..50).map(|at| format!("ppp{at}")).collect();
    let devs: Vec<&str> = devs.iter().map(String::as_str).collect();
    lab.serve(&uplinks("[probe]\ntargets = [\"100.66.0.1\", \"tcp:100.66.0.1:7000\"]\n", &devs));
    for number in 26..=50 {
        lab.swallow(number, true);
    }
    lab.probe().silent();
    for number in 1..=50 {
        let unhealthy_runs = if number > 25 { 1 } else { 0 };
        assert_eq!(lab.health(number)["unhealthy_runs"], unhealthy_runs, "uplink {number}");
    }
}

#[test]
fn invalid_probe_options_are_refused() {
    let lab = Lab::three_uplinks();
    lab.wanpool(["failover"]).refused(2);
    lab.wanpool(["failover", "1", "2"]).refused(2).naming(&["one uplink"]);
    lab.wanpool(["failover", "--probe", "--to", "2"]).refused(2);
    lab.wanpool(["failover", "--probe", "9"]).refused(2).naming(&["no uplink \"9\""]);
}

#[test]
fn an_ethernet_uplink_is_probed_whether_in_service_or_not() {
    let lab = Lab::serving(&four(QUICK));
    for command in ["restore", "failover"] {
        lab.wanpool([command, "4"]).ok();
        lab.probe().silent();
        assert_eq!(lab.health(4)["last"]["loss"], 0, "after {command}");
    }
}

#[test]
fn a_target_is_reached_without_a_default_route_in_main() {
    let lab = Lab::with()
        .rp_filter(2)
        .serving(&three("[probe]\ntargets = [\"tcp:100.66.0.50:81\"]\ntimeout = \"200ms\"\n"));
    let host = Ipv4Addr::new(100, 66, 0, 50);
    lab.far_host(host);
    let _server = EchoServer::start(&lab.far, std::net::SocketAddrV4::new(host, 81));
    assert_ne!(host, *FAR.ip());
    lab.probe().silent();
    assert_eq!([1, 2, 3].map(|number| lab.health(number)["healthy_runs"] == 1), [true; 3]);
}
