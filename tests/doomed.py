"""Processes that are made to be killed: a writer and a receiver on real homes.

Run as a script it reads jobs, one line of JSON each, and forks a victim for every job. The victim
prints lines: first what it found when it opened the home, then one for each thing that was
acknowledged, until somebody kills it. The last line of a job is `{"dead": …}`. By then everything
the victim ever said has been read, so the reader knows what was acknowledged before the end.

Forking spares a victim most of a second of imports, which is what makes hundreds of crashes
affordable. Nothing is open, and no thread runs, when it forks.

What a writer does is numbered: step `index` of lane `lane` in cycle `cycle` is always the same
(`step_of`), so what an interrupted lane can have done is known to the letter.
"""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Iterator
from typing import Any

import covey
from covey.node import main as _imported_before_the_fork
from covey.node.api import Node

DATABASE = "crash"
LANES = 4
STEPS_MAX = 10_000

State = dict[str, dict[str, int]]
"""Collection -> id -> number: all that a writer has written."""

Job = dict[str, Any]


def empty_state() -> State:
    return {"notes": {}, "counters": {}, "shared": {}, "local": {}}


def step_of(state: State, cycle: int, lane: int, index: int) -> Job:
    """What a lane does at one step. `state` becomes what it is afterwards."""
    name = f"{lane}-{cycle:03d}-{index:05d}"
    match index % 5:
        case 0 | 1:
            state["notes"][name] = index
            return {"put": ("notes", name, index)}
        case 2:
            number = cycle * STEPS_MAX + index
            state["counters"][f"{lane}-all"] = number
            return {"put": ("counters", f"{lane}-all", number)}
        case 3:
            state["shared"][name] = state["local"][name] = index
            return {"both": (name, index)}
        case _:
            gone = f"{lane}-{cycle:03d}-{index - 3:05d}"
            del state["notes"][gone]
            return {"delete": ("notes", gone)}


async def carry_out(node: Node, step: Job) -> None:
    """One durable step. A transaction over two privacy levels is two entries in two logs."""
    database = node.database(DATABASE)
    match step:
        case {"put": (collection, id, number)}:
            await database.collection(collection).put({"n": number}, id=id)
        case {"both": (id, number)}:
            async with database.transaction() as transaction:
                transaction.put("shared", {"n": number}, id=id)
                transaction.put("local", {"n": number}, id=id, privacy="device")
        case {"delete": (collection, id)}:
            assert await database.collection(collection).delete(id)


async def found(node: Node) -> Job:
    """Everything the store holds, whether it is sound, and under which instance it is open."""
    state = empty_state()
    async for _, record in node.engine.reader.export(DATABASE):
        state[record.collection][record.id] = record.value["n"]

    def look(conn: Any) -> Job:
        gaps = conn.execute(
            "SELECT count(*) FROM (SELECT 1 FROM entries GROUP BY log_no"
            " HAVING min(seq) != 1 OR max(seq) != count(*))"
        )
        waiting = conn.execute("SELECT count(*) FROM entries WHERE state != 0")
        integrity = conn.execute("PRAGMA integrity_check")
        return {
            "integrity": integrity.fetchone()[0],
            "gaps": gaps.fetchone()[0],
            "unapplied": waiting.fetchone()[0],
        }

    soundness = await node.engine.database.read(look)
    return {**soundness, "instance": node.engine.instance.hex(), "state": state}


async def write(job: Job) -> None:
    """Open, say what is there, then write on all lanes at once until killed."""
    async with _open(job) as node:
        say({"found": await found(node)})
        if job["online"]:
            say({"proved": await node.sync()})
        await asyncio.gather(*(_write_lane(node, job["cycle"], lane) for lane in range(LANES)))


async def receive(job: Job) -> None:
    """Open online and say how many records there are, at first and after each that arrives."""
    async with _open(job) as node:
        watch = node.database(DATABASE).watch()
        held = (await node.engine.reader.count()).get(DATABASE, 0)
        say({"held": held})
        async for _ in watch:
            held += 1
            say({"held": held})


async def _write_lane(node: Node, cycle: int, lane: int) -> None:
    scratch = empty_state()
    for index in range(STEPS_MAX):
        await carry_out(node, step_of(scratch, cycle, lane, index))
        say({"acknowledged": lane})


def _open(job: Job) -> Any:
    return covey.open(
        job["home"],
        unlock=covey.KeyFile(job["key"]),
        online=job["online"],
        listen="127.0.0.1:0",
        mdns=False,
    )


def _die_at(home: str, place: int) -> None:
    """Kill this process when it has touched its lock, vault, store and token so many times."""
    left = place

    def touched(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal left
        if event in ("open", "os.rename") and str(arguments[0]).startswith(home):
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(touched)


def say(line: Job) -> None:
    """Print at once, past every buffer: what was said before the end must be read."""
    data = json.dumps(line).encode() + b"\n"
    while data:
        data = data[os.write(1, data) :]


def serve(jobs: Iterator[str]) -> None:
    """Fork a victim for each job and tell its end; ends with its input.

    `dies_at`: the victim kills itself while it opens the home, at that touch of a file.
    """
    assert _imported_before_the_fork
    works = {"write": write, "receive": receive}
    for line in jobs:
        job = json.loads(line)
        child = os.fork()
        if child == 0:
            if job["dies_at"] is not None:
                _die_at(job["home"], job["dies_at"])
            asyncio.run(works[job["work"]](job))
            os._exit(0)
        say({"pid": child})
        say({"dead": os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])})


if __name__ == "__main__":
    serve(iter(sys.stdin.readline, ""))
