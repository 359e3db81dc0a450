"""Blobs on real nodes: put here, there by itself or when asked for, whole or not at all."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from covey.crypto.blob import CHUNK_BYTES
from covey.node.blob_care import BlobQuotaError
from covey.node.blob_demand import BlobUnreachableError
from covey.node.blobs import NoBlobError, PutBlob
from covey.node.holding import Hold
from covey.node.variants import Variant
from covey.storage import blob_rows
from covey.storage.blob_rows import Blob
from covey.sync.blob_messages import BlobAsk, BlobWant, encode_blob_message
from covey.sync.errors import BadValueError
from covey.sync.values import BlobRef

from .loopback import Device, Nodes, admit, meet, nodes, until

SMALL = b"a small content"
LARGE = bytes(range(256)) * 1024 * 3 + b"end"
"""Three full chunks and a short one."""


async def stream(content: bytes, piece: int = 100_000) -> AsyncIterator[bytes]:
    for start in range(0, len(content), piece):
        yield content[start : start + piece]


async def put(
    device: Device, content: bytes = LARGE, id: str = "cat", field: str = "photo", **options: Any
) -> PutBlob:
    place = ("memory", "facts", id, field)
    return await device.engine.blobs.put(place, stream(content), name="cat.png", **options)


async def row(device: Device, id: str = "cat", field: str = "photo", variant: str = "") -> Blob:
    found, _ = await device.engine.blobs.find("memory", "facts", id, field, variant)
    return found


async def read(device: Device, id: str = "cat", timeout_ms: int = 5_000) -> bytes:
    number = (await row(device, id)).blob_no
    return b"".join([part async for part in device.engine.blobs.read(number, timeout_ms)])


async def has(device: Device, id: str = "cat", chunks: int = 4) -> None:
    """Wait until all of a blob is on the disk of a device."""
    async with asyncio.timeout(20):
        while True:
            try:
                if (await row(device, id)).held == chunks:
                    return
            except NoBlobError:
                pass
            await asyncio.sleep(0)


def files_of(device: Device) -> list[Path]:
    return sorted(path for path in (device.home / "blobs").rglob("*") if path.is_file())


async def pair_of(opened: Nodes) -> tuple[Device, Device]:
    laptop, phone = await opened.mesh("laptop", "phone")
    await meet(laptop, phone)
    return laptop, phone


@pytest.mark.parametrize("content", [b"", SMALL, LARGE, LARGE[: CHUNK_BYTES * 2]])
async def test_a_content_is_read_as_it_was_put(tmp_path: Path, content: bytes) -> None:
    """Whatever its size: at the borders of chunks a byte is lost easily."""
    async with nodes(tmp_path) as opened:
        laptop = await opened.make("laptop")
        done = await put(laptop, content, media_type="image/png")

        assert await read(laptop) == content
        assert (done.ref.size, done.ref.media_type, done.ref.name) == (
            len(content),
            "image/png",
            "cat.png",
        )
        assert await laptop.facts.get("cat") == {"photo": done.ref}


async def test_a_blob_comes_to_the_other_device_by_itself(tmp_path: Path) -> None:
    """Who pairs a phone expects the pictures on it."""
    async with nodes(tmp_path) as opened:
        laptop, phone = await pair_of(opened)
        await put(laptop)
        await has(phone)

        assert await read(phone) == LARGE
        counted = laptop.engine.counters
        assert counted["blob.chunks_sent"] == 4


async def test_what_is_on_the_disk_is_not_the_content(tmp_path: Path) -> None:
    """A thief of the disk reads nothing, and no name either."""
    async with nodes(tmp_path) as opened:
        laptop = await opened.make("laptop")
        await put(laptop, b"canary-in-a-blob" * 5_000)
        stored = b"".join(path.read_bytes() for path in files_of(laptop))

        assert b"canary" not in stored
        assert len(stored) >= 80_000
        assert not any("cat" in path.name for path in files_of(laptop))


async def test_a_third_device_gets_a_blob_from_both(tmp_path: Path) -> None:
    """Two links are faster than one, and nothing comes twice."""
    async with nodes(tmp_path) as opened:
        laptop, phone = await pair_of(opened)
        await put(laptop, LARGE * 4)
        await has(phone, chunks=13)
        desktop = await (await opened.make("desktop")).online()
        await admit(laptop, desktop)
        sent = [device.engine.counters["blob.chunks_sent"] for device in (laptop, phone)]
        desktop.engine.add_address("127.0.0.1", phone.engine.port or 0, phone.keys.sig_pk)
        desktop.engine.add_address("127.0.0.1", laptop.engine.port or 0, laptop.keys.sig_pk)
        await has(desktop, chunks=13)

        after = [device.engine.counters["blob.chunks_sent"] for device in (laptop, phone)]
        assert sum(after) - sum(sent) == 13


async def test_a_blob_goes_by_way_of_a_device_that_both_know(tmp_path: Path) -> None:
    """The phone that took the picture is often away when the desktop comes on."""
    async with nodes(tmp_path) as opened:
        laptop, phone, desktop = await opened.mesh("laptop", "phone", "desktop")
        await meet(laptop, phone)
        await meet(phone, desktop)
        await put(laptop)
        await has(desktop)

        assert await read(desktop) == LARGE


async def test_a_device_that_may_not_have_the_record_does_not_get_the_blob(
    tmp_path: Path,
) -> None:
    """A guest that learned an id must not get what it names."""
    async with nodes(tmp_path) as opened:
        laptop = await (await opened.make("laptop")).online()
        guest = await (await opened.make("guest")).online()
        await admit(laptop, guest, "guest")
        await meet(laptop, guest)
        done = await put(laptop)
        await put(laptop, SMALL, "open", privacy="public")
        await has(guest, "open", chunks=1)
        scope = laptop.engine.ledger.scope_named("memory", 1)
        public = laptop.engine.ledger.scope_named("memory", 3)
        assert scope is not None and public is not None
        (link,) = guest.engine.switchboard.links.values()
        sent = laptop.engine.counters["blob.chunks_sent"]
        for tag in (scope.tag, public.tag):
            link.say(encode_blob_message(BlobAsk(tag, (done.ref.id,))))
            link.say(encode_blob_message(BlobWant(done.ref.id, (0, 1))))
        await put(laptop, b"later", "later", privacy="public")
        await has(guest, "later", chunks=1)

        assert laptop.engine.counters["blob.chunks_sent"] == sent + 1
        assert link.closed_for is None


async def shared_in_two_databases(opened: Nodes) -> tuple[Device, Device, BlobRef]:
    """A laptop and a phone that both hold a blob, to which records of two databases refer."""
    laptop, phone = await opened.mesh("laptop", "phone")
    done = await put(laptop)
    await laptop.node.database("album").collection("facts").put({"photo": done.ref}, id="cat")
    await meet(laptop, phone)
    await until(lambda: len(phone.engine.ledger.databases()) == 2)
    await has(phone)
    return laptop, phone, done.ref


@pytest.mark.parametrize("away", ["first", "second"])
async def test_a_blob_of_two_scopes_is_given_in_whichever_may_be_had(
    tmp_path: Path, away: str
) -> None:
    """A picture in an album that waits for a better network is in a message as well."""
    async with nodes(tmp_path) as opened:
        laptop, phone, _ = await shared_in_two_databases(opened)
        ledger = laptop.engine.ledger
        tags = sorted(scope.tag for scope in ledger.scopes() if scope.database and scope.privacy)
        scope = ledger.scope(tags[away == "second"])
        assert scope is not None and len(tags) == 2
        laptop.engine.scheduling.held[scope.database] = Hold("unmetered", "it costs", "wifi")
        await phone.engine.blobs.care._delete(await row(phone), evicted=False)
        phone.engine.blobs.fetching.start_over()

        await has(phone)


async def test_who_was_asked_in_two_scopes_tells_when_it_may_be_had_in_the_first(
    tmp_path: Path,
) -> None:
    """Whoever asked in every scope asks no more, and waits to be told."""
    async with nodes(tmp_path) as opened:
        laptop, phone, ref = await shared_in_two_databases(opened)
        held = laptop.engine.scheduling.held
        held |= dict.fromkeys(("album", "memory"), Hold("unmetered", "it costs", "wifi"))
        await phone.engine.blobs.care._delete(await row(phone), evicted=False)
        phone.engine.blobs.fetching.start_over()
        (peer,) = laptop.engine.blobs.serving._peers.values()
        await until(lambda: len(peer.asked.get(ref.id, ())) == 2)
        first = laptop.engine.ledger.scope(peer.asked[ref.id][-1])
        assert first is not None
        del held[first.database]
        laptop.engine.blobs.held_changed()

        await has(phone)


async def test_only_what_the_policy_says_comes_by_itself(tmp_path: Path) -> None:
    """A phone has no room for every film; a small picture of each tells which to ask for."""
    async with nodes(tmp_path) as opened:
        laptop, phone = await opened.mesh("laptop", "phone")
        laptop.engine.blobs.variants.register(
            "thumbnail", lambda content, kind: Variant(content.read(10), "image/jpeg")
        )
        details = {"device": phone.keys.sig_pk, "database": "", "set": {"blobs": "thumbnail"}}
        await laptop.engine.mesh.write([("policy", details)])
        await meet(laptop, phone)
        await put(laptop)
        await has(phone, chunks=0)
        async with asyncio.timeout(10):
            while (await row(phone, variant="thumbnail")).held == 0:
                await asyncio.sleep(0)

        assert (await row(phone)).held == 0
        assert await read(phone) == LARGE


async def test_a_blob_that_is_asked_for_is_fetched_now(tmp_path: Path) -> None:
    """And whoever asks is told who gave it."""
    async with nodes(tmp_path) as opened:
        laptop, phone = await opened.mesh("laptop", "phone")
        await put(laptop)
        phone.engine.blobs.fetching.looking._comes = lambda *_: False  # type: ignore[method-assign]
        await meet(laptop, phone)
        assert (await row(phone)).held == 0

        assert await read(phone) == LARGE
        gave = phone.engine.blobs.fetching.gave[(await row(phone)).blob_no]
        assert gave == {laptop.keys.sig_pk: 4}


async def test_a_blob_that_nobody_has_is_said_to_be_nowhere(tmp_path: Path) -> None:
    """With the names of those who were asked: so a person knows which device to fetch."""
    async with nodes(tmp_path) as opened:
        laptop, phone, desktop = await opened.mesh("laptop", "phone", "desktop")
        await put(laptop)
        phone.engine.blobs.fetching.looking._comes = lambda *_: False  # type: ignore[method-assign]
        await meet(laptop, phone)
        await laptop.close()
        await meet(phone, desktop)

        with pytest.raises(BlobUnreachableError, match="does not have them, or may not give them"):
            await read(desktop, timeout_ms=60_000)


async def test_a_device_alone_is_told_that_nobody_is_there(tmp_path: Path) -> None:
    """At once, and not after half a minute."""
    async with nodes(tmp_path) as opened:
        laptop = await opened.make("laptop")
        await put(laptop)
        for path in files_of(laptop):
            path.unlink()

        with pytest.raises(BlobUnreachableError, match="no other device can be reached"):
            await read(laptop, timeout_ms=60_000)


async def test_a_chunk_that_rots_is_fetched_again(tmp_path: Path) -> None:
    """Others have it whole; the person need not know."""
    async with nodes(tmp_path) as opened:
        laptop, phone = await pair_of(opened)
        await put(laptop)
        await has(phone)
        rotten = files_of(phone)[0]
        rotten.write_bytes(rotten.read_bytes()[:-1] + b"x")

        assert await read(phone) == LARGE
        assert await read(laptop) == LARGE


async def test_a_blob_is_deleted_when_no_record_refers_to_it(tmp_path: Path) -> None:
    """After a while: a record that is edited back needs it again."""
    async with nodes(tmp_path) as opened:
        laptop = await opened.make("laptop")
        await put(laptop)
        await laptop.facts.delete("cat")
        assert await laptop.engine.blobs.care.collect() == 0
        assert len(files_of(laptop)) == 4
        laptop.engine.blobs.care.grace_ms = -1

        assert await laptop.engine.blobs.care.collect() == 1
        assert files_of(laptop) == []


async def test_nothing_is_collected_between_the_last_chunk_and_the_record(tmp_path: Path) -> None:
    """The race that lost blobs elsewhere: collection sees a blob that no record refers to yet."""
    async with nodes(tmp_path) as opened:
        laptop = await opened.make("laptop")
        laptop.engine.blobs.care.grace_ms = -1
        write = laptop.engine.writer.write

        async def collect_first(database: str, requests: Any) -> Any:
            assert await laptop.engine.blobs.care.collect() == 0
            return await write(database, requests)

        laptop.engine.writer.write = collect_first  # type: ignore[method-assign]
        await put(laptop)

        assert await read(laptop) == LARGE


async def test_nothing_is_collected_while_it_is_fetched(tmp_path: Path) -> None:
    """The record may be deleted while its picture is on the way."""
    async with nodes(tmp_path) as opened:
        laptop, phone = await pair_of(opened)
        phone.engine.blobs.care.grace_ms = -1
        await put(laptop, LARGE * 4)
        await until(lambda: phone.engine.blobs.held())
        held = phone.engine.blobs.held()
        await phone.facts.delete("cat")
        await phone.engine.blobs.care.collect()

        found = [
            await phone.engine.database.read(lambda conn, n=number: blob_rows.get(conn, n))  # type: ignore[misc]
            for number in held
        ]
        assert held and None not in found


async def test_a_put_that_fails_leaves_nothing(tmp_path: Path) -> None:
    """The reader of a file may break; a half picture is no use to anybody."""

    async def breaks() -> AsyncIterator[bytes]:
        yield LARGE
        raise OSError("the disk with the file was pulled out")

    async with nodes(tmp_path) as opened:
        laptop = await opened.make("laptop")
        with pytest.raises(OSError, match="pulled out"):
            await laptop.engine.blobs.put(("memory", "facts", "cat", "photo"), breaks())
        async with asyncio.timeout(10):
            while files_of(laptop):
                await asyncio.sleep(0)

        assert await laptop.facts.get("cat") is None


async def test_what_a_crash_left_of_a_put_is_taken_away(tmp_path: Path) -> None:
    """Else each crash would cost as much as was put."""
    async with nodes(tmp_path) as opened:
        laptop = await opened.make("laptop")
        blobs = laptop.engine.blobs
        made: list[int] = []
        number, place = await blobs._begin(made)
        assert made == [number]
        for index in range(3):
            blobs.files.write(place, index, b"sealed")
        await put(laptop, SMALL, "other")
        await laptop.close()
        laptop = await opened.make("laptop")

        assert len(files_of(laptop)) == 1
        assert await read(laptop, "other") == SMALL


async def test_a_home_that_was_put_back_does_not_claim_chunks_that_are_not_there(
    tmp_path: Path,
) -> None:
    """A backup has the store and no chunks: they are fetched again."""
    async with nodes(tmp_path) as opened:
        laptop, phone = await pair_of(opened)
        await put(laptop)
        await has(phone)
        await laptop.close()
        for path in files_of(laptop):
            path.unlink()
        laptop = await opened.make("laptop")
        laptop.engine.blobs.has_moved = True
        await laptop.engine.blobs.start()
        assert (await row(laptop)).held == 0
        await laptop.online()
        await meet(laptop, phone)
        await has(laptop)

        assert await read(laptop) == LARGE


async def test_a_person_may_copy_a_blob_and_not_make_one_up(tmp_path: Path) -> None:
    """What `get` shows can be put elsewhere; an id that somebody overheard cannot."""
    async with nodes(tmp_path) as opened:
        laptop = await opened.make("laptop")
        done = await put(laptop)
        shown = await laptop.facts.get("cat")
        assert shown is not None and shown["photo"].manifest == b""
        await laptop.facts.put({"cover": [shown["photo"]]}, id="album")

        found, place = await laptop.engine.blobs.find("memory", "facts", "album", "cover[0]")
        assert found.id == done.ref.id and place.name == "cat.png"
        with pytest.raises(BadValueError, match="no record here refers to such a blob"):
            await laptop.facts.put({"cover": BlobRef(b"x" * 32, 5)}, id="album")


async def test_what_a_person_may_still_decide_for_is_not_deleted(tmp_path: Path) -> None:
    """Two devices put a picture into one field: the one that does not show can be taken later."""
    async with nodes(tmp_path) as opened:
        laptop, phone = await opened.mesh("laptop", "phone")
        first = await put(laptop, b"from the laptop")
        second = await put(phone, b"from the phone")
        await meet(phone, laptop)
        async with asyncio.timeout(20):
            while laptop.engine.counters["blob.whole"] + phone.engine.counters["blob.whole"] < 2:
                await asyncio.sleep(0)
        laptop.engine.blobs.care.grace_ms = -1
        await laptop.engine.blobs.care.collect()

        for done in (first, second):
            kept = await laptop.engine.database.read(
                lambda conn, id=done.ref.id: blob_rows.by_id(conn, id)  # type: ignore[misc]
            )
            assert kept is not None and kept.held == 1


async def test_a_put_of_the_same_reference_writes_nothing(tmp_path: Path) -> None:
    """An export that is imported again must add nothing."""
    async with nodes(tmp_path) as opened:
        laptop = await opened.make("laptop")
        await put(laptop)
        shown = await laptop.facts.get("cat")
        assert shown is not None

        assert not (await laptop.facts.put(shown, id="cat")).changed


async def test_the_key_shows_in_no_answer(tmp_path: Path) -> None:
    """Answers are logged by scripts and pasted into chats."""
    async with nodes(tmp_path) as opened:
        laptop = await opened.make("laptop")
        done = await put(laptop)
        key = done.ref.manifest[4:36]
        shown = [repr(done), repr(await laptop.facts.get("cat")), str(await row(laptop))]

        assert all(key.hex() not in text and repr(key)[2:-1] not in text for text in shown)


async def test_a_put_beyond_the_quota_is_refused(tmp_path: Path) -> None:
    """The only copy is never put away for another one."""
    async with nodes(tmp_path) as opened:
        laptop = await opened.make("laptop")
        await put(laptop)
        await laptop.engine.blobs.care.set_quota(len(LARGE) + 100)

        with pytest.raises(BlobQuotaError, match="covey blob quota"):
            await put(laptop, LARGE, "second")
        assert await read(laptop) == LARGE


async def test_what_another_device_holds_makes_room(tmp_path: Path) -> None:
    """A phone keeps what fits; the laptop keeps everything."""
    async with nodes(tmp_path) as opened:
        laptop, phone = await pair_of(opened)
        await put(laptop)
        await has(phone)
        await phone.engine.notes.flush()
        await phone.engine.blobs.care.set_quota(len(LARGE))
        assert (await row(phone)).held == 4
        await put(phone, LARGE, "second")

        assert (await row(phone)).held == 0
        assert await read(phone, "second") == LARGE
        await has(laptop, "second")
        await phone.engine.blobs.care.set_quota(0)
        assert await read(phone) == LARGE


async def test_two_devices_do_not_rely_on_each_other_in_a_circle(tmp_path: Path) -> None:
    """Both believe that the other has it: if both put it away, it is lost."""
    async with nodes(tmp_path) as opened:
        laptop, phone = await pair_of(opened)
        await put(laptop)
        await has(phone)
        for device in (laptop, phone):
            await device.engine.notes.flush()
        async with asyncio.timeout(10):
            while not await laptop.engine.database.read(blob_rows.evictable):
                await laptop.engine.notes.flush()
                await asyncio.sleep(0)
        for device in (laptop, phone):
            await device.engine.blobs.care.set_quota(1)

        assert sorted([(await row(laptop)).held, (await row(phone)).held]) == [0, 4]


async def test_a_variant_comes_with_its_blob(tmp_path: Path) -> None:
    """A list of pictures shows small ones."""
    async with nodes(tmp_path) as opened:
        laptop = await opened.make("laptop")
        laptop.engine.blobs.variants.register(
            "thumbnail", lambda content, kind: Variant(content.read(10), "image/jpeg")
        )
        await put(laptop, media_type="image/png")
        small = await row(laptop, variant="thumbnail")
        parts = [part async for part in laptop.engine.blobs.read(small.blob_no, 1_000)]

        assert b"".join(parts) == LARGE[:10]


async def test_a_callback_that_fails_costs_its_variant_alone(tmp_path: Path) -> None:
    """A picture that no library can read is a file that somebody wants to keep."""

    def fails(content: Any, kind: str) -> Variant | None:
        raise ValueError("what the picture shows")

    async with nodes(tmp_path) as opened:
        laptop = await opened.make("laptop")
        laptop.engine.blobs.variants.register("thumbnail", fails)
        done = await put(laptop)

        assert done.ref.variants == ()
        assert laptop.engine.blobs.variants.failures == {"thumbnail": "ValueError"}
        assert await read(laptop) == LARGE
