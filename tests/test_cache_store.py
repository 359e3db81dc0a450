"""The rows of caches: what was put comes back, for its time, within a bound, and tells nothing.

Everything holds for rows in memory, which simulations use, and for RocksDB.
"""

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from covey.crypto.secret import Secret
from covey.storage import cache_store
from covey.storage.cache_store import (
    CLOCK_BACK_MS_MAX,
    PAGE_ROWS,
    TTL_MS_MAX,
    Amount,
    CacheStore,
    TooManyCachesError,
    open_cache,
)
from covey.storage.key_values import MemoryPlace, RowPlace, RowsDamagedError
from covey.storage.rocks import RocksPlace

KEY = Secret(b"k" * 32)
NOW = 1_700_000_000_000
SOON = NOW + 60_000
MIB = 1 << 20
RNG = random.Random(5)


@pytest.fixture(params=["memory", "rocks"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> RowPlace:
    if request.param == "memory":
        return MemoryPlace()
    pytest.importorskip("rocksdict")
    return RocksPlace(tmp_path / "cache")


Opened = Callable[..., CacheStore]


@pytest.fixture
def opened(place: RowPlace) -> Iterator[Opened]:
    """Opens the place, closing what was open of it before."""
    stores: list[CacheStore] = []

    def reopen(key: Secret = KEY, now_ms: int = NOW) -> CacheStore:
        close()
        stores.append(open_cache(place, key, RNG.randbytes, now_ms))
        return stores[-1]

    def close() -> None:
        while stores:
            stores.pop().close()

    yield reopen
    close()


def put(
    store: CacheStore,
    key: bytes,
    value: bytes,
    *,
    name: bytes = b"answers",
    expires_ms: int = SOON,
    now_ms: int = NOW,
    bytes_max: int = 64 * MIB,
) -> None:
    store.put(name, key, value, expires_ms, now_ms, bytes_max)


def test_what_was_put_is_there_also_when_it_is_opened_again(opened: Opened) -> None:
    """The last put counts, and nothing of the one before."""
    store = opened()
    put(store, b"tea", b"black")
    put(store, b"tea", b"green")
    put(store, b"empty", b"")
    for again in range(2):
        look = opened() if again else store
        assert look.get(b"answers", b"tea", NOW) == b"green"
        assert look.get(b"answers", b"empty", NOW) == b""
        assert look.get(b"answers", b"coffee", NOW) is None
        assert look.contents().whole.values == 2
        assert list(look.contents().caches) == ["answers"]


def test_two_caches_with_one_key_do_not_meet(opened: Opened) -> None:
    """Two applications, or two uses in one, know nothing of each other."""
    store = opened()
    put(store, b"tea", b"green", name=b"a")
    put(store, b"tea", b"black", name=b"b")
    assert (store.get(b"a", b"tea", NOW), store.get(b"b", b"tea", NOW)) == (b"green", b"black")
    assert store.delete(b"a", b"tea") and not store.delete(b"a", b"tea")
    assert (store.get(b"a", b"tea", NOW), store.get(b"b", b"tea", NOW)) == (None, b"black")
    assert list(store.contents().caches) == ["b"]
    put(store, b"cup", b"1", name=b"a")
    assert store.clear(b"b") == 1 and store.clear(b"b") == 0
    assert store.get(b"a", b"cup", NOW) == b"1"
    assert list(opened().contents().caches) == ["a"]


def test_a_value_is_there_until_its_time_and_not_at_it(opened: Opened) -> None:
    """And what is over is dropped when it is seen."""
    store = opened()
    put(store, b"tea", b"green")
    assert store.get(b"answers", b"tea", SOON - 1) == b"green"
    assert store.get(b"answers", b"tea", SOON) is None
    assert (store.expired, store.contents().whole) == (1, Amount())
    assert store.get(b"answers", b"tea", NOW) is None


def test_a_clock_that_is_put_back_makes_nothing_live_longer_than_anything_may(
    opened: Opened,
) -> None:
    """A clock a year ahead would keep answers for a year; one that is corrected a bit is usual."""
    store = opened()
    put(store, b"tea", b"green", expires_ms=NOW + TTL_MS_MAX)
    assert store.get(b"answers", b"tea", NOW - CLOCK_BACK_MS_MAX) == b"green"
    assert store.get(b"answers", b"tea", NOW - CLOCK_BACK_MS_MAX - 1) is None


def test_what_has_expired_is_swept_when_it_is_opened_and_when_room_is_made(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What nobody asks for again would lie there for ever."""
    monkeypatch.setattr(cache_store, "PAGE_ROWS", 3)
    store = opened()
    for number in range(10):
        put(store, b"%d" % number, b"x", expires_ms=SOON + number % 2 * 10_000)
    store = opened(now_ms=SOON)
    assert (store.expired, store.contents().whole.values) == (5, 5)

    put(
        store, b"new", b"y" * 5_000, expires_ms=SOON + 20_000, now_ms=SOON + 10_000, bytes_max=6_000
    )
    assert (store.expired, store.evicted) == (10, 0)
    assert store.contents().whole.values == 1


def test_the_oldest_make_room_and_the_bound_holds(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cache that only grows fills the disk of the person."""
    monkeypatch.setattr(cache_store, "PAGE_ROWS", 4)
    store = opened()
    for number in range(100):
        put(store, b"%d" % number, b"x" * 900, bytes_max=20_000, name=b"%d" % (number % 3))
        if number == 50:
            put(store, b"%d" % 45, b"again", bytes_max=20_000, name=b"0")
        assert store.contents().whole.bytes <= 20_000
    here = [n for n in range(100) if store.get(b"%d" % (n % 3), b"%d" % n, NOW) is not None]

    assert here == list(range(here[0], 100)) and len(here) >= 10
    assert store.evicted == 100 - len(here)
    again = opened().contents()
    assert again.whole.values == len(here) == sum(one.values for one in again.caches.values())
    assert again.whole.bytes == sum(one.bytes for one in again.caches.values())


def test_what_was_put_again_is_young_again(opened: Opened) -> None:
    """Age is that of the last put, as nobody writes down when something was read."""
    store = opened()
    for number in range(10):
        put(store, b"%d" % number, b"x" * 900)
    put(store, b"0", b"y" * 900)
    put(store, b"last", b"x" * 900, bytes_max=8_000)

    assert store.get(b"answers", b"0", NOW) == b"y" * 900
    assert store.get(b"answers", b"1", NOW) is None


steps = st.lists(
    st.tuples(
        st.sampled_from(["put", "put", "put", "get", "delete", "clear", "open", "wait"]),
        st.sampled_from([b"a", b"b"]),
        st.sampled_from([b"x", b"y", b"z"]),
        st.binary(max_size=600),
        st.integers(1, 5),
    ),
    max_size=30,
)


@given(steps)
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_a_store_is_a_dict_whose_values_expire(
    history: list[tuple[str, bytes, bytes, bytes, int]],
) -> None:
    """Whatever happens to it, and in whatever order."""
    place, now_ms = MemoryPlace(), NOW
    store = open_cache(place, KEY, RNG.randbytes, now_ms)
    model: dict[tuple[bytes, bytes], tuple[bytes, int]] = {}
    for op, name, key, value, time in history:
        match op:
            case "put":
                put(store, key, value, name=name, expires_ms=now_ms + time, now_ms=now_ms)
                model[name, key] = (value, now_ms + time)
            case "get":
                kept = model.get((name, key))
                expected = kept[0] if kept is not None and kept[1] > now_ms else None
                assert store.get(name, key, now_ms) == expected
            case "delete":
                store.delete(name, key)
                model.pop((name, key), None)
            case "clear":
                store.clear(name)
                model = {place: kept for place, kept in model.items() if place[0] != name}
            case "open":
                store = open_cache(place, KEY, RNG.randbytes, now_ms)
            case _:
                now_ms += time
    store = open_cache(place, KEY, RNG.randbytes, now_ms)
    alive = {where: kept for where, kept in model.items() if kept[1] > now_ms}

    assert store.contents().whole.values == len(alive)
    assert {where: store.get(*where, now_ms) for where in alive} == {
        where: kept[0] for where, kept in alive.items()
    }
    assert sorted(store.contents().caches) == sorted({where[0].decode() for where in alive})


def raw(place: RowPlace) -> dict[bytes, bytes]:
    """All rows as they lie there."""
    rows = place.open()
    try:
        return dict(rows.scan(b"", b"\xff", 100_000))
    finally:
        rows.close()


def overwrite(place: RowPlace, changed: dict[bytes, bytes]) -> None:
    rows = place.open()
    rows.write(list(changed.items()))
    rows.close()


def test_a_value_that_was_changed_or_swapped_is_absent_and_counted(
    place: RowPlace, opened: Opened
) -> None:
    """Whoever can write to the disk can make answers vanish, and none appear."""
    store = opened()
    for key in (b"1", b"2", b"3", b"4"):
        put(store, key, b"value of " + key)
    store.close()
    rows = raw(place)
    first, second, third, _ = (key for key in rows if key[:1] == b"v")
    flipped = rows[third][:-1] + bytes((rows[third][-1] ^ 1,))
    overwrite(place, {first: rows[second], second: rows[first], third: flipped})
    store = opened()

    assert [store.get(b"answers", key, NOW) for key in (b"1", b"2", b"3", b"4")] == [
        None, None, None, b"value of 4"
    ]  # fmt: skip
    assert store.unreadable == 3
    assert store.contents().whole.values == 1
    put(store, b"1", b"anew")
    assert store.get(b"answers", b"1", NOW) == b"anew"


def test_a_time_that_was_put_off_makes_a_value_absent(place: RowPlace, opened: Opened) -> None:
    """The time stands in the open, and is bound to the value."""
    store = opened()
    put(store, b"tea", b"green")
    store.close()
    rows = raw(place)
    changed = {}
    for key, row in rows.items():
        if key[:1] in (b"k", b"a"):
            changed[key] = row.replace(SOON.to_bytes(8, "big"), (SOON + 1).to_bytes(8, "big"))
            assert changed[key] != row
    overwrite(place, changed)

    assert opened().get(b"answers", b"tea", NOW) is None


@pytest.mark.parametrize(
    "change",
    [
        lambda rows: {b"s": b""},
        lambda rows: {b"s": b"\x02" + rows[b"s"][1:]},
        lambda rows: {b"s": rows[b"s"][:-1] + bytes((rows[b"s"][-1] ^ 1,))},
        lambda rows: {next(key for key in rows if key[:1] == b"a"): b"short"},
        lambda rows: {b"a": b"x" * 60},
    ],
    ids=["no head", "another version", "another salt", "a short row", "a short key"],
)
def test_rows_of_another_form_are_damaged(
    place: RowPlace, opened: Opened, change: Callable[[dict[bytes, bytes]], dict[bytes, bytes]]
) -> None:
    """Whoever keeps them throws them away; guessing what they mean helps nobody."""
    store = opened()
    put(store, b"tea", b"green")
    store.close()
    overwrite(place, change(raw(place)))

    with pytest.raises(RowsDamagedError, match="throw it away"):
        opened()


def test_rows_of_another_form_are_damaged_also_when_they_are_met_later(
    place: RowPlace, opened: Opened
) -> None:
    """Opening reads the ages alone."""
    store = opened()
    put(store, b"tea", b"green")
    store.close()
    rows = raw(place)
    overwrite(place, {key: b"short" for key in rows if key[:1] in (b"k", b"n")})
    store = opened()

    with pytest.raises(RowsDamagedError):
        store.get(b"answers", b"tea", NOW)
    with pytest.raises(RowsDamagedError):
        store.contents()


def test_another_key_opens_nothing(opened: Opened) -> None:
    """A folder that was copied from another home."""
    put(opened(), b"tea", b"green")

    with pytest.raises(RowsDamagedError, match="another key"):
        opened(Secret(b"l" * 32))
    assert opened().get(b"answers", b"tea", NOW) == b"green"


def test_what_is_thrown_away_is_gone_and_begun_anew(place: RowPlace, opened: Opened) -> None:
    """And has no hash in common with what there was."""
    assert place.is_empty()
    store = opened()
    put(store, b"tea", b"green")
    assert not place.is_empty()
    store.close()
    before = raw(place)
    place.throw_away()
    assert place.is_empty() and place.disk_bytes() == 0
    place.throw_away()
    store = opened()
    assert store.get(b"answers", b"tea", NOW) is None
    put(store, b"tea", b"green")
    store.close()

    kept = {key for key in raw(place).keys() & before.keys() if key[:1] in (b"k", b"n")}
    assert kept == set()


def test_there_are_only_so_many_caches(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each takes memory as long as the node runs: a key used as a name must be told."""
    monkeypatch.setattr(cache_store, "CACHES_MAX", 2)
    store = opened()
    put(store, b"1", b"x", name=b"a")
    put(store, b"1", b"x", name=b"b")
    with pytest.raises(TooManyCachesError, match="fewer caches"):
        put(store, b"1", b"x", name=b"c")
    put(store, b"2", b"x", name=b"b")
    store.clear(b"a")
    put(store, b"1", b"x", name=b"c")

    assert list(store.contents().caches) == ["b", "c"]


def test_a_large_cache_is_cleared_and_counted_page_by_page(opened: Opened) -> None:
    """One more than a page, and what is beside it."""
    store = opened()
    for number in range(PAGE_ROWS + 1):
        put(store, b"%d" % number, b"x")
    put(store, b"1", b"other", name=b"other")
    assert opened().contents().whole.values == PAGE_ROWS + 2
    assert opened().clear(b"answers") == PAGE_ROWS + 1
    assert opened().get(b"other", b"1", NOW) == b"other"


def test_what_was_replaced_and_dropped_is_given_back_when_it_is_half_the_bound(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One key put again and again would fill the disk with what it was, as nothing is evicted."""
    place, asked = MemoryPlace(), list[tuple[bytes, bytes]]()
    monkeypatch.setattr(place.rows, "compact", lambda start, end: asked.append((start, end)))
    store = open_cache(place, KEY, RNG.randbytes, NOW)
    taken, rounds = 0, 0
    while not asked:
        put(store, b"a", b"x" * 900, bytes_max=20_000)
        put(store, b"b", b"x" * 900, bytes_max=20_000)
        taken = max(taken, store.contents().whole.bytes)
        store.delete(b"answers", b"b")
        rounds += 1
    (first,) = asked
    left = raw(place)

    assert 8_000 < 2 * (rounds - 1) * taken // 2 < 14_000
    assert all(first[0] <= key < first[1] for key in left if key[:1] in (b"a", b"k", b"v"))
    put(store, b"a", b"x" * 900, bytes_max=20_000)
    assert asked == [first]
