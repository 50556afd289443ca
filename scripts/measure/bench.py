"""One run of the benchmark: its temporary folder, its C programs, and the gateways and routers that it has created."""
import os
import shutil
import sys
import tempfile

from gateway import Gateway
from namespace import compile_c, tool
from timing import Contestant

HERE = os.path.dirname(os.path.abspath(__file__))
SCRIPT = os.path.normpath(f"{HERE}/../../tests/seed/pass.sh")  # one pass of the script from 2003


class Bench:
    def __init__(self, folder, wanpool, quick):
        self.folder = tempfile.mkdtemp(prefix="wanpool-bench-", dir=folder)
        self.wanpool, self.quick = wanpool, quick
        self._gateways, self._routers = {}, []

    def __enter__(self):
        for program in ("netlink_baseline", "udp_sender"):
            compile_c(f"{HERE}/{program}.c", f"{self.folder}/{program}")
        return self

    def __exit__(self, *_):
        shutil.rmtree(self.folder, ignore_errors=True)

    @staticmethod
    def print_progress(text):
        print(f"scripts/bench: {text}", file=sys.stderr, flush=True)

    # --- Number of runs --------------------------------------------------------------------------------------

    def rounds(self, full, quick=2):
        return min(full, quick) if self.quick else full

    def with_fewer_runs_if_quick(self, contestant):
        if self.quick:
            contestant.runs = max(2, contestant.runs // 5)
        return contestant

    # --- Gateways and routers --------------------------------------------------------------------------------

    def gateway(self, clients, others=0):
        key = clients, others
        if key not in self._gateways:
            self._gateways[key] = Gateway(f"{self.folder}/{clients}-{others}", self.wanpool, clients, others)
        return self._gateways[key]

    def remove(self, gateway):
        self._gateways = {key: kept for key, kept in self._gateways.items() if kept is not gateway}
        gateway.close()

    def router(self, kind, *args):
        self._routers.append(kind(f"{self.folder}/router{len(self._routers)}", *args))
        return self._routers[-1]

    # --- Baselines -------------------------------------------------------------------------------------------

    def netlink_baseline(self, gateway, *args, runs):
        return Contestant([f"{self.folder}/netlink_baseline", *args], gateway.namespace, runs)

    def fill_map(self, gateway):
        contestant = self.netlink_baseline(gateway, "fill", str(gateway.clients), runs=5)
        contestant.prepare = [f"{self.folder}/netlink_baseline", "empty"]
        return contestant

    def script(self, clients):
        """One pass of the script with two empty pools, in a namespace without objects of wanpool."""
        gateway = Gateway(f"{self.folder}/script-{clients}", self.wanpool, clients)
        reset = ": >pool1; : >pool2; iptables -t mangle -F PREROUTING"
        command = [tool("env"), "-C", gateway.folder, tool("bash"), SCRIPT]
        contestant = Contestant(command, gateway.namespace, runs=1, warmup=0, check=gateway.check_script,
                                prepare=[tool("sh"), "-ec", f"cd {gateway.folder}; {reset}"])
        return gateway, contestant
