//! The loop over sockets that are local to the process, without root and without a network.

use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit};

use super::datagram::{Datagrams, Question};
use super::dns::Query;
use super::target::{State, TargetProbe};
use super::tcp::Connections;
use super::{ProbeJob, TargetResult, by_uplink, http, poll, run_all};
use crate::model::UplinkNo;
use crate::model::probe::{ProbeSettings, Target};

const NOT_ASKED: TargetResult = TargetResult { sent: 0, received: 0, rtt: None };

fn job(timeout_ms: u64, count: u8) -> ProbeJob {
    let timeout = Duration::from_millis(timeout_ms);
    let settings = ProbeSettings { timeout, count, ..ProbeSettings::default() };
    let (no, dev) = (UplinkNo::new(1).unwrap(), "wanpool-none".parse().unwrap());
    ProbeJob::new(no, &dev, 0x81, &settings, Vec::new())
}

/// A target that is asked by datagrams, and the far end.
fn datagrams(job: &ProbeJob) -> (TargetProbe<'_>, UnixDatagram) {
    let (near, far) = UnixDatagram::pair().unwrap();
    near.set_nonblocking(true).unwrap();
    far.set_nonblocking(true).unwrap();
    let question = Question::Dns(Query::with_first_id("a.b", 0));
    let datagrams = Datagrams::over(OwnedFd::from(near).into(), question);
    (TargetProbe::over(job, State::Datagrams(datagrams)), far)
}

/// A connection that is accepted, and the far end. The count of its job must be 0, so that no other
/// connection is begun.
fn connection(job: &ProbeJob, is_http: bool) -> (TargetProbe<'_>, UnixStream) {
    let (near, far) = UnixStream::pair().unwrap();
    near.set_nonblocking(true).unwrap();
    let server = "192.0.2.1:80".parse().unwrap();
    let request = if is_http { Some(http::request(server, "/")) } else { None };
    let mut connections = Connections::new(server, request);
    connections.add(OwnedFd::from(near).into(), Instant::now());
    (TargetProbe::over(job, State::Connections(connections)), far)
}

fn received(far: &UnixDatagram) -> Vec<Vec<u8>> {
    let mut queries = Vec::new();
    let mut packet = [0; 512];
    while let Ok(length) = far.recv(&mut packet) {
        queries.push(packet[..length].to_vec());
    }
    queries
}

fn answer(far: &UnixDatagram, mut query: Vec<u8>) {
    query[2] |= 0x80;
    far.send(&query).unwrap();
}

fn result(target: TargetProbe) -> TargetResult {
    target.into_result().unwrap()
}

#[test]
fn a_silent_target_gets_all_its_probes_and_ends_at_the_timeout() {
    let job = job(400, 3);
    let (target, far) = datagrams(&job);
    let mut targets = [target];
    let start = Instant::now();
    poll::run(&mut targets).unwrap();
    assert!(start.elapsed() >= job.timeout);
    let [target] = targets;
    assert_eq!(result(target), TargetResult { sent: 12, ..NOT_ASKED });
    assert_eq!(received(&far).len(), 12);
}

#[test]
fn a_run_ends_when_all_targets_have_answered_all_probes() {
    let (asked, open) = (job(60_000, 3), job(60_000, 0));
    let (datagrams, far) = datagrams(&asked);
    let (accepted, _far_tcp) = connection(&open, false);
    let (fetched, mut server) = connection(&open, true);
    let mut targets = [datagrams, accepted, fetched];
    let answering = thread::spawn(move || {
        server.read_exact(&mut [0; 10]).unwrap();
        server.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap();
        far.set_nonblocking(false).unwrap();
        for _ in 0..3 {
            let mut packet = [0; 512];
            let length = far.recv(&mut packet).unwrap();
            answer(&far, packet[..length].to_vec());
        }
    });
    poll::run(&mut targets).unwrap();
    answering.join().unwrap();
    for (target, wanted) in targets.into_iter().zip([3, 1, 1]) {
        let result = result(target);
        assert_eq!(result.received, wanted);
        assert!(result.rtt.is_some_and(|rtt| rtt < Duration::from_secs(10)));
    }
}

#[test]
fn an_answer_that_came_in_time_counts_though_it_is_read_late() {
    let (asked, open) = (job(10, 3), job(10, 0));
    let (mut target, far) = datagrams(&asked);
    let (mut accepted, _far_tcp) = connection(&open, false);
    target.ask_if_due(Instant::now());
    accepted.ask_if_due(Instant::now());
    for query in received(&far) {
        answer(&far, query);
    }
    thread::sleep(Duration::from_millis(20));
    let mut targets = [target, accepted];
    poll::run(&mut targets).unwrap();
    let [target, accepted] = targets;
    let target = result(target);
    assert_eq!((target.sent, target.received), (3, 3));
    assert_eq!(result(accepted).received, 1);
}

#[test]
fn a_second_answer_to_the_same_probe_does_not_count() {
    let job = job(400, 3);
    let (mut target, far) = datagrams(&job);
    target.ask_if_due(Instant::now());
    let queries = received(&far);
    answer(&far, queries[0].clone());
    answer(&far, queries[0].clone());
    far.send(b"noise").unwrap();
    let mut targets = [target];
    poll::run(&mut targets).unwrap();
    let [target] = targets;
    let result = result(target);
    assert_eq!((result.sent, result.received), (3, 1));
}

#[test]
fn a_connection_that_the_server_closes_without_a_page_is_lost() {
    let job = job(20, 0);
    let (target, server) = connection(&job, true);
    drop(server);
    let mut targets = [target];
    poll::run(&mut targets).unwrap();
    let [target] = targets;
    assert_eq!(result(target).received, 0);
}

#[test]
fn a_target_that_cannot_be_asked_is_an_error_and_not_a_result() {
    let open_files = getrlimit(Resource::RLIMIT_NOFILE);
    let targets: [Target; 2] = ["192.0.2.1".parse().unwrap(), "tcp:192.0.2.1:80".parse().unwrap()];
    for target in targets {
        let by_missing_device = ProbeJob { targets: vec![target], ..job(20, 3) };
        let without_targets = job(20, 3);
        let results = run_all(&[by_missing_device, without_targets]);
        assert!(results[0].1.is_err());
        assert!(results[1].1.as_ref().is_ok_and(Vec::is_empty));
    }
    assert_eq!(getrlimit(Resource::RLIMIT_NOFILE), open_files, "programs inherit it");
}

#[test]
fn an_uplink_that_cannot_be_asked_takes_no_results_of_the_others() {
    let job = |no, targets| {
        let targets = vec!["192.0.2.1".parse().unwrap(); targets];
        ProbeJob { no: UplinkNo::new(no).unwrap(), targets, ..job(20, 3) }
    };
    let gone = || Err(io::Error::from(Errno::ENODEV));
    let answer = |sent| Ok(TargetResult { sent, ..NOT_ASKED });
    let results = vec![gone(), gone(), answer(1), answer(2), answer(3), gone()];
    let mut found = Vec::new();
    for (no, results) in by_uplink(&[job(1, 2), job(2, 2), job(3, 2), job(4, 0)], results) {
        let sent = results.ok().map(|results| results.iter().map(|result| result.sent).collect());
        found.push((no.get(), sent));
    }
    let wanted = [(1, None), (2, Some(vec![1, 2])), (3, None), (4, Some(vec![]))];
    assert_eq!(found, wanted);
}
