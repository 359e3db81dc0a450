"""Walks over links: each record once, both ways, bounded, and never stale."""

from collections import deque
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

import covey
from covey.node.data.linking import Reached
from covey.node.demand_methods import NotFoundError
from covey.node.parameters import UsageError
from covey.node.service import Service
from covey.storage import link_rows
from covey.storage.link_rows import Back, LinkField, back, catch_up, declare, look, undeclare
from covey.storage.link_text import Declared, Target, link_to
from covey.storage.record_rows import RecordUpdate, remove_records, update_records
from covey.sync.errors import BadValueError
from covey.sync.values import value_text

from .fake_clock import settle
from .memory_world import Device, World, carry
from .store_rows import a_collection, memory_conn, put

ANN = ("memory", "facts", "ann")


async def of_friends(device: Device, friends: dict[str, list[str]]) -> None:
    facts = device.collection()
    for name, others in friends.items():
        await facts.put({"friend": [covey.link_to("facts", other) for other in others]}, id=name)


def ids(reached: list[Reached]) -> list[tuple[str, int]]:
    return [(one.target.id, one.depth) for one in reached]


async def test_a_walk_reaches_each_record_once_the_nearest_first() -> None:
    """Friends of friends go in circles."""
    async with World() as world:
        device = await world.founder("laptop")
        circle = {"ann": ["bob", "cy"], "bob": ["ann", "dot"], "cy": ["dot"], "dot": ["eve", "ann"]}
        await of_friends(device, {**circle, "eve": []})

        walk = await device.node.traverse(ANN, depth=2)
        whole = await device.node.traverse(ANN, depth=9)

        assert ids(walk.reached) == [("ann", 0), ("bob", 1), ("cy", 1), ("dot", 2)]
        assert walk.complete
        assert walk.reached[3].source == Target("memory", "facts", "bob")
        assert walk.reached[3].type == "friend"
        assert walk.reached[3].value == {
            "friend": [covey.link_to("facts", "eve"), covey.link_to("facts", "ann")]
        }
        assert ids(whole.reached)[-1] == ("eve", 3)


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=20), st.integers(0, 4))
async def test_a_walk_reaches_what_a_plain_search_does(
    pairs: list[tuple[int, int]], depth: int
) -> None:
    """Both ways, on any graph, with links to records that are not there."""
    there: dict[int, list[int]] = {n: [] for n in range(5)}
    for source, target in pairs:
        there.setdefault(source, []).append(target)
    backward = {n: [s for s in there for t in there[s] if t == n] for n in range(7)}

    def reach(ways: dict[int, list[int]]) -> dict[str, int]:
        found, todo = {"0": 0}, deque([0])
        while todo:
            at = todo.popleft()
            for other in ways.get(at, []) if found[str(at)] < depth else []:
                if str(other) not in found:
                    found[str(other)] = found[str(at)] + 1
                    todo.append(other)
        return found

    async with World() as world:
        device = await world.founder("laptop")
        await of_friends(device, {str(n): [str(m) for m in to] for n, to in there.items()})
        for ways, is_back in ((there, False), (backward, True)):
            walk = await device.node.traverse(("memory", "facts", "0"), depth=depth, back=is_back)
            assert dict(ids(walk.reached)) == reach(ways)
            assert {r.target.id for r in walk.dangling} == {
                n for n in reach(ways) if int(n) not in there
            }


async def test_links_lead_to_other_databases_and_dangle_where_nothing_is() -> None:
    """What has not arrived yet is no error, but whoever asks has to see it."""
    async with World() as world:
        device = await world.founder("laptop")
        links = {"home": covey.link_to("rooms", "kitchen", "house"), "of": link_to("x", "gone")}
        await device.collection().put(links, id="ann")
        await device.collection("rooms", "house").put({"floor": 1}, id="kitchen")

        walk = await device.node.traverse(ANN)

        assert [r.target for r in walk.dangling] == [Target("memory", "x", "gone")]
        assert [r.value for r in walk.found[1:]] == [{"floor": 1}]
        back = await device.node.traverse(("house", "rooms", "kitchen"), back=True)
        assert [r.target for r in back.reached[1:]] == [Target(*ANN)]


async def test_a_walk_stops_at_its_limit_and_says_so() -> None:
    """One record that everything links to must not fill the memory."""
    async with World() as world:
        device = await world.founder("laptop")
        await of_friends(device, {f"r{n}": ["ann"] for n in range(10)} | {"ann": ["r1", "r2"]})

        cut = await device.node.traverse(ANN, limit=5, back=True)
        exact = await device.node.traverse(ANN, limit=10, back=True)
        one = await device.node.traverse(ANN, limit=1)

        assert (len(cut.reached), cut.complete) == (6, False)
        assert (len(exact.reached), exact.complete) == (11, True)
        assert (ids(one.reached), one.complete) == ([("ann", 0), ("r1", 1)], False)


async def test_types_narrow_a_walk_both_ways() -> None:
    """Friends are wanted without the places where they live."""
    async with World() as world:
        device = await world.founder("laptop")
        await device.collection().put(
            {"friend": link_to("facts", "bob"), "lives": {"in": link_to("facts", "rome")}}, id="ann"
        )
        await device.collection().put({"lives": {"in": link_to("facts", "rome")}}, id="bob")
        rome = ("memory", "facts", "rome")

        assert ids((await device.node.traverse(ANN, links=["friend"])).reached)[1:] == [("bob", 1)]
        found = (await device.node.traverse(rome, links=["lives.in"], back=True)).reached
        assert ids(found)[1:] == [("ann", 1), ("bob", 1)]
        assert len((await device.node.traverse(rome, links=["friend"], back=True)).reached) == 1


async def test_the_way_back_follows_local_and_synced_changes() -> None:
    """It is kept in rows, and rows that lag show links that are gone."""
    async with World() as world:
        laptop = await world.founder("laptop")
        phone = await world.member(laptop, "phone")
        await of_friends(laptop, {"bob": ["ann"], "cy": ["ann"]})
        await carry(laptop, phone)
        assert len((await phone.node.traverse(ANN, back=True)).reached) == 3

        await laptop.collection().put({"friend": []}, id="bob")
        await laptop.collection().delete("cy")
        await of_friends(laptop, {"dot": ["ann"]})
        await carry(laptop, phone)

        for device in (laptop, phone):
            walk = await device.node.traverse(ANN, back=True)
            assert ids(walk.reached)[1:] == [("dot", 1)]


async def test_a_declared_field_links_until_it_is_undeclared() -> None:
    """Records that were there before are found as well, in both directions."""
    async with World() as world:
        device = await world.founder("laptop")
        await device.collection("messages").put({"thread": "t1"}, id="m1")
        linking = device.engine.linking
        thread = ("memory", "threads", "t1")
        assert len((await device.node.traverse(thread, back=True)).reached) == 1

        assert await linking.declare("memory", "messages", "thread", "threads")
        assert not await linking.declare("memory", "messages", "thread", "threads")
        back = await device.node.traverse(thread, back=True)
        there = await device.node.traverse(("memory", "messages", "m1"))

        assert [r.target.id for r in back.reached] == ["t1", "m1"]
        assert [r.target for r in there.dangling] == [Target(*thread)]
        assert await linking.undeclare("memory", "messages", "thread")
        assert not await linking.undeclare("memory", "messages", "thread")
        assert len((await device.node.traverse(thread, back=True)).reached) == 1
        assert await linking.declared() == []


@pytest.mark.parametrize(
    "bad", [{"depth": -1}, {"depth": 65}, {"limit": 0}, {"limit": 10**9}, {"links": "friend"}]
)
async def test_a_walk_without_bounds_is_refused(bad: dict[str, Any]) -> None:
    """Whoever passes one text for a list of types would get none."""
    async with World() as world:
        device = await world.founder("laptop")
        with pytest.raises(BadValueError):
            await device.node.traverse(ANN, **bad)
        with pytest.raises(BadValueError):
            await device.node.traverse(("memory", "facts", "\ud800"))


@pytest.mark.parametrize("name", ["", "x" * 2_000, "\ud800"])
async def test_a_field_with_an_impossible_name_is_not_declared(name: str) -> None:
    """It would be kept, and link nothing."""
    async with World() as world:
        device = await world.founder("laptop")
        with pytest.raises(BadValueError):
            await device.engine.linking.declare("memory", "messages", name, "threads")
        assert await device.engine.linking.declared() == []


async def test_hostile_names_are_names() -> None:
    """Quotation marks and statements in names end up in no statement."""
    hostile = "'; DROP TABLE records; --\"$.[0]~/"
    async with World() as world:
        device = await world.founder("laptop")
        await device.collection().put({hostile: link_to("facts", hostile)}, id="ann")
        await device.collection().put({"a": 1}, id=hostile)
        await device.engine.linking.declare("memory", hostile, hostile, hostile)

        walk = await device.node.traverse(ANN, links=[hostile])
        back = await device.node.traverse(("memory", "facts", hostile), back=True)

        assert [r.value for r in walk.found[1:]] == [{"a": 1}]
        assert ids(back.reached)[1:] == [("ann", 1)]


async def test_the_service_shows_walks_and_refuses_what_it_cannot_read() -> None:
    """The command line and the socket ask by it, and anything may be sent."""
    async with World() as world:
        device = await world.founder("laptop")
        await of_friends(device, {"ann": ["bob"]})
        service = Service(device.engine, lambda: None)
        place = {"database": "memory", "collection": "facts", "id": "ann"}

        assert await service.call("links", place) == {
            "links": [
                {
                    "database": "memory",
                    "collection": "facts",
                    "id": "bob",
                    "depth": 1,
                    "type": "friend",
                    "from": place,
                    "record": None,
                }
            ],
            "complete": True,
        }
        for bad in ({"depth": "2"}, {"depth": 0}, {"limit": True}, {"types": "friend"}, {"id": 3}):
            with pytest.raises(UsageError):
                await service.call("links", {**place, **bad})
        with pytest.raises(NotFoundError):
            await service.call("links", {**place, "id": "nobody"})
        with pytest.raises(NotFoundError):
            await service.call("link_undeclare", {**place, "field": "x"})
        to = {"database": "memory", "collection": "m", "field": "f", "to_collection": "t"}
        assert await service.call("link_declare", to) == {"declared": True}
        (shown,) = (await service.call("link_fields", {}))["fields"]
        assert shown == {**to, "to_database": "memory"}
        await settle()


class Links(RuleBasedStateMachine):
    """Rows that follow the feed against a look at every record."""

    def __init__(self) -> None:
        super().__init__()
        self.conn = memory_conn()
        self.coll = a_collection(self.conn)
        self.numbers: dict[str, int] = {}
        self.links: dict[str, list[str]] = {}

    @rule(id=st.sampled_from("abcd"), to=st.lists(st.sampled_from("abcde"), unique=True))
    def write(self, id: str, to: list[str]) -> None:
        value = value_text({"to": [link_to("notes", one) for one in to]})
        if id in self.numbers:
            row = RecordUpdate(self.numbers[id], value, 0, 1, 2, 0, None, None, "")
            update_records(self.conn, [row])
        else:
            self.numbers[id] = put(self.conn, self.coll, id, value)
        self.links[id] = to

    @rule(id=st.sampled_from("abcd"))
    def delete(self, id: str) -> None:
        if self.links.pop(id, None) is not None:
            row = RecordUpdate(self.numbers[id], None, 0, 1, 2, 0, None, None, "")
            update_records(self.conn, [row])

    @rule(id=st.sampled_from("abcd"))
    def remove(self, id: str) -> None:
        if self.numbers.pop(id, None) is not None:
            self.links.pop(id, None)
            remove_records(self.conn, self.coll, [id])

    @rule()
    def catch_up_a_little(self) -> None:
        catch_up(self.conn, 1)

    @rule()
    def declare_or_not(self) -> None:
        field = LinkField("memory", "other", "x", Declared("memory", "notes"))
        if not declare(self.conn, field):
            undeclare(self.conn, *field[:3])

    @invariant()
    def what_is_gone_is_gone_at_once(self) -> None:
        """Even before the feed is followed."""
        rows = self.conn.execute("SELECT DISTINCT record_no FROM record_links").fetchall()
        assert {row[0] for row in rows} <= {self.numbers[id] for id in self.links}

    @rule()
    def everything_is_found(self) -> None:
        while catch_up(self.conn, 2):
            pass
        for target in "abcde":
            expected = sorted(id for id, to in self.links.items() if target in to)
            found = back(self.conn, Target("memory", "notes", target), 100)
            assert found == [Back(Target("memory", "notes", id), "to") for id in expected]
            (seen,) = look(self.conn, [Target("memory", "notes", target)])
            assert sorted(link.target.id for link in seen.links) == sorted(
                self.links.get(target, [])
            )


TestLinks = Links.TestCase


def test_records_of_many_links_are_taken_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A member may send hundreds of records with thousands each; nobody could write meanwhile."""
    monkeypatch.setattr(link_rows, "LINKS_PER_JOB", 5)
    conn = memory_conn()
    notes = a_collection(conn)
    for n in range(6):
        links = [link_to("notes", f"{n}-{k}") for k in range(3)]
        put(conn, notes, f"r{n}", value_text({"to": links}))
    sizes = []
    while catch_up(conn, 500):
        sizes.append(conn.execute("SELECT count(*) FROM record_links").fetchone()[0])

    assert sizes == [6, 12]
    assert [one.source.id for one in back(conn, Target("memory", "notes", "5-2"), 9)] == ["r5"]
