"""Conflicts where a stranger would look for cracks: deep inside fields, hostile names and values,
decisions twice, devices that may not decide, records that stay at home."""

from typing import Any

import pytest

from covey.node.conflict_methods import STANDING
from covey.node.inbox import NotACandidateError, Take, UnknownConflictError, Value
from covey.node.parameters import UsageError
from covey.node.projection import remove
from covey.sync.errors import BadValueError
from covey.sync.values import Counter, Increment, Vector

from .conflict_world import R, apart, call, inbox, rule, two
from .memory_world import Device, World, meet, settle_tasks


async def held(device: Device) -> Any:
    """The record, in the application's form."""
    return await device.collection().get("r")


async def in_dispute(world: World, before: Any, mine: Any, theirs: Any) -> tuple[Device, Device]:
    """Two devices whose record had `f` before, and wrote it apart."""
    laptop, phone = await two(world)
    await laptop.collection().put({"f": before}, id="r")
    await meet(laptop, phone)
    await apart(laptop, phone, f=(mine, theirs))
    return laptop, phone


@pytest.mark.parametrize(
    ("before", "mine", "theirs", "place"),
    [
        ([[1, 2], [3]], [[1, 5], [3]], [[1, 6], [3]], "f[][]"),
        ([{"a": 1}, 2], [{"a": 5}, 2], [{"a": 6}, 2], "f[].a"),
        ({"x": {"y.z": 1}}, {"x": {"y.z": 5}}, {"x": {"y.z": 6}}, "f.x.y.z"),
        (Vector([0.0]), Vector([1.0]), Vector([2.0]), "f"),
        (1, {"a": [1]}, [2, {"b": None}], "f"),
        ("x", "y" * 400_000, "z" * 400_000, "f"),
    ],
)
async def test_a_decision_deep_inside_a_field_is_kept_and_can_be_taken_back(
    before: Any, mine: Any, theirs: Any, place: str
) -> None:
    """Undone, and undone again; with both values in the history of both devices."""
    async with World() as world:
        laptop, phone = await in_dispute(world, before, mine, theirs)
        (row,) = await inbox(laptop)
        assert (row["field"], len(row["candidates"])) == (place, 2)
        assert (await held(laptop))["f"] == theirs
        for undone in (mine, theirs):
            await laptop.engine.inbox.undo(bytes.fromhex(row["id"]))
            assert (await held(laptop))["f"] == undone
        await meet(laptop, phone)

        assert (await held(phone))["f"] == theirs
        history = await inbox(phone, everything=True)
        assert history == await inbox(laptop, everything=True)
        assert [(h["id"], h["state"], h["candidates"]) for h in history] == [
            (row["id"], "resolved", row["candidates"])
        ]


async def test_a_decision_leaves_alone_what_others_write_beside_it_meanwhile() -> None:
    """One name of a map was in dispute: the map is not written anew over what nobody had seen."""
    async with World() as world:
        laptop, phone = await in_dispute(
            world, {"a": 0, "b": 0}, {"a": 1, "b": 0}, {"a": 2, "b": 0}
        )
        (row,) = await inbox(laptop)
        await laptop.engine.inbox.resolve(bytes.fromhex(row["id"]), Value(7))
        await phone.collection().put({"f": {"a": 2, "b": 9}}, id="r")
        await meet(laptop, phone)

        assert (await held(phone))["f"]["b"] == 9
        assert await laptop.values() == await phone.values()
        (again,) = await inbox(phone)
        assert (again["field"], sorted(c["value"] for c in again["candidates"])) == ("f.a", [2, 7])


@pytest.mark.parametrize("written", [1, 2])
async def test_a_put_of_either_candidate_inside_a_field_counts(written: int) -> None:
    """Whatever the CRDT library would have shown, the person has written this."""
    async with World() as world:
        laptop, phone = await two(world)
        await rule(laptop, "rule.facts.f", "sum")
        await laptop.collection().put({"f": {"a": 0, "b": 0}}, id="r")
        await meet(laptop, phone)
        await apart(laptop, phone, f=({"a": 1, "b": 0}, {"a": 2, "b": 0}))
        assert (await held(laptop))["f"]["a"] == 3
        await laptop.collection().put({"f": {"a": written, "b": 0}}, id="r")
        await meet(laptop, phone)

        for device in (laptop, phone):
            assert (await held(device))["f"] == {"a": written, "b": 0}
            assert await inbox(device) == []


async def test_an_increment_over_counters_begun_apart_counts() -> None:
    """They are one counter with the parts of both; what is added to it must not get lost."""
    async with World() as world:
        laptop, phone = await two(world)
        await apart(laptop, phone, c=(Counter(5), Counter(3)))
        for device in (laptop, phone):
            await device.collection().put({"c": Increment(1)}, id="r")
        await meet(laptop, phone)

        assert (await held(laptop))["c"] == (await held(phone))["c"] == Counter(10)
        await phone.collection().put({"c": Counter(20)}, id="r")
        await meet(laptop, phone)
        assert (await held(laptop))["c"] == (await held(phone))["c"] == Counter(20)


@pytest.mark.parametrize("name", ["a.b", "a[0]", "[]", "\x1b[31mred", "x" * 256, "名前", "rule"])
async def test_a_field_of_any_name_can_be_decided_and_taken_back(name: str) -> None:
    """A name with a dot is not a place inside of a field."""
    async with World() as world:
        laptop, phone = await two(world)
        await apart(laptop, phone, **{name: (1, 2)})
        (row,) = await inbox(phone)
        id = bytes.fromhex(row["id"])
        await phone.engine.inbox.resolve(id, Take(laptop.id))
        assert (row["field"], (await held(phone))[name]) == (name, 1)
        await phone.engine.inbox.undo(id)

        assert (await held(phone))[name] == 2


@pytest.mark.parametrize(
    "wrong", [float("nan"), 10**30, "\ud800", {"$x": 1}, object(), {"a": object()}]
)
async def test_a_value_that_no_record_holds_is_refused_and_nothing_is_written(wrong: Any) -> None:
    """The conflict stands as before."""
    async with World() as world:
        laptop, phone = await two(world)
        await apart(laptop, phone, mood=("glad", "sad"))
        before = await inbox(laptop)
        with pytest.raises(BadValueError):
            await laptop.engine.inbox.resolve(bytes.fromhex(before[0]["id"]), Value(wrong))

        assert await inbox(laptop) == before


async def test_what_is_no_vector_does_not_settle_a_vector() -> None:
    """What was in dispute is inside of it; another kind is put over the field."""
    async with World() as world:
        laptop, _ = await in_dispute(world, Vector([0.0]), Vector([1.0]), Vector([2.0]))
        (row,) = await inbox(laptop)
        with pytest.raises(BadValueError, match="a vector"):
            await laptop.engine.inbox.resolve(bytes.fromhex(row["id"]), Value("x"))
        await laptop.engine.inbox.resolve(bytes.fromhex(row["id"]), Value(Vector([4.0])))

        assert (await held(laptop))["f"] == Vector([4.0])


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("conflicts", {"database": 5}),
        ("conflicts", {"database": ["memory"]}),
        ("conflicts", {"limit": True}),
        ("conflicts", {"limit": 10**9}),
        ("conflicts", {"after": [0, 2**70, "00"]}),
        ("conflicts", {"after": [2**70, 1, "00"]}),
        ("conflicts", {"after": [0, 1, "zz"]}),
        ("conflict_show", {"conflict": None}),
        ("conflict_resolve", {"conflict": 7, "value": 1}),
        ("conflict_resolve_all", {"database": "memory", "take": 7}),
        ("rule_set", {"database": "memory", "rule": "sum", "collection": "c", "field": 5}),
        ("rule_set", {"database": "memory", "rule": "sum", "field": "x"}),
        ("rule_set", {"database": "memory", "rule": ["sum"]}),
    ],
)
async def test_wrong_parameters_are_refused_in_words(method: str, params: Any) -> None:
    """Whatever a program sends over the local socket."""
    async with World() as world:
        laptop = await world.founder("laptop")
        with pytest.raises(UsageError, match=r"expected|name the collection|too long"):
            await call(laptop, method, **params)


async def test_undoing_a_decision_over_a_deletion_and_undoing_that() -> None:
    """The record comes back with what it held, and goes again."""
    async with World() as world:
        laptop, phone = await two(world)
        await laptop.collection().delete("r")
        await phone.collection().put({"mood": "alive"}, id="r")
        await meet(laptop, phone)
        (row,) = await inbox(laptop)
        id = bytes.fromhex(row["id"])
        await laptop.engine.inbox.resolve(id, Take(laptop.id))
        assert R not in await laptop.values()
        await laptop.engine.inbox.undo(id)
        assert (await laptop.values())[R] == {"mood": "alive", "n": 0}
        await meet(laptop, phone)

        assert await laptop.values() == await phone.values()
        assert await inbox(laptop) == await inbox(phone) == []


async def test_a_conflict_of_a_record_that_was_deleted_does_not_stand() -> None:
    """Deciding it would bring the record back."""
    async with World() as world:
        laptop, phone = await two(world)
        await apart(laptop, phone, mood=("glad", "sad"))
        (row,) = await inbox(laptop)
        await laptop.collection().delete("r")
        with pytest.raises(UnknownConflictError):
            await laptop.engine.inbox.resolve(bytes.fromhex(row["id"]), Value("x"))
        with pytest.raises(NotACandidateError, match="deleted"):
            await laptop.engine.inbox.undo(bytes.fromhex(row["id"]))
        await meet(laptop, phone)

        assert R not in await laptop.values() and R not in await phone.values()
        assert await inbox(laptop) == await inbox(phone) == []
        (past,) = await inbox(phone, everything=True)
        assert (past["state"], past["resolved_by"]) == ("resolved", "laptop")
        assert [c["value"] for c in past["candidates"]] == ["glad", "sad"]


async def test_conflicts_go_with_a_record_that_is_taken_away() -> None:
    """Numbers of records are used again: the next one would inherit them."""
    async with World() as world:
        laptop, phone = await two(world)
        await apart(laptop, phone, mood=("glad", "sad"))
        (scope,) = laptop.engine.ledger.scopes()
        await laptop.gate.write(lambda conn: remove(conn, [(scope.number, "facts", "r")]))
        left = await laptop.gate.read(
            lambda conn: conn.execute("SELECT count(*) FROM conflicts").fetchone()
        )

        assert left == (0,)


async def test_a_guest_sees_no_conflict_that_is_not_for_it_and_decides_what_it_may_write() -> None:
    """Deciding is writing: the keys and rules of writing hold."""
    async with World() as world:
        laptop, phone = await two(world)
        guest = await world.member(laptop, "guest", "guest")
        await laptop.collection().put({"title": "x"}, id="open", privacy="public")
        await meet(laptop, phone, guest)
        await apart(laptop, phone, mood=("glad", "sad"))
        for device in (laptop, phone):
            await device.collection().put({"title": f"by {device is laptop}"}, id="open")
        await meet(laptop, phone, guest)
        rows = await inbox(guest)

        assert [row["record"] for row in rows] == ["open"]
        assert "mood" not in str(rows)
        hidden = next(row for row in await inbox(laptop) if row["record"] == "r")
        with pytest.raises(UnknownConflictError):
            await call(guest, "conflict_resolve", conflict=hidden["id"], value="x")
        await call(guest, "conflict_resolve", conflict=rows[0]["id"], value="by the guest")
        await meet(laptop, phone, guest)
        assert [row["record"] for row in await inbox(laptop)] == ["r"]
        assert (await laptop.values())["memory/facts/open"] == {"title": "by the guest"}


async def test_records_that_stay_on_the_device_are_in_no_conflict() -> None:
    """Both made one under the same name, and neither knows of the other's."""
    async with World() as world:
        laptop, phone = await two(world)
        for device in (laptop, phone):
            await device.collection().put({"n": str(device.id)}, id="d", privacy="device")
        await meet(laptop, phone)

        assert await inbox(laptop) == await inbox(phone) == []
        assert await laptop.engine.inbox.page(STANDING) == []


async def test_candidates_of_a_device_that_was_removed_stay_and_can_be_taken() -> None:
    """What was seen of it before counts as before, under its name."""
    async with World() as world:
        laptop, phone = await two(world)
        await apart(laptop, phone, mood=("glad", "sad"))
        await laptop.engine.trust.revoke(phone.id)
        await settle_tasks(laptop)
        (row,) = await inbox(laptop)
        assert [c["device_name"] for c in row["candidates"]] == ["laptop", "phone"]
        await call(laptop, "conflict_resolve", conflict=row["id"], take="phone")

        assert (await held(laptop))["mood"] == "sad" and await inbox(laptop) == []
