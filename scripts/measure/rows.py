"""The rows of the table: what is measured, the baseline, the limit and the goal.

Each row has a function that measures wanpool and the baseline and compares their ratio with the limit. A row without a
baseline compares the measured value itself.
"""
import re
import shutil
from dataclasses import dataclass

import forwarding
from gateway import lan_clients, round_robin
from namespace import Namespace, tool
from timing import Contestant, Series, measure_in_turn

MANY, FEWER = 65536, 8192
USUAL = 1000  # the number of clients of rows that do not name a number
IN_FILES, FEWER_IN_FILES = 1_000_000, 10_000

# For each command: its name in the results, its arguments, and the state of the gateway before each run.
COMMANDS = {
    "assign, nothing new": (["assign"], "settled"),
    "assign, all new": (["assign"], "new"),
    "assign --rebalance, all level": (["assign", "--rebalance"], "settled"),
    "assign --prune, all heard": (["assign", "--prune"], "settled"),
    "restore, nothing to do": (["restore"], "settled"),
    "restore at boot": (["restore"], "boot"),
    "failover ppp0, done already": (["failover", "ppp0"], "failed-over"),
    "scan": (["scan"], "settled"),
    "pools": (["pools"], "settled"),
    "pools ppp0": (["pools", "ppp0"], "settled"),
    "pools CLIENT": (["pools", "10.50.0.2"], "settled"),
    "pools --check": (["pools", "--check"], "settled"),
}
WITHOUT_CHANGES = ["assign, nothing new", "restore, nothing to do", "failover ppp0, done already", "pools"]


@dataclass
class Row:
    name: str
    what: str
    measure: object
    limit: float
    goal: float
    unit: str = "s"
    higher_is_better: bool = False


@dataclass
class Result:
    wanpool: Series
    baseline: Series = None
    ratio: Series = None
    parts: dict = None  # the value of each command, if the row covers several commands

    def __post_init__(self):
        if self.baseline and not self.ratio:
            self.ratio = self.wanpool.divided_by(self.baseline)

    @property
    def value(self):
        """The value that is compared with the limit."""
        return (self.ratio or self.wanpool).median


ROWS = {}


def row(name, what, limit, goal, **options):
    def register(measure):
        ROWS[name] = Row(name, what, measure, limit, goal, **options)
        return measure
    return register


def wanpool_command(gateway, name, runs, hook=False):
    """A command of wanpool on a gateway. With `hook`, the environment has no PATH, HOME and so on, as in a hook."""
    args, state = COMMANDS[name]
    env = dict(gateway.namespace.env)
    if hook:
        env = {key: value for key, value in env.items() if key.startswith("WANPOOL")} | {"WANPOOL_HOOK": "1"}
    # A run with changes leaves the state that it needs, so this state must be created before each run.
    has_changes = state in ("new", "boot")
    before = gateway.enter_state["settled" if has_changes else state]
    return Contestant([gateway.wanpool, *args], gateway.namespace, runs, before=before,
                      prepare=gateway.enter_state[state] if has_changes else None, env=env, check=gateway.check_settled)


def compare(bench, wanpool, baseline, rounds=5):
    contestants = {"wanpool": bench.with_fewer_runs_if_quick(wanpool),
                   "baseline": bench.with_fewer_runs_if_quick(baseline)}
    series = measure_in_turn(contestants, bench.rounds(rounds))
    return Result(series["wanpool"], series["baseline"])


@row("script", "1,000 new clients: the script / wanpool (higher is better)", 1000, 3000, higher_is_better=True)
def script(bench):
    gateway, (script_gateway, script_pass) = bench.gateway(USUAL), bench.script(USUAL)
    assign = bench.with_fewer_runs_if_quick(wanpool_command(gateway, "assign, all new", 10))
    series = measure_in_turn({"wanpool": assign, "script": script_pass}, bench.rounds(2, 1))
    bench.remove(script_gateway)
    return Result(series["wanpool"], series["script"], series["script"].divided_by(series["wanpool"]))


@row("noop-ip", "nothing new, 65,536 neighbours and pool lines / `ip neigh show`", 0.5, 0.25)
def noop_ip(bench):
    gateway = bench.gateway(MANY)
    show = Contestant([tool("ip"), "neigh", "show"], gateway.namespace, 5)
    return compare(bench, wanpool_command(gateway, "assign, nothing new", 10), show)


@row("noop-bare", "nothing new, 65,536 neighbours and pool lines / a bare netlink dump of the neighbour table", 4, 2)
def noop_bare(bench):
    gateway = bench.gateway(MANY)
    dump = bench.netlink_baseline(gateway, "neigh", runs=10)
    return compare(bench, wanpool_command(gateway, "assign, nothing new", 10), dump)


@row("new", "65,536 new clients, with ipset, files and fsync / a bare netlink fill of a map", 3, 1.5)
def new(bench):
    gateway = bench.gateway(MANY)
    return compare(bench, wanpool_command(gateway, "assign, all new", 5), bench.fill_map(gateway))


@row("pins", "nothing new, 65,536 neighbours, pool lines and pins / the same without pins", 2, 1.5)
def pins(bench):
    gateway = bench.gateway(MANY)
    pinned = wanpool_command(gateway, "assign, nothing new", 10)
    free = wanpool_command(gateway, "assign, nothing new", 10)
    config = f"{gateway.folder}/pins.toml"
    shutil.copy(free.env["WANPOOL_CONFIG"], config)
    with open(config, "a") as file:
        file.write("[pin]\n")
        for number, clients in round_robin(lan_clients(MANY)).items():
            file.writelines(f'"{client}" = {number}\n' for client in clients)
    pinned.env = {**pinned.env, "WANPOOL_CONFIG": config}
    return compare(bench, pinned, free)


@row("restore", "`restore` at boot, 65,536 clients in the files, empty kernel / a bare netlink fill of a map", 3, 1.5)
def restore(bench):
    gateway = bench.gateway(MANY)
    return compare(bench, wanpool_command(gateway, "restore at boot", 5), bench.fill_map(gateway))


@row("million", "1,000 new clients, 1,000,000 in the files / the same with 10,000 in the files", 60, 30)
def million(bench):
    large, small = bench.gateway(USUAL, IN_FILES), bench.gateway(USUAL, FEWER_IN_FILES)
    in_large, in_small = wanpool_command(large, "assign, all new", 3), wanpool_command(small, "assign, all new", 10)
    result = compare(bench, in_large, in_small, 3)
    for gateway in (large, small):
        bench.remove(gateway)
    return result


@row("hook", "`failover ppp0` with nothing to do, as in a hook / `iptables -t mangle -S`", 2, 1)
def hook(bench):
    gateway = bench.gateway(USUAL)
    show = Contestant([tool("iptables"), "-t", "mangle", "-S"], gateway.namespace, 20)
    return compare(bench, wanpool_command(gateway, "failover ppp0, done already", 20, hook=True), show)


@row("probe", "`failover --probe` of four dead uplinks / of one of them", 1.5, 1.1)
def probe(bench):
    gateway = bench.gateway(USUAL)

    def probing(*uplinks):
        command = [gateway.wanpool, "failover", "--probe", *uplinks]
        return Contestant(command, gateway.namespace, 2, before=gateway.enter_state["settled"])
    return compare(bench, probing(), probing("1"), 3)


@row("version", "`wanpool -V` / `ip -V`", 1, 0.8)
def version(bench):
    namespace = Namespace({})
    wanpool = Contestant([bench.wanpool, "-V"], namespace, 150, warmup=10)
    ip = Contestant([tool("ip"), "-V"], namespace, 150, warmup=10)
    return compare(bench, wanpool, ip, 7)


@row("pools", "`pools` of 4 uplinks / `ip -j rule`", 3, 1.5)
def pools(bench):
    gateway = bench.gateway(USUAL)
    show = Contestant([tool("ip"), "-j", "rule"], gateway.namespace, 50)
    return compare(bench, wanpool_command(gateway, "pools", 20), show)


def forwarding_cost(bench, kind):
    routers = {"wanpool": bench.router(forwarding.WanpoolRouter, bench.wanpool, MANY),
               "baseline": bench.router(forwarding.Router)}
    series = forwarding.compare(routers, kind, bench.rounds(40, 5))
    return Result(series["wanpool"], series["baseline"])


@row("known-flow", "forwarding, CPU time per packet of a known flow, 65,536 clients / no marking", 1.08, 1.03)
def known_flow(bench):
    return forwarding_cost(bench, "known")


@row("new-flow", "forwarding, CPU time per new UDP flow, 65,536 clients / no marking", 1.12, 1.05)
def new_flow(bench):
    return forwarding_cost(bench, "new")


@row("memory", "peak memory with 65,536 clients, any command", 40e6, 20e6, unit="B")
def memory(bench):
    return worst(bench, COMMANDS, lambda name: peak_memory(bench, name))


@row("scale", "65,536 clients / 8,192 clients, any command", 10, 8)
def scale(bench):
    many, fewer = bench.gateway(MANY), bench.gateway(FEWER)

    def measure(name):
        return compare(bench, wanpool_command(many, name, 3), wanpool_command(fewer, name, 5), 3)
    return worst(bench, COMMANDS, measure)


@row("processes", "processes started by a run with nothing to do", 2, 0, unit="")
def processes(bench):
    return worst(bench, WITHOUT_CHANGES, lambda name: started_processes(bench, name))


def worst(bench, names, measure):
    """The result of the command with the highest value. Its parts are the values of all commands, highest first."""
    results = {}
    for name in names:
        bench.print_progress(f"  {name}")
        results[name] = measure(name)
    order = sorted(results, key=lambda name: results[name].value, reverse=True)
    result = results[order[0]]
    result.parts = {name: results[name].value for name in order}
    return result


def peak_memory(bench, name):
    """The largest resident set of a command or of a process that it starts, in bytes."""
    series = Series()
    for _ in range(bench.rounds(3, 1)):
        report = run_with_tracer(bench.gateway(MANY), name, [tool("time"), "-f", "%M", "-o"])
        series.add([int(report) * 1024])
    return Result(series)


def started_processes(bench, name):
    strace = [tool("strace"), "-f", "-qq", "-e", "trace=execve", "-o"]
    report = run_with_tracer(bench.gateway(MANY), name, strace)
    series = Series()
    series.add([len(re.findall(r"execve.* = 0$", report, re.MULTILINE)) - 1])
    return Result(series)


def run_with_tracer(gateway, name, tracer):
    """Runs a command of wanpool once under a tracing program and returns the report that this program writes.

    `tracer` is the command line of the program. Its last option takes the name of the report file.
    """
    command = wanpool_command(gateway, name, 1)
    gateway.namespace.run(command.before)
    if command.prepare:
        gateway.namespace.run(command.prepare)
    report = f"{gateway.folder}/report"
    gateway.namespace.run([*tracer, report, *command.command])
    with open(report) as file:
        return file.read()
