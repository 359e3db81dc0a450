"""What a companion lives through: each rule with what it is for, on two devices that were apart.

The names and values are those of an application that keeps settings, conversations, a character
and memories of a person.
"""

from collections.abc import Mapping
from typing import Any

import pytest

from covey.sync.values import Vector, from_json

from .conflict_world import inbox
from .memory_world import Device, World, meet

Value = Mapping[str, Any]


async def companion(
    world: World, key: str, rule: str | None, before: Value, collection: str = "facts"
) -> tuple[Device, Device]:
    """A laptop and a phone that hold the record `r`, and this rule."""
    laptop = await world.founder("laptop")
    phone = await world.member(laptop, "phone")
    if rule is not None:
        await laptop.engine.trust.set_policy(b"", "memory", {key: rule})
    await laptop.collection(collection).put(dict(before), id="r")
    await meet(laptop, phone)
    return laptop, phone


async def write_apart(
    laptop: Device, phone: Device, mine: Value, theirs: Value, collection: str = "facts"
) -> None:
    """The laptop first, the phone an hour later by its clock, then they meet."""
    await laptop.collection(collection).put(dict(mine), id="r")
    laptop.clock.now_ms += 3_600_000
    await phone.collection(collection).put(dict(theirs), id="r")
    await meet(laptop, phone)


async def the_same(
    laptop: Device, phone: Device, collection: str = "facts"
) -> tuple[Any, list[dict[str, Any]]]:
    """What both show of the record, and what is in both inboxes."""
    values = [await device.values() for device in (laptop, phone)]
    inboxes = [await inbox(device) for device in (laptop, phone)]
    assert values[0] == values[1] and inboxes[0] == inboxes[1]
    return values[0].get(f"memory/{collection}/r"), inboxes[0]


async def test_settings_changed_on_two_devices_are_those_of_the_last_hand() -> None:
    """Different settings merge; of one setting the later counts, and the other is not lost."""
    async with World() as world:
        laptop, phone = await companion(
            world, "", None, {"theme": "light", "voice": "soft", "volume": 5}, "settings"
        )
        await write_apart(
            laptop, phone, {"theme": "dark", "volume": 7}, {"theme": "sepia", "voice": "low"},
            "settings",
        )  # fmt: skip
        value, rows = await the_same(laptop, phone, "settings")

        assert value == {"theme": "sepia", "voice": "low", "volume": 7}
        assert [(row["field"], row["state"], row["rule"]) for row in rows] == [
            ("theme", "settled", "last-writer-wins")
        ]
        assert [c["value"] for c in rows[0]["candidates"]] == ["dark", "sepia"]


async def test_a_conversation_that_went_on_on_two_devices_is_in_order_and_whole() -> None:
    """Every message once, by its time; also where each device wrote the whole list anew."""

    def says(at: int, text: str) -> dict[str, Any]:
        return {"at": at, "text": text}

    async with World() as world:
        began = [says(1, "hello")]
        laptop, phone = await companion(
            world, "rule.chats.messages", "chronological", {"title": "today"}, "chats"
        )
        await write_apart(
            laptop,
            phone,
            {"messages": [*began, says(2, "on the laptop"), says(5, "later")]},
            {"messages": [*began, says(3, "on the phone")]},
            "chats",
        )
        value, rows = await the_same(laptop, phone, "chats")

        assert [m["text"] for m in value["messages"]] == [
            "hello",
            "on the laptop",
            "on the phone",
            "later",
        ]
        assert [row["state"] for row in rows] == ["settled"]


async def test_messages_added_to_one_list_offline_are_no_conflict() -> None:
    """Who appends asks nobody anything: both ends of the list are there."""
    async with World() as world:
        laptop, phone = await companion(
            world, "rule.chats.messages", "chronological", {"messages": ["a"]}, "chats"
        )
        await write_apart(
            laptop, phone, {"messages": ["a", "b"]}, {"messages": ["a", "c"]}, "chats"
        )
        value, rows = await the_same(laptop, phone, "chats")

        assert (sorted(value["messages"]), rows) == (["a", "b", "c"], [])


@pytest.mark.parametrize(
    ("field", "rule", "before", "mine", "theirs", "expected"),
    [
        ("warmth", "weighted-average", 0.5, 0.25, 0.75, 0.5),
        (
            "trait",
            "weighted-average",
            None,
            {"value": 0.0, "weight": 3},
            {"value": 1.0, "weight": 1},
            {"value": 0.25, "weight": 4},
        ),
        (
            "mood",
            "confidence-blend",
            None,
            {"value": "glad", "confidence": 0.75},
            {"value": "tired", "confidence": 0.25},
            {"value": "glad", "confidence": 0.75},
        ),
        (
            "valence",
            "confidence-blend",
            None,
            {"value": 1.0, "confidence": 0.75},
            {"value": -1.0, "confidence": 0.25},
            {"value": 0.5, "confidence": 0.625},
        ),
        ("interests", "union", None, ["tea", "chess"], ["chess", "rain"], ["tea", "chess", "rain"]),
        ("best", "max", 3, 9, 7, 9),
        ("first_met", "min", "2026", "2021-02", "2020-11", "2020-11"),
        ("walked", "sum", 0, 3, 4, 7),
        ("diary", "text", "one", "one\nmine", "one\ntheirs", "one\nmine\ntheirs"),
        ("steps", "origin-wins", 0, 100, 90, 100),
        ("name", "last-writer-wins", "Ana", "Ana K.", "Ana Kovac", "Ana Kovac"),
    ],
)
async def test_what_a_companion_knows_of_a_person_by_its_rule(
    field: str, rule: str, before: Any, mine: Any, theirs: Any, expected: Any
) -> None:
    """Traits, moods, interests, scores, notes, a sensor, a renamed contact."""
    async with World() as world:
        laptop, phone = await companion(
            world, f"rule.facts.{field}", rule, {} if before is None else {field: before}
        )
        await write_apart(laptop, phone, {field: mine}, {field: theirs})
        value, (row,) = await the_same(laptop, phone)

        assert value[field] == expected
        assert (row["rule"], row["state"]) == (rule, "settled")
        assert [c["value"] for c in row["candidates"]] == [mine, theirs]


async def test_a_renamed_contact_waits_for_a_person_where_that_is_the_rule() -> None:
    """Two new names: nobody's phone book is overwritten, and the question is asked once."""
    async with World() as world:
        laptop, phone = await companion(world, "rule.facts.name", "manual", {"name": "Ana"})
        await write_apart(laptop, phone, {"name": "Ana (work)"}, {"name": "Ana K."})
        value, (row,) = await the_same(laptop, phone)
        assert (value["name"], row["state"]) == ("Ana K.", "open")
        await phone.node.resolve(row["id"], "Ana K. (work)")
        await meet(laptop, phone)

        assert await the_same(laptop, phone) == ({"name": "Ana K. (work)"}, [])


async def test_an_embedding_made_on_two_devices_is_marked_to_be_made_anew() -> None:
    """The mean of two vectors of different texts would be of no text at all."""
    async with World() as world:
        laptop, phone = await companion(world, "rule.facts.embedding", "vector", {"text": "t"})
        mine, theirs = Vector([0.0, 0.5]), Vector([0.0, 2.0])
        await write_apart(laptop, phone, {"embedding": mine}, {"embedding": theirs})
        value, (row,) = await the_same(laptop, phone)

        assert from_json(value) == {"text": "t", "embedding": theirs}
        assert (row["field"], row["reembed"]) == ("embedding", True)


@pytest.mark.parametrize(
    ("rule", "state", "lives"),
    [(None, "settled", True), ("delete-wins", "settled", False), ("manual", "open", True)],
)
async def test_a_memory_deleted_on_one_device_and_edited_on_the_other(
    rule: str | None, state: str, lives: bool
) -> None:
    """A memory is not lost because a tablet in a drawer had deleted it; and it can be."""
    async with World() as world:
        laptop, phone = await companion(
            world, "rule.facts.$deleted", rule, {"text": "met in Graz", "place": "Graz"}
        )
        await laptop.collection().delete("r")
        await phone.collection().put({"text": "met in Graz, in the rain"}, id="r")
        await meet(laptop, phone)
        value, (row,) = await the_same(laptop, phone)

        edited = {"text": "met in Graz, in the rain", "place": "Graz"}
        assert value == (edited if lives else None)
        assert (row["field"], row["state"]) == ("", state)
        assert {c.get("deletes", False) for c in row["candidates"]} == {True, False}
        await phone.engine.inbox.undo(bytes.fromhex(row["id"]))
        await meet(laptop, phone)
        value, rows = await the_same(laptop, phone)
        assert (value is None, rows) == (lives, [])
