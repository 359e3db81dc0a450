"""Peers that lie about blobs: nothing wrong is kept, and nobody is kept from what others have."""

from collections.abc import Callable
from pathlib import Path

import pytest

from covey.node.blob_demand import BlobUnreachableError
from covey.node.links import Link
from covey.sync.blob_messages import (
    BlobAsk,
    BlobChunk,
    BlobHave,
    BlobMessage,
    BlobNone,
    BlobWant,
    encode_blob_message,
)
from covey.sync.messages import Reason

from .loopback import Device, admit, meet, nodes, until
from .test_blobs import LARGE, has, pair_of, put, read, row


def lie(device: Device, answer: Callable[[int], bytes | None]) -> None:
    """From now on a device gives these bytes in place of its chunks."""

    async def wrong(link: Link, id: bytes, index: int) -> bytes | None:
        return answer(index)

    device.engine.blobs.serving._read = wrong  # type: ignore[method-assign]


def link_of(device: Device) -> Link:
    (link,) = device.engine.switchboard.links.values()
    return link


@pytest.mark.parametrize(
    "answer",
    [
        lambda index: b"x" * 262_160,
        lambda index: b"x" * 16,
        lambda index: b"x" * 1_040,
    ],
    ids=["rubbish", "too short", "of another size"],
)
async def test_a_wrong_chunk_is_not_stored_and_comes_from_another(
    tmp_path: Path, answer: Callable[[int], bytes]
) -> None:
    """A member whose disk rots, or who wants to plant something, must get nowhere."""
    async with nodes(tmp_path) as opened:
        laptop, phone = await pair_of(opened)
        await put(laptop)
        await has(phone)
        desktop = await (await opened.make("desktop")).online()
        await admit(laptop, desktop)
        lie(laptop, answer)
        await meet(desktop, laptop)
        await until(lambda: desktop.engine.counters["blob.wrong_chunk"])
        assert not [path for path in (desktop.home / "blobs").rglob("*") if path.is_file()]
        await meet(desktop, phone)
        await has(desktop)

        assert await read(desktop) == LARGE


async def test_who_sends_wrong_chunks_of_one_blob_after_another_is_hung_up_on(
    tmp_path: Path,
) -> None:
    """Each costs a quarter of a MiB; a link that only wastes is no use."""
    async with nodes(tmp_path) as opened:
        laptop, phone = await pair_of(opened)
        lie(laptop, lambda index: b"x" * 1_040)
        link = link_of(phone)
        for name in ("one", "two", "three"):
            await put(laptop, b"small", name)
        await until(lambda: link.closed_for is not None)

        assert link.closed_for is Reason.BATCH_REFUSED


async def test_a_peer_that_takes_its_word_back_is_said_to_have_nothing(tmp_path: Path) -> None:
    """It evicted the blob between two messages; waiting for it would help nobody."""
    async with nodes(tmp_path) as opened:
        laptop, phone = await pair_of(opened)
        phone.engine.blobs.fetching.looking._comes = lambda *_: False  # type: ignore[method-assign]
        lie(laptop, lambda index: None)
        await put(laptop)
        await until(lambda: phone.engine.blobs.known)

        with pytest.raises(BlobUnreachableError, match="does not have them"):
            await read(phone, timeout_ms=60_000)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda id: [BlobHave(id, b"\x01" * 9)], Reason.MALFORMED),
        (lambda id: [BlobHave(id, b"\xff")], Reason.MALFORMED),
        (lambda id: [BlobChunk(id, 0, bytes(16))] * 65, Reason.TOO_MUCH),
    ],
    ids=["too many bits", "bits of chunks that there are not", "chunks that nobody wanted"],
)
async def test_what_no_honest_peer_says_ends_the_link(
    tmp_path: Path, make: Callable[[bytes], list[BlobMessage]], reason: Reason
) -> None:
    """The reason is told, so that a broken program is found."""
    async with nodes(tmp_path) as opened:
        laptop, phone = await pair_of(opened)
        lie(laptop, lambda index: None)
        done = await put(laptop)
        fetching = phone.engine.blobs.fetching
        # Kept in the middle of the transfer, whatever the peer has.
        fetching.park_if_hopeless = lambda active: None  # type: ignore[method-assign]
        await until(lambda: fetching.active(done.ref.id))
        link = link_of(phone)
        for message in make(done.ref.id):
            link_of(laptop).say(encode_blob_message(message))
        await until(lambda: link.closed_for is not None)

        assert link.closed_for is reason


async def test_more_wants_than_anybody_needs_end_the_link(tmp_path: Path) -> None:
    """Each is a read of the disk."""
    async with nodes(tmp_path) as opened:
        laptop, phone = await pair_of(opened)
        done = await put(laptop)
        await has(phone)
        scope = laptop.engine.ledger.scope_named("memory", 1)
        assert scope is not None
        held = link_of(laptop)
        laptop.engine.blobs.serving.has_chunks = lambda link: False  # type: ignore[method-assign]
        link = link_of(phone)
        link.say(encode_blob_message(BlobAsk(scope.tag, (done.ref.id,))))
        for _ in range(60):
            link.say(encode_blob_message(BlobWant(done.ref.id, (0, 1, 2, 3))))
        await until(lambda: held.closed_for is not None)

        assert held.closed_for is Reason.TOO_MUCH


async def test_frames_that_are_no_messages_end_the_link(tmp_path: Path) -> None:
    """One gate for all of them."""
    async with nodes(tmp_path) as opened:
        laptop, phone = await pair_of(opened)
        held = link_of(laptop)
        link_of(phone).say(b"\x12rubbish")
        await until(lambda: held.closed_for is not None)

        assert held.closed_for is Reason.MALFORMED


async def test_words_about_blobs_that_are_not_known_change_nothing(tmp_path: Path) -> None:
    """A peer may know more records than we do, and may be behind."""
    async with nodes(tmp_path) as opened:
        laptop, phone = await pair_of(opened)
        for message in (
            BlobHave(b"?" * 32, b"\x01"),
            BlobNone(b"?" * 32, 5),
            BlobWant(b"?" * 32, (0,)),
            BlobAsk(b"?" * 16, (b"?" * 32,)),
        ):
            link_of(phone).say(encode_blob_message(message))
        await put(laptop)
        await has(phone)

        assert link_of(laptop).closed_for is None and link_of(phone).closed_for is None


async def test_a_device_that_does_not_know_of_blobs_syncs_all_the_same(tmp_path: Path) -> None:
    """An older version reads the record; the picture stays where it is."""
    async with nodes(tmp_path) as opened:
        laptop, phone = await opened.mesh("laptop", "phone")
        phone.engine.features = ()
        await meet(laptop, phone)
        done = await put(laptop)
        await until(lambda: phone.engine.blobs.known)

        assert await phone.facts.get("cat") == {"photo": done.ref}
        assert (await row(phone)).held == 0
        assert link_of(laptop).closed_for is None
        assert not link_of(laptop).is_open_for_blobs


async def test_entries_go_before_chunks(tmp_path: Path) -> None:
    """A message overtakes a film that is on its way."""
    async with nodes(tmp_path) as opened:
        laptop, phone = await pair_of(opened)
        await put(laptop, LARGE * 8)
        await until(lambda: phone.engine.counters["blob.whole"] or phone.engine.blobs.held())
        await laptop.facts.put({"text": "are you there?"}, id="message")
        async with phone.node.database("memory").watch() as changes:
            if await phone.facts.get("message") is None:
                async for change in changes:
                    if change.id == "message":
                        break

        assert await phone.facts.get("message") == {"text": "are you there?"}
        assert laptop.engine.counters["blob.chunks_sent"] < 25
        await has(phone, chunks=25)
