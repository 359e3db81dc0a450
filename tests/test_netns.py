"""The helper of the network tests is itself tested: a fault in it would look like one of ours."""

import subprocess
import sys
from collections.abc import Iterator

import pytest

from .netns import Namespace, available, namespaces

SERVER = """
import socket
server = socket.create_server(("0.0.0.0", 7654))
server.settimeout(20)
print("ready", flush=True)
link, peer = server.accept()
link.sendall(peer[0].encode())
link.close()
"""

CLIENT = """
import socket, sys
link = socket.create_connection((sys.argv[1], 7654), timeout=20)
print(link.recv(100).decode())
"""

LISTENER = """
import socket, struct
listener = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
listener.bind(("", 5353))
group = socket.inet_aton("224.0.0.251")
listener.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group + bytes(4))
listener.settimeout(20)
print("ready", flush=True)
print(listener.recvfrom(100)[1][0], flush=True)
"""

SPEAKER = """
import socket
speaker = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
speaker.sendto(b"hello", ("224.0.0.251", 5353))
"""


@pytest.fixture
def lan() -> Iterator[list[Namespace]]:
    reason = available()
    if reason:
        pytest.skip(reason)
    with namespaces(2) as machines:
        yield machines


def start(machine: Namespace, program: str) -> subprocess.Popen[str]:
    """Start a program that prints `ready` first, and wait for that line."""
    argv = machine.command(sys.executable, "-c", program)
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def test_two_namespaces_reach_each_other_by_address(lan: list[Namespace]) -> None:
    """Without this no network test says anything about Covey."""
    left, right = lan
    with start(left, SERVER):
        answer = right.run(sys.executable, "-c", CLIENT, left.address)

    assert answer.stdout.strip() == right.address


def test_multicast_crosses_the_lan(lan: list[Namespace]) -> None:
    """mDNS is multicast: a bridge that holds it back would hide every device."""
    left, right = lan
    with start(left, LISTENER) as listener:
        right.run(sys.executable, "-c", SPEAKER)
        heard, _ = listener.communicate(timeout=30)

    assert heard.strip() == right.address


def test_an_unplugged_namespace_is_cut_off_until_plugged_in(lan: list[Namespace]) -> None:
    """Devices that were apart are what Covey is for, so tests must be able to part them."""
    left, right = lan
    left.unplug()
    with start(left, SERVER) as server:
        hurried = CLIENT.replace("timeout=20", "timeout=0.2")
        cut = right.run(sys.executable, "-c", hurried, left.address)
        left.plug()
        answer = right.run(sys.executable, "-c", CLIENT, left.address)
        server.wait(timeout=30)

    assert cut.returncode != 0
    assert answer.stdout.strip() == right.address


def test_nothing_is_left_behind_when_the_block_fails() -> None:
    """A failing test must not leave interfaces and processes on the machine of a contributor."""
    reason = available()
    if reason:
        pytest.skip(reason)

    with pytest.raises(ZeroDivisionError), namespaces(1) as (machine,):
        orphan = subprocess.Popen(
            machine.command("sh", "-c", "echo inside; exec sleep 600"), stdout=subprocess.PIPE
        )
        assert orphan.stdout is not None
        # Only then it is in the namespace, and to be found there.
        assert orphan.stdout.readline() == b"inside\n"
        raise ZeroDivisionError

    left = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True)
    assert machine.name not in left.stdout
    orphan.communicate(timeout=30)
    assert orphan.returncode != 0
