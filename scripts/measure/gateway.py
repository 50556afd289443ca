"""A gateway with many clients: a LAN with known neighbours, four uplinks, pool files and a configuration.

Each measured command starts from one of these states. A script that is not measured creates the state:
  settled      every client is in the pool files and in the kernel: there is nothing to do
  new          the slice exists, and no client of the LAN is in the pool files or in the client set
  boot         every client is in the pool files, and the kernel has no objects of wanpool
  failed-over  like settled, but ppp0 has been failed over
"""
import os
import shutil

from namespace import CannotMeasure, Namespace, tool

UPLINKS = 4
LAN_FIRST = 0x0A320002  # 10.50.0.2
GATEWAY = "10.51.255.254/15"
OTHERS_FIRST = 0x0A800000  # 10.128.0.0


def address(number):
    return ".".join(str(number >> shift & 255) for shift in (24, 16, 8, 0))


def lan_clients(count):
    return [address(LAN_FIRST + at) for at in range(count)]


def round_robin(clients):
    """{pool: clients}, in the order in which wanpool assigns clients."""
    return {number: clients[number - 1::UPLINKS] for number in range(1, UPLINKS + 1)}


def write_pools(folder, pools):
    os.makedirs(folder)
    for number, clients in pools.items():
        with open(f"{folder}/pool{number}", "w") as file:
            file.writelines(f"{client}\n" for client in clients)


class Gateway:
    """A gateway with `clients` clients on the LAN. The pool files contain `others` more that are not on the LAN."""

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
        self._peers = Namespace({})
        self._create_links()
        self._add_neighbours()
        self._write_files()
        # The scripts that create the states.
        self.enter_state = {
            "settled": self._state_script("settled", "copy_files full", f"{wanpool} restore"),
            "new": self._state_script("new", "copy_files few", f"ipset -exist restore -file {folder}/remove-clients"),
            "boot": self._state_script("boot", "copy_files full", f"{wanpool} flush"),
            "failed-over": self._state_script("failed-over", "copy_files full", f"{wanpool} restore",
                                              f"{wanpool} failover ppp0"),
        }

    def check_settled(self):
        """Checks that all clients are in the files and in the kernel, as they must be after every measured command."""
        expected = self.clients + self.others
        output = self.namespace.sh(f"cat {self.folder}/state/pool* | sort -u | wc -l; ipset list -t wanpool")
        in_files = int(output.split()[0])
        in_kernel = int(output.split("Number of entries:")[1].split()[0])
        if (in_files, in_kernel) != (expected, expected):
            raise CannotMeasure(f"{in_files} of {expected} clients are in the pool files, {in_kernel} in the kernel")

    def check_script(self):
        """Checks the pool files and the iptables rules that the script has written in this folder and namespace."""
        output = self.namespace.sh(f"cat {self.folder}/pool[12] | wc -l; iptables -t mangle -S | grep -c MARK")
        in_files, in_rules = map(int, output.split())
        if (in_files, in_rules) != (self.clients, self.clients):
            raise CannotMeasure(f"the script: {in_files} of {self.clients} clients are in the pool files, "
                                f"{in_rules} in iptables rules")

    def close(self):
        self.namespace.close()
        self._peers.close()
        shutil.rmtree(self.folder)

    def _create_links(self):
        veth_pair(self.namespace, "br0", self._peers, "clients")
        self.namespace.sh(f"ip addr add {GATEWAY} dev br0")
        for number in range(1, UPLINKS + 1):
            device, local, remote = f"ppp{number - 1}", f"10.64.{number}.2", f"10.64.{number}.1"
            veth_pair(self.namespace, device, self._peers, f"isp{number}")
            self.namespace.sh(f"ip link set {device} arp off; ip addr add {local} peer {remote} dev {device}")

    def _add_neighbours(self):
        """Adds permanent neighbours: the limit gc_thresh3, a sysctl of the host, does not count them."""
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
        clients = lan_clients(self.clients)
        others = [address(OTHERS_FIRST + at) for at in range(self.others)]
        write_pools(f"{self.folder}/few", round_robin(others))
        write_pools(f"{self.folder}/full", round_robin(others + clients))
        os.makedirs(f"{self.folder}/state")
        with open(f"{self.folder}/remove-clients", "w") as file:
            if others:
                file.writelines(f"del wanpool {client}\n" for client in clients)
            else:
                file.write("flush wanpool\n")

    def _state_script(self, name, *lines):
        """Writes a script that creates a state. It syncs its files; otherwise the measured run waits for the disk."""
        path = f"{self.folder}/{name}.sh"
        with open(path, "w") as file:
            file.write(f"set -e\ncd {self.folder}\ncopy_files() {{ cp $1/pool* state/; sync state/pool*; }}\n")
            file.writelines(f"{line} >/dev/null\n" for line in lines)
        return [tool("sh"), path]


def veth_pair(namespace, device, other_namespace, other_device):
    namespace.sh(f"ip link add {device} type veth peer name {other_device} netns {other_namespace.path}\n"
                 f"ip link set {device} up")
    other_namespace.sh(f"ip link set {other_device} up")
