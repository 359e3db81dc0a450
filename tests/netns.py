"""Several machines on one LAN, made of network namespaces, for tests of real sockets and mDNS.

`namespaces(n)` gives n namespaces with the addresses 10.77.0.1 to 10.77.0.n on `eth0`, joined by
a bridge that floods multicast. The bridge has a namespace of its own, so nothing of the host's
network is touched, and two tests may run at once. Loopback is up; there is no way out and no DNS.

A namespace shares the host's files and processes: only its network is its own. Whatever still
runs inside when the block ends is killed, and the namespaces are removed, also on an error.

Needs root, `ip` (iproute2) and a kernel that permits it: `available()` says what is missing.
"""

import functools
import itertools
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

NAMESPACES_MAX = 32
COMMAND_TIMEOUT_S = 60

_counter = itertools.count()


@dataclass(frozen=True, slots=True)
class Namespace:
    """One machine. `address` is its IPv4 address on the LAN."""

    name: str
    address: str
    switch: str
    port: str

    def command(self, *argv: str) -> list[str]:
        """The command line that runs `argv` inside, for `subprocess` or asyncio."""
        return ["ip", "netns", "exec", self.name, *argv]

    def run(
        self, *argv: str, timeout_s: float = COMMAND_TIMEOUT_S
    ) -> subprocess.CompletedProcess[str]:
        """Run `argv` inside to its end. The exit code is the caller's to judge."""
        return subprocess.run(
            self.command(*argv), capture_output=True, text=True, timeout=timeout_s, check=False
        )

    def unplug(self) -> None:
        """Pull the cable: the interface stays up and keeps its address, nothing gets through."""
        _ip("-n", self.switch, "link", "set", self.port, "down")

    def plug(self) -> None:
        _ip("-n", self.switch, "link", "set", self.port, "up")


@functools.cache
def available() -> str | None:
    """None if namespaces can be made here, else the reason, fit for `pytest.skip`."""
    if shutil.which("ip") is None:
        return "network namespaces need `ip` (iproute2)"
    if os.geteuid() != 0:
        return "network namespaces need root"
    try:
        with namespaces(1) as (only,):
            inside = only.run("ip", "-4", "addr", "show", "eth0")
    except subprocess.CalledProcessError as error:
        return f"network namespaces are not permitted here: {error.stderr.strip()}"
    if only.address not in inside.stdout:
        return f"commands cannot run in a network namespace: {inside.stderr.strip()}"
    return None


@contextmanager
def namespaces(count: int) -> Iterator[list[Namespace]]:
    """Make `count` machines on one LAN for the length of the block.

    Raises CalledProcessError, with the words of `ip` in `stderr`, where it is not permitted.
    """
    assert 1 <= count <= NAMESPACES_MAX
    prefix = f"covey-{os.getpid()}-{next(_counter)}"
    switch = f"{prefix}-switch"
    machines = [
        Namespace(f"{prefix}-{number}", f"10.77.0.{number}", switch, f"port{number}")
        for number in range(1, count + 1)
    ]
    made: list[str] = []
    try:
        _make(switch, made)
        # Snooping would hold multicast back until somebody has reported a membership.
        _ip("-n", switch, "link", "add", "lan", "type", "bridge", "mcast_snooping", "0")
        _ip("-n", switch, "link", "set", "lan", "up")
        for machine in machines:
            _make(machine.name, made)
            _connect(machine)
        yield machines
    finally:
        for name in reversed(made):
            _remove(name)


def _make(name: str, made: list[str]) -> None:
    _ip("netns", "add", name)
    made.append(name)
    _ip("-n", name, "link", "set", "lo", "up")


def _connect(machine: Namespace) -> None:
    inside = ("-n", machine.name)
    veth = ("type", "veth", "peer", "name", "eth0", "netns", machine.name)
    _ip("-n", machine.switch, "link", "add", machine.port, *veth)
    _ip("-n", machine.switch, "link", "set", machine.port, "master", "lan", "up")
    _ip(*inside, "addr", "add", f"{machine.address}/24", "dev", "eth0")
    _ip(*inside, "link", "set", "eth0", "up")
    _ip(*inside, "route", "add", "224.0.0.0/4", "dev", "eth0")


def _remove(name: str) -> None:
    listed = subprocess.run(
        ["ip", "netns", "pids", name], capture_output=True, text=True, check=False
    )
    for pid in listed.stdout.split():
        try:
            os.kill(int(pid), signal.SIGKILL)
        except ProcessLookupError:
            continue
    subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)


def _ip(*argv: str) -> None:
    subprocess.run(["ip", *argv], capture_output=True, text=True, check=True)
