"""The ground to measure on: network namespaces without names, what runs in them, and what is said of the machine.

A namespace lives by a descriptor of this process, so that none outlives it, however it ends.
"""
import ctypes
import os
import shutil
import signal
import subprocess

CLONE_NEWNET = 0x40000000
PR_SET_PDEATHSIG = 1
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
IN_MEMORY = {"tmpfs", "ramfs", "devtmpfs"}
libc = ctypes.CDLL(None, use_errno=True)


class CannotMeasure(Exception):
    """What was tried and why it failed, as one line."""


def tool(name):
    """The absolute path of a program: what has no PATH, as a hook, finds it too."""
    path = shutil.which(name, path=PATH)
    if path is None:
        raise CannotMeasure(f"no {name}")
    return path


def run(command, **options):
    """Runs a command to its end and returns what it printed. Whatever stops us stops it and all it started."""
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               text=True, start_new_session=True, **options)
    try:
        printed, complaint = process.communicate()
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        raise
    if process.returncode:
        why = complaint.strip().splitlines() or [f"status {process.returncode}"]
        raise CannotMeasure(f"{' '.join(command)[:200]}: {why[-1]}")
    return printed


def compile_c(source, program):
    run([tool("gcc"), "-O2", "-Wall", "-Wextra", "-o", program, source])


class Namespace:
    """A network namespace. `env`: all of the environment that commands in it have."""

    def __init__(self, env):
        self.env = {"PATH": PATH, "LC_ALL": "C", **env}
        home = current_namespace()
        if libc.unshare(CLONE_NEWNET):
            raise CannotMeasure(f"a network namespace: {os.strerror(ctypes.get_errno())}")
        self.descriptor = current_namespace()
        libc.setns(home, CLONE_NEWNET)
        os.close(home)
        self.path = f"/proc/{os.getpid()}/fd/{self.descriptor}"
        self.sh("ip link set lo up")

    def _enter(self):
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        libc.setns(self.descriptor, CLONE_NEWNET)

    def run(self, command, env=None, **options):
        return run(command, env=env or self.env, preexec_fn=self._enter, **options)

    def sh(self, script):
        return self.run([tool("sh"), "-ec", script])

    def inside(self, action):
        """What `action` returns, done by this process in the namespace: sockets it opens stay there."""
        home = current_namespace()
        libc.setns(self.descriptor, CLONE_NEWNET)
        try:
            return action()
        finally:
            libc.setns(home, CLONE_NEWNET)
            os.close(home)

    def close(self):
        os.close(self.descriptor)


def current_namespace():
    return os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


def filesystem(folder):
    """The kind of filesystem a folder lies on; fsync must mean something there."""
    kind = run([tool("findmnt"), "-n", "-o", "FSTYPE", "-T", folder]).split()[-1]  # what is mounted uppermost
    if kind in IN_MEMORY:
        raise CannotMeasure(f"{folder} lies in memory ({kind}), where fsync costs nothing: name another by --dir")
    return kind


def machine(folder):
    """One line on what the figures were measured on."""
    with open("/proc/cpuinfo") as file:
        models = [line.split(":")[1].strip() for line in file if line.startswith("model name")]
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    iptables = run([tool("iptables"), "-V"]).strip().replace("iptables v", "iptables ")
    processor = models[0] if models else os.uname().machine
    return (f"{processor}, {os.cpu_count()} CPUs, {memory:.0f} GB, Linux {os.uname().release}, "
            f"{filesystem(folder)}, {iptables}")


class Others:
    """How many CPUs others kept busy while we measured, by /proc/stat."""

    def __init__(self):
        self.began = self._now()

    @staticmethod
    def _now():
        with open("/proc/stat") as file:
            ticks = [int(word) for word in file.readline().split()[1:9]]
        idle, waiting = ticks[3:5]
        return sum(ticks) - idle - waiting, sum(os.times()[:4]), os.times().elapsed

    def busy(self):
        ticks, own, time = (now - then for now, then in zip(self._now(), self.began))
        return max(0, ticks / os.sysconf("SC_CLK_TCK") - own) / time
