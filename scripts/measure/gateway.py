"""A gateway with many clients: a LAN whose neighbours are known, four uplinks, pool files and a configuration.

Its commands start from one of these states, each reached by a script that runs before, untimed:
  settled   every client is in the files and in the kernel: there is nothing to do
  new       the slice is there, and none of the LAN's clients is in the files or in the set
  boot      every client is in the files, and nothing of ours in the kernel
  out       as settled, and ppp0 has been failed over
"""
import os
import shutil

from ground import CannotMeasure, Namespace, tool

UPLINKS = 4
LAN_FIRST = 0x0A320002  # 10.50.0.2
GATEWAY = "10.51.255.254/15"
OTHERS_FIRST = 0x0A800000  # 10.128.0.0


def address(number):
    return ".".join(str(number >> shift & 255) for shift in (24, 16, 8, 0))


def lan_clients(count):
    return [address(LAN_FIRST + at) for at in range(count)]


def in_turn(clients):
    """Clients by pool, as wanpool places them."""
    return {number: clients[number - 1::UPLINKS] for number in range(1, UPLINKS + 1)}


def write_pools(folder, pools):
    os.makedirs(folder)
    for number, clients in pools.items():
        with open(f"{folder}/pool{number}", "w") as file:
            file.writelines(f"{client}\n" for client in clients)


class Gateway:
    """`clients` are heard on the LAN; `others` more are in the files and not heard."""

    def __init__(self, folder, wanpool, clients, others=0):
        self.folder, self.wanpool = folder, wanpool
        self.clients, self.others = clients, others
        os.makedirs(folder)
        self.namespace = Namespace({
            "WANPOOL_CONFIG": f"{folder}/wanpool.toml",
            "WANPOOL_STATE_DIR": f"{folder}/state",
            "WANPOOL_RUN_DIR": f"{folder}/run",
            "XTABLES_LOCKFILE": f"{folder}/xtables.lock",
        })
        self._far_ends = Namespace({})
        self._lay_cables()
        self._hear()
        self._write_files()
        self.to = {
            "settled": self._script("settled", "files full", f"{wanpool} restore"),
            "new": self._script("new", "files few", f"ipset -exist restore -file {folder}/forget"),
            "boot": self._script("boot", "files full", f"{wanpool} flush"),
            "out": self._script("out", "files full", f"{wanpool} restore", f"{wanpool} failover ppp0"),
        }

    def check_settled(self):
        """Files and kernel have all clients, as after every command that we measure."""
        wanted = self.clients + self.others
        listed = self.namespace.sh(f"cat {self.folder}/state/pool* | sort -u | wc -l; ipset list -t wanpool")
        in_files = int(listed.split()[0])
        in_kernel = int(listed.split("Number of entries:")[1].split()[0])
        if (in_files, in_kernel) != (wanted, wanted):
            raise CannotMeasure(f"of {wanted} clients {in_files} are in the files and {in_kernel} in the kernel")

    def check_script(self):
        """The same of the script, which has pool files and rules in this folder and namespace of its own."""
        counted = self.namespace.sh(f"cat {self.folder}/pool[12] | wc -l; iptables -t mangle -S | grep -c MARK")
        in_files, in_rules = map(int, counted.split())
        if (in_files, in_rules) != (self.clients, self.clients):
            raise CannotMeasure(f"of {self.clients} clients the script has {in_files} in files and {in_rules} in rules")

    def close(self):
        self.namespace.close()
        self._far_ends.close()
        shutil.rmtree(self.folder)

    def _lay_cables(self):
        cable(self.namespace, "br0", self._far_ends, "clients")
        self.namespace.sh(f"ip addr add {GATEWAY} dev br0")
        for number in range(1, UPLINKS + 1):
            device, ours, theirs = f"ppp{number - 1}", f"10.64.{number}.2", f"10.64.{number}.1"
            cable(self.namespace, device, self._far_ends, f"isp{number}")
            self.namespace.sh(f"ip link set {device} arp off; ip addr add {ours} peer {theirs} dev {device}")

    def _hear(self):
        """Permanent neighbours: gc_thresh3, a sysctl of the host, does not count them."""
        with open(f"{self.folder}/neighbours", "w") as batch:
            for at, client in enumerate(lan_clients(self.clients)):
                mac = f"02:00:00:{at >> 16:02x}:{at >> 8 & 255:02x}:{at & 255:02x}"
                batch.write(f"neigh add {client} lladdr {mac} nud permanent dev br0\n")
        self.namespace.run([tool("ip"), "-batch", batch.name])

    def _write_files(self):
        with open(f"{self.folder}/wanpool.toml", "w") as file:
            file.write('lan = ["br0"]\n')
            for number in range(1, UPLINKS + 1):
                file.write(f'[uplink.{number}]\ndev = "ppp{number - 1}"\n')
        heard = lan_clients(self.clients)
        others = [address(OTHERS_FIRST + at) for at in range(self.others)]
        write_pools(f"{self.folder}/few", in_turn(others))
        write_pools(f"{self.folder}/full", in_turn(others + heard))
        os.makedirs(f"{self.folder}/state")
        with open(f"{self.folder}/forget", "w") as file:
            if others:
                file.writelines(f"del wanpool {client}\n" for client in heard)
            else:
                file.write("flush wanpool\n")

    def _script(self, name, *lines):
        """A script that leads to a state. What it writes is synced, or the run that is timed would wait for it."""
        path = f"{self.folder}/{name}.sh"
        with open(path, "w") as file:
            file.write(f"set -e\ncd {self.folder}\nfiles() {{ cp $1/pool* state/; sync state/pool*; }}\n")
            file.writelines(f"{line} >/dev/null\n" for line in lines)
        return [tool("sh"), path]


def cable(one, end, other, other_end):
    one.sh(f"ip link add {end} type veth peer name {other_end} netns {other.path}; ip link set {end} up")
    other.sh(f"ip link set {other_end} up")
