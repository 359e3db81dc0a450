"""The other side of a benchmark: a node in a process of its own, told what to do on stdin.

Each command is one JSON line on standard input, each answer one JSON line on standard output.
Times are `time.monotonic()`, which all processes of a machine share.
"""

import asyncio
import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

import covey


async def main(home: str, key_file: str, port: int) -> None:
    started = time.monotonic()
    node = await covey.open(
        Path(home), unlock=covey.KeyFile(Path(key_file)), online=True, mdns=False
    )
    if port:
        node.engine.add_address("127.0.0.1", port)
    answer({"ready": True, "opened_s": time.monotonic() - started, "port": node.port})
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    watch = node.database("bench").watch()
    changes = watch.__aiter__()
    while line := await reader.readline():
        command = json.loads(line)
        match command["do"]:
            case "wait":
                proved = await node.sync(timeout=command["timeout_s"])
                answer({"proved": proved, "at": time.monotonic(), **usage(node)})
            case "expect":
                change = await changes.__anext__()
                answer({"id": change.id, "at": time.monotonic()})
            case "stop":
                watch.close()
                await node.close()
                answer({"stopped": True, **usage(node)})
                return


def usage(node: covey.Node) -> dict[str, Any]:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "rss_max_kib": used.ru_maxrss,
        "cpu_s": used.ru_utime + used.ru_stime,
        "bytes_received": node.engine.traffic.received,
        "bytes_sent": node.engine.traffic.sent,
    }


def answer(value: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
