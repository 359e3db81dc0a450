"""Everything about somebody: found, exported, erased everywhere, with evidence that is true."""

from pathlib import Path
from typing import Any

import pytest

import covey
from covey.node.data.past import ErasedError
from covey.node.data.personal import Personal, PersonalMethods, about_of, digest_of
from covey.node.parameters import UsageError
from covey.node.service import Service
from covey.storage.erasure_rows import (
    add_erasure,
    add_proof,
    count_blobs,
    end_erasure,
    erasures,
)
from covey.storage.store import Conn
from covey.storage.text_rows import add_texts, change_texts, flush_texts

from .loopback import meet, nodes
from .memory_world import Device, World
from .memory_world import meet as exchange
from .store_rows import memory_conn, new_store
from .test_sharing import say, settled

MARA = {"about": {"author": "mara"}, "via": ["reply_to", "message"]}


async def filled(world: World) -> Device:
    device = await world.founder("laptop")
    messages = device.collection("messages")
    await messages.put({"author": "mara", "text": "zebra"}, id="m1")
    await messages.put({"author": "assistant", "reply_to": "m1", "text": "yes"}, id="m2")
    await messages.put({"author": "tom", "text": "m1"}, id="m3")
    await messages.put({"author": ["tom", "mara"], "text": "both"}, id="m4")
    await device.collection("attachments").put({"message": "m2", "name": "a.txt"}, id="a1")
    await device.collection("attachments").put({"message": "m3", "name": "b.txt"}, id="a2")
    await device.collection("notes", "other").put({"author": "mara"}, id="elsewhere")
    return device


async def exported(device: Device, database: str | None, **params: Any) -> list[str]:
    service = Service(device.engine, lambda: None)
    stream = service.stream("export", {"database": database, **params})
    return [row["id"] async for row in stream]


async def test_what_refers_to_it_comes_along_by_the_ways_that_are_named() -> None:
    """The answer to a question quotes it, and an attachment is of its message."""
    async with World() as world:
        device = await filled(world)

        assert await exported(device, "memory", about={"author": "mara"}) == ["m1", "m4"]
        assert await exported(device, "memory", **MARA) == ["a1", "m1", "m2", "m4"]
        assert await exported(device, None, **MARA) == ["a1", "m1", "m2", "m4", "elsewhere"]
        assert await exported(device, "memory", about={"author": "nobody"}) == []
        assert len(await exported(device, "memory")) == 6


async def test_a_circle_of_references_ends() -> None:
    """Two messages may each reply to the other in a forgery."""
    async with World() as world:
        device = await world.founder("laptop")
        await device.collection().put({"who": 1, "to": "b"}, id="a")
        await device.collection().put({"to": "a"}, id="b")
        await device.collection().put({"who": True}, id="c")

        found = await exported(device, "memory", about={"who": 1}, via=["to"])
        assert found == ["a", "b"], "true is not 1"


async def test_erasing_deletes_all_of_it_on_every_device() -> None:
    """And what is about others stays."""
    async with World() as world:
        laptop = await filled(world)
        phone = await world.member(laptop, "phone")
        await exchange(laptop, phone)
        personal = Personal(laptop.engine)
        would = await personal.erase("memory", about_of(MARA), dry_run=True)
        assert (would["records"], len(await exported(phone, "memory"))) == (4, 6)
        done = await personal.erase("memory", about_of(MARA), dry_run=False)
        await exchange(laptop, phone)

        assert done["records"] == done["receipt"]["records"] == 4
        for device in (laptop, phone):
            assert await exported(device, "memory") == ["a2", "m3"]
            assert await device.collection("messages").find(text="zebra") == []
        assert await exported(laptop, "other") == ["elsewhere"]


async def test_a_record_that_is_at_several_levels_is_erased_at_each() -> None:
    """Devices made it apart. A deletion takes one of them, and the receipt said that all went."""
    async with World() as world:
        laptop = await world.founder("laptop")
        phone = await world.member(laptop, "phone")
        await laptop.collection().put({"who": "mara"}, id="r")
        await phone.collection().put({"who": "mara"}, id="r", privacy="family")
        await phone.collection().put({"who": "mara"}, id="s", privacy="family")
        await exchange(laptop, phone)
        assert len(await laptop.collection().find()) == 3
        about = about_of({"about": {"who": "mara"}})
        done = await Personal(laptop.engine).erase("memory", about, dry_run=False)
        await exchange(laptop, phone)

        assert (done["records"], done["refused"]) == (2, 0)
        names = [("facts", "r"), ("facts", "s")]
        assert done["receipt"]["digest"] == digest_of(names).hex()
        for device in (laptop, phone):
            assert await device.collection().find() == []
        with pytest.raises(ErasedError):
            await laptop.collection().history("r")


async def test_a_conversation_goes_with_its_messages() -> None:
    """One record is named, and the ways lead from it."""
    async with World() as world:
        device = await world.founder("laptop")
        await device.collection("conversations").put({"title": "tea"}, id="c")
        await device.collection("messages").put({"thread": "c"}, id="m")
        await device.collection("messages").put({"thread": "d"}, id="n")
        params = {"record": {"collection": "conversations", "id": "c"}, "via": ["thread"]}
        await PersonalMethods(device.engine).erase({"database": "memory", **params})

        assert await exported(device, "memory") == ["n"]


async def test_words_leave_the_index_of_full_text(tmp_path: Path) -> None:
    """A word alone can tell what somebody had. On the real library, whose index forgets later."""

    def fill(conn: Conn) -> bytes:
        add_texts(conn, [(n, f"{'zebra' if n == 7 else 'ant'}{n}") for n in range(1, 81)])
        flush_texts(conn)
        return words(conn)

    def words(conn: Conn) -> bytes:
        rows = conn.execute("SELECT block FROM record_text_data").fetchall()
        return b"".join(bytes(block) for (block,) in rows)

    def erase(conn: Conn) -> bytes:
        change_texts(conn, [(7, None)])
        flush_texts(conn)
        end_erasure(conn, add_erasure(conn, "memory", 1, 0), b"d" * 32)
        return words(conn)

    async with await new_store(tmp_path / "store.db") as database:
        before = await database.write(fill)
        after = await database.write(erase)

    assert b"zebra7" in before and b"ant" in after
    assert b"zebra" not in after


async def test_vectors_of_it_go_at_once() -> None:
    """They tell what it was about, and a command ends before anything looks in the background."""
    async with World() as world:
        device = await world.founder("laptop")
        people = device.collection("people")
        await people.vectors("embedding", model="m", version="1", dimension=2)
        await people.put(
            {"author": "mara", "embedding": covey.embedding("m", "1", [3.0, 4.0])}, id="mara"
        )
        await device.engine.vectors.settle()
        held = covey.embedding("m", "1", [3.0, 4.0])["m@1"].data
        await Personal(device.engine).erase("memory", about_of(MARA), dry_run=False)
        rows = await device.gate.read(
            lambda conn: conn.execute("SELECT vector FROM vectors").fetchall()
        )

        assert held and rows == []


async def test_a_receipt_holds_numbers_and_no_content() -> None:
    """It is kept after everything else is gone."""
    async with World() as world:
        device = await filled(world)
        await Personal(device.engine).erase("memory", about_of(MARA), dry_run=False)
        world.devices.remove(device)
        await device.engine.audit.flush()
        device = await world.restart(device)
        (receipt,) = (await PersonalMethods(device.engine).receipts({}))["erasures"]

        names = [("messages", id) for id in ("m1", "m2", "m4")] + [("attachments", "a1")]
        assert receipt["digest"] == digest_of(names).hex()
        assert (receipt["records"], receipt["devices"]) == (4, [])
        assert "history" in receipt["remains"]
        kept = device.gate.inner._conn.execute("SELECT * FROM erasures").fetchall()
        assert "mara" not in repr(kept) and "m1" not in repr(kept)


async def test_a_device_has_proved_it_when_its_digests_agree_afterwards(tmp_path: Path) -> None:
    """A receipt that says more than is known is worse than none."""
    async with nodes(tmp_path) as world:
        laptop, phone = await world.mesh("laptop", "phone")
        await laptop.facts.put({"who": "mara"}, id="a")
        personal = Personal(laptop.engine)
        about = about_of({"about": {"who": "mara"}})
        done = await personal.erase("memory", about, dry_run=False)
        (before,) = done["receipt"]["devices"]
        await meet(laptop, phone)
        (after,) = (await personal.receipts())[0]["devices"]
        await laptop.facts.put({"later": 1}, id="b")
        (then,) = (await personal.receipts())[0]["devices"]

        assert (before["name"], before["proved_at"]) == ("phone", None)
        assert after["proved_at"] is not None
        assert then["proved_at"] == after["proved_at"], "what was proved once stays so"


async def test_a_device_that_takes_nothing_of_ours_has_proved_nothing(tmp_path: Path) -> None:
    """It is in sync in all that it shares, and the deletion is not in that."""
    async with nodes(tmp_path) as world:
        laptop, phone = await world.mesh("laptop", "phone")
        await laptop.facts.put({"who": "mara"}, id="a")
        await meet(laptop, phone)
        await say(laptop, phone, "memory", direction="send")
        await settled(laptop, phone)
        personal = Personal(laptop.engine)
        await personal.erase("memory", about_of({"about": {"who": "mara"}}), dry_run=False)
        await settled(laptop, phone)

        (receipt,) = await personal.receipts()
        assert await phone.facts.get("a") == {"who": "mara"}
        assert [one["proved_at"] for one in receipt["devices"]] == [None]


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"about": {"a": 1}, "record": {"collection": "c", "id": "i"}},
        {"about": {"a": 1, "b": 2}},
        {"about": "a=1"},
        {"about": {"a": None}},
        {"about": {"a": [1]}},
        {"record": {"collection": "c"}},
        {"record": "c/i"},
        {"about": {"a": 1}, "via": "thread"},
        {"about": {"a": 1}, "via": [""]},
        {"about": {"a": 1}, "via": ["f"] * 17},
    ],
    ids=range(11),
)
def test_what_is_not_clear_is_refused(wrong: dict[str, Any]) -> None:
    """To erase more than was meant cannot be undone."""
    with pytest.raises(UsageError):
        about_of(wrong)


async def test_nothing_found_leaves_no_receipt() -> None:
    """A receipt for nothing would be shown to somebody as a proof."""
    async with World() as world:
        device = await filled(world)
        about = about_of({"about": {"author": "nobody"}})

        done = await Personal(device.engine).erase("memory", about, dry_run=False)
        assert (done["records"], done["receipt"]) == (0, None)
        assert await Personal(device.engine).receipts() == []


def test_rows_keep_the_first_proof_and_the_newest_erasure_first() -> None:
    """The time of a proof is evidence."""
    conn = memory_conn()
    first = add_erasure(conn, "memory", 5, 1)
    second = add_erasure(conn, "memory", 6, 0)
    add_proof(conn, first, b"p" * 32, 7)
    add_proof(conn, first, b"p" * 32, 9)

    found = erasures(conn, 10)
    assert [each.erasure_no for each in found] == [second, first]
    assert found[1].proofs == {b"p" * 32: 7} and found[0].proofs == {}
    assert count_blobs(conn, "memory", [("x", "'; DROP TABLE records; --")]) == 0


def test_a_digest_does_not_run_together() -> None:
    """Other names must not give the same evidence."""
    assert digest_of([("a", "bc")]) != digest_of([("ab", "c")])
    assert digest_of([("a", "b"), ("c", "d")]) == digest_of([("c", "d"), ("a", "b")])
