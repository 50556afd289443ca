"""The picture's curves: what commands and packets cost, against the number of clients."""
import forward
from ground import tool
from rows import MANY, our
from timing import Contestant, race

OURS = {name: f"wanpool {name.replace(' ppp0', '')}"
        for name in ["assign, nothing new", "assign, all new", "restore at boot", "failover ppp0, done already"]}
SIZES = [1, 4, 16, 64, 256, 1024, 4096, 16384, 65536]
FORWARD_SIZES = [1, 16, 256, 4096, 65536]
SCRIPT_MOST = 1024


def commands(bench):
    """Seconds by name of the curve, a median for each number of clients."""
    curves = {}
    for size in SIZES:
        bench.say(f"  {size} clients")
        gateway = bench.gateway(size)
        contestants = {
            **{label: our(gateway, name, 5) for name, label in OURS.items()},
            "ip neigh show": Contestant([tool("ip"), "neigh", "show"], gateway.namespace, 5),
            "bare netlink dump": bench.bare(gateway, "neigh", runs=5),
        }
        series = race({name: bench.sized(each) for name, each in contestants.items()}, bench.rounds(2, 1))
        if size <= SCRIPT_MOST:
            old, script = bench.script(size)
            series |= race({"the script, all new": script}, 1)
            bench.forget(old)
        for name, measured in series.items():
            curves.setdefault(name, {})[size] = measured.median
        if size != MANY:  # which rows measure at, too
            bench.forget(gateway)
    return curves


def packets(bench):
    """Seconds a packet of a known flow, by name of the curve."""
    routers = {("no marking", size): bench.router(forward.Router) for size in FORWARD_SIZES[:1]}
    for size in FORWARD_SIZES:
        routers["wanpool", size] = bench.router(forward.Wanpool, bench.wanpool, size)
        routers["a rule a client", size] = bench.router(forward.Rules, size)
    series = forward.compare(routers, "known", bench.rounds(15, 3))
    curves = {}
    for (name, size), measured in series.items():
        curves.setdefault(name, {})[size] = measured.median
    curves["no marking"] = {size: curves["no marking"][1] for size in FORWARD_SIZES}
    return curves
