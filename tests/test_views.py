"""Views: rows made of records by a function, the same on every device and after every rebuild."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from covey.node.data.message_views import message_views
from covey.node.data.views import (
    KEY_BYTES_MAX,
    ROWS_PER_RECORD_MAX,
    VALUE_BYTES_MAX,
    Rebuilt,
    Skipped,
    View,
    ViewReplacedError,
)
from covey.node.demand_methods import NotFoundError
from covey.node.parameters import UsageError
from covey.node.service import Service
from covey.storage import view_rows
from covey.storage.link_text import link_to
from covey.storage.record_rows import RecordUpdate, remove_records, update_records
from covey.storage.value_order import END, key_of
from covey.storage.view_rows import VIEWS_MAX, Made
from covey.sync.errors import BadValueError
from covey.sync.values import Text, value_text

from .memory_world import Device, World, admit, carry, meet
from .store_rows import a_collection, memory_conn, put

Fields = dict[str, Any]


def by_thread(id: str, fields: Fields) -> Iterator[tuple[Any, Any]]:
    yield (fields["thread"], fields["at"]), fields.get("text")


def view_of(device: Device, map: Any = by_thread, version: int = 1, name: str = "threads") -> View:
    return device.node.register_view(name, version, "memory", "facts", map)


async def talk(device: Device, count: int, thread: str = "t") -> None:
    facts = device.collection()
    for n in range(count):
        await facts.put({"thread": f"{thread}{n % 2}", "at": n, "text": f"m{n}"}, id=f"{thread}{n}")


async def test_rows_are_read_by_a_range_of_keys_in_both_directions() -> None:
    """The newest messages of a thread, and the page before them."""
    async with World() as world:
        device = await world.founder("laptop")
        await talk(device, 10)
        view = view_of(device)

        newest = await view.rows(["t1"], descending=True, limit=2)
        older = await view.rows(["t1"], descending=True, limit=2, after=newest[-1])
        between = await view.rows(["t0"], since=[2], until=[6])

        assert [row.value for row in newest] == ["m9", "m7"]
        assert [row.value for row in older] == ["m5", "m3"]
        assert [(row.key, row.id) for row in between] == [(("t0", 2), "t2"), (("t0", 4), "t4")]
        assert await view.count() == 10
        assert await view.count(["t1"]) == 5
        assert (await view.rows(["t"])) == []


async def test_pages_go_on_while_records_are_added() -> None:
    """A row that comes before the place repeats nothing and hides nothing."""
    async with World() as world:
        device = await world.founder("laptop")
        await talk(device, 6)
        view = view_of(device)
        page = await view.rows(limit=3)

        await device.collection().put({"thread": "a", "at": 0}, id="new")
        rest = await view.rows(after=page[-1])

        assert [row.id for row in page + rest] == ["t0", "t2", "t4", "t1", "t3", "t5"]


async def test_groups_count_sum_and_show_the_latest() -> None:
    """Unread counts, amounts and the last line of each thread are one question each."""
    async with World() as world:
        device = await world.founder("laptop")
        await talk(device, 5)
        await device.collection().put({"thread": "t9", "at": 1, "text": 2.5}, id="x")
        await device.collection().put({"thread": "t9", "at": 2, "text": 2**62}, id="y")
        view = view_of(device)

        assert await view.groups(1) == [(("t0",), 3), (("t1",), 2), (("t9",), 2)]
        assert await view.groups(1, "latest") == [
            (("t0",), "m4"),
            (("t1",), "m3"),
            (("t9",), 2**62),
        ]
        assert await view.groups(1, "sum", ["t9"]) == [(("t9",), 2**62 + 2.5)]
        assert await view.groups(1, after=["t0"], limit=1) == [(("t1",), 2)]
        assert len(await view.groups(2)) == 7
        assert await view.sum(["t9"]) == 2**62 + 2.5
        latest = await view.latest(["t0"])
        assert latest is not None
        assert latest.id == "t4"
        assert await view.latest(["t7"]) is None


async def test_keys_of_fewer_values_are_groups_of_their_own() -> None:
    """They must not swallow the groups that begin with them."""
    async with World() as world:
        device = await world.founder("laptop")
        keys = [("a",), ("a", 1), ("a", 1, 2), ("a", 2), ("b",)]
        await device.collection().put({"x": 1}, id="r")
        view = view_of(device, lambda id, fields: [(key, 1) for key in keys])

        assert await view.groups(2) == [
            (("a",), 1),
            (("a", 1), 2),
            (("a", 2), 1),
            (("b",), 1),
        ]
        assert await view.groups(2, after=("a",)) == [(("a", 1), 2), (("a", 2), 1), (("b",), 1)]


async def test_a_view_follows_changes_deletions_and_what_is_synced() -> None:
    """A view that lags answers with what is no longer so."""
    async with World() as world:
        laptop = await world.founder("laptop")
        phone = await world.member(laptop, "phone")
        views = [view_of(device) for device in (laptop, phone)]
        await talk(laptop, 3)
        await carry(laptop, phone)
        assert [await view.count() for view in views] == [3, 3]

        await phone.collection().put({"thread": "t7"}, id="t0")
        await phone.collection().delete("t1")
        await meet(laptop, phone)

        for view in views:
            assert [row.key for row in await view.rows()] == [("t0", 2), ("t7", 0)]
        assert await views[0].digest() == await views[1].digest()


ACTIONS = st.lists(
    st.tuples(
        st.integers(0, 1), st.integers(0, 3), st.sampled_from(["put", "delete", "meet", "read"])
    ),
    max_size=14,
)


@settings(max_examples=25)
@given(ACTIONS)
async def test_replay_and_any_order_of_arrival_give_the_same_bytes(
    actions: list[tuple[int, int, str]],
) -> None:
    """Each device sees its own writes first and those of the other later, some of them in conflict.

    The digest of a view says that two devices see the same, and that nothing was missed.
    """
    async with World() as world:
        laptop = await world.founder("laptop")
        devices = [laptop, await world.member(laptop, "phone")]
        views = [view_of(device) for device in devices]
        for n, (who, id, action) in enumerate(actions):
            if action == "put":
                value = {"at": n} if id == 3 else {"thread": f"t{n % 3}", "at": n}
                await devices[who].collection().put(value, id=str(id))
            elif action == "delete":
                await devices[who].collection().delete(str(id))
            elif action == "meet":
                await meet(*devices)
            else:
                await views[who].count()
        await meet(*devices)

        digests = [await view.digest() for view in views]
        rebuilt = [await view.rebuild() for view in views]

        assert digests[0] == digests[1]
        assert {(one.before, one.after) for one in rebuilt} == {(digests[0], digests[0])}


async def test_a_record_that_the_function_raises_at_is_skipped_and_named() -> None:
    """One odd record must not keep a view from all others; what it held is not told."""
    async with World() as world:
        device = await world.founder("laptop")
        await talk(device, 2)
        await device.collection().put({"text": "no thread"}, id="odd")
        view = view_of(device)

        assert await view.count() == 2
        assert await view.skipped() == [Skipped("odd", "KeyError")]

        await device.collection().put({"thread": "t", "at": 1}, id="odd")
        assert await view.skipped() == []
        await device.collection().put({"thread": None, "at": []}, id="odd")
        assert await view.skipped() == [Skipped("odd", "BadValueError")]
        await device.collection().delete("odd")
        assert await view.skipped() == []


LOOP: list[Any] = []
LOOP.append(LOOP)


@pytest.mark.parametrize(
    "made",
    [
        None,
        1,
        [1],
        [("key", 1)],
        [((), 1)],
        [(("k",), object())],
        [(("k",), float("nan"))],
        [((float("nan"),), 1)],
        [(("\ud800",), 1)],
        [(("k",), "\ud800")],
        [(("k" * KEY_BYTES_MAX,), 1)],
        [(("k",), "v" * VALUE_BYTES_MAX)],
        [(("k",), LOOP)],
        [(("k",), 1)] * (ROWS_PER_RECORD_MAX + 1),
        [((2**70,), 1)],
        [((datetime(2024, 1, 1),), 1)],
    ],
    ids=range(16),
)
async def test_bad_rows_skip_their_record_and_nothing_else(made: Any) -> None:
    """Whatever an application returns ends in a skipped record."""
    async with World() as world:
        device = await world.founder("laptop")
        await device.collection().put({"n": 1}, id="bad")
        await device.collection().put({"n": 2}, id="good")

        view = view_of(device, lambda id, _: made if id == "bad" else [((id,), None)])

        assert [row.id for row in await view.rows()] == ["good"]
        assert [one.id for one in await view.skipped()] == ["bad"]


async def test_keys_and_values_read_back_as_they_were_made() -> None:
    """Times and bytes are times and bytes in a view as they are in a record."""
    when = datetime(2024, 2, 29, tzinfo=UTC)
    key = (None, True, -1.5, 2**53 + 1, "a\0b", b"\x00\xff", when)
    async with World() as world:
        device = await world.founder("laptop")
        await device.collection().put({"at": when, "raw": b"x"}, id="r")

        view = view_of(device, lambda id, fields: [(key, fields)])

        (row,) = await view.rows()
        assert row.key == key
        assert row.value == {"at": when, "raw": b"x"}


async def test_another_version_makes_all_rows_anew_and_the_same_one_keeps_them() -> None:
    """An application that was changed must not read what its older self made."""
    calls: list[str] = []

    def second(id: str, fields: Fields) -> Iterator[tuple[Any, Any]]:
        calls.append(id)
        yield (fields["at"],), None

    async with World() as world:
        device = await world.founder("laptop")
        await talk(device, 3)
        old = view_of(device)
        await old.count()
        view = view_of(device, second, 2)

        assert [row.key for row in await view.rows()] == [(0,), (1,), (2,)]
        with pytest.raises(ViewReplacedError):
            await old.count()
        device = await world.restart(device)
        await view_of(device, second, 2).count()
        assert calls == ["t0", "t1", "t2"]


async def test_a_rebuild_tells_a_function_that_is_not_the_one_it_was() -> None:
    """The version was not raised, and the rows were made by two functions."""
    answers = iter(range(100))
    async with World() as world:
        device = await world.founder("laptop")
        await talk(device, 2)
        view = view_of(device, lambda id, _: [((id,), next(answers))])

        rebuilt = await view.rebuild()

        assert rebuilt.before != rebuilt.after
        assert rebuilt.after == await view.digest()


async def test_readers_beside_a_rebuild_see_all_rows() -> None:
    """A count of half of the records is no count."""
    async with World() as world:
        device = await world.founder("laptop")
        await talk(device, 8)
        view = view_of(device)

        counts = await asyncio.gather(
            *(view.count() for _ in range(4)), view.rebuild(), view.count()
        )

        assert [n for n in counts if isinstance(n, int)] == [8] * 5


async def test_a_dropped_view_leaves_nothing_and_can_be_registered_anew() -> None:
    """An application that is gone should not be remembered."""
    async with World() as world:
        device = await world.founder("laptop")
        await talk(device, 2)
        view = view_of(device)
        await view.count()
        ((stored, rows, skips, behind),) = await device.engine.views.stored()
        assert (stored.name, rows, skips, behind) == ("threads", 2, 0, 0)

        assert await device.engine.views.drop("threads")
        assert not await device.engine.views.drop("threads")

        assert await device.engine.views.stored() == []
        with pytest.raises(ViewReplacedError):
            await view.rows()
        assert await view_of(device).count() == 2


@pytest.mark.parametrize("error", [SystemExit(3), asyncio.CancelledError(), GeneratorExit()])
async def test_a_function_that_would_end_the_node_costs_its_record_only(
    error: BaseException,
) -> None:
    """`sys.exit` in a function of an application ended the process, sync and all."""

    def function(id: str, fields: dict[str, Any]) -> Any:
        if fields["at"] == 1:
            raise error
        yield (fields["at"],), None

    async with World() as world:
        device = await world.founder("laptop")
        await talk(device, 3)
        view = view_of(device, function)

        assert [row.key for row in await view.rows()] == [(0,), (2,)]
        assert [one.error for one in await view.skipped()] == [type(error).__name__]


def test_a_function_that_hangs_keeps_no_process_from_ending(tmp_path: Path) -> None:
    """Nobody can end its thread; the home is closed without it, and is good."""
    program = """
import asyncio, sys, threading
import covey
from covey.node.main import create_home

begun = threading.Event()

def hang(id, fields):
    begun.set()
    threading.Event().wait()

async def main():
    home, key = sys.argv[1], covey.KeyFile(sys.argv[1] + ".key")
    await create_home(home, "laptop", "laptop", key)
    async with covey.open(home, unlock=key) as node:
        facts = node.database("memory").collection("facts")
        await facts.put({"n": 1}, id="r")
        view = node.register_view("hangs", 1, "memory", "facts", hang)
        reading = asyncio.create_task(view.count())
        await asyncio.to_thread(begun.wait)
        print(await facts.get("r"))
        reading.cancel()

asyncio.run(main())
print("ended")
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "home")],
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert done.stdout == "{'n': 1}\nended\n", done.stderr


async def test_views_have_bounds_and_names() -> None:
    """A loop that registers views must end before the disk does."""
    async with World() as world:
        device = await world.founder("laptop")
        for name, version in (("", 1), ("x" * 300, 1), ("a\n", 1), ("a", -1), ("a", True)):
            with pytest.raises(BadValueError):
                view_of(device, by_thread, version, name)
        view = view_of(device)
        bad: dict[str, Any]
        for bad in (
            *({"limit": 0}, {"prefix": "t"}, {"since": [float("nan")]}, {"since": "t"}),
            *({"until": "t"}, {"prefix": 5}, {"after": 5}),
        ):
            with pytest.raises(BadValueError):
                await view.rows(**bad)
        with pytest.raises(BadValueError, match="after"):
            await view.groups(1, after="t")
        with pytest.raises(BadValueError, match="a function"):
            view_of(device, None, name="none")
        for arguments in ((0, "count"), (1, "median"), (True, "count")):
            with pytest.raises(BadValueError):
                await view.groups(*arguments)
        for n in range(VIEWS_MAX):
            await view_of(device, name=f"v{n}").count()
        with pytest.raises(BadValueError, match="drop one first"):
            await view_of(device, name="one more").count()


async def test_a_sum_that_no_number_can_be_is_refused() -> None:
    """Infinity would not be JSON either."""
    async with World() as world:
        device = await world.founder("laptop")
        for id in "ab":
            await device.collection().put({"thread": "t", "at": id, "text": 1.7e308}, id=id)
        view = view_of(device)
        with pytest.raises(BadValueError):
            await view.sum()


async def test_messages_are_seen_by_thread_by_author_and_unread() -> None:
    """What an application with conversations asks all the time."""
    async with World() as world:
        device = await world.founder("laptop")
        facts = device.collection()
        await facts.put({"thread": 1, "author": "a", "at": 5, "text": Text("x" * 500)}, id="m1")
        await facts.put({"thread": 1, "author": "me", "at": 6, "text": 7}, id="m2")
        await facts.put({"thread": 2, "author": "a", "at": 4, "read": True}, id="m3")
        await facts.put({"author": "a"}, id="none")

        views = message_views(device.engine, "memory", "facts", reader="me")

        assert await views.unread.groups(1) == [((1,), 1)]
        assert [row.value for row in await views.threads.rows([1])] == [
            {"author": "a", "text": "x" * 80},
            {"author": "me", "text": None},
        ]
        assert [row.value for row in await views.authors.rows(["a"])] == [2, 1]
        assert await views.threads.skipped() == [Skipped("none", "KeyError")]


async def test_the_service_lists_views_and_drops_them() -> None:
    """The application that made one may be gone, and its rows take room."""
    async with World() as world:
        device = await world.founder("laptop")
        await talk(device, 2)
        await view_of(device).count()
        await talk(device, 1, "u")
        service = Service(device.engine, lambda: None)

        (row,) = (await service.call("views", {}))["views"]
        assert row == {
            **{"name": "threads", "version": 1, "database": "memory", "collection": "facts"},
            **{"rows": 2, "skipped": 0, "behind": 1},
        }
        with pytest.raises(NotFoundError):
            await service.call("view_drop", {"name": "other"})
        with pytest.raises(UsageError):
            await service.call("view_drop", {"name": 3})
        await service.call("view_drop", {"name": "threads"})
        assert await service.call("views", {}) == {"views": []}


async def test_views_and_links_survive_a_change_of_mesh_with_records_of_their_own() -> None:
    """Joining rebuilds the store: every record goes and comes again, under other numbers."""
    async with World() as world:
        laptop = await world.founder("laptop")
        phone = await world.founder("phone")
        await talk(phone, 4)
        await phone.collection().put({"to": link_to("facts", "t1"), "thread": 1, "at": 1}, id="l")
        view = view_of(phone)
        before = await view.digest()
        start = ("memory", "facts", "t1")
        assert len((await phone.node.traverse(start, back=True)).found) == 2

        await admit(laptop, phone)
        await meet(laptop, phone)

        assert await view.digest() == before == await view_of(laptop).digest()
        for device in (laptop, phone):
            assert len((await device.node.traverse(start, back=True)).found) == 2


async def test_a_view_that_was_replaced_while_it_was_asked_leaves_the_new_one_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A new version starts while a screen of the old one is still being drawn."""
    async with World() as world:
        device = await world.founder("laptop")
        await talk(device, 3)
        old, beside = view_of(device), device.engine.views.beside
        new: list[View] = []

        async def replaced_meanwhile(job: Any) -> Any:
            made = await beside(job)
            if not new:
                new.append(view_of(device, lambda id, _: [((id,), 2)], version=2))
                await new[0]._open()
            return made

        monkeypatch.setattr(device.engine.views, "beside", replaced_meanwhile)
        with pytest.raises(ViewReplacedError):
            await old.rows()

        assert [row.key for row in await new[0].rows()] == [("t0",), ("t1",), ("t2",)]
        assert await new[0].rebuild() == Rebuilt(*[await new[0].digest()] * 2)


async def test_a_view_is_not_taken_for_another_one_with_its_number() -> None:
    """The store gives the number of a view that was dropped to the next one."""
    async with World() as world:
        device = await world.founder("laptop")
        await talk(device, 3)
        old = view_of(device)
        stored = await old._open()
        new = view_of(device, lambda id, _: [((id,), 2)], version=2)
        await new.rows()
        database = device.engine.database

        assert await database.read(lambda conn: view_rows.pending(conn, stored, 9)) is None
        assert not await database.read(lambda conn: view_rows.is_there(conn, stored))
        assert await database.read(lambda conn: view_rows.find_view(conn, "threads")) is not None


class Following(RuleBasedStateMachine):
    """Rows under any history against rows made at once, in a store whose numbers come back."""

    def __init__(self) -> None:
        super().__init__()
        self.conn = memory_conn()
        self.coll = a_collection(self.conn)
        self.numbers: dict[str, int] = {}
        self.values: dict[str, int] = {}
        self.view = view_rows.open_view(self.conn, "v", 1, "memory", "notes")

    @rule(id=st.sampled_from("abc"), n=st.integers(0, 3))
    def write(self, id: str, n: int) -> None:
        value = value_text({"n": n})
        if id in self.numbers:
            row = RecordUpdate(self.numbers[id], value, 0, 1, 2, 0, None, None, "")
            update_records(self.conn, [row])
        else:
            self.numbers[id] = put(self.conn, self.coll, id, value)
        self.values[id] = n

    @rule(id=st.sampled_from("abc"), gone=st.booleans())
    def delete(self, id: str, gone: bool) -> None:
        if self.values.pop(id, None) is None:
            return
        if gone:
            self.numbers.pop(id)
            remove_records(self.conn, self.coll, [id])
        else:
            row = RecordUpdate(self.numbers[id], None, 0, 1, 2, 0, None, None, "")
            update_records(self.conn, [row])

    def made(self, taken: view_rows.Pending) -> list[Made]:
        """`n` rows of a record with 1 to 3, an error for 0."""
        found = []
        for item in taken.items:
            n = int(item.value[5:-1])
            key = key_of((n,))
            found.append(Made(item, [(key, "1")] * n, None if n else "ValueError"))
        return found

    @rule()
    def step(self) -> None:
        taken = view_rows.pending(self.conn, self.view, 1)
        if taken is not None:
            assert view_rows.apply(self.conn, self.view, taken, self.made(taken))

    @rule(id=st.sampled_from("abc"), gone=st.booleans())
    def something_happens_while_the_function_runs(self, id: str, gone: bool) -> None:
        taken = view_rows.pending(self.conn, self.view, 2)
        self.delete(id, gone)
        if taken is not None:
            assert view_rows.apply(self.conn, self.view, taken, self.made(taken))

    @rule()
    def two_are_at_it(self) -> None:
        taken = view_rows.pending(self.conn, self.view, 2)
        self.step()
        if taken is not None:
            assert not view_rows.apply(self.conn, self.view, taken, self.made(taken))

    @invariant()
    def what_is_gone_is_gone_at_once(self) -> None:
        rows = self.conn.execute(
            "SELECT record_no FROM view_rows UNION SELECT record_no FROM view_skips"
        ).fetchall()
        assert {row[0] for row in rows} <= {self.numbers[id] for id in self.values}

    @rule()
    def everything_is_there(self) -> None:
        while view_rows.pending(self.conn, self.view, 1):
            self.step()
        no, whole = self.view.view_no, (b"", END)
        expected = sorted((n, id, part) for id, n in self.values.items() for part in range(n))
        found = view_rows.rows(self.conn, no, *whole, None, False, 100)
        assert [(key_of((n,)), id, part) for n, id, part in expected] == [
            (row.key, row.id, row.part) for row in found
        ]
        turned = view_rows.rows(self.conn, no, *whole, None, True, 100)
        assert turned == found[::-1]
        skips = [place.id for place, _ in view_rows.skipped(self.conn, no, 10)]
        assert skips == sorted(id for id, n in self.values.items() if n == 0)
        digest = view_rows.digest(self.conn, no)
        view_rows.start_over(self.conn, no)
        taken = view_rows.pending(self.conn, self.view, 1_000)
        if taken is not None:
            view_rows.apply(self.conn, self.view, taken, self.made(taken))
        assert view_rows.digest(self.conn, no) == digest


TestFollowing = Following.TestCase


async def test_many_rows_are_put_into_the_store_a_part_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """500 records of 1,000 rows each kept every writer waiting for seconds."""
    monkeypatch.setattr(view_rows, "ROWS_PER_JOB", 4)
    applied: list[int] = []
    apply = view_rows.apply

    def counted(conn: Any, view: Any, taken: Any, made: Any) -> bool:
        applied.append(sum(len(one.rows) for one in made))
        return apply(conn, view, taken, made)

    monkeypatch.setattr(view_rows, "apply", counted)
    async with World() as world:
        device = await world.founder("laptop")
        await talk(device, 7)
        await device.collection().delete("t6")
        view = view_of(device, lambda id, _: [((id, n), n) for n in range(3)])

        assert await view.count() == 18
        assert applied == [6, 6, 6, 0]
        await device.collection().delete("t0")
        assert await view.count() == 15
        rebuilt = await view.rebuild()
        assert rebuilt.before == rebuilt.after
