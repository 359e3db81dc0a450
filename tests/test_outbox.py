"""Caps: what goes over a minute, what passes what, and that nothing is lost or turned round."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey.node.bucket import SAVED_MS, Bucket, batch_bytes
from covey.node.outbox import MAIN, Outbox

MINUTE_MS = 60_000
MEDIA = b"M" * 16


def sent_in(outbox: Outbox, from_ms: int, to_ms: int) -> list[tuple[int, bytes]]:
    """What goes, and when, on virtual time."""
    gone, now_ms = [], from_ms
    while now_ms < to_ms:
        frame = outbox.take(now_ms)
        if frame is not None:
            gone.append((now_ms, frame))
            continue
        due_ms = outbox.next_due_ms()
        if due_ms is None:
            break
        assert due_ms > now_ms
        now_ms = due_ms
    return gone


@pytest.mark.parametrize("rate", [500, 10_000, 1_000_000, 50_000_000])
@pytest.mark.parametrize("idle_ms", [0, 10 * MINUTE_MS])
def test_a_cap_is_held_within_a_tenth_over_a_minute(rate: int, idle_ms: int) -> None:
    """Neither more nor less, after a long silence as well: who pays by volume counts."""
    bucket = Bucket(rate)
    outbox = Outbox(lambda lane: [bucket])
    bucket.reserve(1, 0)
    for _ in range(200):
        outbox.put(MEDIA, bytes(batch_bytes(rate)))

    gone = sent_in(outbox, idle_ms, idle_ms + MINUTE_MS)

    total = sum(len(frame) for _, frame in gone)
    assert 0.9 * rate * 60 <= total <= 1.1 * rate * 60


@given(
    st.integers(1, 100_000),
    st.lists(st.tuples(st.integers(0, 3_000), st.integers(1, 60_000)), min_size=1, max_size=40),
)
def test_no_minute_carries_more_than_the_cap_and_one_frame(
    rate: int, arrivals: list[tuple[int, int]]
) -> None:
    """Whenever frames come and however large they are."""
    bucket, now_ms, gone = Bucket(rate), 0, []
    for wait_ms, size in arrivals:
        now_ms += wait_ms
        gone.append((bucket.reserve(size, now_ms), size))

    for start_ms, _ in gone:
        inside = [size for at_ms, size in gone if start_ms <= at_ms < start_ms + MINUTE_MS]
        allowed = rate * (MINUTE_MS + SAVED_MS) / 1000 + max(inside) + rate / 1000
        assert sum(inside) <= allowed


def test_what_is_not_capped_passes_what_is() -> None:
    """A chat message does not wait for the photos before it."""
    bucket = Bucket(1_000)
    outbox = Outbox(lambda lane: [bucket] if lane == MEDIA else [])
    outbox.put(MEDIA, bytes(500))
    outbox.put(MEDIA, bytes(5_000))
    outbox.put(MAIN, b"chat")

    assert outbox.take(0) == b"chat"
    assert outbox.take(0) == bytes(500)
    assert outbox.take(0) is None
    assert outbox.next_due_ms() == 5_000
    outbox.put(MAIN, b"more chat")
    assert outbox.take(1) == b"more chat"
    assert outbox.take(5_000) == bytes(5_000)
    assert (outbox.bytes_waiting, outbox.next_due_ms()) == (0, None)


def test_a_frame_pays_every_cap_that_it_is_under() -> None:
    """The slower of the database's cap and the device's counts."""
    slow, fast = Bucket(100), Bucket(10_000)
    outbox = Outbox(lambda lane: [fast, slow] if lane == MEDIA else [fast])
    outbox.put(MEDIA, bytes(1_000))

    assert outbox.take(0) is None
    assert outbox.next_due_ms() == 10_000 - SAVED_MS


def test_a_goodbye_does_not_wait_for_tokens() -> None:
    """The link ends: what is in the main lane leaves, the rest is of no use to anybody."""
    outbox = Outbox(lambda lane: [Bucket(1)])
    outbox.put(MEDIA, bytes(100))
    outbox.put(MAIN, b"goodbye")

    assert outbox.take(0) is None
    assert outbox.take(0, in_haste=True) == b"goodbye"
    assert outbox.take(0, in_haste=True) is None
    outbox.clear()
    assert (outbox.bytes_waiting, outbox.next_due_ms(), outbox.waits(MEDIA)) == (0, None, False)


@given(st.lists(st.tuples(st.sampled_from((MAIN, MEDIA, b"N" * 16)), st.integers(1, 900))))
def test_every_lane_keeps_its_order_and_loses_nothing(frames: list[tuple[bytes, int]]) -> None:
    """Later frames rest on earlier ones."""
    buckets = {MEDIA: Bucket(50), b"N" * 16: Bucket(5_000)}
    outbox = Outbox(lambda lane: [buckets[lane]] if lane in buckets else [])
    put: dict[bytes, list[bytes]] = {}
    for number, (lane, size) in enumerate(frames):
        frame = lane + number.to_bytes(4, "big") + bytes(size)
        outbox.put(lane, frame)
        put.setdefault(lane, []).append(frame)

    gone = [frame for _, frame in sent_in(outbox, 0, 10**9)]

    for lane, expected in put.items():
        assert [frame for frame in gone if frame in expected] == expected, lane
    assert len(gone) == len(frames)
