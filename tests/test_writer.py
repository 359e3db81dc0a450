"""Writer: transactions are whole or not at all, and what is refused is refused clearly."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from covey.node import shelf
from covey.node.mesh_view import NotEntitledError
from covey.node.record_requests import ID_ALPHABET, Delete, PrivacyFixedError, Put
from covey.node.writer import CHANGES_PER_TRANSACTION_MAX
from covey.storage.errors import StoreFullError
from covey.sync.errors import BadValueError
from covey.sync.sharing import Sharing

from .fake_clock import settle
from .memory_world import Device, World, admit, carry, meet

FULL = StoreFullError(Path("memory"))


def entries(device: Device) -> int:
    """Entries this device has written to data scopes."""
    return sum(log.head_seq for log in device.engine.ledger.logs() if log.scope.database)


async def test_a_transaction_with_an_error_in_the_middle_writes_nothing() -> None:
    """Half a transfer of money is worse than none."""
    async with World() as world:
        device = await world.founder("laptop")
        await device.collection().put({"x": 1}, id="before")
        count = entries(device)

        with pytest.raises(BadValueError):
            async with device.node.database("memory").transaction() as tx:
                tx.put("facts", {"x": 1}, "a")
                tx.put("facts", {"x": float("nan")}, "b")
                tx.put("facts", {"x": 1}, "c")
        with pytest.raises(ZeroDivisionError):
            async with device.node.database("memory").transaction() as tx:
                tx.put("facts", {"x": 1}, "a")
                raise ZeroDivisionError
        assert entries(device) == count
        assert set(await device.values()) == {"memory/facts/before"}


async def test_a_transaction_too_large_at_one_level_writes_nothing_at_another() -> None:
    """It is one transaction to the person, though it takes an entry in each scope."""
    async with World() as world:
        device = await world.founder("laptop")
        await device.collection().put({"x": 1}, id="p")
        await device.collection().put({"x": 1}, id="f", privacy="family")
        big = {"text": "x" * 600_000}

        with pytest.raises(BadValueError):
            async with device.node.database("memory").transaction() as tx:
                tx.put("facts", {"x": 2}, "p")
                tx.put("facts", big, "f1", privacy="family")
                tx.put("facts", big, "f2", privacy="family")
        await settle()
        assert await device.collection().get("p") == {"x": 1}
        await device.collection().put({"y": 1}, id="p")
        assert await device.collection().get("p") == {"x": 1, "y": 1}


async def test_one_record_many_times_in_one_transaction_is_one_story_everywhere() -> None:
    """The steps share one entry and one past; a peer must come to the same end."""
    async with World() as world:
        laptop = await world.founder("laptop")
        phone = await world.member(laptop, "phone")
        async with laptop.node.database("memory").transaction() as tx:
            tx.put("facts", {"x": 1}, "r")
            tx.put("facts", {"y": 1}, "r")
            tx.delete("facts", "r")
            tx.put("facts", {"z": 1}, "r")
            tx.put("facts", {"z": 1}, "gone")
            tx.delete("facts", "gone")
        laptop = await world.restart(laptop)
        await laptop.collection().put({"k": 1}, id="r")
        await laptop.collection().put({"k": 1}, id="gone")
        await carry(laptop, phone)

        assert [written.changed for written in tx.results] == [True] * 6
        assert await laptop.values() == await phone.values()
        assert await phone.values() == {
            "memory/facts/r": {"z": 1, "k": 1},
            "memory/facts/gone": {"k": 1},
        }


async def test_a_put_that_changes_nothing_writes_nothing() -> None:
    """An import run twice must not double the log."""
    async with World() as world:
        device = await world.founder("laptop")
        first = await device.collection().put({"x": 1, "y": [1, 2]}, id="r")
        count = entries(device)
        same = await device.collection().put({"y": [1, 2]}, id="r")
        whole = await device.collection().put({"x": 1, "y": [1, 2]}, id="r", replace=True)

        assert (first.changed, same.changed, whole.changed) == (True, False, False)
        assert first.version == same.version == whole.version
        assert entries(device) == count


async def test_a_value_changed_by_its_owner_after_a_put_is_written_by_the_next() -> None:
    """Programs keep their dictionary and put it again; what is held must be a copy."""
    async with World() as world:
        device = await world.founder("laptop")
        value = {"tags": ["a"]}
        await device.collection().put(value, id="r")
        value["tags"].append("b")

        assert (await device.collection().put(value, id="r")).changed
        assert await device.collection().get("r") == {"tags": ["a", "b"]}


async def test_replace_drops_the_fields_that_are_not_named() -> None:
    """Without it a field could never be removed."""
    async with World() as world:
        device = await world.founder("laptop")
        await device.collection().put({"x": 1, "y": 1}, id="r")
        await device.collection().put({"y": 2, "z": 2}, id="r", replace=True)

        assert await device.collection().get("r") == {"y": 2, "z": 2}


async def test_a_deleted_record_is_gone_and_may_be_written_again_without_its_old_fields() -> None:
    """Old content that comes back with a new record is a leak."""
    async with World() as world:
        laptop = await world.founder("laptop")
        phone = await world.member(laptop, "phone")
        await laptop.collection().put({"secret": 1}, id="r")

        assert await laptop.collection().delete("r")
        assert not await laptop.collection().delete("r")
        assert not await laptop.collection().delete("never")
        assert await laptop.collection().get("r") is None
        await carry(laptop, phone)
        assert await phone.values() == {}
        await laptop.collection().put({"new": 1}, id="r")
        await carry(laptop, phone)
        assert await phone.values() == await laptop.values() == {"memory/facts/r": {"new": 1}}


async def test_privacy_is_fixed_while_a_record_lives_and_free_after() -> None:
    """A record that moved would leave copies under the old keys; the message names the cure."""
    async with World() as world:
        device = await world.founder("laptop")
        await device.collection().put({"x": 1}, id="r")

        with pytest.raises(
            PrivacyFixedError, match=r"born private .*`covey move memory facts r --privacy family`"
        ):
            await device.collection().put({"x": 2}, id="r", privacy="family")
        await device.collection().delete("r")
        await device.collection().put({"x": 3}, id="r", privacy="family")
        await device.collection().put({"y": 3}, id="r")
        found = await device.engine.reader.get("memory", "facts", "r")
        assert found is not None and (found.value, found.privacy) == ({"x": 3, "y": 3}, 2)


async def test_a_transaction_may_delete_a_record_and_write_it_at_another_level() -> None:
    """The cure that the message names, in one step."""
    async with World() as world:
        device = await world.founder("laptop")
        await device.collection().put({"x": 1}, id="r")
        async with device.node.database("memory").transaction() as tx:
            tx.delete("facts", "r")
            tx.put("facts", {"x": 2}, "r", privacy="public")
        found = await device.engine.reader.get("memory", "facts", "r")

        assert found is not None and (found.value, found.privacy) == ({"x": 2}, 3)


async def test_a_record_born_at_two_levels_can_be_deleted_at_both() -> None:
    """Two devices may choose one id at once; what can be read must be what can be deleted."""
    async with World() as world:
        laptop = await world.founder("laptop")
        phone = await world.member(laptop, "phone")
        await laptop.collection().put({"p": 1}, id="r")
        await phone.collection().put({"f": 1}, id="r", privacy="family")
        await meet(laptop, phone)

        assert await laptop.collection().get("r") == {"p": 1}
        assert await laptop.collection().delete("r")
        assert await laptop.collection().get("r") == {"f": 1}
        await laptop.collection().put({"g": 1}, id="r")
        assert await laptop.collection().get("r") == {"f": 1, "g": 1}
        assert await laptop.collection().delete("r")
        assert await laptop.collection().get("r") is None


async def test_concurrent_puts_of_one_record_all_count() -> None:
    """Each must build on the one before it, though none is durable yet."""
    async with World() as world:
        laptop = await world.founder("laptop")
        phone = await world.member(laptop, "phone")
        await laptop.collection().put({"start": 0}, id="r")
        laptop = await world.restart(laptop)
        await asyncio.gather(
            *(laptop.collection().put({f"f{n}": n}, id="r") for n in range(30)),
            *(laptop.collection().put({f"g{n}": n}, id="new") for n in range(30)),
        )
        await carry(laptop, phone)

        expected = {"start": 0, **{f"f{n}": n for n in range(30)}}
        assert await laptop.collection().get("r") == expected
        assert await phone.values() == await laptop.values()


async def test_a_write_that_waits_while_another_fails_builds_on_what_is_durable() -> None:
    """The other's state is gone; taking the record for a new one would lose it on every device."""
    async with World() as world:
        laptop = await world.founder("laptop")
        phone = await world.member(laptop, "phone")
        await laptop.collection().put({"x": 1}, id="r")
        await laptop.collection().put({"y": 1}, id="s")
        laptop = await world.restart(laptop)
        await laptop.collection().put({"x": 2}, id="r")
        laptop.gate.hold_writes = True
        failing = asyncio.ensure_future(laptop.collection().put({"x": 3}, id="r"))
        await settle()
        laptop.gate.hold_reads = True
        both = laptop.collection().put_many([("r", {"k": 1}), ("s", {"k": 1})])
        waiting = asyncio.ensure_future(both)
        await settle()
        laptop.gate.fail = FULL
        laptop.gate.release(1)
        await settle()
        laptop.gate.fail = None
        laptop.gate.hold_reads = laptop.gate.hold_writes = False
        laptop.gate.release()

        with pytest.raises(StoreFullError):
            await failing
        await waiting
        assert await laptop.collection().get("r") == {"x": 2, "k": 1}
        await carry(laptop, phone)
        assert await phone.values() == await laptop.values()


async def test_a_slow_read_does_not_bring_back_a_state_that_was_replaced_meanwhile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two changes with one number in one record: every other device refuses the second."""
    monkeypatch.setattr(shelf, "RECORDS_KEPT_MAX", 0)
    async with World() as world:
        laptop = await world.founder("laptop")
        phone = await world.member(laptop, "phone")
        await laptop.collection().put({"start": 1}, id="r")
        laptop = await world.restart(laptop)
        laptop.gate.hold_reads = True
        slow = asyncio.ensure_future(laptop.collection().put({"slow": 1}, id="r"))
        await settle()
        quick = asyncio.ensure_future(laptop.collection().put({"quick": 1}, id="r"))
        await settle()
        laptop.gate.held.pop().set()
        await quick
        await settle()
        laptop.gate.hold_reads = False
        laptop.gate.release()
        await slow
        await carry(laptop, phone)

        assert await laptop.collection().get("r") == {"start": 1, "slow": 1, "quick": 1}
        assert await phone.values() == await laptop.values()


async def test_a_write_beside_a_membership_change_that_fails_is_accepted_by_peers() -> None:
    """An entry that names membership heads which never became durable is refused for ever."""
    async with World() as world:
        laptop = await world.founder("laptop")
        phone = await world.member(laptop, "phone")
        await laptop.collection().put({"x": 1}, id="r")
        laptop = await world.restart(laptop)
        laptop.gate.hold_writes = True
        renaming = asyncio.ensure_future(laptop.engine.trust.rename(laptop.id, "new name"))
        await settle()
        laptop.gate.hold_reads = True
        writing = asyncio.ensure_future(laptop.collection().put({"x": 2}, id="r"))
        await settle()
        laptop.gate.fail = FULL
        laptop.gate.release(1)
        await settle()
        laptop.gate.fail = None
        laptop.gate.hold_reads = laptop.gate.hold_writes = False
        laptop.gate.release()

        with pytest.raises(StoreFullError):
            await renaming
        await writing
        assert laptop.engine.our_device().name == "laptop"
        await carry(laptop, phone)
        assert await phone.values() == {"memory/facts/r": {"x": 2}}


BAD: dict[str, dict[str, Any]] = {
    "id is empty": {"id": ""},
    "id is no text": {"id": 5},
    "id is half a surrogate pair": {"id": "\ud800"},
    "id does not print": {"id": "a\nb"},
    "id is too long": {"id": "é" * 129},
    "value is no map": {"value": 5},
    "value is nothing": {"value": None},
    "value has a reserved name": {"value": {"$x": 1}},
    "value has a name that is no text": {"value": {1: 2}},
    "value is no number": {"value": {"x": float("nan")}},
    "value is too large a number": {"value": {"x": 2**63}},
    "value is of a foreign type": {"value": {"x": object()}},
    "privacy is unknown": {"privacy": "secret"},
}


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
async def test_what_cannot_be_stored_is_refused_with_one_line_and_leaves_no_trace(
    bad: dict[str, Any],
) -> None:
    """The person reads the rule, not a trace from inside."""
    async with World() as world:
        device = await world.founder("laptop")

        with pytest.raises(BadValueError) as refused:
            await device.collection().put(**{"value": {"x": 1}, "id": "r", **bad})
        assert "\n" not in str(refused.value)
        assert await device.values() == {}


@pytest.mark.parametrize(("database", "collection"), [("", "c"), ("d" * 65, "c"), ("d", "c" * 65)])
async def test_names_out_of_bounds_are_refused(database: str, collection: str) -> None:
    """A name that a peer refuses must not get into the log."""
    async with World() as world:
        device = await world.founder("laptop")

        with pytest.raises(BadValueError, match="allowed"):
            await device.collection(collection, database).put({"x": 1}, id="r")


async def test_five_thousand_writes_fit_a_transaction_and_one_more_does_not() -> None:
    """The bound keeps one entry within what a peer takes."""
    async with World() as world:
        device = await world.founder("laptop")
        puts = [Put("facts", f"r{n}", {"n": n}, None, False) for n in range(5001)]

        with pytest.raises(BadValueError, match="split it"):
            await device.engine.writer.write("memory", puts)
        await device.engine.writer.write("memory", puts[:CHANGES_PER_TRANSACTION_MAX])
        assert await device.engine.reader.count() == {"memory": 5000}
        assert entries(device) == 1


async def test_ids_sort_by_time_and_do_not_repeat() -> None:
    """Lists in order of id are lists in order of birth."""
    async with World() as world:
        device = await world.founder("laptop")
        ids = []
        for _ in range(50):
            ids.append(device.engine.writer.new_id())
            world.clock.now_ms += 1
        at_once = {device.engine.writer.new_id() for _ in range(1000)}

        assert ids == sorted(set(ids)) and len(at_once) == 1000
        assert all(len(id) == 20 and set(id) <= set(ID_ALPHABET) for id in ids)


async def test_a_record_in_the_device_scope_never_leaves() -> None:
    """That is all it promises."""
    async with World() as world:
        laptop = await world.founder("laptop")
        phone = await world.member(laptop, "phone")
        await laptop.collection().put({"x": 1}, id="mine", privacy="device")
        holdings = laptop.engine.ledger.holdings
        everything = Sharing(frozenset((0, 1, 2, 3)))
        (scope,) = laptop.engine.ledger.scopes()

        assert holdings.scopes(everything) == () == holdings.database_rows(everything)
        assert not holdings.is_shared(scope.tag, everything)
        await meet(laptop, phone)
        assert phone.engine.ledger.scope(scope.tag) is None
        laptop = await world.restart(laptop)
        await laptop.collection().put({"y": 1}, id="mine")
        assert await laptop.values() == {"memory/facts/mine": {"x": 1, "y": 1}}


async def test_a_limited_device_writes_family_records_beside_private_ones() -> None:
    """The database has a level that is not for it; the others it must be able to use."""
    async with World() as world:
        laptop = await world.founder("laptop")
        await laptop.collection().put({"x": 1}, id="private")
        await laptop.collection().put({"x": 1}, id="shared", privacy="family")
        tablet = await world.member(laptop, "tablet", "limited")
        await carry(laptop, tablet)
        await tablet.collection().put({"y": 1}, id="shared")
        await tablet.collection().put({"z": 1}, id="own", privacy="family")
        await tablet.collection().delete("own")
        await tablet.collection().put({"z": 2}, id="own")

        with pytest.raises(NotEntitledError):
            await tablet.collection().put({"z": 1}, id="other")
        await carry(tablet, laptop)
        assert await laptop.collection().get("shared") == {"x": 1, "y": 1}
        assert await laptop.collection().get("own") == {"z": 2}


async def test_a_limited_device_keeps_what_it_wrote_before_it_joined() -> None:
    """What it may not share stays on it; it must not fail to open."""
    async with World() as world:
        laptop = await world.founder("laptop")
        await laptop.collection().put({"x": 1}, id="private")
        tablet = await world.founder("tablet")
        await tablet.collection().put({"mine": 1}, id="note")
        await tablet.collection("facts", "own").put({"mine": 2}, id="ours", privacy="family")
        await admit(laptop, tablet, "limited")
        tablet = await world.restart(tablet)
        await carry(tablet, laptop)

        assert await tablet.values() == {
            "memory/facts/note": {"mine": 1},
            "own/facts/ours": {"mine": 2},
        }
        assert await laptop.values() == {"memory/facts/private": {"x": 1}}


async def test_an_empty_transaction_writes_nothing() -> None:
    """A loop that found nothing to do is no error."""
    async with World() as world:
        device = await world.founder("laptop")

        assert await device.engine.writer.write("memory", []) == []
        (written,) = await device.engine.writer.write("memory", [Delete("facts", "r")])
        assert not written.changed
        assert not list(device.engine.ledger.scopes())
