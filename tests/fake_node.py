"""A fake node on a real socket, and the command line run against it.

`FakeNode` serves a `FakeService` from a thread, so that a test can run commands in its own process
(fast, with stand-ins) or in another (as a person does).
"""

import asyncio
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from covey.cli.main import covey
from covey.node.local_api import serve

from .fake_service import FakeService

COVEY = (sys.executable, "-m", "covey.cli.main")


def command(home: Path, *arguments: str) -> list[str]:
    """A command for a process of its own."""
    return [*COVEY, "--home", str(home), *arguments]


@dataclass
class FakeNode:
    """A home whose node runs. `service` says what it was asked and can be told to fail."""

    home: Path
    service: FakeService

    def run(self, *arguments: str, stdin: str | bytes | None = None) -> Result:
        """One command in this process."""
        return CliRunner().invoke(covey, ["--home", str(self.home), *arguments], input=stdin)

    def command(self, *arguments: str) -> list[str]:
        """The same in a process of its own."""
        return command(self.home, *arguments)

    def asked(self, method: str) -> list[dict[str, Any]]:
        """The parameters of every call or stream of this name."""
        return [params for name, params in self.service.asked if name == method]


@contextmanager
def fake_node(home: Path) -> Iterator[FakeNode]:
    """Serve a fresh fake service on the socket of `home` while the block runs."""
    node = FakeNode(home, FakeService())
    ready = threading.Event()
    loop: asyncio.AbstractEventLoop | None = None

    async def live() -> None:
        nonlocal loop
        loop = asyncio.get_running_loop()
        async with serve(home, node.service):
            ready.set()
            await node.service.stopped.wait()

    thread = threading.Thread(target=asyncio.run, args=(live(),))
    thread.start()
    assert ready.wait(10)
    try:
        yield node
    finally:
        assert loop is not None
        with suppress(RuntimeError):  # It has ended already, by `covey down`.
            loop.call_soon_threadsafe(node.service.stopped.set)
        thread.join()


def attempt(command: list[str], stdin: str | None = None) -> "subprocess.CompletedProcess[str]":
    """Run a command to its end in a process of its own."""
    return subprocess.run(
        command, input=stdin, capture_output=True, text=True, timeout=60, check=False
    )
