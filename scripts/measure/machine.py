"""The machine that the benchmark runs on: its description, its filesystems, and its load from other processes."""
import os

from namespace import CannotMeasure, run, tool

IN_MEMORY = {"tmpfs", "ramfs", "devtmpfs"}


def filesystem(folder):
    """The type of the filesystem that contains a folder. On a filesystem in memory, fsync costs nothing: an error."""
    kind = run([tool("findmnt"), "-n", "-o", "FSTYPE", "-T", folder]).split()[-1]  # the last mount is the visible one
    if kind in IN_MEMORY:
        raise CannotMeasure(f"{folder} lies in memory ({kind}), where fsync costs nothing; "
                            "choose a folder on a disk with --dir")
    return kind


def description(folder):
    """One line that describes the machine."""
    with open("/proc/cpuinfo") as file:
        models = [line.split(":")[1].strip() for line in file if line.startswith("model name")]
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    iptables = run([tool("iptables"), "-V"]).strip().replace("iptables v", "iptables ")
    processor = models[0] if models else os.uname().machine
    return (f"{processor}, {os.cpu_count()} CPUs, {memory:.0f} GB, Linux {os.uname().release}, "
            f"{filesystem(folder)}, {iptables}")


class OtherLoad:
    """The number of CPUs that other processes keep busy during the measurement, from /proc/stat."""

    def __init__(self):
        self.start = self._now()

    @staticmethod
    def _now():
        with open("/proc/stat") as file:
            ticks = [int(word) for word in file.readline().split()[1:9]]
        idle, iowait = ticks[3:5]
        return sum(ticks) - idle - iowait, sum(os.times()[:4]), os.times().elapsed

    def busy_cpus(self):
        ticks, own, time = (now - start for now, start in zip(self._now(), self.start))
        return max(0, ticks / os.sysconf("SC_CLK_TCK") - own) / time
