"""The curves of the plot: the cost of commands and of packets against the number of clients."""
import forwarding
from namespace import tool
from rows import MANY, wanpool_command
from timing import Contestant, measure_in_turn

WANPOOL_CURVES = {name: f"wanpool {name.replace(' ppp0', '')}"
                  for name in ["assign, nothing new", "assign, all new", "restore at boot",
                               "failover ppp0, done already"]}
SIZES = [1, 4, 16, 64, 256, 1024, 4096, 16384, 65536]
FORWARDING_SIZES = [1, 16, 256, 4096, 65536]
SCRIPT_MAX_SIZE = 1024


def commands(bench):
    """Seconds per run, as {name of the curve: {number of clients: median}}."""
    curves = {}
    for size in SIZES:
        bench.print_progress(f"  {size} clients")
        gateway = bench.gateway(size)
        contestants = {
            **{label: wanpool_command(gateway, name, 5) for name, label in WANPOOL_CURVES.items()},
            "ip neigh show": Contestant([tool("ip"), "neigh", "show"], gateway.namespace, 5),
            "bare netlink dump": bench.netlink_baseline(gateway, "neigh", runs=5),
        }
        contestants = {name: bench.with_fewer_runs_if_quick(each) for name, each in contestants.items()}
        series = measure_in_turn(contestants, bench.rounds(2, 1))
        if size <= SCRIPT_MAX_SIZE:
            script_gateway, script = bench.script(size)
            series |= measure_in_turn({"the script, all new": script}, 1)
            bench.remove(script_gateway)
        for name, measured in series.items():
            curves.setdefault(name, {})[size] = measured.median
        if size != MANY:  # the rows of the table also use the gateway with MANY clients
            bench.remove(gateway)
    return curves


def packets(bench):
    """Seconds per packet of a known flow, as {name of the curve: {number of clients: median}}."""
    routers = {("no marking", size): bench.router(forwarding.Router) for size in FORWARDING_SIZES[:1]}
    for size in FORWARDING_SIZES:
        routers["wanpool", size] = bench.router(forwarding.WanpoolRouter, bench.wanpool, size)
        routers["a rule a client", size] = bench.router(forwarding.RulePerClientRouter, size)
    series = forwarding.compare(routers, "known", bench.rounds(15, 3))
    curves = {}
    for (name, size), measured in series.items():
        curves.setdefault(name, {})[size] = measured.median
    curves["no marking"] = {size: curves["no marking"][1] for size in FORWARDING_SIZES}
    return curves
