"""Schemas on a device: what it writes is checked, what others wrote is kept."""

import asyncio
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import covey
from covey.node.data import plugins
from covey.node.data.definition import CollectionSchema, read_collection
from covey.node.data.fitting import misfits
from covey.node.data.reading import SchemaError
from covey.node.data.schema import registered, unregister_schema
from covey.node.data.schema_news import COLLECTION, news
from covey.node.data.schemas import NoSchemaError
from covey.node.data.steps import Migration
from covey.node.service import Service
from covey.storage import schema_rows
from covey.storage.schema_rows import Installed
from covey.sync.errors import BadValueError
from covey.sync.values import Counter, Increment, Text, Vector

from .conflict_world import call
from .memory_world import Device, World, meet
from .schema_world import FACTS, first, notes, schema, second

BIG = "x" * 10_000_000
DEEP: Any = None
for _ in range(500):
    DEEP = {"a": DEEP}


async def installed(world: World, **fields: Any) -> Device:
    """A device whose `facts` have these fields, or those of FACTS."""
    device = await world.founder("laptop")
    await device.node.install(schema(collections=notes(**fields)) if fields else schema())
    return device


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ({"text": 1}, "facts/r: text: integer, string expected"),
        ({"text": None}, "facts/r: text: null is not allowed"),
        ({"text": "x" * 21}, "facts/r: text: 21 characters, 20 allowed"),
        ({"text": BIG}, "facts/r: text: 10000000 characters, 20 allowed"),
        ({"text": DEEP}, "facts/r: text: object, string expected"),
        ({"text": "a", "kind": "secret"}, "facts/r: kind: none of fact, guess"),
        ({"text": "a", "score": 2}, "facts/r: score: more than 1, which is the most allowed"),
        ({"text": "a", "score": -0.5}, "facts/r: score: less than 0"),
        ({"text": "a", "score": True}, "facts/r: score: boolean, number expected"),
        ({"text": "a", "score": float("nan")}, "facts/r: score: less than 0"),
        ({"text": "a", "x'; DROP": 1}, "facts/r: x'; DROP is no field of this collection; it has"),
        ({"text": "a", "\x1b[2J" * 99: 1}, r"facts/r: \x1b[2J\x1b[2J"),
        ({"kind": "fact"}, "facts/r: text is required"),
        ({}, "facts/r: text is required"),
    ],
)
async def test_a_write_that_does_not_fit_is_refused_by_place_and_not_by_content(
    value: dict[str, Any], why: str
) -> None:
    """The error names what is allowed; what somebody wanted to keep does not get into a log."""
    async with World() as world:
        laptop = await installed(world)

        with pytest.raises(BadValueError) as error:
            await laptop.collection().put(value, id="r")

        assert str(error.value).startswith(why) and str(error.value).isprintable()
        assert "secret" not in str(error.value) and len(str(error.value)) < 200
        assert await laptop.collection().get("r") is None


@pytest.mark.parametrize("way", ["put_many", "import", "command line", "transaction"])
async def test_every_way_to_write_is_checked_and_is_whole_or_nothing(way: str) -> None:
    async with World() as world:
        laptop = await installed(world)
        good, bad = {"text": "good"}, {"text": "far too long to be a fact"}

        with pytest.raises(BadValueError, match="text: 25 characters, 20 allowed"):
            if way == "put_many":
                await laptop.collection().put_many([("a", good), ("b", bad)])
            elif way == "import":
                items = [{"id": "a", "value": good}, {"id": "b", "value": bad}]
                names = {"database": "memory", "collection": "facts"}
                await call(laptop, "put_many", items=items, **names)
            elif way == "command line":
                await call(laptop, "put", database="memory", collection="facts", value=bad)
            else:
                async with laptop.node.database("memory").transaction() as tx:
                    tx.put("facts", good, "a")
                    tx.put("facts", bad, "b")

        assert await laptop.collection().find() == []


async def test_defaults_are_filled_where_a_record_begins() -> None:
    async with World() as world:
        laptop = await installed(
            world,
            kind={"type": "string", "default": "fact"},
            place={"type": "object", "fields": {"country": {"default": "NL"}}},
        )

        await laptop.collection().put({"place": {"city": "Delft"}}, id="a")
        await laptop.collection().put({"n": 1}, id="a")
        await laptop.collection().put({"kind": "guess"}, id="b")
        await laptop.collection().delete("b")
        await laptop.collection().put({"n": 2}, id="b")

        place = {"city": "Delft", "country": "NL"}
        assert await laptop.collection().get("a") == {"kind": "fact", "place": place, "n": 1}
        assert await laptop.collection().get("b") == {"kind": "fact", "n": 2}


async def test_what_a_peer_wrote_is_kept_can_be_edited_and_is_listed() -> None:
    """A device without the schema, or with another one, loses nothing by ours."""
    async with World() as world:
        laptop = await installed(world)
        phone = await world.member(laptop, "phone")
        odd = {"text": "longer than any fact may be", "mood": [1, {"a": None}]}
        await meet(laptop, phone)
        await phone.collection().put(odd, id="r")
        await meet(laptop, phone)
        assert await laptop.collection().get("r") == odd

        await laptop.collection().put({**odd, "score": 0.5}, id="r")
        with pytest.raises(BadValueError, match="mood is no field"):
            await laptop.collection().put({"mood": "new"}, id="r")

        assert await laptop.collection().get("r") == {**odd, "score": 0.5}
        found = await call(laptop, "schema_check", database="memory")
        assert {(one["id"], one["field"]) for one in found["faults"]} == {
            ("r", "text"),
            ("r", "mood"),
        }


async def test_fields_of_a_newer_schema_survive_a_replace_by_an_older_device() -> None:
    async with World() as world:
        laptop = await installed(world)
        phone = await world.member(laptop, "phone")
        await meet(laptop, phone)
        await phone.collection().put({"text": "a", "lang": "en", "score": 1}, id="r")
        await meet(laptop, phone)

        await laptop.collection().put({"text": "b"}, id="r", replace=True)

        assert await laptop.collection().get("r") == {"text": "b", "kind": "fact", "lang": "en"}


async def test_counters_may_be_added_to_and_texts_are_measured() -> None:
    async with World() as world:
        laptop = await installed(
            world,
            n={"type": "counter", "min": 0, "max": 5},
            t={"type": "text", "max_length": 3},
            v={"type": "vector", "dimension": 2},
            at={"type": "time", "min": datetime(2020, 1, 1, tzinfo=UTC)},
        )
        await laptop.collection().put({"n": Counter(5), "t": Text("abc")}, id="r")
        await laptop.collection().put({"n": Increment(1)}, id="r")
        wrong: list[tuple[dict[str, Any], str]] = [
            ({"n": Counter(7)}, "n: more than 5"),
            ({"n": 6}, "n: integer, counter expected: write covey.Counter"),
            ({"t": Text("abcd")}, "t: 4 characters, 3 allowed"),
            ({"v": Vector([1.0])}, "v: a vector of 1 numbers, 2 expected"),
            ({"at": datetime(2019, 1, 1, tzinfo=UTC)}, "at: less than 2020"),
            ({"at": datetime(2021, 1, 1)}, "at: a time without its zone"),
        ]
        for value, why in wrong:
            with pytest.raises(BadValueError, match=f"facts/r: {why}"):
                await laptop.collection().put(value, id="r")


async def test_a_schema_holds_after_a_restart_and_until_it_is_removed() -> None:
    async with World() as world:
        laptop = await installed(world)
        laptop = await world.restart(laptop)
        with pytest.raises(BadValueError):
            await laptop.collection().put({"text": 1}, id="r")
        await laptop.collection().put({"text": "stays"}, id="kept")

        await laptop.node.uninstall("memory")

        await laptop.collection().put({"text": 1}, id="r")
        assert (await laptop.collection().get("kept") or {})["text"] == "stays"
        assert await laptop.node.schemas() == []
        assert await laptop.engine.schemas.news.said(schema()) == {}
        history = await laptop.engine.schemas.history("memory", 10)
        assert [row["action"] for row in history] == ["removed", "installed"]
        with pytest.raises(NoSchemaError, match="no schema 'memory' here"):
            await laptop.node.uninstall("memory")


async def test_removing_with_records_deletes_those_of_its_collections_alone() -> None:
    async with World() as world:
        laptop = await installed(world)
        await laptop.collection().put({"text": "a"}, id="a")
        await laptop.collection("moods").put({"x": 1}, id="m")

        done = await laptop.node.uninstall("memory", records=True)

        assert done["deleted"] == 1
        found = {name for name in await laptop.values() if COLLECTION not in name}
        assert found == {"memory/moods/m"}


async def test_what_is_made_from_records_is_told_of_each_collection() -> None:
    """Indexes, vectors and expiry follow the schemas by these two lists."""
    async with World() as world:
        laptop = await world.founder("laptop")
        told: list[tuple[Any, ...]] = []

        def teller(way: str) -> Any:
            async def tell(database: str, collection: str, what: CollectionSchema) -> None:
                told.append((way, database, collection, what.indexes))

            return tell

        laptop.engine.schemas.on_install.append(teller("install"))
        laptop.engine.schemas.on_remove.append(teller("remove"))
        one = {"facts": {"fields": {"a": "string"}, "indexes": ["a"]}}
        two = {"facts": {"fields": {"a": "string", "b": "string"}, "indexes": [["a", "b"]]}}
        await laptop.node.install(schema(1, collections=one))
        await laptop.node.install(schema(2, collections=two))
        await laptop.node.uninstall("memory")

        assert told == [
            ("install", "memory", "facts", (("a",),)),
            ("remove", "memory", "facts", (("a",),)),
            ("install", "memory", "facts", (("a", "b"),)),
            ("remove", "memory", "facts", (("a", "b"),)),
        ]


async def test_conflict_rules_are_said_for_the_mesh_and_taken_back() -> None:
    rules = {"rules": {"score": "max", "kind": "manual"}, "deletion": "delete-wins"}
    async with World() as world:
        laptop = await world.founder("laptop")
        phone = await world.member(laptop, "phone")
        await laptop.engine.trust.set_policy(b"", "memory", {"rule.facts.kind": "union"})
        await meet(laptop, phone)
        with_rules = schema(collections={"facts": {**FACTS, **rules}})

        ours = await laptop.node.install(with_rules)
        assert ours["rules"] == {
            "said": ["rule.facts.$deleted", "rule.facts.score"],
            "left": ["rule.facts.kind"],
            "for_an_admin": [],
        }
        await meet(laptop, phone)
        assert (await call(phone, "rules"))["rules"][0]["of"] == "facts.$deleted"

        await laptop.node.uninstall("memory")
        assert [one["of"] for one in (await call(laptop, "rules"))["rules"]] == ["facts.kind"]


async def test_a_device_that_is_no_admin_says_which_rules_are_owed() -> None:
    async with World() as world:
        laptop = await world.founder("laptop")
        phone = await world.member(laptop, "phone", "limited")
        await laptop.collection().put({"text": "for all"}, privacy="family")
        await meet(laptop, phone)
        with_rules = schema(collections={"facts": {**FACTS, "rules": {"score": "max"}}})

        done = await phone.node.install(with_rules)

        assert done["rules"]["for_an_admin"] == ["rule.facts.score"]
        assert done["at"] == 1
        with pytest.raises(BadValueError):
            await phone.collection().put({"text": 1}, privacy="family")


async def test_unknown_rules_and_overlapping_collections_are_refused_whole() -> None:
    async with World() as world:
        laptop = await installed(world)
        other = {"name": "other", "database": "memory", "version": 1}

        with pytest.raises(SchemaError, match="facts of memory belongs to the schema memory"):
            await laptop.node.install({**other, "collections": {"facts": {}}})
        with pytest.raises(SchemaError, match="no conflict rule 'ours'"):
            await laptop.node.install({**other, "collections": {"moods": {"rule": "ours"}}})

        assert [row["name"] for row in await laptop.node.schemas()] == ["memory"]


async def test_conflicts_are_decided_with_values_that_a_schema_would_refuse() -> None:
    """A candidate of a peer may be the right one; a person's decision is not a new value."""
    async with World() as world:
        laptop = await installed(world)
        phone = await world.member(laptop, "phone")
        await laptop.collection().put({"text": "a"}, id="r")
        await laptop.engine.trust.set_policy(b"", "memory", {"rule.facts.text": "manual"})
        await meet(laptop, phone)
        await laptop.collection().put({"text": "b"}, id="r")
        await phone.collection().put({"text": "longer than any fact may be"}, id="r")
        await meet(laptop, phone)
        (row,) = await laptop.node.conflicts()

        await laptop.node.resolve(row["id"], "longer than any fact may be")

        assert (await laptop.collection().get("r") or {})["text"] == "longer than any fact may be"


async def test_what_anybody_may_write_as_news_is_read_with_care() -> None:
    """A hostile member says what it likes; at worst it is told of as a version."""
    good = {"version": 2, "at": 1, "down": 0, "checksum": "c", "steps": {}, "time": "t"}
    hostile: list[Any] = [
        None, 3, "x", [], {}, {**good, "version": True}, {**good, "version": 10**30},
        {**good, "at": 0}, {**good, "steps": {"2": 5}}, {**good, "steps": []},
        {**good, "time": "t" * 100}, {**good, "down": -1}, {**good, "checksum": {"$bytes": ""}},
    ]  # fmt: skip
    value = {f"d{at:02}": one for at, one in enumerate(hostile)} | {"ok": good}

    assert list(news(value)) == ["ok"]

    async with World() as world:
        laptop = await world.founder("laptop")
        await laptop.collection(COLLECTION).put({"x" * 99: 1, "y": {"version": -1}}, id="memory")
        await laptop.node.install(first())
        await laptop.node.install(second())
        assert (await laptop.node.schemas())[0]["at"] == 2


def test_registered_schemas_are_found_by_priority_and_kind() -> None:
    """Plugins register in any order; who comes first is theirs to say."""

    @covey.register_schema("test-b", kind="of a test", priority=10)
    class Second:
        version = 1
        collections = notes(a="string")

    @covey.register_schema("test-c", kind="of a test", priority=10)
    def third() -> dict[str, Any]:
        return {"version": 1, "database": "x", "collections": notes(a="string")}

    @covey.register_schema("test-a", kind="of a test", priority=20)
    class First:
        version = 2
        collections = notes(a="string")
        migrations = (Migration(2, "facts", changes=[{"add": "a", "value": ""}]),)

    try:
        found = registered("of a test")
        assert [one.name for one in found] == ["test-b", "test-c", "test-a"]
        assert [one.database for one in found] == ["test-b", "x", "test-a"]
        assert Second.version == 1 and third()["version"] == 1
        with pytest.raises(SchemaError, match="another schema of this name"):
            covey.register_schema("test-a")(Second)
    finally:
        for name in ("test-a", "test-b", "test-c"):
            unregister_schema(name)


async def test_a_registered_class_is_installed_by_itself_or_by_name() -> None:
    @covey.register_schema("test-class", priority=1)
    class Facts:
        version = 1
        database = "memory"
        collections = notes(a="integer")

    try:
        async with World() as world:
            laptop = await world.founder("laptop")
            assert (await laptop.node.install(Facts))["name"] == "test-class"
            assert (await laptop.node.install("test-class"))["version"] == 1
            with pytest.raises(SchemaError, match="register_schema first"):
                await laptop.node.install("unknown")
    finally:
        unregister_schema("test-class")


async def test_the_service_answers_as_the_command_line_shows_it() -> None:
    text = 'name = "memory"\nversion = 1\n[collections.facts.fields]\ntext = "string"\n'
    async with World() as world:
        laptop = await world.founder("laptop")
        service = Service(laptop.engine, lambda: None)

        done = await service.call("schema_install", {"definition": text, "file": "m.toml"})
        assert (done["name"], done["at"], done["migrated"]) == ("memory", 1, None)
        shown = await service.call("schema_show", {"name": "memory"})
        assert shown["definition"]["collections"] == {"facts": {"fields": {"text": "string"}}}
        moved = await service.call("schema_migrate", {"name": "memory"})
        assert (moved["steps"], moved["to"], moved["caught_up"]) == ([], 1, 0)
        history = await service.call("schema_history", {})
        assert [row["action"] for row in history["history"]] == ["installed"]
        assert (await service.call("schemas", {}))["schemas"][0]["kind"] == "records"
        assert (await service.call("schema_remove", {"name": "memory"}))["deleted"] == 0


async def test_a_definition_of_a_newer_program_keeps_no_home_from_opening() -> None:
    """What it says cannot be kept to; the records can be read and written, and a person hears."""
    async with World() as world:
        laptop = await installed(world)
        newer = Installed("memory", '{"name": "memory", "dreams": 1}', 1, 0, None, 0)
        await laptop.gate.write(lambda conn: schema_rows.put(conn, newer))

        laptop = await world.restart(laptop)

        await laptop.collection().put({"text": 1}, id="r")
        await laptop.engine.audit.flush()
        told = [row async for row in laptop.engine.directory.journal_rows()]
        assert "schema_unreadable" in [row["event"] for row in told]


async def test_a_rule_that_a_person_took_back_is_not_said_again() -> None:
    """The application installs its schema at each start; whoever decides is the person."""
    with_rules = schema(collections={"facts": {**FACTS, "rules": {"score": "max"}}})
    async with World() as world:
        laptop = await world.founder("laptop")
        await laptop.node.install(with_rules)
        await laptop.engine.trust.set_policy(b"", "memory", {"rule.facts.score": None})

        await laptop.node.install(with_rules)

        assert (await call(laptop, "rules"))["rules"] == []


async def test_two_installs_at_once_are_one_after_the_other() -> None:
    async with World() as world:
        laptop = await world.founder("laptop")
        await laptop.node.install(first())
        await laptop.collection().put({"body": "b"}, id="r")

        done = await asyncio.gather(*(laptop.node.install(second()) for _ in range(3)))

        assert [one["at"] for one in done] == [2, 2, 2]
        history = await laptop.engine.schemas.history("memory", 10)
        assert [row["action"] for row in history] == ["up", "installed", "installed"]


def test_plugins_of_installed_packages_are_loaded_when_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And one that is broken is named, not hidden behind a trace."""

    def load() -> None:
        covey.register_schema("test-plugin", kind="of a plugin")(
            lambda: {"version": 1, "collections": notes(a="string")}
        )

    found = [SimpleNamespace(name="good", value="a", load=load)]
    monkeypatch.setattr(plugins, "entry_points", lambda group: found)
    try:
        assert [one.name for one in covey.discover_schemas("of a plugin")] == ["test-plugin"]
        found.append(SimpleNamespace(name="bad", value="b", load=lambda: 1 / 0))
        with pytest.raises(SchemaError, match=r"plugin 'bad' cannot be loaded \(ZeroDivisionError"):
            covey.discover_schemas()
    finally:
        unregister_schema("test-plugin")


NAMES = st.sampled_from(["a", "b", "c", "it's", "x; --", "ü"])
SCALARS = st.one_of(
    *(st.none(), st.booleans(), st.integers(-5, 5), st.floats(allow_nan=False, width=32)),
    *(st.text(max_size=4), st.binary(max_size=3)),
    *(st.builds(Text, st.text(max_size=4)), st.builds(Counter, st.integers(-5, 5))),
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3)
)
SIMPLE = st.sampled_from(
    [
        "any", "boolean", "integer", "number", "string", "text", "bytes", "counter",
        {"type": "integer", "min": 0, "max": 3}, {"type": "string", "max_length": 2},
        {"type": "string", "enum": ["a", "b"], "nullable": True}, {"type": "text", "min_length": 1},
    ]
)  # fmt: skip
FIELDS = st.recursive(
    SIMPLE,
    lambda inner: (
        st.builds(lambda one: {"type": "array", "items": one, "max_length": 2}, inner)
        | st.builds(
            lambda fields, is_open: {"type": "object", "fields": fields, "additional": is_open},
            st.dictionaries(NAMES, inner, max_size=3),
            st.booleans(),
        )
    ),
    max_leaves=6,
)


@given(st.dictionaries(NAMES, FIELDS, max_size=4), st.dictionaries(NAMES, VALUES, max_size=4))
def test_whatever_is_written_the_answer_is_a_reason_or_none_and_has_no_content(
    fields: dict[str, Any], value: dict[str, Any]
) -> None:
    """A field on its own is judged as in its record, and an open collection accepts what is new."""
    closed = read_collection({"fields": fields, "additional": False})
    found = misfits(closed, value)

    assert found.keys() <= value.keys()
    assert {name for name in value if name not in fields} <= found.keys()
    opened = misfits(read_collection({"fields": fields}), value)
    assert opened == {name: why for name, why in found.items() if name in fields}
    for name, why in found.items():
        assert misfits(closed, {name: value[name]}) == {name: why}
        assert "\n" not in why and len(why) < 300


@given(st.dictionaries(NAMES, FIELDS, max_size=4))
def test_a_definition_means_the_same_after_it_was_stored(fields: dict[str, Any]) -> None:
    found = schema(collections=notes(**fields))

    assert schema(collections=dict(found.data["collections"])).collections == found.collections
    assert schema(collections=dict(found.data["collections"])).checksum == found.checksum
