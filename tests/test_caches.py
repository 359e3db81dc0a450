"""`node.cache`: kept for a while on one device, gone without harm, and never anywhere else."""

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from covey.crypto.secret import Secret
from covey.node.data import caches
from covey.node.data.cache_api import Cache
from covey.node.data.cache_values import (
    KEY_BYTES_MAX,
    NAME_BYTES_MAX,
    VALUE_BYTES_MAX,
    decode_value,
    encode_value,
    key_bytes,
)
from covey.node.data.caches import AGAIN_MS, CacheClosedError
from covey.node.data.personal import Personal, about_of
from covey.node.service import Service
from covey.storage.errors import DiskFailedError, StorageError, StoreFullError
from covey.storage.key_values import KeyValues, MemoryPlace, RowsDamagedError
from covey.storage.stores import StoreKind, StoreKindError
from covey.sync.errors import BadValueError
from covey.sync.values import BlobRef, Counter, Increment, Text, Vector

from .memory_world import Device, World, carry

HOUR = timedelta(hours=1)
HOUR_MS = 3_600_000


@pytest.fixture
async def device() -> AsyncIterator[Device]:
    async with World() as world:
        yield await world.founder("laptop")


@pytest.fixture
def answers(device: Device) -> Cache:
    return device.node.cache("answers")


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63) + 1, 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20)
    | st.binary(max_size=20)
    | st.datetimes(timezones=st.just(UTC)).map(
        lambda time: time.replace(microsecond=time.microsecond // 1000 * 1000, fold=0)
    ).filter(lambda time: 2 < time.year < 9998)
    | st.text(max_size=5).map(Text)
    | st.integers(-9, 9).map(Counter)
    | st.lists(st.floats(-1, 1, width=32), max_size=3).map(Vector)
    | st.binary(min_size=32, max_size=32).map(lambda id: BlobRef(id, 7, "text/plain", "a.txt")),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(
        st.text(min_size=1, max_size=6).filter(lambda name: name[0] != "$"), inner, max_size=4
    ),
    max_leaves=12,
)  # fmt: skip


@given(values)
def test_a_value_comes_back_as_it_was(value: Any) -> None:
    """Types included: 1, 1.0 and True are three values, and so are a text and its bytes."""
    back = decode_value(encode_value(value))

    assert back == value
    assert repr(back) == repr(value)


@given(st.binary(max_size=60))
def test_bytes_that_are_no_value_are_said_to_be_none(kept: bytes) -> None:
    """Whatever is sealed, a version to come may have written it in another form."""
    try:
        decode_value(kept)
    except BadValueError:
        return
    assert kept[:1] in (b"\0", b"\1")


def deep(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    "value",
    [
        float("nan"),
        float("inf"),
        2**63,
        (1, 2),
        {1, 2},
        {"a": object()},
        {1: "a"},
        {"": 1},
        {"$bytes": "AA=="},
        {"a": {"$b": 1}},
        datetime(2026, 1, 1),
        datetime(1, 1, 1, tzinfo=UTC),
        "\ud800",
        {"\ud800": 1},
        Increment(1),
        Counter(2**64),
        Counter("1"),  # type: ignore[arg-type]
        Text(b"x"),  # type: ignore[arg-type]
        Text("\ud800"),
        bytearray(b"x"),
        deep(33),
        deep(5_000),
        b"x" * (VALUE_BYTES_MAX + 1),
        "x" * (VALUE_BYTES_MAX - 1),
        ["x" * 1_000_000] * 10,
    ],
    ids=lambda value: type(value).__name__,
)
async def test_what_no_cache_holds_is_refused_and_nothing_is_kept(
    answers: Cache, value: Any
) -> None:
    """Refused when it is put, and not found to be lost when it is read."""
    await answers.put("k", "before")
    with pytest.raises(BadValueError):
        await answers.put("k", value)

    assert await answers.get("k") == "before"


async def test_the_largest_values_and_keys_are_kept(answers: Cache) -> None:
    """A limit is what is allowed, and one more is not."""
    await answers.put("a" * KEY_BYTES_MAX, b"x" * VALUE_BYTES_MAX)
    await answers.put(b"b" * KEY_BYTES_MAX, "x" * (VALUE_BYTES_MAX - 2))
    assert len(await answers.get("a" * KEY_BYTES_MAX)) == VALUE_BYTES_MAX
    assert await answers.get(b"b" * KEY_BYTES_MAX) == "x" * (VALUE_BYTES_MAX - 2)
    await answers.put("deep", deep(32))
    assert await answers.get("deep") == deep(32)


async def test_a_time_comes_back_in_utc_to_the_millisecond(answers: Cache) -> None:
    """As everywhere in Covey."""
    there = timezone(timedelta(hours=5, minutes=30))
    await answers.put("t", [datetime(2026, 1, 2, 3, 4, 5, 678_901, there)])

    assert await answers.get("t") == [datetime(2026, 1, 1, 21, 34, 5, 678_000, UTC)]


@pytest.mark.parametrize(
    "key", ["", b"", "x" * (KEY_BYTES_MAX + 1), "\ud800", None, 1, ("a",), bytearray(b"x")]
)
async def test_a_key_is_a_text_or_bytes(answers: Cache, key: Any) -> None:
    """Anything else would be turned into one, and two keys into the same."""
    for call in (
        lambda: answers.put(key, 1),
        lambda: answers.get(key),
        lambda: answers.delete(key),
        lambda: answers.get_or_make(key, fail),
    ):
        with pytest.raises(BadValueError, match="key of a cache"):
            await call()


@pytest.mark.parametrize(
    "name", ["", " ", "a\nb", "\x1b[31m", "x" * (NAME_BYTES_MAX + 1), "\ud800", None, 1, b"a"]
)
def test_a_cache_has_a_name_that_prints(device: Device, name: Any) -> None:
    """It is shown to people by `covey cache stats`."""
    with pytest.raises(BadValueError, match="cache"):
        device.node.cache(name)


@pytest.mark.parametrize(
    "ttl",
    [
        timedelta(0),
        timedelta(microseconds=999),
        -HOUR,
        timedelta(days=30, milliseconds=1),
        60,
        "1h",
    ],
)
async def test_a_value_is_kept_for_a_time_within_bounds(answers: Cache, ttl: Any) -> None:
    """Seconds and milliseconds are mixed up easily, so a number is no time."""
    with pytest.raises(BadValueError, match="timedelta"):
        await answers.put("k", 1, ttl=ttl)
    with pytest.raises(BadValueError, match="timedelta"):
        await answers.get_or_make("k", fail, ttl=ttl)


def test_a_text_and_its_bytes_are_two_keys() -> None:
    """`"a"` and `b"a"` are two keys of a dict as well."""
    assert key_bytes("tea") != key_bytes(b"tea")


async def test_a_value_is_there_for_its_time(device: Device, answers: Cache) -> None:
    """An hour if it was said, 30 days if not."""
    await answers.put("hour", 1, ttl=HOUR)
    await answers.put("long", None)
    await device.clock.advance(HOUR_MS - 1)
    assert await answers.get("hour") == 1
    await device.clock.advance(1)
    assert await answers.get("hour") is None
    assert await answers.get("hour", "default") == "default"
    assert await answers.get("long", "default") is None
    await device.clock.advance(30 * 24 * HOUR_MS - HOUR_MS)

    assert await answers.get("long", "default") == "default"
    assert (await device.engine.caches.stats())["expired"] == 2


async def test_caches_are_counted_by_name(device: Device, answers: Cache) -> None:
    """A cache that is never hit is worth nothing, and nobody sees that by using it."""
    other = device.node.cache("other")
    assert await other.get("k") is None
    await answers.put("a", 1)
    await answers.put("b", "x" * 1_000)
    await answers.get("a")
    await answers.get("c")
    await answers.get("a")
    stats = await answers.stats()

    assert (stats.values, stats.hits, stats.misses) == (2, 2, 1)
    assert 1_000 < stats.bytes < 3_000
    assert await other.stats() == (0, 0, 0, 1)
    assert await answers.delete("a") and not await answers.delete("a")
    assert await answers.clear() == 1
    assert (await answers.stats()).values == 0
    whole = await Service(device.engine, lambda: None).call("cache_stats", {})
    assert (whole["kept"], whole["values"], whole["caches"]) == ("in memory", 0, [])


async def test_the_bound_is_a_setting_that_is_followed_at_once(
    device: Device, answers: Cache
) -> None:
    """The oldest go."""
    await device.engine.scheduling.change_settings({"cache_mib": 16})
    for number in range(5):
        await answers.put(f"{number}", b"x" * (4 << 20))
    stats = await device.engine.caches.stats()
    assert (stats["values"], stats["evicted"], stats["bytes_max"]) == (3, 2, 16 << 20)
    assert [await answers.get(f"{number}", "gone") == "gone" for number in range(5)] == [
        True, True, False, False, False
    ]  # fmt: skip

    await device.engine.scheduling.change_settings({"cache_mib": 64})
    for number in range(5):
        await answers.put(f"{number}", b"x" * (4 << 20))
    assert (await answers.stats()).values == 5


async def fail() -> Any:
    raise AssertionError("nobody needed it to be made")


async def test_a_value_is_made_once_for_all_who_ask_at_once(device: Device, answers: Cache) -> None:
    """Ten who ask for one answer must not pay for ten."""
    asked, go = 0, asyncio.Event()

    async def make() -> Any:
        nonlocal asked
        asked += 1
        await go.wait()
        return {"n": asked, "at": datetime(2026, 1, 1, 0, 0, 0, 1, UTC)}

    waiting = [asyncio.ensure_future(answers.get_or_make("k", make)) for _ in range(10)]
    other = asyncio.ensure_future(answers.get_or_make("other", make))
    while asked < 2:
        await asyncio.sleep(0)
    go.set()
    made = await asyncio.gather(*waiting)
    assert (asked, made[0]["n"]) == (2, 2) and (await other)["n"] == 2
    assert made == [made[0]] * 10
    assert await answers.get_or_make("k", fail) == made[0] == await answers.get("k")
    assert device.engine.caches._making == {}


async def test_who_waits_makes_it_if_the_first_one_fails(device: Device, answers: Cache) -> None:
    """One caller's error or end is not everybody's."""
    makers: list[asyncio.Future[Any]] = []

    async def make() -> Any:
        makers.append(asyncio.get_running_loop().create_future())
        return await makers[-1]

    calls = [asyncio.ensure_future(answers.get_or_make("k", make)) for _ in range(4)]
    for number in range(3):
        while len(makers) <= number:
            await asyncio.sleep(0)
        match number:
            case 0:
                makers[0].set_exception(ValueError("no"))
            case 1:
                calls[1].cancel()
            case _:
                makers[2].set_result("made")
    done = await asyncio.gather(*calls, return_exceptions=True)

    assert isinstance(done[0], ValueError) and isinstance(done[1], asyncio.CancelledError)
    assert done[2:] == ["made", "made"] and len(makers) == 3
    assert device.engine.caches._making == {}


@pytest.mark.parametrize("how", ["clear", "clear_all", "erase"])
async def test_what_was_begun_before_everything_was_thrown_away_is_not_kept(
    device: Device, answers: Cache, how: str
) -> None:
    """It was made of what is erased."""
    begun, go = asyncio.Event(), asyncio.Event()

    async def make() -> Any:
        begun.set()
        await go.wait()
        return "of before"

    making = asyncio.ensure_future(answers.get_or_make("k", make))
    await begun.wait()
    match how:
        case "clear":
            await answers.clear()
        case "clear_all":
            await device.engine.caches.clear_all()
        case _:
            about = about_of({"about": {"author": "mara"}})
            await Personal(device.engine).erase("memory", about, dry_run=False)
    go.set()

    assert await making == "of before"
    assert await answers.get("k") is None


async def test_erasing_somebody_throws_all_caches_away(device: Device, answers: Cache) -> None:
    """Nobody knows what applications made of it; and again, if there is nothing left to delete."""
    personal, about = Personal(device.engine), about_of({"about": {"author": "mara"}})
    await device.collection().put({"author": "mara", "text": "a secret"}, id="m")
    for turn in range(2):
        await answers.put("k", "mara has a secret")
        assert (await personal.erase("memory", about, dry_run=True))["records"] == 1 - turn
        assert await answers.get("k") == "mara has a secret"
        done = await personal.erase("memory", about, dry_run=False)

        assert (done["receipt"] is None) == (turn == 1)
        assert await answers.get("k") is None
    receipts = await personal.receipts()
    assert "caches of applications on other devices" in receipts[0]["remains"]


async def test_nothing_of_a_cache_is_in_a_log_that_travels() -> None:
    """It is local: no entry, no record, nothing that a peer could be given."""
    async with World() as world:
        laptop = await world.founder("laptop")
        phone = await world.member(laptop, "phone")
        await laptop.collection().put({"text": "here"}, id="r")
        await carry(laptop, phone)
        before = {
            scope: laptop.engine.ledger.holdings.heads(scope)
            for scope in laptop.engine.ledger.holdings.scopes(
                laptop.engine.mesh.sharing_with(phone.id)
            )
        }
        image = len(laptop.gate.image())
        await laptop.node.cache("answers").put("k", b"x" * 100_000)
        await carry(laptop, phone)

        assert before and all(
            laptop.engine.ledger.holdings.heads(scope) == heads for scope, heads in before.items()
        )
        assert len(laptop.gate.image()) == image
        assert await phone.node.cache("answers").get("k") is None
        assert await phone.values() == await laptop.values()


class FailingPlace(MemoryPlace):
    """A place that fails as it is told to, when it is opened, used, or thrown away."""

    def __init__(self) -> None:
        super().__init__()
        self.opening: StorageError | None = None
        self.using: StorageError | None = None
        self.throwing: StorageError | None = None
        self.thrown = 0

    def open(self) -> KeyValues:
        if self.opening is not None:
            raise self.opening
        place, rows = self, super().open()

        class Failing:
            def __getattr__(self, name: str) -> Any:
                if place.using is not None and name != "close":
                    raise place.using
                return getattr(rows, name)

        return Failing()

    def throw_away(self) -> None:
        self.thrown += 1
        if self.throwing is not None:
            raise self.throwing
        self.using = None if isinstance(self.using, RowsDamagedError) else self.using
        super().throw_away()


@pytest.fixture
def place(device: Device) -> FailingPlace:
    place = FailingPlace()
    device.engine.caches.keep_at(place, Secret(b"k" * 32))
    return place


async def told(device: Device) -> list[str]:
    rows = [row async for row in device.engine.directory.journal_rows()]
    return [row["reason"] for row in rows if row.get("event") == "cache_made_anew"]


async def test_damaged_files_are_thrown_away_and_it_is_said_once(
    device: Device, answers: Cache, place: FailingPlace
) -> None:
    """It is only a cache: the application goes on, and the rest of the node knows nothing of it."""
    await device.collection().put({"text": "stays"}, id="r")
    await answers.put("k", 1)
    place.using = RowsDamagedError(place.path, "Corruption")
    assert await answers.get("k", "gone") == "gone"
    assert place.thrown == 1
    await answers.put("k", 2)
    assert await answers.get("k") == 2
    place.using = RowsDamagedError(place.path, "Corruption")
    await answers.put("k", 3)

    assert await answers.get("k") == 3
    assert await told(device) == ["its files were damaged"] * 2
    assert await device.collection().get("r") == {"text": "stays"}


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (StoreFullError(Path("memory")), "the disk is full"),
        (DiskFailedError(Path("memory"), "no"), "the disk failed"),
    ],
)
@pytest.mark.parametrize("when", ["opening", "using", "throwing"])
async def test_no_fault_of_the_disk_reaches_an_application(
    device: Device, answers: Cache, place: FailingPlace, error: StorageError, reason: str, when: str
) -> None:
    """A full disk gets the room that caches take; a minute later it is tried again."""
    await answers.put("k", 1)
    match when:
        case "opening":
            await device.engine.caches._shut()
            place.opening = error
        case "using":
            place.using = error
        case _:
            place.using = place.throwing = error
    for _ in range(3):
        await answers.put("k", 2)
        assert await answers.get("k", "none") == "none"
    assert await answers.get_or_make("k", lambda: asyncio.sleep(0, "made")) == "made"
    assert not await answers.delete("k") and await answers.clear() == 0
    assert device.engine.caches.failed == 11 and place.thrown == 1
    assert await told(device) == [reason]
    await device.clock.advance(AGAIN_MS)
    await answers.put("k", 2)
    assert await told(device) == [reason]

    place.opening = place.using = place.throwing = None
    await device.clock.advance(AGAIN_MS)
    await answers.put("k", 3)
    assert await answers.get("k") == 3


async def test_erasing_says_so_if_the_caches_cannot_be_thrown_away(
    device: Device, answers: Cache, place: FailingPlace
) -> None:
    """Before anything is deleted: a receipt for something that is still there would be a lie."""
    await device.collection().put({"author": "mara"}, id="m")
    await answers.put("k", "mara")
    place.throwing = DiskFailedError(place.path, "no")
    personal, about = Personal(device.engine), about_of({"about": {"author": "mara"}})
    with pytest.raises(DiskFailedError):
        await personal.erase("memory", about, dry_run=False)
    assert await personal.receipts() == []
    assert await device.collection().get("m") == {"author": "mara"}
    place.throwing = None
    done = await personal.erase("memory", about, dry_run=False)

    assert done["records"] == 1
    assert await answers.get("k") is None


async def test_what_is_cached_while_somebody_is_erased_goes_as_well(
    device: Device, answers: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An application goes on reading until the last record is deleted."""
    await device.collection().put({"author": "mara"}, id="m")
    write = device.engine.writer.write

    async def while_it_is_deleted(*arguments: Any) -> Any:
        await answers.put("k", await device.collection().get("m"))
        return await write(*arguments)

    monkeypatch.setattr(device.engine.writer, "write", while_it_is_deleted)
    about = about_of({"about": {"author": "mara"}})
    await Personal(device.engine).erase("memory", about, dry_run=False)

    assert await answers.get("k") is None


async def test_a_store_that_would_write_plaintext_is_refused(device: Device) -> None:
    """The kind is said before anything is opened, and cannot be said anew."""
    device.engine.stores.register("cache", StoreKind.MEMORY)

    with pytest.raises(StoreKindError):
        device.engine.caches.keep_at(FailingPlace(), Secret(b"k" * 32))
    with pytest.raises(StoreKindError):
        device.engine.stores.register("another cache", "plaintext", Path("cache"))


async def test_nothing_is_opened_until_something_is_put(
    device: Device, place: FailingPlace
) -> None:
    """Who asks what there is must not make a folder for it."""
    answers = device.node.cache("answers")
    assert await answers.get("k") is None
    assert not await answers.delete("k")
    assert await answers.clear() == 0
    assert (await answers.stats()).values == 0
    assert place.is_empty()
    await answers.put("k", 1)

    assert not place.is_empty()


async def test_after_the_node_is_closed_a_cache_says_so(device: Device, answers: Cache) -> None:
    """And what was closed is not opened again."""
    await answers.put("k", 1)
    await device.engine.close()

    with pytest.raises(CacheClosedError):
        await answers.put("k", 2)
    with pytest.raises(CacheClosedError):
        await answers.get("k")


async def test_calls_that_are_cut_off_end_before_the_next_one_begins(
    device: Device, answers: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thread that goes on alone would write between the rows of another."""
    running: list[str] = []
    gates: list[asyncio.Event] = []

    async def beside(call: Callable[[], Any]) -> Any:
        running.append("begins")
        gate = asyncio.Event()
        gates.append(gate)
        await gate.wait()
        running.append("ends")
        return call()

    await answers.put("k", 1)
    monkeypatch.setattr(device.engine.caches, "_beside", beside)
    first = asyncio.ensure_future(answers.put("k", 2))
    second = asyncio.ensure_future(answers.get("k"))
    while not gates:
        await asyncio.sleep(0)
    for _ in range(3):
        first.cancel()
        await asyncio.sleep(0)
    assert running == ["begins"]
    gates[0].set()
    while len(gates) < 2:
        await asyncio.sleep(0)
    gates[1].set()

    assert await second == 2
    assert first.cancelled() and running == ["begins", "ends"] * 2


@given(st.lists(st.tuples(st.sampled_from("abc"), st.none() | st.integers(0, 3)), max_size=20))
@settings(max_examples=30, deadline=None)
def test_a_cache_is_a_dict_for_who_only_puts_and_gets(steps: list[tuple[str, int | None]]) -> None:
    """None is a value like others."""

    async def run() -> None:
        async with World() as world:
            cache = (await world.founder("laptop")).node.cache("c")
            model: dict[str, int | None] = {}
            for key, value in steps:
                await cache.put(key, value)
                model[key] = value
                for each in "abc":
                    assert await cache.get(each, "none") == model.get(each, "none")

    asyncio.run(run())


def test_the_key_that_names_who_is_counted_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks under ever new names fills no memory."""
    monkeypatch.setattr(caches, "CACHES_MAX", 3)

    async def run() -> None:
        async with World() as world:
            device = await world.founder("laptop")
            for number in range(10):
                await device.node.cache(f"c{number}").get("k")
            assert len(device.engine.caches._counts) == 3

    asyncio.run(run())
