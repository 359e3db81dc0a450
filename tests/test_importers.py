"""Importers: what the services wrote, kept whole; what hostile files say, refused or left out."""

import json
import os
import struct
import zipfile
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey.node.importers import (
    Broken,
    Conversation,
    ExportFileError,
    archive,
    read_chatgpt,
    read_claude,
)
from covey.node.importers.chat import (
    FaultError,
    bounded,
    iso_to_ms,
    record_id,
    seconds_to_ms,
    text_of,
)
from covey.node.importers.chatgpt import _Reading
from covey.sync.values import from_json, to_plain

from .chat_exports import (
    CHAT,
    PICTURE,
    a_tree,
    chatgpt_conversation,
    chatgpt_zip,
    claude_conversation,
    node,
    write_json,
    write_zip,
)


def only(found: list[Conversation | Broken]) -> Conversation:
    (one,) = found
    assert isinstance(one, Conversation)
    return one


def test_a_tree_of_chatgpt_keeps_every_branch_and_knows_the_shown_one(tmp_path: Path) -> None:
    """What was asked first and then edited was still said."""
    talk = only(list(read_chatgpt(write_json(tmp_path / "c.json", [a_tree()]))))
    messages = {one.value["source_id"]: one.value for one in talk.messages}

    assert list(messages) == ["q1", "a1", "q1b", "a2", "picture", "a3"]
    shown = [name for name, value in messages.items() if "branch" not in value]
    assert shown == ["q1b", "a2", "picture", "a3"]
    first = record_id("chatgpt", CHAT, "q1")
    assert messages["q1"]["branch"] == messages["a1"]["branch"] == first
    assert messages["a1"]["reply_to"] == first
    assert "reply_to" not in messages["q1b"], "the hidden root is nobody's words"
    assert talk.value["current"] == record_id("chatgpt", CHAT, "a3")


def test_a_message_of_chatgpt_says_who_when_where_and_by_which_model(tmp_path: Path) -> None:
    """Threads, authors and rooms are what one asks for later."""
    talk = only(list(read_chatgpt(write_json(tmp_path / "c.json", [a_tree()]))))
    value = dict(talk.messages[-1].value)
    digest = value.pop("source_digest")

    assert len(digest) == 16
    assert value == {
        "text": "Yes.",
        "author": "assistant",
        "role": "assistant",
        "thread": talk.id,
        "reply_to": record_id("chatgpt", CHAT, "picture"),
        "platform": "chatgpt",
        "at": 1_700_000_000_500,
        "model": "gpt-4o",
        "source_id": "a3",
    }
    assert talk.value["title"] == "Tea in the garden"
    assert (talk.value["at"], talk.value["message_count"]) == (1_700_000_000_250, 6)


def test_a_file_that_a_message_names_twice_is_one_attachment_with_its_content(
    tmp_path: Path,
) -> None:
    """The upload is in the metadata of the message, and its place in the text is a pointer."""
    talk = only(list(read_chatgpt(chatgpt_zip(tmp_path / "e.zip"))))
    (one,) = talk.attachments

    assert (one.value["name"], one.value["media_type"]) == ("cup.png", "image/png")
    assert one.content is not None and one.content.size == len(PICTURE)
    owner = next(each for each in talk.messages if "attachments" in each.value)
    assert owner.value["attachments"] == [one.id] and one.value["message"] == owner.id


def test_numbered_files_are_read_in_order_and_shadows_are_not(tmp_path: Path) -> None:
    """Large exports are split; macOS leaves a shadow of every file when a folder is packed."""
    talks = [chatgpt_conversation([node("a", None, parts=["x"])], id=f"c{n}") for n in range(3)]
    for talk in talks:
        del talk["conversation_id"]
    path = write_zip(
        tmp_path / "e.zip",
        {
            "export/conversations-001.json": talks[2:],
            "export/conversations-000.json": talks[:2],
            "__MACOSX/export/conversations-000.json": b"\0\1",
            "export/my-conversations.json": [{}],
        },
    )

    found = [only([each]).value["source_id"] for each in read_chatgpt(path)]
    assert found == ["c0", "c1", "c2"]


def test_a_conversation_of_claude_keeps_words_tools_thoughts_and_attachments(
    tmp_path: Path,
) -> None:
    """Texts that were attached are in the export, pictures are only named."""
    talk = only(list(read_claude(write_json(tmp_path / "c.json", [claude_conversation()]))))
    asked, answered = (one.value for one in talk.messages)

    assert (asked["role"], asked["text"]) == ("user", "How long does it rise?")
    assert answered["text"] == '[clock] {"zone": "UTC"}\n10:00\nTwo hours.'
    assert answered["thinking"] == "It is cold there."
    assert answered["reply_to"] == talk.messages[0].id
    assert answered["at"] == 1_740_823_209_000
    assert [one.value.get("text") for one in talk.attachments] == ["flour, water", None]
    assert asked["attachments"] == [one.id for one in talk.attachments]


def test_a_newer_export_of_claude_says_what_a_message_replies_to(tmp_path: Path) -> None:
    """A question that was edited has two answers, and neither replies to the other."""
    root = "00000000-0000-4000-8000-000000000000"
    parents = {"m1": root, "m2": "m1", "m3": "m1"}
    messages = [
        {
            "uuid": name,
            "sender": "human",
            "content": [{"type": "text", "text": name}],
            "parent_message_uuid": parent,
        }
        for name, parent in parents.items()
    ]
    source = claude_conversation(chat_messages=messages)
    talk = only(list(read_claude(write_json(tmp_path / "c.json", [source]))))

    first = talk.messages[0].id
    assert [one.value.get("reply_to") for one in talk.messages] == [None, first, first]


@pytest.mark.parametrize("read", [read_chatgpt, read_claude])
@pytest.mark.parametrize("item", [None, 7, "x", [], {}, {"id": "a"}, {"id": 3, "mapping": {}}])
def test_what_is_no_conversation_is_named_by_its_place(
    read: Any, item: object, tmp_path: Path
) -> None:
    """One reads the report and looks there; the rest is imported."""
    (found,) = list(read(write_json(tmp_path / "c.json", [item])))

    assert isinstance(found, Broken)
    assert found.where == "c.json: conversation 1"


def test_a_message_that_fits_no_record_is_named_and_the_others_stay(tmp_path: Path) -> None:
    """A pasted book must not cost the conversation around it."""
    nodes = [node("a", None, parts=["x" * 800_000]), node("b", "a", parts=["short"])]
    talk = only(list(read_chatgpt(write_json(tmp_path / "c.json", [chatgpt_conversation(nodes)]))))

    assert [one.value["text"] for one in talk.messages] == ["short"]
    assert [fault.where for fault in talk.faults] == ["c.json: conversation 1, message a"]
    assert "800000 bytes, 700000 fit" in talk.faults[0].why


def test_parents_in_a_circle_and_missing_ones_end(tmp_path: Path) -> None:
    """A forged tree must not be walked for ever."""
    nodes = [
        node("a", "b", parts=["1"]),
        node("b", "a", parts=["2"]),
        node("self", "self", parts=["3"]),
        node("orphan", "nowhere", parts=["4"]),
    ]
    source = chatgpt_conversation(nodes, current_node="a")
    talk = only(list(read_chatgpt(write_json(tmp_path / "c.json", [source]))))

    assert sorted(one.value["text"] for one in talk.messages) == ["1", "2", "3", "4"]


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["id", "message", "author", "content", "parts", "metadata", "attachments", "parent"]
            ),
            inner,
        )
    ),
    max_leaves=15,
)


@given(st.dictionaries(st.text(max_size=3), ANYTHING, max_size=4), ANYTHING)
def test_whatever_a_tree_holds_ends_in_records_that_can_be_put(
    mapping: dict[str, Any], current: object
) -> None:
    """The format has no specification, so nothing about a field may be taken for granted."""

    class NoFiles:
        def find(self, _: str) -> None:
            return None

    source = {"id": "c", "mapping": mapping, "current_node": current}
    talk = _Reading(NoFiles(), "c.json", source).whole()  # type: ignore[arg-type]

    for value in [one.value for one in talk.messages] + [one.value for one in talk.attachments]:
        to_plain(from_json(value))
        json.dumps(value, ensure_ascii=False).encode()


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "C:\\x", "a/../../b.json"])
def test_a_name_in_an_archive_is_never_a_path(name: str, tmp_path: Path) -> None:
    """Nothing is unpacked, so a name can lead nowhere; other files are not even opened."""
    path = write_zip(tmp_path / "e.zip", {name: b"evil", "conversations.json": [a_tree()]})
    before = sorted(tmp_path.rglob("*"))

    assert only(list(read_chatgpt(path))).messages
    assert sorted(tmp_path.rglob("*")) == before


def test_a_bomb_ends_early(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kilobyte that becomes a gigabyte must fill neither memory nor time."""
    monkeypatch.setattr(archive, "RATIO_FREE_BYTES", 100_000)
    path = write_zip(tmp_path / "e.zip", {"conversations.json": b"[" + b" " * 9_000_000 + b"]"})

    with pytest.raises(ExportFileError, match="grows more than 200 times"):
        list(read_chatgpt(path))


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_file_that_is_packed_as_no_service_packs_is_not_inflated(
    method: int, tmp_path: Path
) -> None:
    """The library inflates these without a bound: 1,200 bytes became gigabytes at one read."""
    path = tmp_path / "e.zip"
    with zipfile.ZipFile(path, "w", method) as made:
        made.writestr("conversations.json", b"[" + b" " * 1_000_000 + b"]")

    with pytest.raises(ExportFileError, match=r"'conversations\.json' cannot be read"):
        list(read_chatgpt(path))


def test_a_pipe_is_no_export(tmp_path: Path) -> None:
    """Opening one waits for a writer, in a thread that no Ctrl-C and no `covey down` would end."""
    path = tmp_path / "pipe"
    os.mkfifo(path)

    with pytest.raises(ExportFileError, match="an export is a regular file"):
        list(read_chatgpt(path))


def test_a_folder_is_no_export(tmp_path: Path) -> None:
    """It is told by its usual name."""
    with pytest.raises(ExportFileError, match="Is a directory"):
        list(read_chatgpt(tmp_path))


def nameless(path: Path) -> None:
    """A file whose name has no letters in the list: they are its comment."""
    whole = bytearray(path.read_bytes())
    at = whole.rfind(b"PK\x01\x02")
    whole[at + 32 : at + 34] = whole[at + 28 : at + 30]
    whole[at + 28 : at + 30] = b"\0\0"
    path.write_bytes(whole)


def before_the_beginning(path: Path) -> None:
    """The list says that it begins later than it does, so files begin before the archive."""
    whole = bytearray(path.read_bytes())
    at = whole.rfind(b"PK\x05\x06")
    (offset,) = struct.unpack_from("<I", whole, at + 16)
    struct.pack_into("<I", whole, at + 16, offset + 1_000)
    path.write_bytes(whole)


@pytest.mark.parametrize("harm", [nameless, before_the_beginning])
def test_a_forged_list_of_files_is_told_in_words(harm: Any, tmp_path: Path) -> None:
    """The library trusts the list, and raises what it raises."""
    path = write_zip(tmp_path / "e.zip", {"conversations.json": [claude_conversation()]})
    harm(path)

    with pytest.raises(ExportFileError):
        list(read_claude(path))


@given(st.lists(st.tuples(st.integers(0, 5_000), st.integers(0, 255)), min_size=1, max_size=8))
def test_whatever_bytes_an_archive_has_it_ends_in_words(changes: list[tuple[int, int]]) -> None:
    """Archives arrive damaged; a trace tells nobody what to do."""
    with TemporaryDirectory() as folder:
        path = write_zip(Path(folder) / "e.zip", {"conversations.json": [claude_conversation()]})
        whole = bytearray(path.read_bytes())
        for place, byte in changes:
            whole[-1 - place % len(whole)] = byte
        path.write_bytes(whole)

        with suppress(ExportFileError):
            list(read_claude(path))


def test_an_archive_as_a_whole_has_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many files that each behave are a bomb as well."""
    monkeypatch.setattr(archive, "INFLATED_BYTES_MAX", 1_000)
    names = [f"conversations-{n:03}.json" for n in range(9)]
    path = write_zip(tmp_path / "e.zip", {name: [claude_conversation()] for name in names})

    with pytest.raises(ExportFileError, match="no export is so large"):
        list(read_claude(path))


def test_too_many_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their names alone would fill memory."""
    monkeypatch.setattr(archive, "MEMBERS_MAX", 2)
    path = write_zip(tmp_path / "e.zip", {f"f{n}": b"" for n in range(3)})

    with pytest.raises(ExportFileError, match="3 files in it, 2 allowed"):
        list(read_chatgpt(path))


def forged_list(path: Path) -> None:
    """Says that the list of its files has 256 MiB."""
    whole = bytearray(path.read_bytes())
    at = whole.rfind(b"PK\x05\x06")
    whole[at + 12 : at + 16] = struct.pack("<I", 1 << 28)
    path.write_bytes(whole)


def encrypted(path: Path) -> None:
    """Sets the flag of encryption on every file."""
    whole = bytearray(path.read_bytes())
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = whole.find(mark)
        while at >= 0:
            whole[at + offset] |= 1
            at = whole.find(mark, at + 1)
    path.write_bytes(whole)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-30])


def bent(path: Path) -> None:
    """Other bytes in the middle of what is packed: the checksum of the file is wrong."""
    whole = bytearray(path.read_bytes())
    whole[80:200] = bytes(120)
    path.write_bytes(whole)


@pytest.mark.parametrize("harm", [forged_list, encrypted, cut, bent])
def test_a_harmed_archive_is_refused_in_words(harm: Any, tmp_path: Path) -> None:
    """Whoever reads it downloads the export again, and sees no trace of a program."""
    path = chatgpt_zip(tmp_path / "e.zip")
    harm(path)

    with pytest.raises(ExportFileError) as told:
        list(read_chatgpt(path))
    assert str(told.value).startswith(str(path)) and "\n" not in str(told.value)


def test_other_files_are_refused_in_words(tmp_path: Path) -> None:
    """A name that was typed wrongly is the commonest fault."""
    with pytest.raises(ExportFileError, match="No such file"):
        list(read_chatgpt(tmp_path / "none.zip"))
    with pytest.raises(ExportFileError, match=r"no conversations\.json"):
        list(read_chatgpt(write_zip(tmp_path / "e.zip", {"a.txt": b""})))
    (tmp_path / "p.png").write_bytes(PICTURE)
    (broken,) = list(read_chatgpt(tmp_path / "p.png"))
    assert isinstance(broken, Broken) and "no JSON" in broken.why


@given(st.text(), st.text())
def test_ids_of_records_are_short_plain_and_differ(one: str, other: str) -> None:
    """An id that a service gave may be anything; two of them must never be one record."""
    found = record_id("chatgpt", one, other)

    assert found.isascii() and len(found) <= 220
    assert record_id("chatgpt", one) != found or not one


def test_ids_do_not_run_together() -> None:
    """A hash over joined parts could be equal for other parts."""
    assert record_id("x", "a.", "b") != record_id("x", "a", ".b")


@pytest.mark.parametrize(
    "value", [None, True, "7", float("nan"), float("inf"), 10**400, -5, 1e300, [], {}]
)
def test_what_is_no_time_is_left_out(value: object) -> None:
    """Clocks of services were wrong before."""
    assert seconds_to_ms(value) is None
    assert iso_to_ms(value) is None


def test_times_and_texts_are_made_sound() -> None:
    """Half a character cannot be stored, and a zone may be missing."""
    assert iso_to_ms("1970-01-01T00:00:01") == 1000
    assert iso_to_ms("1970-01-01T01:00:01+01:00") == 1000
    assert iso_to_ms("no time") is None
    assert text_of("a\ud800b") == "a?b"
    with pytest.raises(FaultError):
        bounded("x" * 700_001)
