"""One side of a benchmark: a node in a process of its own, told what to do on standard input.

Each command is one JSON line on standard input, each answer one JSON line on standard output.
Times are `time.monotonic()` in seconds, which all processes of a machine share. The mesh is found
by address only, so that no other node in the network takes part.
"""

import asyncio
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import covey
import covey.node.main  # Before the clock runs: importing is not opening.
from covey.node.addresses import parse_address
from covey.node.conflict_methods import STANDING
from covey.node.happenings import NodeEvent
from covey.node.inbox import PAGE_MAX

from .memory import peak_kib, rss_kib
from .tape import Tape
from .workload import COLLECTION, DATABASE, identified

Json = dict[str, Any]
BLOB = "blob"
"""The record that holds it."""
PAGE = 100
"""Conflicts on a page, as the command line asks for."""
PREPARED_MAX = 10_000
"""Up to so many records are made before the clock runs; more would count as memory of the node."""


class Peer:
    """An open node and the commands a benchmark has for it."""

    def __init__(self, node: covey.Node) -> None:
        self.node = node
        self.records = node.database(DATABASE).collection(COLLECTION)
        self.moments: dict[str, float] = {}
        self.happened = asyncio.Event()
        self.listening = asyncio.create_task(self._listen())
        self.tape = Tape()
        self.watch: covey.node.api.Watch | None = None

    async def _listen(self) -> None:
        """Note when each kind of event happened first since `link` or `serve`."""
        async for event in self.node.engine.board.subscribe(NodeEvent):
            if isinstance(event, NodeEvent):
                self.moments.setdefault(event.kind, time.monotonic())
                self.happened.set()

    async def serve(self) -> Json:
        """Listen for peers on loopback."""
        engine = self.node.engine
        engine.reach.listen_on = parse_address("127.0.0.1:0")
        await engine.go_online()
        return {"port": self.node.port}

    async def link(self, port: int) -> Json:
        """Dial the peer at this port; do not wait."""
        self.tape.attach()
        self.node.engine.add_address("127.0.0.1", port)
        return await self.serve()

    async def proved(self) -> Json:
        """Wait until a peer proved that both hold the same; what it took since the link stood."""
        while "in_sync" not in self.moments:
            self.happened.clear()
            await self.happened.wait()
        trips, size = self.tape.until(self.moments["in_sync"])
        peers = (await self.node.status())["peers"]
        return {
            "linked_at": self.moments["connected"],
            "proved_at": self.moments["in_sync"],
            "trips": trips,
            "bytes": size,
            "received_bytes": sum(peer["received_bytes"] for peer in peers),
        }

    async def fill(self, first: int, count: int, in_flight: int) -> Json:
        """Put records, each its own commit, with this many in flight; the seconds it took."""
        values: Iterator[tuple[str, Json]] = map(identified, range(first, first + count))
        if count <= PREPARED_MAX:
            values = iter(list(values))
        start = time.perf_counter()
        await asyncio.gather(*(self._put_all(values) for _ in range(in_flight)))
        return {"seconds": time.perf_counter() - start}

    async def _put_all(self, values: Iterator[tuple[str, Json]]) -> None:
        put = self.records.put
        for id, value in values:
            await put(value, id=id)

    async def transact(self, first: int, count: int, size: int) -> Json:
        """Put records in transactions of this size; the seconds it took."""
        made = [identified(number) for number in range(first, first + count)]
        start = time.perf_counter()
        for at in range(0, count, size):
            await self.records.put_many(made[at : at + size])
        return {"seconds": time.perf_counter() - start}

    async def change(self, first: int, count: int, field: str, value: str) -> Json:
        """Change one field of records that exist."""
        await asyncio.gather(
            *(self.records.put({field: value}, id=f"m{n:07d}") for n in range(first, first + count))
        )
        return {}

    async def inbox(self, skips: list[int]) -> Json:
        """How many conflicts stand, and milliseconds of the pages that begin after so many."""
        inbox, after = self.node.engine.inbox, None
        places: list[tuple[int, int, bytes] | None] = [None]
        while page := await inbox.page(STANDING, None, PAGE_MAX, after):
            places += [(found.state, found.hlc, found.conflict_id) for found in page]
            after = places[-1]
        taken = []
        for skip in skips if len(places) > 1 else ():
            start = time.perf_counter()
            found = await inbox.page(STANDING, None, PAGE, places[skip])
            assert [inbox.row(one) for one in found]
            taken.append((time.perf_counter() - start) * 1e3)
        return {"conflicts": len(places) - 1, "ms": taken}

    async def put_slowly(self, first: int, count: int, pause_s: float) -> Json:
        """Put records one by one with pauses; when each put was begun."""
        began = {}
        for number in range(first, first + count):
            id, value = identified(number)
            await asyncio.sleep(pause_s)
            began[id] = time.monotonic()
            await self.records.put(value, id=id)
        return {"began": began}

    async def look(self) -> Json:
        """Watch from now on; `seen` tells what came."""
        self.watch = self.records.watch()
        return {}

    async def seen(self, count: int) -> Json:
        """Wait for this many changes; when each was seen."""
        assert self.watch is not None, "look first"
        moments: dict[str, float] = {}
        async with self.watch as changes:
            async for change in changes:
                moments[change.id] = time.monotonic()
                if len(moments) == count:
                    break
        return {"seen": moments}

    async def count(self, word: str) -> Json:
        """How many records there are, and whether full text finds any by this word."""
        counts = await self.node.engine.reader.count()
        found = await self.records.find(text=word, limit=1)
        return {"records": counts.get(DATABASE, 0), "found": len(found)}

    async def search(self, texts: list[str]) -> Json:
        """Milliseconds of each full-text search."""
        taken = []
        for text in texts:
            start = time.perf_counter()
            await self.records.find(text=text, limit=20)
            taken.append((time.perf_counter() - start) * 1e3)
        return {"ms": taken}

    async def idle(self, seconds: float) -> Json:
        """Do nothing for a while; the CPU seconds that took, all threads, and the peers linked."""
        start, cpu = time.monotonic(), time.process_time()
        await asyncio.sleep(seconds)
        used, passed = time.process_time() - cpu, time.monotonic() - start
        peers = (await self.node.status())["peers"]
        linked = sum(peer["state"] == "connected" for peer in peers)
        return {"cpu_s": used, "seconds": passed, "links": linked}

    async def put_blob(self, path: str) -> Json:
        """Put a file into a field; the seconds it took."""
        start = time.perf_counter()
        await self.records.put_blob(BLOB, "file", Path(path))
        return {"seconds": time.perf_counter() - start}

    async def listen_only(self) -> Json:
        """As `serve`, and dial nobody: whoever comes, comes by way of a proxy."""
        self.node.engine.reach.learned = lambda *_: None  # type: ignore[method-assign]
        return await self.serve()

    async def blob_whole(self) -> Json:
        """Wait until all of a blob is here; the seconds since its record came."""
        counters, blobs = self.node.engine.counters, self.node.engine.blobs
        while not blobs.known:
            await asyncio.sleep(0.001)
        start = time.perf_counter()
        while not counters["blob.whole"]:
            await asyncio.sleep(0.001)
        return {"seconds": time.perf_counter() - start}

    async def cut_off(self) -> Json:
        """Wait until a link that stood has ended."""
        while "disconnected" not in self.moments:
            self.happened.clear()
            await self.happened.wait()
        self.moments.clear()
        return {}

    async def read_blob(self) -> Json:
        """Read the blob to its end; the seconds it took."""
        start = time.perf_counter()
        async for _ in self.records.read_blob(BLOB, "file"):
            pass
        return {"seconds": time.perf_counter() - start}

    async def memory(self) -> Json:
        return {"rss_kib": rss_kib(), "peak_kib": peak_kib()}


async def main(home: str, key_file: str) -> None:
    started = time.perf_counter()
    node = await covey.open(Path(home), unlock=covey.KeyFile(Path(key_file)), mdns=False)
    answer({"opened_s": time.perf_counter() - started})
    peer = Peer(node)
    reader = asyncio.StreamReader(limit=1 << 24)
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    while line := await reader.readline():
        command = json.loads(line)
        name = command.pop("do")
        if name == "stop":
            break
        answer(await getattr(peer, name)(**command))
    await node.close()
    await peer.listening
    answer({})


def answer(value: Json) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2]))
