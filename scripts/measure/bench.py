"""One run of the bench: the folder it works in, its C programs, and the gateways and routers it has raised."""
import os
import shutil
import sys
import tempfile

from gateway import Gateway
from ground import compile_c, tool
from timing import Contestant

HERE = os.path.dirname(os.path.abspath(__file__))
SCRIPT = os.path.normpath(f"{HERE}/../../tests/seed/pass.sh")  # one pass of the script of 2003


class Bench:
    def __init__(self, folder, wanpool, quick):
        self.folder = tempfile.mkdtemp(prefix="wanpool-bench-", dir=folder)
        self.wanpool, self.quick = wanpool, quick
        self._gateways, self._routers = {}, []

    def __enter__(self):
        for program in ("bare", "flow"):
            compile_c(f"{HERE}/{program}.c", f"{self.folder}/{program}")
        return self

    def __exit__(self, *_):
        shutil.rmtree(self.folder, ignore_errors=True)

    @staticmethod
    def say(what):
        print(f"scripts/bench: {what}", file=sys.stderr, flush=True)

    # --- How much of it --------------------------------------------------------------------------------------

    def rounds(self, full, quick=2):
        return min(full, quick) if self.quick else full

    def sized(self, contestant):
        if self.quick:
            contestant.runs = max(2, contestant.runs // 5)
        return contestant

    # --- What is measured ------------------------------------------------------------------------------------

    def gateway(self, clients, others=0):
        key = clients, others
        if key not in self._gateways:
            self._gateways[key] = Gateway(f"{self.folder}/{clients}-{others}", self.wanpool, clients, others)
        return self._gateways[key]

    def forget(self, gateway):
        self._gateways = {key: kept for key, kept in self._gateways.items() if kept is not gateway}
        gateway.close()

    def router(self, kind, *args):
        self._routers.append(kind(f"{self.folder}/router{len(self._routers)}", *args))
        return self._routers[-1]

    # --- What people would use instead -----------------------------------------------------------------------

    def bare(self, gateway, *words, runs):
        return Contestant([f"{self.folder}/bare", *words], gateway.namespace, runs)

    def fill(self, gateway):
        contestant = self.bare(gateway, "fill", str(gateway.clients), runs=5)
        contestant.prepare = [f"{self.folder}/bare", "empty"]
        return contestant

    def script(self, clients):
        """A pass of the script with two empty pools, in a namespace without anything of ours."""
        theirs = Gateway(f"{self.folder}/script-{clients}", self.wanpool, clients)
        empty = ": >pool1; : >pool2; iptables -t mangle -F PREROUTING"
        command = [tool("env"), "-C", theirs.folder, tool("bash"), SCRIPT]
        contestant = Contestant(command, theirs.namespace, runs=1, warmup=0, check=theirs.check_script,
                                prepare=[tool("sh"), "-ec", f"cd {theirs.folder}; {empty}"])
        return theirs, contestant
