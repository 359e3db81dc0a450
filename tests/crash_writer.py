"""A process that is made to be killed: it forks a victim for each line it reads, and says how it died.

Each line on standard input is a job, in JSON. The victim carries it out on a real home and prints
lines: first what it found when it opened the home, then one for each thing that was acknowledged.
The last line of a job is `{"dead": …}`: by then everything the victim ever said has been read, so
the reader knows exactly what was acknowledged before the end. Forking spares the victim 0.7 s of
imports, which is what makes hundreds of crashes affordable; nothing is open when it forks.

Operations of a writer are numbered, one sequence a lane: operation `i` of lane `t` in cycle `c` is
always the same (`operation`), so what an interrupted lane may have done is known to the letter.
"""

import asyncio
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import covey
from covey.crypto import pairing as _paid_for_here
from covey.node import main as node_main
from covey.node.api import Node

DATABASE = "crash"
LANES = 4
assert _paid_for_here and node_main

State = dict[str, dict[str, int]]
"""Collection -> id -> number: everything a writer has written."""


def operation(state: State, cycle: int, lane: int, index: int) -> dict[str, Any]:
    """What a lane does at one step, and the state after it, in place."""
    name = f"{lane}-{cycle:03d}-{index:04d}"
    match index % 5:
        case 0 | 1:
            state["notes"][name] = index
            return {"put": ("notes", name, index)}
        case 2:
            state["counters"][f"lane{lane}"] = number = cycle * 10_000 + index
            return {"put": ("counters", f"lane{lane}", number)}
        case 3:
            # One transaction over two privacy levels is two entries in two logs.
            state["shared"][name] = state["local"][name] = index
            return {"both": (name, index)}
        case _:
            victim = f"{lane}-{cycle:03d}-{index - 3:04d}"
            state["notes"].pop(victim, None)
            return {"delete": ("notes", victim)}


def empty_state() -> State:
    return {"notes": {}, "counters": {}, "shared": {}, "local": {}}


async def carry_out(node: Node, step: dict[str, Any]) -> None:
    database = node.database(DATABASE)
    match step:
        case {"put": (collection, id, number)}:
            await database.collection(collection).put({"n": number}, id=id)
        case {"both": (id, number)}:
            async with database.transaction() as transaction:
                transaction.put("shared", {"n": number}, id=id)
                transaction.put("local", {"n": number}, id=id, privacy="device")
        case {"delete": (collection, id)}:
            await database.collection(collection).delete(id)


async def found(node: Node) -> dict[str, Any]:
    """Everything the store holds, and whether it is sound."""
    state = empty_state()
    async for _, record in node.engine.reader.export(DATABASE):
        state[record.collection][record.id] = record.value["n"]

    def look(conn: Any) -> dict[str, Any]:
        gaps = conn.execute(
            "SELECT log_no FROM entries GROUP BY log_no"
            " HAVING min(seq) != 1 OR max(seq) != count(*)"
        ).fetchall()
        return {
            "integrity": [row[0] for row in conn.execute("PRAGMA integrity_check").fetchall()],
            "gaps": [row[0] for row in gaps],
            "unapplied": conn.execute(
                "SELECT count(*) FROM entries WHERE state != 0"
            ).fetchone()[0],
        }

    sound = await node.engine.database.read(look)
    return {**sound, "state": state, "instance": node.engine.instance.hex()}


async def write(job: dict[str, Any]) -> None:
    """Open, say what is there, then write on all lanes until killed."""
    opening = covey.open(
        job["home"],
        unlock=covey.KeyFile(job["key"]),
        online=job["online"],
        listen="127.0.0.1:0",
        mdns=False,
    )
    async with opening as node:
        say({"found": await found(node)})
        if job["online"]:
            assert await node.sync()
            say({"online": True})
        await asyncio.gather(*(write_lane(node, job["cycle"], lane) for lane in range(LANES)))


async def write_lane(node: Node, cycle: int, lane: int) -> None:
    scratch = empty_state()
    for index in range(10_000):
        await carry_out(node, operation(scratch, cycle, lane, index))
        say({"ack": [lane, index]})


async def receive(job: dict[str, Any]) -> None:
    """Open online and say how many records there are, at the start and after each one."""
    opening = covey.open(
        job["home"],
        unlock=covey.KeyFile(job["key"]),
        online=True,
        listen="127.0.0.1:0",
        mdns=False,
    )
    async with opening as node:
        watch = node.database(DATABASE).watch()
        count = (await node.engine.reader.count()).get(DATABASE, 0)
        say({"held": count})
        async for _ in watch:
            count += 1
            say({"held": count})


def say(line: dict[str, Any]) -> None:
    data = json.dumps(line).encode() + b"\n"
    while data:
        data = data[os.write(1, data) :]


def serve(lines: Iterator[str]) -> None:
    for line in lines:
        job = json.loads(line)
        child = os.fork()
        if child == 0:
            work = {"write": write, "receive": receive}[job["do"]]
            asyncio.run(work(job))
            os._exit(0)
        say({"pid": child})
        _, status = os.waitpid(child, 0)
        say({"dead": os.waitstatus_to_exitcode(status)})


if __name__ == "__main__":
    sys.path[:] = [p for p in sys.path if Path(p or ".").resolve() != Path(__file__).parent]
    serve(iter(sys.stdin.readline, ""))
