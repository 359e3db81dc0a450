"""Status: *synced* is a proof that still holds, and everything else says what is missing."""

from pathlib import Path
from typing import Any

from covey.storage import peer_rows
from covey.sync.sharing import Sharing

from .loopback import Device, admit, in_sync, meet, nodes, until
from .memory_world import World


async def row(device: Device, database: str = "memory") -> dict[str, Any]:
    """How `device` stands with its only peer, and how the database does."""
    (peer,) = (await device.node.status())["peers"]
    found: dict[str, Any] = next(d for d in peer["databases"] if d["name"] == database)
    return {"peer": peer["state"], "proved": peer["proved"], **found}


async def part(device: Device, peer: Device) -> None:
    """End all links, for good."""
    await peer.close()
    await until(lambda: not device.engine.switchboard.links)


async def test_nothing_is_synced_before_it_was_proved() -> None:
    """The word is a promise: a person deletes the old device because of it."""
    async with World() as world:
        laptop = await world.founder("laptop")
        phone = await world.member(laptop, "phone")
        await laptop.collection().put({"x": 1}, id="r")

        status = await laptop.node.status()
        (peer,) = status["peers"]
        (database,) = peer["databases"]
        assert (peer["state"], peer["proved"], peer["last_seen"]) == ("away", False, None)
        assert (database["state"], database["proved_at"]) == ("unknown", None)
        assert not status["reachable_all_synced"]
        assert not laptop.engine.standing_with(phone.id).proved


async def test_after_a_proof_it_is_synced_and_says_since_when(tmp_path: Path) -> None:
    """Both sides say so, with a time."""
    async with nodes(tmp_path) as opened:
        laptop, phone = await opened.mesh("laptop", "phone")
        await laptop.facts.put({"x": 1}, id="r")
        await meet(laptop, phone)

        for device in (laptop, phone):
            found = await row(device)
            assert (found["peer"], found["proved"], found["state"]) == ("connected", True, "synced")
            assert (found["behind"], found["ahead"], found["bytes_left"]) == (0, 0, 0)
            assert found["proved_at"] is not None
            assert (await device.node.status())["reachable_all_synced"]


async def test_a_peer_that_left_stays_synced_until_something_is_written_here(
    tmp_path: Path,
) -> None:
    """Two entries written since are two that the other does not have."""
    async with nodes(tmp_path) as opened:
        laptop, phone = await opened.mesh("laptop", "phone")
        await laptop.facts.put({"x": 1}, id="r")
        await meet(laptop, phone)
        await part(laptop, phone)
        away = await row(laptop)
        assert (away["peer"], away["state"], away["proved"]) == ("away", "synced", False)
        assert not (await laptop.node.status())["reachable_all_synced"]

        await laptop.facts.put({"x": 2}, id="r")
        await laptop.facts.put({"x": 3}, id="r")
        changed = await row(laptop)
        assert (changed["state"], changed["ahead"], changed["behind"]) == ("ahead", 2, 0)
        assert changed["bytes_left"] > 0


async def test_a_proof_is_remembered_over_a_restart_for_what_it_proved(tmp_path: Path) -> None:
    """The first thing seen after a start must be neither a false promise nor a false alarm."""
    async with nodes(tmp_path) as opened:
        laptop, phone = await opened.mesh("laptop", "phone")
        await laptop.facts.put({"x": 1}, id="r")
        await meet(laptop, phone)
        await part(laptop, phone)
        await laptop.close()
        laptop = await opened.make("laptop")
        remembered = await row(laptop)
        assert (remembered["state"], remembered["peer"]) == ("synced", "away")
        assert remembered["proved_at"] is not None

        await laptop.facts.put({"x": 2}, id="r")
        assert (await row(laptop))["state"] == "unknown"
        await laptop.close()
        laptop = await opened.make("laptop")
        assert (await row(laptop))["state"] == "unknown"


async def test_a_database_made_since_the_proof_is_not_said_to_be_proved() -> None:
    """The time of an older proof beside it would say what nobody ever showed."""
    async with World() as world:
        laptop = await world.founder("laptop")
        phone = await world.member(laptop, "phone")
        await laptop.collection().put({"x": 1}, id="r")
        root = laptop.engine.ledger.holdings.root(Sharing.of((1, 2, 3)))
        await laptop.gate.write(lambda c: peer_rows.proved_peer(c, phone.id, 1_000, root))
        (peer,) = (await laptop.node.status())["peers"]
        assert peer["databases"][0]["state"] == "synced"
        await laptop.collection("facts", "later").put({"x": 1}, id="r")
        (peer,) = (await laptop.node.status())["peers"]

        later = next(d for d in peer["databases"] if d["name"] == "later")
        assert (later["state"], later["proved_at"]) == ("unknown", None)


async def test_a_database_that_a_peer_may_not_have_is_not_shared(tmp_path: Path) -> None:
    """*Synced* beside it would look as if the guest had it."""
    async with nodes(tmp_path) as opened:
        laptop, guest = [await (await opened.make(n)).online() for n in ("laptop", "guest")]
        await laptop.facts.put({"x": 1}, id="r")
        await laptop.facts.put({"x": 1}, id="d", privacy="device")
        await admit(laptop, guest, "guest")
        assert (await row(laptop))["state"] == "not-shared"
        laptop.engine.add_address("127.0.0.1", guest.engine.port or 0, guest.keys.sig_pk)
        await until(lambda: laptop.engine.standing_with(guest.keys.sig_pk).proved)
        for device in (laptop, guest):
            found = await row(device)
            assert (found["state"], found["proved_at"]) == ("not-shared", None)

        await laptop.node.database("open").collection("c").put({"x": 1}, id="r", privacy="public")
        await until(lambda: laptop.engine.standing_with(guest.keys.sig_pk).proved)
        assert (await row(laptop, "open"))["state"] == "synced"


async def test_all_that_was_written_on_both_sides_while_apart_is_proved_after(
    tmp_path: Path,
) -> None:
    """The end of every separation."""
    async with nodes(tmp_path) as opened:
        laptop, phone = await opened.mesh("laptop", "phone")
        await laptop.facts.put({"x": 1}, id="r")
        await phone.facts.put({"y": 1}, id="r")
        await meet(laptop, phone)
        await laptop.facts.put({"z": 1}, id="r")
        await in_sync(laptop, phone)

        assert [(await row(d))["state"] for d in (laptop, phone)] == ["synced", "synced"]
        assert await laptop.records() == await phone.records()
