"""Chat import: an export in a node, twice, grown, edited, deleted and broken."""

from pathlib import Path
from typing import Any

import pytest

from covey.node.data.importing import SLICE_BYTES_MAX, ChatImport, Item, _slices
from covey.node.importers import ExportFileError
from covey.node.parameters import UsageError
from covey.storage.blob_files import BlobFiles
from covey.storage.system_files import SYSTEM_FILES

from .chat_exports import (
    PICTURE,
    a_tree,
    chatgpt_conversation,
    chatgpt_zip,
    claude_conversation,
    node,
    write_json,
    write_zip,
)
from .memory_world import Device, World


async def bring(device: Device, path: Path, format: str = "chatgpt", **more: Any) -> dict[str, Any]:
    """What the import says at its end, with what it left out."""
    params = {"database": "memory", "collection": "messages", "file": str(path), "format": format}
    events = [event async for event in ChatImport(device.engine).run(params | more)]
    broken = [event["where"] for event in events if event["event"] == "broken"]
    return events[-1] | {"left_out": broken}


async def with_files(world: World, place: Path) -> Device:
    """A device whose blobs are files in a folder."""
    device = await world.founder("laptop")
    device.engine.blobs.files = BlobFiles(place, SYSTEM_FILES)
    return device


@pytest.fixture
def export(tmp_path: Path) -> Path:
    return chatgpt_zip(tmp_path / "e.zip")


async def test_an_export_becomes_records_with_their_files_as_blobs(
    export: Path, tmp_path: Path
) -> None:
    """What was said is searched like anything else, and the picture needs no archive."""
    async with World() as world:
        device = await with_files(world, tmp_path)
        done = await bring(device, export)
        (attachment,) = await device.collection("attachments").find()
        pieces = device.collection("attachments").read_blob(attachment.id, "content")

        assert (done["written"], done["blobs"], done["broken"]) == (8, 1, 0)
        assert b"".join([piece async for piece in pieces]) == PICTURE
        (found,) = await device.collection("messages").find(text="mint")
        (talk,) = await device.collection("conversations").find()
        assert found.value["thread"] == talk.id


async def test_importing_twice_writes_nothing(export: Path, tmp_path: Path) -> None:
    """People import every export that they download."""
    async with World() as world:
        device = await with_files(world, tmp_path)
        await bring(device, export)
        before, writes = await device.values(), device.gate.writes
        done = await bring(device, export)
        await device.engine.notes.flush()

        assert (done["written"], done["unchanged"], done["blobs"]) == (0, 8, 0)
        assert await device.values() == before
        assert device.gate.writes <= writes + 1, "only the note that it was imported"


async def test_an_export_that_grew_adds_only_the_new(tmp_path: Path) -> None:
    """The conversation itself says that it has one message more."""
    async with World() as world:
        device = await world.founder("laptop")
        nodes = [node("a", None, parts=["one"]), node("b", "a", parts=["two"])]
        await bring(device, write_json(tmp_path / "1.json", [chatgpt_conversation(nodes)]))
        nodes.append(node("c", "b", parts=["three"]))
        done = await bring(device, write_json(tmp_path / "2.json", [chatgpt_conversation(nodes)]))

        assert (done["written"], done["unchanged"]) == (2, 2)


async def test_what_was_edited_or_deleted_here_stays_so(tmp_path: Path) -> None:
    """The export knows nothing of it, and must not undo it each time."""
    async with World() as world:
        device = await world.founder("laptop")
        path = write_json(tmp_path / "c.json", [claude_conversation()])
        await bring(device, path, "claude")
        messages = device.collection("messages")
        first, second = [found.id for found in await messages.find()]
        await messages.put({"text": "corrected"}, id=first)
        await messages.delete(second)
        done = await bring(device, path, "claude")

        assert (done["written"], done["deleted"]) == (0, 1)
        assert [f.value["text"] for f in await messages.find()] == ["corrected"]


async def test_what_the_service_changed_is_written_again(tmp_path: Path) -> None:
    """A conversation gets another title there."""
    async with World() as world:
        device = await world.founder("laptop")
        await bring(device, write_json(tmp_path / "1.json", [claude_conversation()]), "claude")
        renamed = claude_conversation(name="Sourdough")
        done = await bring(device, write_json(tmp_path / "2.json", [renamed]), "claude")
        (talk,) = await device.collection("conversations").find()

        assert (done["written"], talk.value["title"]) == (1, "Sourdough")


async def test_what_is_broken_is_named_and_the_rest_is_imported(tmp_path: Path) -> None:
    """One bad message in ten years of talk."""
    async with World() as world:
        device = await world.founder("laptop")
        nodes = [node("a", None, parts=["x" * 800_000]), node("b", "a", parts=["short"])]
        path = tmp_path / "c.json"
        write_json(path, [a_tree(), 7, chatgpt_conversation(nodes, conversation_id="other")])
        done = await bring(device, path)

        assert done["left_out"] == [
            "c.json: conversation 2",
            "c.json: conversation 3, message a",
        ]
        assert (done["conversations"], done["broken"]) == (2, 2)
        assert len(await device.collection("messages").find()) == 7


async def test_a_file_that_is_damaged_in_the_archive_costs_itself_alone(tmp_path: Path) -> None:
    """The words around a picture are worth more than the picture."""
    path = write_zip(
        tmp_path / "e.zip",
        {"conversations.json": [a_tree()], "file_00000000aaaa-cup.png": b"\x07" * 4_000},
    )
    whole = bytearray(path.read_bytes())
    at = whole.find(b"file_00000000aaaa-cup.png") + 25
    whole[at : at + 8] = b"\xff" * 8
    path.write_bytes(whole)
    async with World() as world:
        device = await with_files(world, tmp_path)
        done = await bring(device, path)

        assert (done["written"], done["blobs"], done["broken"]) == (8, 0, 1)
        assert done["left_out"][0].startswith("attachments/chatgpt-")


async def test_an_import_that_is_left_lets_go_of_the_file(export: Path, tmp_path: Path) -> None:
    """Ctrl-C must leave nothing open, and what was imported stays."""
    async with World() as world:
        device = await with_files(world, tmp_path)
        params = {
            "database": "memory",
            "collection": "messages",
            "file": str(export),
            "format": "chatgpt",
        }
        events = ChatImport(device.engine).run(params)
        await anext(events)
        await events.aclose()  # type: ignore[attr-defined]  # it is a generator

        assert len(await device.collection("messages").find()) == 6


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"file": "e.zip"}, "absolute path"),
        ({"format": "whatsapp"}, "chatgpt, claude"),
        ({"format": None}, "chatgpt, claude"),
        ({"attachments": "messages"}, "three collections"),
        ({"conversations": 7}, "a text was expected"),
    ],
    ids=range(5),
)
async def test_wrong_parameters_are_refused_before_anything_is_written(
    wrong: dict[str, Any], why: str, export: Path
) -> None:
    """The local socket passes on whatever it was sent."""
    async with World() as world:
        device = await world.founder("laptop")
        with pytest.raises(UsageError, match=why):
            await bring(device, export, **wrong)
        assert await device.values() == {}


async def test_a_missing_file_is_told(tmp_path: Path) -> None:
    """Not as a fault of the node."""
    async with World() as world:
        device = await world.founder("laptop")
        with pytest.raises(ExportFileError, match="No such file"):
            await bring(device, tmp_path / "none.zip")


def test_slices_fit_a_transaction_and_an_id_comes_once() -> None:
    """A hostile export may give every message one id."""
    items = [Item("messages", f"m{n}", {"text": "x" * 90_000}) for n in range(9)]
    parts = list(_slices([*items, items[0]]))

    assert [item for part in parts for item in part] == items
    assert all(sum(len(i.value["text"]) for i in part) <= SLICE_BYTES_MAX for part in parts)
