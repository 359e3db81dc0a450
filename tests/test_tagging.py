"""Tags: a tagged record is never written to a wider level than a rule of the mesh allows."""

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from covey.node.birth import TagRefusedError
from covey.node.ledger import PRIVACY_NAMES
from covey.node.record_requests import Delete, PrivacyFixedError, Put
from covey.node.service import Service
from covey.sync.errors import BadValueError
from covey.sync.policy import Said
from covey.sync.profile import COMPANION
from covey.sync.tagging import strictest, tag_rules, tags_of, with_tags
from covey.sync.values import Text

from .memory_world import Device, World, admit, meet

DEVICE, PRIVATE, FAMILY, PUBLIC = range(4)


async def say(device: Device, database: str = "", **tags: str | None) -> None:
    """Rules for tags, of a database or of everything."""
    said = {f"tag.{tag}": level for tag, level in tags.items()}
    await device.engine.mesh.write([("policy", {"device": b"", "database": database, "set": said})])


async def levels(device: Device) -> dict[str, str]:
    """Every living record, to the level of its scope."""
    return {
        found.id: PRIVACY_NAMES[found.privacy]
        async for _, found in device.engine.reader.export(None)
    }


# What the rules are ------------------------------------------------------------------------------


def test_the_nearest_rule_counts_and_people_come_before_the_profile() -> None:
    """Of the database, then of everything, then what the profile has."""
    said: Said = {
        (b"", "diary"): {"tag.work": "private"},
        (b"", ""): {"tag.work": "public", "tag.personal": "family", "mode": "full"},
        (b"d" * 32, ""): {"tag.work": "device"},
    }

    rules = tag_rules(said, COMPANION, "diary")
    assert {tag: (rule.level, rule.origin) for tag, rule in rules.items()} == {
        "work": (PRIVATE, "database diary"),
        "personal": (FAMILY, "everything"),
        "confidential": (DEVICE, "the profile, of everything"),
    }
    assert tag_rules(said, COMPANION, "other")["work"].level == PUBLIC


def test_of_two_spellings_of_one_tag_the_more_private_counts() -> None:
    """Two admins, two habits."""
    said: Said = {(b"", ""): {"tag.Work": "public", "tag.work": "private"}}

    assert tag_rules(said, {}, "diary")["work"].level == PRIVATE
    assert strictest(["WORK ", "other"], tag_rules(said, {}, "diary"))
    assert strictest(["other"], tag_rules(said, {}, "diary")) is None


@pytest.mark.parametrize(
    ("field", "tags"),
    [
        (["a", "b"], ["a", "b"]),
        (["a", 1, None, ["b"], {"c": 1}, Text("d")], ["a", "d"]),
        ("confidential", ["confidential"]),
        (Text("t"), ["t"]),
        (7, []),
        ({"a": True}, []),
    ],
)
def test_tags_are_the_texts_in_the_field(field: Any, tags: list[str]) -> None:
    """Records are written by applications that know nothing of this rule."""
    assert tags_of({"tags": field, "other": ["x"]}) == tags
    assert tags_of({}) == tags_of(None) == []


def test_tags_are_added_to_those_there_are() -> None:
    """None twice, and what is no list of texts is not overwritten."""
    assert with_tags({}, {"tags": ["a"]}, ["b", "A"]) == ["a", "b"]
    assert with_tags({"tags": ["c"]}, {"tags": ["a"]}, ["b"]) == ["c", "b"]
    for field in ("text", [1], {"a": 1}):
        with pytest.raises(BadValueError, match="no array of texts"):
            with_tags({}, {"tags": field}, ["b"])
    for tag in ("", " ", "\x1b"):
        with pytest.raises(BadValueError, match="prints"):
            with_tags({}, None, [tag])


# What the writer does ----------------------------------------------------------------------------


async def test_a_record_is_born_where_its_tags_say() -> None:
    """Without a level the most private of the rules; without a rule private, as ever."""
    async with World() as world:
        laptop = await world.founder("laptop")
        await say(laptop, photos="family", recipes="public")
        facts = laptop.collection()
        await facts.put({"tags": ["Confidential"]}, id="c")
        await facts.put({"tags": ["photos"]}, id="p")
        await facts.put({"tags": ["recipes", "photos"]}, id="rp")
        await facts.put({"tags": ["recipes", "personal"]}, id="rl")
        await facts.put({"tags": ["unheard"]}, id="u")
        await facts.put({"tags": ["photos"]}, id="narrow", privacy="device")

        assert await levels(laptop) == {
            **{"c": "device", "p": "family", "rp": "family", "rl": "private"},
            **{"u": "private", "narrow": "device"},
        }


async def test_a_wider_level_than_a_tag_allows_is_refused_with_tag_and_rule() -> None:
    """In a put, in a transaction and in an import alike; nothing of it is written."""
    async with World() as world:
        laptop = await world.founder("laptop")
        facts = laptop.collection()
        with pytest.raises(TagRefusedError) as refused:
            await facts.put({"tags": ["personal"]}, id="x", privacy="family")
        assert "'personal' (tag.personal=private, said of the profile" in str(refused.value)
        assert refused.value.exit_code == 3
        with pytest.raises(TagRefusedError):
            async with laptop.node.database("memory").transaction() as tx:
                tx.put("facts", {"a": 1}, "fine")
                tx.put("facts", {"tags": ["confidential"]}, "x", privacy="private")
        await facts.put({"a": 1}, id="lives")
        with pytest.raises(TagRefusedError, match="covey move"):
            await facts.put_many([("new", {"a": 1}), ("lives", {"tags": ["confidential"]})])

        assert await levels(laptop) == {"lives": "private"}


async def test_a_tag_that_the_level_is_too_wide_for_is_not_added_later() -> None:
    """Copies under the keys of the wider level cannot be called back: the record has to move."""
    async with World() as world:
        laptop = await world.founder("laptop")
        facts = laptop.collection()
        await facts.put({"a": 1, "tags": ["work"]}, id="x")
        with pytest.raises(TagRefusedError, match=r"born private.*`covey move` it to device"):
            await facts.put({"tags": ["work", "confidential"]}, id="x")
        await say(laptop, work="device")
        with pytest.raises(TagRefusedError, match="'work'"):
            await facts.put({"a": 2}, id="x")
        await facts.put({"a": 2, "tags": []}, id="x")
        assert await facts.get("x") == {"a": 2, "tags": []}
        assert await facts.delete("x")


async def test_a_deleted_record_does_not_live_again_at_a_level_its_tags_forbid() -> None:
    """It is born anew at the level of its tags, under the same id."""
    async with World() as world:
        laptop = await world.founder("laptop")
        facts = laptop.collection()
        await facts.put({"a": 1}, id="x")
        await facts.delete("x")
        await facts.put({"a": 2, "tags": ["confidential"]}, id="x")
        async with laptop.node.database("memory").transaction() as tx:
            tx.put("facts", {"a": 1}, "y")
            tx.delete("facts", "y")
            tx.put("facts", {"tags": ["confidential"]}, "y")

        assert await levels(laptop) == {"x": "device", "y": "device"}


async def test_covey_put_adds_tags_and_is_judged_by_them() -> None:
    """What `--tag` says is part of the record before anything is decided."""
    async with World() as world:
        laptop = await world.founder("laptop")
        service = Service(laptop.engine, lambda: None)
        place = {"database": "memory", "collection": "facts"}
        await service.call("put", {**place, "id": "x", "value": {"a": 1}, "tags": ["personal"]})
        await service.call("put", {**place, "id": "x", "value": {"a": 2}, "tags": ["b"]})
        with pytest.raises(TagRefusedError):
            await service.call("put", {**place, "id": "x", "value": {}, "tags": ["confidential"]})
        got = await service.call("get", {**place, "id": "x"})

        assert got == {"a": 2, "tags": ["personal", "b"]}


async def test_what_another_device_wrote_before_it_knew_the_rule_is_shown() -> None:
    """Devices must agree on what there is, whatever they knew when."""
    async with World() as world:
        laptop = await world.founder("laptop")
        phone = await world.member(laptop, "phone")
        await meet(laptop, phone)
        await phone.collection().put({"tags": ["work"]}, id="x")
        await say(laptop, work="device")
        await meet(laptop, phone)

        assert await levels(laptop) == {"x": "private"}


async def test_what_a_device_brings_into_a_mesh_is_narrowed_to_the_rules_of_it() -> None:
    """Nobody is there to be asked, and a refusal would lose what was written alone."""
    async with World() as world:
        laptop = await world.founder("laptop")
        await say(laptop, photos="private")
        phone = await world.founder("phone")
        await say(phone, photos="public")
        await phone.collection().put({"a": 1, "tags": ["photos"]}, id="x")
        assert await levels(phone) == {"x": "public"}
        await admit(laptop, phone)

        assert await levels(phone) == {"x": "private"}


TAGS = ("personal", "confidential", "photos", "recipes", "plain")
writes = st.lists(
    st.one_of(
        st.builds(
            Put,
            st.just("facts"),
            st.sampled_from(("a", "b")),
            st.one_of(
                st.just({"x": 1}),
                st.lists(st.sampled_from(TAGS), max_size=2).map(lambda tags: {"tags": tags}),
            ),
            st.sampled_from((None, None, *PRIVACY_NAMES)),
            st.booleans(),
            tags=st.lists(st.sampled_from(TAGS), max_size=1).map(tuple),
        ),
        st.builds(Delete, st.just("facts"), st.sampled_from(("a", "b"))),
        st.tuples(st.sampled_from(TAGS), st.sampled_from((None, *PRIVACY_NAMES))),
    ),
    min_size=1,
    max_size=10,
)


@settings(max_examples=60, deadline=None)
@given(writes, st.integers(1, 3))
async def test_no_write_puts_a_record_with_a_tag_into_a_wider_scope_than_the_rule(
    steps: list[Any], together: int
) -> None:
    """Whatever was written, deleted and decided before, alone or in one transaction."""
    async with World() as world:
        laptop = await world.founder("laptop")
        await say(laptop, photos="family", recipes="public")
        seen: dict[tuple[str, int], dict[str, Any]] = {}
        for at in range(0, len(steps), together):
            part = steps[at : at + together]
            for tag, level in (step for step in part if isinstance(step, tuple)):
                await say(laptop, **{tag: level})
            requests = [step for step in part if not isinstance(step, tuple)]
            with suppress(TagRefusedError, PrivacyFixedError, BadValueError):
                await laptop.engine.writer.write("memory", requests)
            rules = tag_rules(laptop.engine.mesh.registry.settings, COMPANION, "memory")
            now = {
                (found.id, found.privacy): found.value
                async for _, found in laptop.engine.reader.export("memory")
            }
            for place, value in now.items():
                rule = strictest(tags_of(value), rules)
                if value != seen.get(place) and rule is not None:
                    assert place[1] <= rule.level, (place, value, rule)
            seen = now
