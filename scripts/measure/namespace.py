"""Network namespaces without names, and the programs that run in them.

A namespace exists as long as this process has a file descriptor for it. The kernel therefore removes all of them when
the process ends, also after a crash.
"""
import ctypes
import os
import shutil
import signal
import subprocess

CLONE_NEWNET = 0x40000000
PR_SET_PDEATHSIG = 1
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
libc = ctypes.CDLL(None, use_errno=True)


class CannotMeasure(Exception):
    """One line that says what was tried and why it failed."""


def tool(name):
    """The absolute path of a program. Commands without PATH, such as hooks, need it."""
    path = shutil.which(name, path=PATH)
    if path is None:
        raise CannotMeasure(f"{name} is not installed")
    return path


def run(command, **options):
    """Runs a command and returns its output. If this process is interrupted, it kills the command and its children."""
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               text=True, start_new_session=True, **options)
    try:
        stdout, stderr = process.communicate()
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        raise
    if process.returncode:
        reason = stderr.strip().splitlines() or [f"exit status {process.returncode}"]
        raise CannotMeasure(f"{' '.join(command)[:200]}: {reason[-1]}")
    return stdout


def compile_c(source, program):
    run([tool("gcc"), "-O2", "-Wall", "-Wextra", "-o", program, source])


class Namespace:
    """A network namespace. The commands in it get the variables in `env`, PATH and LC_ALL, and no others."""

    def __init__(self, env):
        self.env = {"PATH": PATH, "LC_ALL": "C", **env}
        original = open_current_namespace()
        if libc.unshare(CLONE_NEWNET):
            raise CannotMeasure(f"cannot create a network namespace: {os.strerror(ctypes.get_errno())}")
        self.descriptor = open_current_namespace()
        libc.setns(original, CLONE_NEWNET)
        os.close(original)
        self.path = f"/proc/{os.getpid()}/fd/{self.descriptor}"
        self.sh("ip link set lo up")

    def _enter(self):
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        libc.setns(self.descriptor, CLONE_NEWNET)

    def run(self, command, env=None, **options):
        return run(command, env=env or self.env, preexec_fn=self._enter, **options)

    def sh(self, script):
        return self.run([tool("sh"), "-ec", script])

    def call_inside(self, function):
        """Calls a function of this process inside the namespace. Sockets that it opens stay in the namespace."""
        original = open_current_namespace()
        libc.setns(self.descriptor, CLONE_NEWNET)
        try:
            return function()
        finally:
            libc.setns(original, CLONE_NEWNET)
            os.close(original)

    def close(self):
        os.close(self.descriptor)


def open_current_namespace():
    return os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
