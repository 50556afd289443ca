"""What a packet costs on its way through a router: CPU time of its sender, who does the work of the whole path.

  client ─lan─ router ═wan1, wan2═ server, each in a namespace of its own, all veth

Every router has conntrack, MASQUERADE by uplink and a table for each mark. One does not mark, and the client
leaves by wan1; where a router marks, it must leave by wan2. The server's counters say whether it did.
"""
import os
import random
import socket

from gateway import cable, lan_clients, write_pools
from ground import CannotMeasure, Namespace, tool
from timing import Series

CLIENT, ROUTER, SERVER = "10.51.255.200", "10.51.255.254", "10.99.0.1"
PORT = 9000
WAN = {1: "10.91.0", 2: "10.92.0"}
KNOWN_SECONDS, NEW_FLOWS = "0.1", "10000"
ASTRAY = 50  # packets that are none of ours: ARP and the like


class Router:
    """No marking. The others differ by how they mark, in `_mark`, and by the uplink a client then has."""
    leaves_by = 1

    def __init__(self, folder):
        self.folder = folder
        os.makedirs(folder)
        env = {"XTABLES_LOCKFILE": f"{folder}/xtables.lock", "WANPOOL_CONFIG": f"{folder}/wanpool.toml",
               "WANPOOL_STATE_DIR": f"{folder}/state", "WANPOOL_RUN_DIR": f"{folder}/run"}
        self.client, self.router, self.server = Namespace({}), Namespace(env), Namespace({})
        self._lay_cables()
        self.sink = self.server.inside(sink)
        self._mark()

    def _lay_cables(self):
        for namespace in (self.client, self.router, self.server):
            namespace.sh("sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0")
        cable(self.router, "lan", self.client, "eth0")
        self.router.sh(f"ip addr add {ROUTER}/15 dev lan; sysctl -qw net.ipv4.ip_forward=1")
        self.client.sh(f"ip addr add {CLIENT}/15 dev eth0; ip route add default via {ROUTER}")
        for number, net in WAN.items():
            cable(self.router, f"wan{number}", self.server, f"in{number}")
            self.router.sh(f"ip addr add {net}.1/24 dev wan{number}")
            self.server.sh(f"ip addr add {net}.2/24 dev in{number}")
        self.router.sh(f"ip route add default via {WAN[1]}.2")
        self.server.sh(f"ip addr add {SERVER}/32 dev lo")

    def _mark(self):
        for number, net in WAN.items():
            self.router.sh(f"ip route add default via {net}.2 dev wan{number} table 20{number}\n"
                           f"ip rule add fwmark {number} table 20{number}\n"
                           f"iptables -t nat -A POSTROUTING -o wan{number} -j MASQUERADE")

    def _received(self):
        with open("/proc/thread-self/net/dev") as file:
            fields = [line.replace(":", " ").split() for line in file]
        return {number: int(row[2]) for number in WAN for row in fields if row[0] == f"in{number}"}

    def measure(self, kind):
        """Nanoseconds a packet of a `known` flow, or a `new` flow."""
        before = self.server.inside(self._received)
        much = KNOWN_SECONDS if kind == "known" else NEW_FLOWS
        flow = f"{os.path.dirname(self.folder)}/flow"
        printed = self.client.run([tool("taskset"), "-c", cpu(), flow, kind, SERVER, much])
        nanoseconds, sent = map(float, printed.split())
        after = self.server.inside(self._received)
        got = {number: after[number] - before[number] for number in WAN}
        if got[self.leaves_by] < 0.999 * sent or sum(got.values()) - got[self.leaves_by] > ASTRAY:
            raise CannotMeasure(f"{type(self).__name__}: of {sent:.0f} packets the server got {got} by uplink")
        if kind == "new":
            self.router.sh("conntrack -F 2>&1")
        return nanoseconds

    def close(self):
        self.sink.close()
        for namespace in (self.client, self.router, self.server):
            namespace.close()


class Wanpool(Router):
    """wanpool's slice, with `count` clients in the set, ours one of them."""
    leaves_by = 2

    def __init__(self, folder, wanpool, count):
        self.wanpool, self.count = wanpool, count
        super().__init__(folder)

    def _mark(self):
        clients = lan_clients(self.count - 1)
        write_pools(f"{self.folder}/state", {1: clients[::2], 2: [*clients[1::2], CLIENT]})
        with open(f"{self.folder}/wanpool.toml", "w") as file:
            file.write('lan = ["lan"]\n')
            for number, net in WAN.items():
                file.write(f'[uplink.{number}]\ndev = "wan{number}"\nvia = "{net}.2"\n')
        self.router.run([self.wanpool, "restore"])


class Rules(Router):
    """A rule a client, as the script makes them; ours is the last."""
    leaves_by = 2

    def __init__(self, folder, count):
        self.count = count
        super().__init__(folder)

    def _mark(self):
        super()._mark()
        with open(f"{self.folder}/rules", "w") as file:
            file.write("*mangle\n")
            for client in lan_clients(self.count - 1):
                file.write(f"-A PREROUTING -s {client}/32 -j MARK --set-mark 1\n")
            file.write(f"-A PREROUTING -s {CLIENT}/32 -j MARK --set-mark 2\nCOMMIT\n")
        self.router.run([tool("iptables-restore"), "--noflush", file.name])


def sink():
    """A socket that nobody reads, where packets end."""
    end = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    end.bind(("0.0.0.0", PORT))
    return end


def cpu():
    return str(max(os.sched_getaffinity(0)))


def compare(routers, kind, rounds):
    """All routers in every round, in random order. Name to Series, in seconds."""
    series = {name: Series() for name in routers}
    for router in routers.values():
        router.measure(kind)  # neighbours and caches
    for _ in range(rounds):
        for name in random.sample(list(routers), len(routers)):
            series[name].add([routers[name].measure(kind) / 1e9])
    return series
