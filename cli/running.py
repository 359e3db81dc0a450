"""The running node behind `covey up`: one open home that serves peers and its own user.

The node is ready when it listens for both; then the first line is printed, so that a script may
start its work when it has read that line. It ends cleanly on SIGINT, SIGTERM or `covey down`.
Whoever started it may close its standard output; the node goes on.
"""

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Any

from ..node import main as node_main
from ..node.local_api import LocalService, serve
from .log_commands import event_line
from .options import Network, Settings
from .output import emit, say, visible


async def run_node(settings: Settings, unlock: Any, network: Network) -> None:
    """Run the node of the home until it is told to stop. Raises what opening raises."""
    home, stop = Path(settings.home), asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    opening = node_main.open_service(
        home,
        unlock,
        online=True,
        listen=network.listen,
        mdns=network.mdns,
        peers=network.peers,
        capture=network.capture,
    )
    async with opening as service, serve(home, service):
        events = asyncio.ensure_future(_show_events(settings, service))
        told = asyncio.ensure_future(stop.wait())
        await asyncio.wait({events, told}, return_when=asyncio.FIRST_COMPLETED)
        for task in (events, told):
            task.cancel()
        await asyncio.gather(events, told, return_exceptions=True)
    if not events.cancelled():
        events.result()


async def _show_events(settings: Settings, service: LocalService) -> None:
    """Print events until the stream ends, as it does after `down`."""
    reader_gone = False
    async for event in service.stream("events", {}):
        if reader_gone:
            continue
        try:
            _show(settings, event)
            sys.stdout.flush()
        except BrokenPipeError:
            reader_gone = True
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _show(settings: Settings, event: dict[str, Any]) -> None:
    if settings.json:
        emit(event)
    elif event["event"] == "ready":
        name, port = visible(event["device"]["name"]), event["port"]
        say(f'"{name}" is up on port {port}; Ctrl-C or `covey down` stops it')
    else:
        say(event_line(event))
