"""The rows of the table: what is measured, against what, and the bars.

A row is a function that measures two series, ours and the baseline's, whose ratio is judged; or, where a row has
no baseline, one series that is judged itself.
"""
import re
import shutil
from dataclasses import dataclass

import forward
from gateway import in_turn, lan_clients
from ground import Namespace, tool
from timing import Contestant, Series, race

MANY, FEWER = 65536, 8192
USUAL = 1000  # clients, where a row names no number
HUGE, TENTH = 1_000_000, 10_000

# What a command is called here, its words, and the state of the gateway before each run.
COMMANDS = {
    "assign, nothing new": (["assign"], "settled"),
    "assign, all new": (["assign"], "new"),
    "assign --rebalance, all level": (["assign", "--rebalance"], "settled"),
    "assign --prune, all heard": (["assign", "--prune"], "settled"),
    "restore, nothing to do": (["restore"], "settled"),
    "restore at boot": (["restore"], "boot"),
    "failover ppp0, done already": (["failover", "ppp0"], "out"),
    "scan": (["scan"], "settled"),
    "pools": (["pools"], "settled"),
    "pools ppp0": (["pools", "ppp0"], "settled"),
    "pools CLIENT": (["pools", "10.50.0.2"], "settled"),
    "pools --check": (["pools", "--check"], "settled"),
}
IDLE = ["assign, nothing new", "restore, nothing to do", "failover ppp0, done already", "pools"]


@dataclass
class Row:
    name: str
    what: str
    measure: object
    bar: float
    aim: float
    unit: str = "s"
    more: bool = False  # is more better?


@dataclass
class Result:
    ours: Series
    baseline: Series = None
    ratio: Series = None
    parts: dict = None  # what was judged of each command

    def __post_init__(self):
        if self.baseline and not self.ratio:
            self.ratio = self.ours.over(self.baseline)

    @property
    def judged(self):
        return (self.ratio or self.ours).median


ROWS = {}


def row(name, what, bar, aim, **more):
    def register(measure):
        ROWS[name] = Row(name, what, measure, bar, aim, **more)
        return measure
    return register


def our(gateway, name, runs, hook=False):
    """A command of ours at a gateway. As in a hook: without PATH, HOME and the like."""
    words, state = COMMANDS[name]
    env = dict(gateway.namespace.env)
    if hook:
        env = {key: value for key, value in env.items() if key.startswith("WANPOOL")} | {"WANPOOL_HOOK": "1"}
    changes = state in ("new", "boot")  # a run that has something to do ends in another state than it began in
    before = gateway.to["settled" if changes else state]
    return Contestant([gateway.wanpool, *words], gateway.namespace, runs, before=before,
                      prepare=gateway.to[state] if changes else None, env=env, check=gateway.check_settled)


def duel(bench, ours, baseline, rounds=5):
    series = race({"ours": bench.sized(ours), "baseline": bench.sized(baseline)}, bench.rounds(rounds))
    return Result(series["ours"], series["baseline"])


@row("script", "1,000 new clients: the script / wanpool (higher is better)", 1000, 3000, more=True)
def script(bench):
    gateway, (old, theirs) = bench.gateway(USUAL), bench.script(USUAL)
    series = race({"ours": bench.sized(our(gateway, "assign, all new", 10)), "theirs": theirs}, bench.rounds(2, 1))
    bench.forget(old)
    return Result(series["ours"], series["theirs"], series["theirs"].over(series["ours"]))


@row("noop-ip", "nothing new, 65,536 neighbours and pool lines / `ip neigh show`", 0.5, 0.25)
def noop_ip(bench):
    gateway = bench.gateway(MANY)
    show = Contestant([tool("ip"), "neigh", "show"], gateway.namespace, 5)
    return duel(bench, our(gateway, "assign, nothing new", 10), show)


@row("noop-bare", "nothing new, 65,536 neighbours and pool lines / a bare netlink dump of the neighbour table", 4, 2)
def noop_bare(bench):
    gateway = bench.gateway(MANY)
    return duel(bench, our(gateway, "assign, nothing new", 10), bench.bare(gateway, "neigh", runs=10))


@row("new", "65,536 new clients, with ipset, files and fsync / a bare netlink fill of a map", 3, 1.5)
def new(bench):
    gateway = bench.gateway(MANY)
    return duel(bench, our(gateway, "assign, all new", 5), bench.fill(gateway))


@row("pins", "nothing new, 65,536 neighbours, pool lines and pins / the same without pins", 2, 1.5)
def pins(bench):
    gateway = bench.gateway(MANY)
    pinned, free = our(gateway, "assign, nothing new", 10), our(gateway, "assign, nothing new", 10)
    config = f"{gateway.folder}/pins.toml"
    shutil.copy(free.env["WANPOOL_CONFIG"], config)
    with open(config, "a") as file:
        file.write("[pin]\n")
        for number, clients in in_turn(lan_clients(MANY)).items():
            file.writelines(f'"{client}" = {number}\n' for client in clients)
    pinned.env = {**pinned.env, "WANPOOL_CONFIG": config}
    return duel(bench, pinned, free)


@row("restore", "`restore` at boot, 65,536 clients in the files, empty kernel / a bare netlink fill of a map", 3, 1.5)
def restore(bench):
    gateway = bench.gateway(MANY)
    return duel(bench, our(gateway, "restore at boot", 5), bench.fill(gateway))


@row("million", "1,000 new clients, 1,000,000 in the files / the same with 10,000 in the files", 60, 30)
def million(bench):
    huge, tenth = bench.gateway(USUAL, HUGE), bench.gateway(USUAL, TENTH)
    result = duel(bench, our(huge, "assign, all new", 3), our(tenth, "assign, all new", 10), 3)
    for gateway in (huge, tenth):
        bench.forget(gateway)
    return result


@row("hook", "`failover ppp0` with nothing to do, as in a hook / `iptables -t mangle -S`", 2, 1)
def hook(bench):
    gateway = bench.gateway(USUAL)
    show = Contestant([tool("iptables"), "-t", "mangle", "-S"], gateway.namespace, 20)
    return duel(bench, our(gateway, "failover ppp0, done already", 20, hook=True), show)


@row("probe", "`failover --probe` of four dead uplinks / of one of them", 1.5, 1.1)
def probe(bench):
    gateway = bench.gateway(USUAL)

    def probing(*uplinks):
        command = [gateway.wanpool, "failover", "--probe", *uplinks]
        return Contestant(command, gateway.namespace, 2, before=gateway.to["settled"])
    return duel(bench, probing(), probing("1"), 3)


@row("version", "`wanpool -V` / `ip -V`", 1, 0.8)
def version(bench):
    nowhere = Namespace({})
    ours, theirs = [bench.wanpool, "-V"], [tool("ip"), "-V"]
    return duel(bench, *(Contestant(command, nowhere, 150, warmup=10) for command in (ours, theirs)), 7)


@row("pools", "`pools` of 4 uplinks / `ip -j rule`", 3, 1.5)
def pools(bench):
    gateway = bench.gateway(USUAL)
    show = Contestant([tool("ip"), "-j", "rule"], gateway.namespace, 50)
    return duel(bench, our(gateway, "pools", 20), show)


def passing(bench, kind):
    routers = {"ours": bench.router(forward.Wanpool, bench.wanpool, MANY), "baseline": bench.router(forward.Router)}
    series = forward.compare(routers, kind, bench.rounds(40, 5))
    return Result(series["ours"], series["baseline"])


@row("known-flow", "forwarding, CPU time per packet of a known flow, 65,536 clients / no marking", 1.08, 1.03)
def known_flow(bench):
    return passing(bench, "known")


@row("new-flow", "forwarding, CPU time per new UDP flow, 65,536 clients / no marking", 1.12, 1.05)
def new_flow(bench):
    return passing(bench, "new")


@row("memory", "peak memory with 65,536 clients, any command", 40e6, 20e6, unit="B")
def memory(bench):
    return worst(bench, COMMANDS, lambda name: peak(bench, name))


@row("scale", "65,536 clients / 8,192 clients, any command", 10, 8)
def scale(bench):
    many, fewer = bench.gateway(MANY), bench.gateway(FEWER)
    return worst(bench, COMMANDS, lambda name: duel(bench, our(many, name, 3), our(fewer, name, 5), 3))


@row("processes", "processes started by a run with nothing to do", 2, 0, unit="")
def processes(bench):
    return worst(bench, IDLE, lambda name: started(bench, name))


def worst(bench, names, measure):
    """The result of the command that comes off worst; its parts are all of them, the worst first."""
    results = {}
    for name in names:
        bench.say(f"  {name}")
        results[name] = measure(name)
    order = sorted(results, key=lambda name: results[name].judged, reverse=True)
    result = results[order[0]]
    result.parts = {name: results[name].judged for name in order}
    return result


def peak(bench, name):
    """The largest resident set of a command or of a process it started, in bytes."""
    series = Series()
    for _ in range(bench.rounds(3, 1)):
        report = once(bench.gateway(MANY), name, [tool("time"), "-f", "%M", "-o"])
        series.add([int(report) * 1024])
    return Result(series)


def started(bench, name):
    watch = [tool("strace"), "-f", "-qq", "-e", "trace=execve", "-o"]
    report = once(bench.gateway(MANY), name, watch)
    series = Series()
    series.add([len(re.findall(r"execve.* = 0$", report, re.MULTILINE)) - 1])
    return Result(series)


def once(gateway, name, watch):
    """One run of a command of ours, behind a program that watches it and ends in the name of a file: its report."""
    command = our(gateway, name, 1)
    gateway.namespace.run(command.before)
    if command.prepare:
        gateway.namespace.run(command.prepare)
    report = f"{gateway.folder}/report"
    gateway.namespace.run([*watch, report, *command.command])
    with open(report) as file:
        return file.read()
