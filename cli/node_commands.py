"""The node itself: init makes a home, up runs its node, down stops it; demo shows two at work.

`up` is the only command that serves others: it opens the home, listens for peers, answers the
commands of its user on the local socket, and prints what happens, one event a line, until SIGINT,
SIGTERM or `covey down`.
"""

import asyncio
import contextlib
import inspect
import os
import select
import socket
import time
from pathlib import Path
from typing import Any

import click

from ..node.ports import Address
from .client import NodeClient, connect
from .errors import NodeError
from .options import DEVICE_TYPES, Network, Settings, json_option, pass_settings
from .output import emit, note, say, visible

STOP_TIMEOUT_S = 15.0
NAME_CHARACTERS_MAX = 40
PORT_MAX = 65_535


@click.command()
@click.option("--name", metavar="N", help="This device's name; else the name of the machine.")
@click.option(
    "--type",
    "device_type",
    type=click.Choice(DEVICE_TYPES),
    default="laptop",
    show_default=True,
    help="What it is.",
)
@click.option("--passphrase-fd", type=int, metavar="N", help="Read a passphrase from here.")
@click.option("--keyring", is_flag=True, help="Keep the key in the system's keyring.")
@click.option("--key-file", metavar="PATH", help="Keep the key in this file; made if absent.")
@click.option(
    "--paper-key-fd",
    type=int,
    metavar="N",
    help="Make a paper key, and write its words to file descriptor N, each share on a line.",
)
@click.option(
    "--shares",
    is_flag=True,
    help="Make the paper key as three shares of 33 words; any two of them are enough.",
)
@click.option("--no-paper-key", is_flag=True, help="Make no paper key, and do not ask.")
@json_option
@pass_settings
def init(
    settings: Settings,
    name: str | None,
    device_type: str,
    passphrase_fd: int | None,
    keyring: bool,
    key_file: str | None,
    paper_key_fd: int | None,
    shares: bool,
    no_paper_key: bool,
) -> None:
    """Make this device's home and keys. Its mesh has no other device yet.

    The home is unlocked by exactly one of a passphrase, the keyring, or a key file. On a terminal,
    without any of the three, a passphrase is asked for.

    A paper key is offered on a terminal: 24 words that open the home when nothing else does. In a
    script one is made only with --paper-key-fd; the words are written before the home is made.
    """
    from ..crypto.identity import check_name
    from ..node import main as node_main
    from .paper_key import check_words_fd, new_paper_key
    from .unlocking import unlock_new

    if no_paper_key and paper_key_fd is not None:
        raise click.UsageError("--paper-key-fd and --no-paper-key: give one of them")
    if paper_key_fd is not None:
        check_words_fd(paper_key_fd, answer_on_stdout=settings.json)
    chosen = socket.gethostname().partition(".")[0][:NAME_CHARACTERS_MAX] if name is None else name
    # Before a passphrase is typed, a key file made, or words written down that open nothing.
    check_name(chosen)
    node_main.check_new_home(Path(settings.home))
    way = unlock_new(settings, key_file, passphrase_fd, keyring)
    node_main.check_new_home(Path(settings.home), way)
    paper = None if no_paper_key else new_paper_key(settings, paper_key_fd, shares)
    made = node_main.create_home(Path(settings.home), chosen, device_type, way, paper)
    result = asyncio.run(_awaited(made)) if inspect.isawaitable(made) else made
    if settings.json:
        emit(result)
        return
    device = result["device"]
    say(f'"{visible(device["name"])}" is ready in {visible(settings.home)}')
    say(f"id {visible(device['id'])}")
    if paper is not None:
        say(f"mesh {visible(result['mesh'])}: worth writing beside the words of the paper key")
    else:
        note("without a paper key: who loses every device, or all ways to unlock, loses the data")
    say("Next: `covey pair` admits another device, `covey join CODE` joins one that is there.")


@click.command()
@click.option("--listen", metavar="HOST:PORT", help="Where peers connect; port 0 picks one.")
@click.option("--no-mdns", is_flag=True, help="Neither announce nor look for devices by mDNS.")
@click.option("--peer", "peers", multiple=True, metavar="HOST:PORT", help="Also try here.")
@click.option("--capture", metavar="FILE", help="Write all bytes of the wire to FILE: ciphertext.")
@json_option
@pass_settings
def up(
    settings: Settings,
    listen: str | None,
    no_mdns: bool,
    peers: tuple[str, ...],
    capture: str | None,
) -> None:
    """Run this device's node, until Ctrl-C or `covey down`."""
    from .running import run_node
    from .unlocking import unlock_existing

    network = Network(
        None if listen is None else parse_address(listen),
        not no_mdns,
        tuple(parse_address(peer) for peer in peers),
        None if capture is None else Path(capture),
    )
    asyncio.run(run_node(settings, unlock_existing(settings), network))


@click.command()
@json_option
@pass_settings
def down(settings: Settings) -> None:
    """Stop the running node. Returns when the node has let go of the home."""
    node = connect(settings.home)
    if node is not None:
        _stop(settings, node)
    if settings.json:
        emit({"stopped": node is not None})
    else:
        note("stopped" if node is not None else f"no node runs for {visible(settings.home)}")


@click.command()
@json_option
@pass_settings
def demo(settings: Settings) -> None:
    """Show two devices on this machine at work.

    They are paired, taken apart, edited on both sides, and brought together again.
    """
    from .demo import run_demo

    run_demo(as_json=settings.json)


def parse_address(text: str) -> Address:
    """HOST:PORT or [IPV6]:PORT. Raises UsageError."""
    host, colon, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise click.UsageError(f"{text!r}: an IPv6 address stands in brackets: [::1]:7654")
    if not colon or not host or not port.isdecimal() or int(port) > PORT_MAX:
        raise click.UsageError(f"{text!r}: expected HOST:PORT, such as 0.0.0.0:7654")
    return Address(host, int(port))


def _stop(settings: Settings, node: NodeClient) -> None:
    # Taken before the node is told: its number could belong to another process afterwards.
    process = _process_of(node)
    node.call("down", {})
    node.close()
    if process is not None:
        with open(process, "rb", buffering=0):
            gone = bool(select.select([process], [], [], STOP_TIMEOUT_S)[0])
    else:
        gone = _unheard(settings.home)
    if not gone:
        raise NodeError("the node was told to stop and is still busy; try again in a while", 7)


def _process_of(node: NodeClient) -> int | None:
    """A descriptor that becomes readable when the node's process has ended, where there is one."""
    if node.pid in (0, os.getpid()) or not hasattr(os, "pidfd_open"):
        return None
    with contextlib.suppress(OSError):
        return os.pidfd_open(node.pid)
    return None


def _unheard(home: str) -> bool:
    """Wait until nobody answers on the socket; False after STOP_TIMEOUT_S."""
    deadline = time.monotonic() + STOP_TIMEOUT_S
    while (node := connect(home)) is not None:
        node.close()
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


async def _awaited(work: Any) -> Any:
    return await work
