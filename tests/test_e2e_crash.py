"""kill -9 at any moment: nothing acknowledged is lost, and whatever was interrupted goes on.

A writer is killed 150 times, at seeded moments: while it opens the home, while it writes on four
lanes, while it syncs with a phone that runs all the time. After each crash the next writer says
what it found, and every lane must stand exactly where it was acknowledged, or one step further. A
receiver is killed again and again in its first sync. What is sent twice for it is counted.
"""

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import covey
from covey.crypto.entry import ZERO_ID, entry_id, verify_entry
from covey.node.api import Node
from covey.node.stored import split_heads
from covey.storage import log_rows
from covey.storage.store import Conn
from covey.sync.session_limits import CREDIT_BYTES

from .doomed import DATABASE, LANES, Job, State, empty_state, found, step_of
from .processes import Device, homes, pair

SEED = 20
CRASHES = 150
ONLINE_EVERY = 5
ACKNOWLEDGED_MAX = 160
OPENING_TOUCHES = 8
RECEIVED_RECORDS = 5_000
RECORD_CHARACTERS = 1_000
RECEIVER_CRASHES = 5
PER_CRASH = RECEIVED_RECORDS // (4 * RECEIVER_CRASHES)
DOOMED = Path(__file__).with_name("doomed.py")


class Victims:
    """Starts victims one after the other and reads what they say."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-P", str(DOOMED)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.pid = 0

    def start(self, device: Device, **job: Any) -> None:
        job = {"home": str(device.home), "key": str(device.key), "dies_at": None, **job}
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(json.dumps(job) + "\n")
        self.process.stdin.flush()
        self.pid = json.loads(self.process.stdout.readline())["pid"]

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)

    def lines(self) -> Iterator[Job]:
        """What the victim says, up to its last word; then it has died of our signal."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            said = json.loads(line)
            if "dead" in said:
                assert said["dead"] == -signal.SIGKILL, "the victim died of something else"
                return
            yield said

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()


class Ledger:
    """What must be in the store: every acknowledged step, and at most one more a lane."""

    def __init__(self) -> None:
        self.lanes = [empty_state() for _ in range(LANES)]
        self.cycle = 0
        self.acknowledged = [0] * LANES

    def began(self, cycle: int) -> None:
        self.cycle, self.acknowledged = cycle, [0] * LANES

    def check(self, state: State) -> None:
        """Compare with what was found after a crash, and go on from there."""
        for lane, known in enumerate(self.lanes):
            here = {c: _of_lane(records, lane) for c, records in state.items()}
            acknowledged = deepcopy(known)
            for index in range(self.acknowledged[lane]):
                step_of(acknowledged, self.cycle, lane, index)
            one_more = deepcopy(acknowledged)
            step_of(one_more, self.cycle, lane, self.acknowledged[lane])
            assert here in (acknowledged, one_more), f"lane {lane} of cycle {self.cycle}"
            self.lanes[lane] = here


def _of_lane(records: dict[str, int], lane: int) -> dict[str, int]:
    return {id: number for id, number in records.items() if id.startswith(f"{lane}-")}


@pytest.fixture
def victims() -> Iterator[Victims]:
    made = Victims()
    yield made
    made.close()


@pytest.fixture
def devices(tmp_path: Path) -> Iterator[list[Device]]:
    """A laptop and a phone that know each other; the phone is up."""
    with homes(tmp_path, "laptop", "phone") as made:
        laptop, phone = made
        laptop.init()
        phone.init("phone")
        laptop.up("--no-mdns")
        pair(laptop, phone)
        yield made


def opened(device: Device) -> Any:
    return covey.open(device.home, unlock=covey.KeyFile(device.key))


async def check_chains(node: Node) -> int:
    """Every log hashes from its first entry to its signed last one; returns how many entries."""
    count = 0
    for log in node.engine.ledger.logs():
        entries, headings = await node.engine.database.read(partial(_entries_of, log.number))
        prev = ZERO_ID
        for at, (seq, number, salt, ct, id, _) in enumerate(entries, start=1):
            row = headings[number]
            heads = split_heads(row.heads)
            heading = node.engine.mesh.heading(
                log.scope.tag, log.author, log.instance, row.key_id, heads
            )
            prev, _, _ = entry_id(heading, seq, prev, salt, ct)
            assert (seq, prev) == (at, id), f"log {log.number} is broken at {seq}"
        assert not entries or verify_entry(log.author, prev, entries[-1][5])
        count += len(entries)
    return count


def crash_writer(
    victims: Victims, laptop: Device, cycle: int, ledger: Ledger, chance: random.Random
) -> str | None:
    """One life of a writer; the instance it wrote under, or None if it did not get that far."""
    online = cycle % ONLINE_EVERY == ONLINE_EVERY - 1
    dies_at = chance.randrange(OPENING_TOUCHES) if chance.random() < 0.2 else None
    wanted = chance.choice((0, chance.randrange(12), chance.randrange(ACKNOWLEDGED_MAX)))
    victims.start(laptop, work="write", online=online, cycle=cycle, dies_at=dies_at)
    instance, count, killed = None, 0, False
    for said in victims.lines():
        match said:
            case {"found": there}:
                sound = (there["integrity"], there["gaps"], there["unapplied"])
                assert sound == ("ok", 0, 0)
                ledger.check(there["state"])
                ledger.began(cycle)
                instance = there["instance"]
            case {"proved": proved}:
                assert proved
            case {"acknowledged": lane}:
                ledger.acknowledged[lane] += 1
                count += 1
        ready = instance is not None and (not online or "found" not in said)
        if not killed and ready and count >= wanted:
            victims.kill()
            killed = True
    return instance


@pytest.mark.timeout(180)
def test_no_acknowledged_write_is_lost_by_150_crashes_and_sync_goes_on(
    devices: list[Device], victims: Victims
) -> None:
    """A battery dies without asking; what was said to be saved must be there afterwards."""
    laptop, phone = devices
    phone.up("--no-mdns")
    phone.run("sync", "--wait")
    laptop.down()
    ledger, chance = Ledger(), random.Random(SEED)

    instances = {
        crash_writer(victims, laptop, cycle, ledger, chance) for cycle in range(CRASHES)
    } - {None}
    laptop.up("--no-mdns")
    laptop.run("sync", "--wait")
    phone.run("sync", "--wait")
    alarms = laptop.run("status")["alarms"] + phone.run("status")["alarms"]
    for device in devices:
        device.down()

    async def look() -> tuple[State, State]:
        async with opened(laptop) as node:
            ours = await found(node)
            assert await check_chains(node) > CRASHES
        async with opened(phone) as node:
            theirs = await found(node)
            await check_chains(node)
        assert ours["integrity"] == theirs["integrity"] == "ok"
        return ours["state"], theirs["state"]

    ours, theirs = asyncio.run(look())
    ledger.check(ours)
    del ours["local"], theirs["local"]
    assert ours == theirs
    assert alarms == []
    # A crash between the two places of the instance token must not cost an instance.
    assert len(instances) == 1


def receive_until(victims: Victims, wanted: int) -> tuple[int, int]:
    """Kill the receiver after so many more records; what it held at first, and said at last."""
    first = last = -1
    killed = False
    for said in victims.lines():
        last = said["held"]
        first = last if first < 0 else first
        if not killed and last >= first + wanted:
            victims.kill()
            killed = True
    return first, last


async def fill(device: Device) -> None:
    """Thousands of records, an entry each."""
    draw = random.Random(SEED)
    async with opened(device) as node:
        notes = node.database(DATABASE).collection("notes")
        texts = (draw.randbytes(RECORD_CHARACTERS // 2).hex() for _ in range(RECEIVED_RECORDS))
        await asyncio.gather(
            *(notes.put({"text": text}, id=f"n{at:05d}") for at, text in enumerate(texts))
        )


def sent_to_phone(laptop: Device) -> tuple[int, int]:
    """Entries and bytes sent on the latest link."""
    (peer,) = json.loads(laptop.attempt("status", "--json").stdout)["peers"]
    return peer["sent_entries"], peer["sent_bytes"]


@pytest.mark.timeout(180)
def test_a_killed_receiver_resumes_and_is_sent_again_only_what_was_in_flight(
    devices: list[Device], victims: Victims
) -> None:
    """A first sync on a phone that keeps dying must end, and not begin anew each time.

    In flight is what was sent and not acknowledged: bounded by the credit window, in bytes.
    """
    laptop, phone = devices
    port = laptop.port
    laptop.down()
    asyncio.run(fill(laptop))
    laptop.up("--no-mdns", listen=f"127.0.0.1:{port}")
    chance = random.Random(SEED)
    held, sent, entry_bytes, reported = [], [], 0.0, 0

    for _ in range(RECEIVER_CRASHES):
        victims.start(phone, work="receive", online=True)
        first, last = receive_until(victims, chance.randrange(1, 2 * PER_CRASH))
        laptop.wait_for("disconnected")
        assert first >= reported, "what was told before a crash is there after it"
        reported = last
        entries, bytes_ = sent_to_phone(laptop)
        entry_bytes = max(entry_bytes, bytes_ / entries)
        held.append(first)
        sent.append(entries)
    phone.up("--no-mdns")
    phone.run("sync", "--wait")
    laptop.run("sync", "--wait")
    rest, _ = sent_to_phone(laptop)
    held.append(RECEIVED_RECORDS - rest)

    # The grant of the new database goes over once, with the first batch.
    missing = [RECEIVED_RECORDS - had + (had == 0) for had in held[:-1]]
    again = [had + went - has for had, went, has in zip(held, sent, held[1:], strict=False)]
    assert phone.run("db", "show", DATABASE)["records"] == RECEIVED_RECORDS
    assert all(went <= lacked for went, lacked in zip(sent, missing, strict=True)), (held, sent)
    assert max(again) * entry_bytes <= CREDIT_BYTES * 1.01, (held, sent, again, entry_bytes)


def _entries_of(number: int, conn: Conn) -> tuple[list[Any], dict[int, log_rows.Heading]]:
    """All entries of a log in order, and their headings."""
    entries = conn.execute(
        "SELECT seq, heading_no, salt, ct, entry_id, signature FROM entries"
        " WHERE log_no = ? ORDER BY seq",
        (number,),
    ).fetchall()
    return entries, log_rows.headings_by_no(conn, {row[1] for row in entries})
