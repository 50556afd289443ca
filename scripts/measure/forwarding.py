"""Measures the cost of forwarding a packet through a router, as CPU time of the sender. With veth devices, the sender
does the work of the whole path.

  client ─lan─ router ═wan1, wan2═ server, each in its own namespace

Every router has conntrack, MASQUERADE for each uplink, and a routing table for each mark. The router without marking
sends the packets of the client over wan1. The routers with marking must send them over wan2. The counters of the
server show whether they do.
"""
import os
import random
import socket

from gateway import lan_clients, veth_pair, write_pools
from namespace import CannotMeasure, Namespace, tool
from timing import Series

CLIENT, ROUTER, SERVER = "10.51.255.200", "10.51.255.254", "10.99.0.1"
PORT = 9000
WAN = {1: "10.91.0", 2: "10.92.0"}
KNOWN_SECONDS, NEW_FLOWS = "0.1", "10000"
MAX_OTHER_PACKETS = 50  # packets that the sender has not sent, such as ARP


class Router:
    """A router without marking. Subclasses differ in the method of marking and in the uplink that the client uses."""
    uplink = 1

    def __init__(self, folder):
        self.folder = folder
        os.makedirs(folder)
        env = {"XTABLES_LOCKFILE": f"{folder}/xtables.lock", "WANPOOL_CONFIG": f"{folder}/wanpool.toml",
               "WANPOOL_STATE_DIR": f"{folder}/state", "WANPOOL_RUN_DIR": f"{folder}/run"}
        self.client, self.router, self.server = Namespace({}), Namespace(env), Namespace({})
        self._create_links()
        self.sink = self.server.call_inside(open_sink)
        self._configure_marking()

    def _create_links(self):
        for namespace in (self.client, self.router, self.server):
            namespace.sh("sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0")
        veth_pair(self.router, "lan", self.client, "eth0")
        self.router.sh(f"ip addr add {ROUTER}/15 dev lan; sysctl -qw net.ipv4.ip_forward=1")
        self.client.sh(f"ip addr add {CLIENT}/15 dev eth0; ip route add default via {ROUTER}")
        for number, net in WAN.items():
            veth_pair(self.router, f"wan{number}", self.server, f"in{number}")
            self.router.sh(f"ip addr add {net}.1/24 dev wan{number}")
            self.server.sh(f"ip addr add {net}.2/24 dev in{number}")
        self.router.sh(f"ip route add default via {WAN[1]}.2")
        self.server.sh(f"ip addr add {SERVER}/32 dev lo")

    def _configure_marking(self):
        for number, net in WAN.items():
            self.router.sh(f"ip route add default via {net}.2 dev wan{number} table 20{number}\n"
                           f"ip rule add fwmark {number} table 20{number}\n"
                           f"iptables -t nat -A POSTROUTING -o wan{number} -j MASQUERADE")

    def _received(self):
        with open("/proc/thread-self/net/dev") as file:
            fields = [line.replace(":", " ").split() for line in file]
        return {number: int(row[2]) for number in WAN for row in fields if row[0] == f"in{number}"}

    def measure(self, kind):
        """Nanoseconds per packet of a known flow (`kind` is "known") or per new flow ("new")."""
        before = self.server.call_inside(self._received)
        amount = KNOWN_SECONDS if kind == "known" else NEW_FLOWS
        sender = f"{os.path.dirname(self.folder)}/udp_sender"
        output = self.client.run([tool("taskset"), "-c", last_cpu(), sender, kind, SERVER, amount])
        nanoseconds, sent = map(float, output.split())
        after = self.server.call_inside(self._received)
        received = {number: after[number] - before[number] for number in WAN}
        if received[self.uplink] < 0.999 * sent or sum(received.values()) - received[self.uplink] > MAX_OTHER_PACKETS:
            raise CannotMeasure(f"{type(self).__name__}: the client sent {sent:.0f} packets; the server received "
                                f"{received}, by uplink")
        if kind == "new":
            self.router.sh("conntrack -F 2>&1")
        return nanoseconds

    def close(self):
        self.sink.close()
        for namespace in (self.client, self.router, self.server):
            namespace.close()


class WanpoolRouter(Router):
    """A router with the slice of wanpool and `count` clients in the client set, including CLIENT."""
    uplink = 2

    def __init__(self, folder, wanpool, count):
        self.wanpool, self.count = wanpool, count
        super().__init__(folder)

    def _configure_marking(self):
        clients = lan_clients(self.count - 1)
        write_pools(f"{self.folder}/state", {1: clients[::2], 2: [*clients[1::2], CLIENT]})
        with open(f"{self.folder}/wanpool.toml", "w") as file:
            file.write('lan = ["lan"]\n')
            for number, net in WAN.items():
                file.write(f'[uplink.{number}]\ndev = "wan{number}"\nvia = "{net}.2"\n')
        self.router.run([self.wanpool, "restore"])


class RulePerClientRouter(Router):
    """A router with one iptables rule per client, as the script creates them. The rule of CLIENT is the last."""
    uplink = 2

    def __init__(self, folder, count):
        self.count = count
        super().__init__(folder)

    def _configure_marking(self):
        super()._configure_marking()
        with open(f"{self.folder}/rules", "w") as file:
            file.write("*mangle\n")
            for client in lan_clients(self.count - 1):
                file.write(f"-A PREROUTING -s {client}/32 -j MARK --set-mark 1\n")
            file.write(f"-A PREROUTING -s {CLIENT}/32 -j MARK --set-mark 2\nCOMMIT\n")
        self.router.run([tool("iptables-restore"), "--noflush", file.name])


def open_sink():
    """A UDP socket that receives the packets and is never read."""
    sink = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sink.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    sink.bind(("0.0.0.0", PORT))
    return sink


def last_cpu():
    return str(max(os.sched_getaffinity(0)))


def compare(routers, kind, rounds):
    """Measures all routers in every round, in random order. Returns {name: Series} in seconds."""
    series = {name: Series() for name in routers}
    for router in routers.values():
        router.measure(kind)  # warm-up: resolves neighbours and fills caches
    for _ in range(rounds):
        for name in random.sample(list(routers), len(routers)):
            series[name].add([routers[name].measure(kind) / 1e9])
    return series
