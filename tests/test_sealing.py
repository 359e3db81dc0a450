"""Encrypted fields: devices of level full read them, and nothing that is made from records does."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey.crypto.errors import OpenError
from covey.crypto.field import field_key_id, open_field, seal_field
from covey.node.conflict_methods import STANDING
from covey.node.data.reading import SchemaError
from covey.node.data.steps import Migration
from covey.node.mesh_view import NotEntitledError
from covey.sync.errors import BadValueError
from covey.sync.values import Counter, Text, Vector

from .conflict_world import call
from .memory_world import Device, World, admit, meet
from .schema_world import schema

SECRET = "canary of a diary"


def diary(version: int = 1, **said: Any) -> Any:
    fields = {"title": "string", "secret": {"type": "string", "max_length": 40}, "any": "any"}
    collection = {"fields": fields, "encrypted": ["secret", "any"]}
    return schema(version, collections={"facts": collection}, **said)


async def with_diary(world: World) -> Device:
    laptop = await world.founder("laptop")
    await laptop.node.install(diary())
    return laptop


async def test_a_sealed_field_is_read_by_get_and_by_nothing_else() -> None:
    """Not in the row, full text, lists, watchers, exports or the table of an index."""
    async with World() as world:
        laptop = await with_diary(world)
        watch = laptop.collection().watch()
        await laptop.collection().put({"title": "monday", "secret": SECRET}, id="r")

        assert await laptop.collection().get("r") == {"title": "monday", "secret": SECRET}
        assert await laptop.collection().find(text="canary") == []
        assert [one.id for one in await laptop.collection().find(text="monday")] == ["r"]
        assert await laptop.collection().find({"secret": SECRET}) == []
        watch.close()
        seen = [change.record async for change in watch]
        assert SECRET not in str(seen) and len(seen) == 1
        names = {"database": "memory", "collection": "facts", "id": "r"}
        assert SECRET not in str(await call(laptop, "get", **names))
        assert (await call(laptop, "get", unseal=True, **names))["secret"] == SECRET
        assert b"canary" not in laptop.gate.image()


async def test_every_full_device_opens_it_also_one_that_comes_later() -> None:
    async with World() as world:
        laptop = await with_diary(world)
        await laptop.collection().put({"secret": SECRET}, id="r")
        phone = await world.member(laptop, "phone")
        await meet(laptop, phone)
        sealed = await phone.collection().get("r")
        assert sealed is not None and field_key_id(sealed["secret"])

        await phone.node.install(diary())

        assert await phone.collection().get("r") == {"secret": SECRET}


async def test_a_limited_device_holds_the_record_and_not_what_is_sealed_in_it() -> None:
    """It edits the rest, gives the sealed field back as it is, and cannot write another."""
    async with World() as world:
        laptop = await with_diary(world)
        await laptop.collection().put({"title": "a", "secret": SECRET}, id="r", privacy="family")
        phone = await world.member(laptop, "phone", "limited")
        await meet(laptop, phone)
        await phone.node.install(diary())
        read = await phone.collection().get("r")
        assert read is not None and read["title"] == "a" and field_key_id(read["secret"])

        await phone.collection().put({**read, "title": "b"}, id="r")
        with pytest.raises(NotEntitledError):
            await phone.collection().put({"secret": "mine"}, id="r")
        await meet(laptop, phone)

        assert await laptop.collection().get("r") == {"title": "b", "secret": SECRET}


async def test_a_device_that_is_trusted_less_reads_nothing_that_is_written_after() -> None:
    """The key is that of the epoch: it changes with it."""
    async with World() as world:
        laptop = await with_diary(world)
        await laptop.collection().put({"secret": "before"}, id="old", privacy="family")
        phone = await world.member(laptop, "phone")
        await meet(laptop, phone)
        await phone.node.install(diary())
        await laptop.engine.trust.set_level(phone.id, "limited")
        await laptop.collection().put({"secret": SECRET}, id="new", privacy="family")
        await meet(laptop, phone)

        assert await phone.collection().get("old") == {"secret": "before"}
        new = await phone.collection().get("new")
        assert new is not None and field_key_id(new["secret"])
        assert await laptop.collection().get("new") == {"secret": SECRET}


async def test_what_is_written_as_it_is_writes_nothing() -> None:
    """Another nonce would look like a change, and come into dispute with a real one."""
    async with World() as world:
        laptop = await with_diary(world)
        value = {"title": "a", "secret": SECRET, "any": [1, {"b": None}]}
        await laptop.collection().put(value, id="r")

        again = await laptop.collection().put(await laptop.collection().get("r") or {}, id="r")

        assert not again.changed
        assert await laptop.collection().get("r") == value


async def test_a_sealed_field_survives_a_move_a_rename_and_joining_a_mesh() -> None:
    async with World() as world:
        laptop, phone = await world.founder("laptop"), await with_diary(world)
        await phone.collection().put({"secret": SECRET}, id="r")
        await phone.collection().move("r", privacy="family")
        await admit(laptop, phone)
        assert await phone.collection().get("r") == {"secret": SECRET}
        phone = await world.restart(phone)
        await meet(laptop, phone)
        await laptop.node.install(diary())
        assert await laptop.collection().get("r") == {"secret": SECRET}

        fields = {"hidden": "string", "any": "any", "title": "string"}
        second = schema(
            2,
            collections={"facts": {"fields": fields, "encrypted": ["hidden"]}},
            migrations=[Migration(2, "facts", changes=[{"rename": "secret", "to": "hidden"}])],
        )
        await phone.node.install(second)
        await laptop.node.install(second)
        await meet(laptop, phone)

        assert await laptop.collection().get("r") == {"hidden": SECRET}
        assert [one for one in await laptop.engine.inbox.page(STANDING) if one.field] == []


async def test_a_device_that_joins_with_less_trust_goes_on_reading_what_it_sealed() -> None:
    """It has no key to seal it with in this mesh. It must open, and nothing may be lost."""
    async with World() as world:
        laptop, phone = await world.founder("laptop"), await with_diary(world)
        await laptop.collection().put({"title": "family"}, id="l", privacy="family")
        await phone.collection().put({"secret": SECRET}, id="private")
        await phone.collection().put({"secret": SECRET, "title": "t"}, id="r", privacy="family")
        await admit(laptop, phone, "limited")
        phone = await world.restart(phone)
        await meet(laptop, phone)

        assert await phone.collection().get("private") == {"secret": SECRET}
        assert await phone.collection().get("r") == {"secret": SECRET, "title": "t"}
        await laptop.node.install(diary())
        assert SECRET not in str(await laptop.collection().get("r"))


async def test_what_the_schema_refuses_is_refused_before_it_is_hidden() -> None:
    async with World() as world:
        laptop = await with_diary(world)
        wrong: list[tuple[dict[str, Any], str]] = [
            ({"secret": "x" * 41}, "secret: 41 characters, 40 allowed"),
            ({"secret": None}, "null is not allowed"),
            ({"any": [Counter(1)]}, "a Counter cannot be in an encrypted field"),
            ({"any": Text("t")}, "a Text cannot be"),
            ({"any": {"a": float("nan")}}, "cannot be stored"),
        ]
        for value, why in wrong:
            with pytest.raises(BadValueError, match=why):
                await laptop.collection().put(value, id="r")

        await laptop.collection().put({"any": None}, id="r")
        assert await laptop.collection().get("r") == {"any": None}


async def test_a_person_decides_a_conflict_of_a_sealed_field_with_a_sealed_value() -> None:
    async with World() as world:
        laptop = await with_diary(world)
        phone = await world.member(laptop, "phone")
        await laptop.engine.trust.set_policy(b"", "memory", {"rule.facts.secret": "manual"})
        await laptop.collection().put({"secret": "a"}, id="r")
        await meet(laptop, phone)
        await phone.node.install(diary())
        await laptop.collection().put({"secret": "b"}, id="r")
        await phone.collection().put({"secret": "c"}, id="r")
        await meet(laptop, phone)
        (row,) = await laptop.node.conflicts()

        await laptop.node.resolve(row["id"], SECRET)
        await meet(laptop, phone)

        assert await phone.collection().get("r") == {"secret": SECRET}
        assert b"canary" not in laptop.gate.image()


async def test_what_was_written_before_is_listed_until_it_is_sealed() -> None:
    async with World() as world:
        laptop = await world.founder("laptop")
        await laptop.collection().put({"secret": "a"}, id="r")
        await laptop.node.install(diary())
        fault = {"collection": "facts", "id": "r", "field": "secret", "why": "is not encrypted"}
        assert (await call(laptop, "schema_check", database="memory"))["faults"] == [fault]

        await laptop.collection().put({"secret": "a"}, id="r")

        assert (await call(laptop, "schema_check", database="memory"))["faults"] == []
        assert await laptop.collection().get("r") == {"secret": "a"}


@pytest.mark.parametrize(
    ("collection", "why"),
    [
        ({"fields": {"a": "string"}, "encrypted": ["b"]}, "no field 'b'"),
        ({"fields": {"a": "blob"}, "encrypted": ["a"]}, "of the type blob cannot be encrypted"),
        ({"fields": {"a": "counter"}, "encrypted": ["a"]}, "counter cannot be encrypted"),
        ({"fields": {"a": "string"}, "encrypted": ["a"], "indexes": ["a"]}, "nothing can read it"),
        ({"fields": {"a": "array"}, "encrypted": ["a"], "rules": {"a": "union"}}, "needs no cont"),
    ],
)
def test_what_cannot_be_encrypted_is_said_with_the_definition(
    collection: dict[str, Any], why: str
) -> None:
    with pytest.raises(SchemaError, match=why):
        schema(collections={"facts": collection})


KEY, OTHER, NONCE = b"k" * 32, b"o" * 32, b"n" * 24


@given(st.binary(max_size=200), st.binary(max_size=20), st.data())
def test_a_sealed_value_opens_as_it_was_and_no_other_does(
    plain: bytes, place: bytes, data: st.DataObject
) -> None:
    sealed = seal_field(KEY, NONCE, place, plain)
    assert open_field(KEY, place, sealed) == plain
    at = data.draw(st.integers(0, len(sealed) - 1))
    broken = sealed[:at] + bytes([sealed[at] ^ 1]) + sealed[at + 1 :]

    for key, where, text in [
        (OTHER, place, sealed),
        (KEY, place + b"x", sealed),
        (KEY, place, broken),
        (KEY, place, sealed[:at]),
    ]:
        with pytest.raises(OpenError):
            open_field(key, where, text)


@given(st.one_of(st.binary(max_size=100), st.text(), st.none(), st.integers()))
def test_anything_may_be_asked_whether_it_is_sealed(value: Any) -> None:
    id = field_key_id(value)

    assert id is None or (value[:4] == b"CVF1" and len(id) == 32)


async def test_bytes_that_only_look_sealed_are_shown_as_they_are() -> None:
    """A hostile member writes whatever it likes into the field."""
    fake = seal_field(OTHER, NONCE, b"", b"1")
    async with World() as world:
        laptop = await with_diary(world)
        phone = await world.member(laptop, "phone")
        await meet(laptop, phone)
        await phone.collection().put({"any": fake, "secret": Vector([1.0])}, id="r")
        await meet(laptop, phone)

        assert await laptop.collection().get("r") == {"any": fake, "secret": Vector([1.0])}
