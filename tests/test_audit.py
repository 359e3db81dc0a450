"""The audit log of a node: everything that was done is in it, nothing that was written is."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from covey.crypto.identity import short_id
from covey.node.audit import GATHER_MS, TOGETHER_MS, Audit
from covey.node.demand_methods import NotFoundError
from covey.node.happenings import Board, NodeEvent
from covey.node.notes import NOTES_MS, Notes
from covey.node.pairing import PairingWindow
from covey.node.pairing_frames import PairingRefusedError
from covey.node.parameters import UsageError
from covey.node.service import Service
from covey.storage import event_rows
from covey.storage.store import Conn
from covey.sync.messages import Ack, Reason, encode_batch

from .fake_clock import FakeClock, settle
from .hostile_world import world
from .loopback import Device, Window, in_sync, join, meet, nodes, until
from .memory_world import Gate, World
from .rogue import Forger

ALL_MS = GATHER_MS + TOGETHER_MS + NOTES_MS
CANARIES = ("the axolotl sleeps", "platypus-4711", "okapifield", "capybara")


class Desk:
    """An audit on a store in memory, with a clock that the test moves."""

    def __init__(self) -> None:
        self.gate, self.clock, self.board = Gate(), FakeClock(), Board()
        self.notes = Notes(self.gate, self.clock)
        self.audit = Audit(self.gate, self.notes, self.board, self.clock)
        self.listener = self.board.subscribe(NodeEvent)

    async def log(self) -> list[tuple[str, dict[str, Any]]]:
        rows = await self.gate.read(lambda conn: event_rows.events(conn, -1, 10_000))
        return [(row.kind, json.loads(row.detail)) for row in rows]

    def told(self) -> list[str]:
        return [event.kind for event in self.listener._queue if isinstance(event, NodeEvent)]


@pytest.fixture
def desk() -> Desk:
    return Desk()


def round_of(device: str, received: int, *databases: str) -> dict[str, Any]:
    return {"device": device, "databases": list(databases), "received": received, "sent": 1}


async def test_what_happens_seldom_is_told_and_logged_each_time(desk: Desk) -> None:
    """Nothing about trust may be summed up."""
    for name in ("Phone", "Tablet"):
        desk.audit.tell("revoked", {"device": name, "by": "Laptop"})
    told = desk.told()
    await desk.clock.advance(NOTES_MS)

    assert told == ["revoked", "revoked"]
    assert [detail["device"] for _, detail in await desk.log()] == ["Phone", "Tablet"]
    assert desk.gate.writes == 1


async def test_a_chatty_peer_fills_one_event_a_minute(desk: Desk) -> None:
    """A peer decides how often it syncs, and must not decide how long our log reaches back."""
    for _ in range(100):
        desk.audit.tally("synced", round_of("phone", 2, "memory"))
        await desk.clock.advance(1_000)
    desk.audit.tally("synced", round_of("phone", 5, "notes"))
    await desk.clock.advance(ALL_MS)
    log = [detail for _, detail in await desk.log()]

    assert len(log) == 3
    assert sum(detail["received"] for detail in log) == 205
    assert sum(detail.get("times", 1) for detail in log) == 101
    assert log[-1]["databases"] == ["memory", "notes"]
    assert log[1]["first"] < log[1]["last"] < log[2]["first"]
    assert desk.told() == ["synced"] * 3


async def test_peers_and_kinds_are_told_apart(desk: Desk) -> None:
    """That one device was refused must not disappear behind another that was not."""
    for device in ("phone", "tablet"):
        for kind in ("synced", "sync_refused"):
            desk.audit.tally(kind, round_of(device, 1))
    await desk.clock.advance(NOTES_MS)

    assert len(await desk.log()) == 4
    assert desk.gate.writes == 1


async def test_connections_are_told_each_time_and_logged_once_a_minute(desk: Desk) -> None:
    """Whoever watches the node waits for the next one; the log only has to know of them."""
    for _ in range(5):
        desk.audit.tell("connected", {"device": "phone", "name": "Phone"})
    await desk.clock.advance(ALL_MS)

    assert desk.told() == ["connected"] * 5
    assert [detail.get("times") for _, detail in await desk.log()] == [None, 4]


async def test_what_comes_due_together_shares_a_commit(desk: Desk) -> None:
    """Ten peers must not cost ten commits a minute."""
    for _ in range(2):
        for device in range(10):
            desk.audit.tally("synced", round_of(f"phone {device}", 1))
            await desk.clock.advance(100)
        await desk.clock.advance(NOTES_MS)
        assert desk.gate.writes <= 2
    before = desk.gate.writes
    await desk.clock.advance(ALL_MS)

    assert len(await desk.log()) == 20
    assert desk.gate.writes == before + 1


async def test_whoever_reads_the_log_gets_what_was_still_being_put_together(desk: Desk) -> None:
    """What has just happened is what people ask for."""
    for _ in range(3):
        desk.audit.tally("synced", round_of("phone", 1))
    await desk.audit.flush()

    assert [detail.get("times") for _, detail in await desk.log()] == [None, 2]


async def test_a_closed_audit_has_written_everything_and_writes_no_more(desk: Desk) -> None:
    """The store is closed next."""
    for _ in range(3):
        desk.audit.tally("synced", round_of("phone", 1))
    await desk.audit.close()
    log = await desk.log()
    desk.audit.tally("synced", round_of("phone", 1))
    desk.audit.tell("late", {})
    await desk.clock.advance(ALL_MS)

    assert len(log) == 2
    assert await desk.log() == log
    assert desk.clock.sleeping == 0


async def test_a_flood_of_subjects_is_not_kept_in_memory(desk: Desk) -> None:
    """An import names the database, and there may be many."""
    for number in range(6_000):
        desk.audit.tally("imported", {"database": str(number), "written": 1})
    await settle()

    assert len(desk.audit._written_ms) <= 4_096


# Of whole nodes --------------------------------------------------------------------------------


@asynccontextmanager
async def two(folder: Path) -> AsyncIterator[tuple[Device, Device]]:
    """Two devices of one mesh that have not met yet."""
    async with nodes(folder) as opened:
        laptop, phone = await opened.mesh("laptop", "phone")
        yield laptop, phone


async def log_of(device: Device) -> list[dict[str, Any]]:
    return [row async for row in device.engine.directory.journal_rows()]


async def events_of(device: Device, kind: str) -> list[dict[str, Any]]:
    return [row for row in await log_of(device) if row["event"] == kind]


async def test_a_round_is_in_the_logs_of_both_with_what_it_carried(
    tmp_path: Path,
) -> None:
    """Which device got how much of what and when: the question the log is for."""
    async with two(tmp_path) as (laptop, phone):
        await laptop.facts.put_many([(f"r{n}", {"x": n}) for n in range(3)])
        await laptop.facts.put({"x": 3}, id="r3")
        await meet(laptop, phone)
        ours, theirs = await events_of(laptop, "synced"), await events_of(phone, "synced")

        assert ours[0]["databases"] == theirs[0]["databases"] == ["memory"]
        assert ours[0]["name"] == "phone"
        assert ours[0]["sent"] == theirs[0]["received"] > 0
        assert ours[0]["sent_bytes"] > 0 < theirs[0]["received_bytes"]
        assert [row["name"] for row in await events_of(laptop, "met")] == ["phone"]


async def test_what_is_pushed_over_an_open_link_is_counted_by_both(
    tmp_path: Path,
) -> None:
    """A long evening on one link is more than its first minute."""
    async with two(tmp_path) as (laptop, phone):
        await meet(laptop, phone)
        for number in range(5):
            await laptop.facts.put({"x": number}, id=f"r{number}")
        await in_sync(laptop, phone)
        ours, theirs = await events_of(laptop, "synced"), await events_of(phone, "synced")

        assert sum(row["sent"] for row in ours) == sum(row["received"] for row in theirs)
        assert {name for row in theirs for name in row["databases"]} == {"memory"}


async def test_a_device_is_met_once(tmp_path: Path) -> None:
    """The first time is what a person would look for."""
    async with nodes(tmp_path) as opened:
        laptop, phone = await opened.mesh("laptop", "phone")
        await meet(laptop, phone)
        await phone.close()
        await until(lambda: not laptop.engine.switchboard.links)
        again = await (await opened.make("phone")).online()
        await meet(laptop, again)

        assert len(await events_of(laptop, "met")) == 1
        assert len(await events_of(again, "met")) == 1


async def test_a_link_that_breaks_is_a_round_cut_off(tmp_path: Path) -> None:
    """Somebody who wonders what is missing sees since when."""
    async with two(tmp_path) as (laptop, phone):
        await meet(laptop, phone)
        (link,) = laptop.engine.switchboard.links.values()
        link.round.moved(bytes(16))
        await link.channel.close()
        await until(lambda: link not in laptop.engine.switchboard.links.values())

        (cut,) = await events_of(laptop, "sync_cut")
        assert (cut["name"], cut["why"]) == ("phone", ["connection_lost"])


async def test_the_last_round_is_logged_while_the_node_closes(tmp_path: Path) -> None:
    """A laptop that is shut right after a sync has synced all the same."""
    async with nodes(tmp_path) as opened:
        laptop, phone = await opened.mesh("laptop", "phone")
        await meet(laptop, phone)
        await laptop.facts.put({"x": 1}, id="late")
        await in_sync(laptop, phone)
        await laptop.close()
        again = await opened.make("laptop")

        assert sum(row["sent"] for row in await events_of(again, "synced")) > 0


async def test_a_batch_that_was_refused_is_logged_with_its_sender_and_why(tmp_path: Path) -> None:
    """An attack from inside the mesh, or a defect of another version: both should be seen."""
    async with world(tmp_path) as there:
        forger = Forger.of_data(there.victim, there.mallory)
        forger.record("x", {"x": 1})
        rogue = await there.enter()
        await rogue.send(encode_batch(forger.scope, [forger.run(signature=bytes(64))]))
        await there.ended(rogue, Reason.BATCH_REFUSED)

        (refused,) = await events_of(there.victim, "batch_refused")
        (session,) = await events_of(there.victim, "sync_refused")
        assert refused["device"] == session["device"] == short_id(there.mallory.sig_pk)
        assert refused["why"] == ["the signature of the last entry does not verify"]
        assert session["why"] == ["batch_refused"]


async def test_an_entry_that_was_set_aside_is_logged_with_its_author(tmp_path: Path) -> None:
    """What is here and cannot be seen has to be said somewhere."""
    async with world(tmp_path) as there:
        forger = Forger.of_data(there.victim, there.mallory)
        forger.entry(b"nothing that could be read")
        rogue = await there.enter()
        await rogue.send(forger.frame())
        await rogue.hear_kind(Ack)

        (told,) = await events_of(there.victim, "quarantined")
        assert told["device"] == short_id(there.mallory.sig_pk)
        assert (told["databases"], told["entries"]) == (["memory"], 1)
        await rogue.leave()


async def test_a_code_that_was_shown_and_taken_back_is_logged(tmp_path: Path) -> None:
    """Who opened the door, and for whom."""
    async with two(tmp_path) as (laptop, _):
        shown = Window(PairingWindow(laptop.engine, "guest", 60_000, None))
        await shown.open()
        await shown.close()

        told = [(row["event"], row.get("level")) for row in await log_of(laptop)]
        assert told[-2:] == [("pairing_opened", "guest"), ("pairing_closed", None)]


async def test_a_code_that_was_burned_is_logged(tmp_path: Path) -> None:
    """Somebody on the network may have tried it."""
    async with nodes(tmp_path) as opened:
        laptop = await (await opened.make("laptop")).online()
        stranger = await opened.make("stranger")
        window = Window(PairingWindow(laptop.engine, "full", 60_000, None))
        code = await window.open()
        with pytest.raises(PairingRefusedError):
            await join(stranger, "-".join(reversed(code.split("-"))), laptop.address)
        await window.ended()

        told = [(row["event"], row.get("reason")) for row in await log_of(laptop)]
        assert told == [("pairing_opened", None), ("pairing_failed", "wrong-code")]


async def test_an_import_and_an_export_are_logged_with_numbers() -> None:
    """Records that left the encrypted store are the first thing to look for."""
    async with World() as world:
        a = await world.founder("a")
        service = Service(a.engine, lambda: None)
        for start in range(3):
            items = [{"id": f"r{start}{n}", "value": {"x": n}} for n in range(4)]
            await service.call(
                "put_many", {"database": "memory", "collection": "facts", "items": items}
            )
        exported = [row async for row in service.stream("export", {"database": "memory"})]
        log = [row async for row in service.stream("log", {})]

    written = [row["written"] for row in log if row["event"] == "imported"]
    assert (sum(written), len(written)) == (12, 2)
    assert [row["records"] for row in log if row["event"] == "exported"] == [len(exported)]


async def test_a_backup_is_logged_and_holds_the_log_until_then(tmp_path: Path) -> None:
    """A file with everything in it was made: that must not leave without a word."""
    async with World() as world:
        a = await world.founder("a")
        a.engine.tell("happened", {})
        inside: list[str] = []

        async def back_up(path: Path, force: bool) -> dict[str, Any]:
            rows = await a.gate.read(lambda conn: event_rows.events(conn, -1, 100))
            inside.extend(row.kind for row in rows)
            return {"file": str(path), "bytes": 7, "made_at": ""}

        a.engine.back_up = back_up
        service = Service(a.engine, lambda: None)
        await service.call("backup", {"file": str(tmp_path / "platypus")})
        log = [row async for row in service.stream("log", {})]

    assert inside == ["happened"]
    assert [(row["event"], row.get("bytes")) for row in log] == [
        ("happened", None),
        ("backed_up", 7),
    ]
    assert "platypus" not in json.dumps(log)


async def test_nothing_that_anybody_wrote_is_in_the_log(tmp_path: Path) -> None:
    """The log is shown, sent to whoever helps, and kept for a year."""
    async with two(tmp_path) as (laptop, phone):
        text, id, field, searched = CANARIES
        service = Service(laptop.engine, lambda: None)
        await meet(laptop, phone)
        await laptop.facts.put({field: text}, id=id)
        await phone.facts.put({field: searched}, id=id)
        await in_sync(laptop, phone)
        facts = {"database": "memory", "collection": "facts"}
        items = [{"id": f"{id}-2", "value": {field: text}}]
        await service.call("put_many", {**facts, "items": items})
        await service.call("find", {**facts, "text": searched})
        with pytest.raises(NotFoundError):
            await service.call("get", {**facts, "id": searched})
        assert len([row async for row in service.stream("export", {})]) == 2
        await laptop.facts.delete(id)
        await in_sync(laptop, phone)

        for device in (laptop, phone):
            await device.engine.audit.flush()
            rows = await device.engine.database.read(lambda c: event_rows.events(c, -1, 10_000))
            log = "\n".join(f"{row.kind} {row.detail}" for row in rows)
            assert len(rows) > 3
            assert [canary for canary in CANARIES if canary in log] == []


# Checking and keeping --------------------------------------------------------------------------


def spoil(conn: Conn) -> None:
    conn.execute("UPDATE events SET detail = '[' WHERE event_no = 2")


async def told_five(world: World) -> tuple[Gate, Service]:
    a = await world.founder("a")
    for number in range(5):
        a.engine.tell("happened", {"what": number})
    return a.gate, Service(a.engine, lambda: None)


async def test_a_whole_log_is_said_to_be_whole_with_its_head() -> None:
    """The two things to write down."""
    async with World() as world:
        _, service = await told_five(world)
        found = await service.call("log_verify", {})

        assert (found["ok"], found["events"], found["at"]) == (True, 5, 5)
        assert found["from"]["event"] == 1
        assert len(bytes.fromhex(found["head"])) == 32


async def test_a_changed_log_is_said_to_be_changed_and_can_still_be_read() -> None:
    """The first thing that people do then is to look at it."""
    async with World() as world:
        gate, service = await told_five(world)
        await service.call("log_verify", {})
        await gate.write(spoil)
        found = await service.call("log_verify", {})
        lines = [line async for line in service.stream("log", {})]

        assert not found["ok"]
        assert found["misfit"]["event"] == 2
        assert "event 2 of 20" in found["problem"]
        assert lines[1] == {"time": "1970-01-01T00:00:00Z", "event": "unreadable", "number": 2}
        assert lines[2]["what"] == 2


async def test_an_earlier_head_is_found_in_the_chain_or_not() -> None:
    """A chain alone can be written anew by whoever has the key of the store."""
    async with World() as world:
        _, service = await told_five(world)
        earlier = await service.call("log_verify", {})
        await service.call("log_keep", {"days": 0})
        head, other = earlier["head"], "00" * 32

        same = await service.call("log_verify", {"head": head, "at": 5})
        changed = await service.call("log_verify", {"head": other, "at": 5})
        short = await service.call("log_verify", {"head": head, "at": 50})

        assert (same["ok"], same["passed"], same["at"]) == (True, True, 6)
        assert (changed["ok"], changed["passed"]) == (False, False)
        assert "at event 5" in changed["problem"]
        assert (short["ok"], short["passed"]) == (False, False)
        assert "ends at 6" in short["problem"]


async def test_a_head_from_before_what_is_kept_can_neither_be_found_nor_missed() -> None:
    """Retention is no forgery."""
    async with World() as world:
        _, service = await told_five(world)
        earlier = await service.call("log_verify", {})
        for _ in range(300):
            service._engine.tell("happened", {})
        await service.call("log_keep", {"events": 100})
        found = await service.call("log_verify", {"head": earlier["head"], "at": 5})
        alone = await service.call("log_verify", {})

        assert (found["ok"], found["passed"]) == (False, None)
        assert "only events from" in found["problem"]
        assert alone["ok"]
        assert alone["forgotten"] == alone["from"]["event"] - 1 > 0


@pytest.mark.parametrize(
    "params",
    [
        {"head": "00" * 32},
        {"at": 3},
        {"head": "noon", "at": 3},
        {"head": 5, "at": 3},
        {"head": "00" * 32, "at": -1},
        {"head": "00" * 32, "at": "3"},
    ],
)
async def test_half_a_head_is_no_question(params: dict[str, Any]) -> None:
    """Whoever mistypes it must not be told that the log was forged, nor that it was not."""
    async with World() as world:
        _, service = await told_five(world)
        with pytest.raises(UsageError):
            await service.call("log_verify", params)


async def test_how_much_is_kept_is_a_setting_and_changing_it_is_an_event() -> None:
    """Whoever shortens the log leaves that behind."""
    async with World() as world:
        _, service = await told_five(world)
        before = await service.call("log_keep", {})
        kept = await service.call("log_keep", {"days": 30})
        same = await service.call("log_keep", {"days": 30, "events": before["events"]})
        log = [line async for line in service.stream("log", {})]

        assert before == {"days": 365, "events": 100_000}
        assert kept == same == {"days": 30, "events": 100_000}
        assert [line["days"] for line in log if line["event"] == "log_kept"] == [30]


@pytest.mark.parametrize("params", [{"days": -1}, {"events": 0}, {"events": True}, {"days": "x"}])
async def test_nonsense_is_not_kept(params: dict[str, Any]) -> None:
    """0 events would be no log."""
    async with World() as world:
        _, service = await told_five(world)
        with pytest.raises(UsageError):
            await service.call("log_keep", params)
