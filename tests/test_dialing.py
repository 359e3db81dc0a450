"""The dial book: everyone reachable is reached soon, and nobody is knocked at too often."""

from collections import defaultdict
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from covey.node.dialing import (
    ATTEMPTS_PER_MINUTE,
    BACKOFF_MS_MAX,
    CANDIDATES_MAX,
    CANDIDATES_PER_DEVICE_MAX,
    IN_FLIGHT_MAX,
    IN_FLIGHT_PER_DEVICE_MAX,
    MINUTE_MS,
    STAGGER_MS,
    STALE_MS,
    Attempt,
    DialBook,
    Failure,
    Source,
)
from covey.node.ports import Address

ANNA, BERT, CLEO = (bytes([n]) * 32 for n in (1, 2, 3))
HOME = Address("192.168.1.9", 7654)
AWAY = Address("198.51.100.9", 7654)
TYPED = Address("typed.example", 7654)


def book() -> DialBook:
    return DialBook(lambda: 0.0)


def dials(attempts: list[Attempt]) -> list[tuple[bytes, Address]]:
    return [(attempt.device, attempt.address) for attempt in attempts]


def test_a_sighting_of_a_wanted_member_is_dialled_at_once() -> None:
    """Opening the laptop at home must be enough."""
    ours = book()
    ours.want(ANNA, 0)
    nothing_yet = ours.due(0)
    ours.sighted("0123abcd", [HOME], 5)

    assert nothing_yet == []
    assert dials(ours.due(5)) == [(ANNA, HOME)]


def test_nobody_is_dialled_who_is_not_wanted() -> None:
    """Everyone is connected: the network has its peace."""
    ours = book()
    ours.sighted("0123abcd", [HOME], 0)
    ours.learned(Source.REMEMBERED, ANNA, AWAY, 0)

    assert (ours.due(0), ours.next_due_ms(0)) == ([], None)


def test_the_nearest_source_goes_first_and_the_next_follows_150_ms_later() -> None:
    """One dead address must not hold up the living one, nor all be tried at once."""
    ours = book()
    ours.want(ANNA, 0)
    ours.learned(Source.REMEMBERED, ANNA, AWAY, 0)
    ours.learned(Source.TYPED, ANNA, TYPED, 0)
    ours.sighted("0123abcd", [HOME], 0)
    order = [dials(ours.due(now_ms)) for now_ms in (0, STAGGER_MS - 1, STAGGER_MS, 2 * STAGGER_MS)]

    assert order == [[(ANNA, HOME)], [], [(ANNA, TYPED)], [(ANNA, AWAY)]]


def test_after_a_failure_the_next_address_is_dialled_at_once() -> None:
    """`Connection refused` takes a millisecond; waiting 150 for it would be waste."""
    ours = book()
    ours.want(ANNA, 0)
    ours.learned(Source.TYPED, ANNA, TYPED, 0)
    ours.learned(Source.REMEMBERED, ANNA, AWAY, 0)
    (first,) = ours.due(0)
    ours.failed(first, 1, Failure.UNREACHABLE)

    assert dials(ours.due(1)) == [(ANNA, AWAY)]


def test_a_success_ends_the_other_attempts() -> None:
    """The race is over; a second channel would only have to be closed again."""
    ours = book()
    ours.want(ANNA, 0)
    ours.learned(Source.TYPED, ANNA, TYPED, 0)
    ours.learned(Source.REMEMBERED, ANNA, AWAY, 0)
    (slow,) = ours.due(0)
    (fast,) = ours.due(STAGGER_MS)

    assert ours.succeeded(fast, 200) == [slow]
    assert (ours.due(10_000), ours.next_due_ms(10_000)) == ([], None)


def test_a_lost_connection_is_dialled_again_where_it_was() -> None:
    """After a break the same address is the best guess, without any waiting."""
    ours = book()
    ours.want(ANNA, 0)
    ours.sighted("0123abcd", [HOME], 0)
    ours.succeeded(ours.due(0)[0], 10)
    ours.want(ANNA, 60_000)

    assert dials(ours.due(60_000)) == [(ANNA, HOME)]


def test_waiting_doubles_from_a_second_to_five_minutes() -> None:
    """A device that is off for a week must cost nothing."""
    ours = book()
    ours.want(ANNA, 0)
    ours.learned(Source.REMEMBERED, ANNA, AWAY, 0)
    now_ms, waits = 0, []
    for _ in range(12):
        (attempt,) = ours.due(now_ms)
        ours.failed(attempt, now_ms, Failure.UNREACHABLE)
        due_ms = ours.next_due_ms(now_ms)
        assert due_ms is not None
        waits.append(due_ms - now_ms)
        now_ms = due_ms

    # Without chance each wait is half of its bound; the fourth attempt meets the rate.
    assert waits[:3] == [500, 1_000, 2_000]
    assert waits[3] == MINUTE_MS - 3_500
    assert waits[-1] == BACKOFF_MS_MAX // 2
    assert waits[4:] == sorted(waits[4:])


def test_waiting_has_jitter() -> None:
    """After a power cut everything comes back at the same moment."""
    waits = set()
    for chance in (0.0, 0.25, 0.5, 0.999):
        ours = DialBook([chance].pop)
        ours.want(ANNA, 0)
        ours.learned(Source.REMEMBERED, ANNA, AWAY, 0)
        ours.failed(ours.due(0)[0], 0, Failure.UNREACHABLE)
        waits.add(ours.next_due_ms(0))

    assert waits == {500, 625, 750, 999}


@pytest.mark.parametrize("event", ["sighted", "hurry", "network_changed", "typed"])
def test_news_ends_the_waiting(event: str) -> None:
    """A person who presses `sync` must not wait for a back-off that is five minutes long."""
    ours = book()
    ours.want(ANNA, 0)
    ours.learned(Source.REMEMBERED, ANNA, AWAY, 0)
    now_ms = 0
    for _ in range(3):
        ours.failed(ours.due(now_ms)[0], now_ms, Failure.REFUSED)
        now_ms = ours.next_due_ms(now_ms) or 0
    ours.failed(ours.due(now_ms)[0], now_ms, Failure.REFUSED)
    waiting = ours.due(now_ms + 1)
    match event:
        case "sighted":
            ours.sighted("0123abcd", [AWAY], now_ms + 1, ANNA)
        case "hurry":
            ours.hurry(now_ms + 1)
        case "network_changed":
            ours.network_changed(now_ms + 1)
        case "typed":
            ours.learned(Source.TYPED, ANNA, AWAY, now_ms + 1)

    assert waiting == []
    assert dials(ours.due(now_ms + 1)) == [(ANNA, AWAY)]


def test_sightings_cannot_make_us_dial_more_than_four_times_a_minute() -> None:
    """Anybody can repeat a member's hint with a victim's address."""
    ours = book()
    ours.want(ANNA, 0)
    count = 0
    for now_ms in range(0, MINUTE_MS, 100):
        ours.sighted("0123abcd", [HOME], now_ms)
        for attempt in ours.due(now_ms):
            count += 1
            ours.failed(attempt, now_ms, Failure.UNREACHABLE)

    assert count == ATTEMPTS_PER_MINUTE


def test_an_unnamed_sighting_is_tried_for_one_wanted_member_after_the_other() -> None:
    """A hint says that a member is there, not which; the handshake finds out."""
    ours = book()
    for device in (ANNA, BERT, CLEO):
        ours.want(device, 0)
    ours.sighted("0123abcd", [HOME], 0)
    tried = []
    for now_ms in range(3):
        (attempt,) = ours.due(now_ms)
        tried.append(attempt.device)
        ours.failed(attempt, now_ms, Failure.OTHER_DEVICE)

    assert sorted(tried) == [ANNA, BERT, CLEO]
    assert ours.next_due_ms(3) == BACKOFF_MS_MAX
    assert len(ours.due(BACKOFF_MS_MAX)) == 1


def test_a_member_last_seen_on_that_host_is_tried_first() -> None:
    """Ports change from start to start, hosts seldom."""
    ours = book()
    for device in (ANNA, BERT, CLEO):
        ours.want(device, 0)
    ours.learned(Source.REMEMBERED, CLEO, Address(HOME.host, 1), 0)
    ours.sighted("0123abcd", [HOME], 0)

    assert (CLEO, HOME) in dials(ours.due(0))


def test_the_address_of_a_linked_device_is_not_tried_for_others() -> None:
    """It called us and told its port; its announcement still does not say who it is."""
    ours = book()
    ours.learned(Source.ACCEPTED, BERT, HOME, 0)
    ours.want(ANNA, 0)
    ours.sighted("0123abcd", [HOME], 0)

    assert (ours.due(0), ours.next_due_ms(0)) == ([], None)


def test_who_answered_is_remembered_for_all_addresses_of_the_instance() -> None:
    """The next loss of the connection must not begin with guessing."""
    ours = book()
    other = Address("2001:db8::9", 7654)
    ours.want(BERT, 0)
    ours.sighted("0123abcd", [HOME, other], 0)
    ours.succeeded(ours.due(0)[0], 10)
    ours.want(ANNA, 20)

    assert ours.due(60_000) == []
    ours.want(BERT, 60_000)
    assert dials(ours.due(60_000)) == [(BERT, HOME)]


def test_an_address_that_an_instance_no_longer_announces_is_dropped() -> None:
    """It got another one from the router; the old one may belong to a printer now."""
    ours = book()
    ours.want(ANNA, 0)
    ours.sighted("0123abcd", [HOME], 0)
    ours.sighted("0123abcd", [AWAY], 1)

    assert dials(ours.due(1)) == [(ANNA, AWAY)]
    assert len(ours) == 1


def test_what_was_discovered_is_forgotten_after_an_hour() -> None:
    """A guest's laptop left long ago."""
    ours = book()
    ours.sighted("0123abcd", [HOME], 0)
    ours.want(ANNA, STALE_MS + 1)

    assert ours.due(STALE_MS + 1) == []
    assert len(ours) == 0


def test_another_network_makes_what_was_discovered_worthless() -> None:
    """Private addresses are the same everywhere and mean something else everywhere."""
    ours = book()
    ours.want(ANNA, 0)
    ours.sighted("0123abcd", [HOME], 0)
    ours.learned(Source.REMEMBERED, ANNA, AWAY, 0)
    ours.network_changed(1)

    assert dials(ours.due(1)) == [(ANNA, AWAY)]


def test_a_removed_member_is_forgotten_with_its_addresses() -> None:
    """Nothing of ours may call a revoked device again."""
    ours = book()
    ours.want(ANNA, 0)
    ours.learned(Source.TYPED, ANNA, TYPED, 0)
    (attempt,) = ours.due(0)

    assert ours.forget(ANNA) == [attempt]
    assert len(ours) == 0


def test_a_flood_of_sightings_never_drops_what_a_person_typed() -> None:
    """The list is bounded; what makes room is what anybody could have put there."""
    ours = book()
    ours.learned(Source.TYPED, ANNA, TYPED, 0)
    ours.learned(Source.REMEMBERED, ANNA, AWAY, 0)
    for n in range(1_000):
        ours.sighted(f"{n:08x}", [Address(f"10.0.{n // 256}.{n % 256}", 1)], n)
    ours.want(ANNA, 2_000)
    ours.network_changed(2_000)

    assert dials(ours.due(2_000)) == [(ANNA, TYPED)]
    assert dials(ours.due(2_000 + STAGGER_MS)) == [(ANNA, AWAY)]


def test_addresses_that_a_device_once_had_are_forgotten() -> None:
    """A phone calls from another address each day: a month later it must not be dialled at all."""
    ours = book()
    ours.learned(Source.TYPED, ANNA, TYPED, 0)
    for day in range(1, 31):
        ours.learned(Source.ACCEPTED, ANNA, Address(f"10.0.0.{day}", 7654), day)
    ours.want(ANNA, 100)
    tried = [attempt.address.host for ms in range(100, 2_000) for attempt in fail(ours, ms)]

    assert len(ours) == CANDIDATES_PER_DEVICE_MAX
    assert set(tried) == {TYPED.host, *(f"10.0.0.{day}" for day in range(24, 31))}


def fail(ours: DialBook, now_ms: int) -> list[Attempt]:
    """Dial what is due and reach nobody."""
    attempts = ours.due(now_ms)
    for attempt in attempts:
        ours.failed(attempt, now_ms, Failure.UNREACHABLE)
    return attempts


def test_an_address_that_failed_makes_room_before_one_that_did_not() -> None:
    """What works is worth more than what is new to us."""
    ours = book()
    for day in range(CANDIDATES_PER_DEVICE_MAX):
        ours.learned(Source.ACCEPTED, ANNA, Address(f"10.0.0.{day}", 7654), day)
    ours.want(ANNA, 100)
    for now_ms in range(100, 105):
        fail(ours, now_ms)
    ours.learned(Source.ACCEPTED, ANNA, AWAY, 200)
    ours.hurry(300_000)
    tried = {attempt.address.host for ms in range(300_000, 302_000) for attempt in fail(ours, ms)}

    assert AWAY.host in tried
    assert len(tried & {f"10.0.0.{day}" for day in range(5)}) == 4


def test_a_device_that_refused_is_left_alone_for_minutes() -> None:
    """It knows us not, or its version is another: asking again at once changes nothing."""
    ours = book()
    ours.want(ANNA, 0)
    ours.learned(Source.TYPED, ANNA, TYPED, 0)
    ours.failed(ours.due(0)[0], 0, Failure.REFUSED)

    assert ours.next_due_ms(0) == BACKOFF_MS_MAX // 2


def test_in_a_mesh_of_many_the_pairs_are_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fifty devices that come home at once would be busy with finding out whom to dial."""
    looks: list[Address] = []
    free_ms = DialBook._free_ms

    def counted(ours: DialBook, candidate: Any) -> int:
        looks.append(candidate.address)
        return free_ms(ours, candidate)

    monkeypatch.setattr(DialBook, "_free_ms", counted)
    ours = book()
    for number in range(1, 51):
        ours.want(bytes([number]) * 32, 0)
        ours.sighted(f"{number:08x}", [Address(f"10.0.0.{number}", 7654)], 0)
    moments = [ours.next_due_ms(0), *dials(ours.due(0)), ours.next_due_ms(STAGGER_MS)]

    assert len(moments) == 1 + IN_FLIGHT_MAX + 1
    assert len(looks) <= 3 * 50


devices = st.sampled_from([ANNA, BERT, CLEO])
addresses = st.builds(Address, st.sampled_from([f"10.0.0.{n}" for n in range(30)]), st.just(7))
instances = st.sampled_from(["00000001", "00000002", "00000003"])


def due_by_pairs(ours: DialBook, now_ms: int) -> int | None:
    """What `next_due_ms` means, told by looking at each device and each address together."""
    candidates = list(ours._candidates.values())
    named = [c for c in candidates if c.device is not None]
    flying = list(ours._flying.values())
    moments = []
    for device, start_ms in ours._wanted.items():
        to_it = [c for c in flying if c.attempt is not None and c.attempt.device == device]
        if len(flying) >= IN_FLIGHT_MAX or len(to_it) >= IN_FLIGHT_PER_DEVICE_MAX:
            continue
        for candidate in candidates:
            if candidate.device not in (None, device):
                continue
            if any(c.address == candidate.address for c in flying):
                continue
            if candidate.device is None:
                here = [c for c in named if c.address == candidate.address]
                if any(c.device not in ours._wanted for c in here):
                    continue
                host = {c.device for c in named if c.address.host == candidate.address.host}
                likely = (host & ours._wanted.keys()) - candidate.not_these.keys()
                if device not in host and likely:
                    continue
            moments.append(max(start_ms, now_ms, ours._ready_ms(candidate, device)))
    return min(moments, default=None)


class Dialling(RuleBasedStateMachine):
    """Anything in any order: the limits hold, and time alone brings the next attempt."""

    def __init__(self) -> None:
        super().__init__()
        self.book = DialBook(lambda: 0.5)
        self.now_ms = 0
        self.flying: list[Attempt] = []
        self.starts: dict[Address, list[int]] = defaultdict(list)
        self.wanted: set[bytes] = set()

    @rule(device=devices)
    def want(self, device: bytes) -> None:
        self.book.want(device, self.now_ms)
        self.wanted.add(device)

    @rule(device=devices, forget=st.booleans())
    def unwant(self, device: bytes, forget: bool) -> None:
        self.cancel((self.book.forget if forget else self.book.unwant)(device))
        self.wanted.discard(device)

    @rule(
        instance=instances,
        found=st.lists(addresses, max_size=8),
        device=st.none() | devices,
    )
    def sighted(self, instance: str, found: list[Address], device: bytes | None) -> None:
        self.book.sighted(instance, found, self.now_ms, device)

    @rule(source=st.sampled_from(Source), device=st.none() | devices, address=addresses)
    def learned(self, source: Source, device: bytes | None, address: Address) -> None:
        self.book.learned(source, device, address, self.now_ms)

    @rule(change=st.booleans())
    def hurry(self, change: bool) -> None:
        (self.book.network_changed if change else self.book.hurry)(self.now_ms)

    @rule(more_ms=st.sampled_from([1, 149, 150, 1_000, 20_000, 61_000, STALE_MS + 1]))
    def wait(self, more_ms: int) -> None:
        self.now_ms += more_ms

    @rule()
    def start(self) -> None:
        attempts = self.book.due(self.now_ms)
        assert attempts or due_by_pairs(self.book, self.now_ms) != self.now_ms
        for attempt in attempts:
            assert attempt.device in self.wanted
            assert attempt.address not in {flying.address for flying in self.flying}
            self.flying.append(attempt)
            self.starts[attempt.address].append(self.now_ms)

    @rule()
    def wait_for_the_next(self) -> None:
        due_ms = self.book.next_due_ms(self.now_ms)
        if due_ms is not None:
            assert due_ms >= self.now_ms
            self.now_ms = due_ms

    @precondition(lambda self: self.flying)
    @rule(pick=st.integers(0, 99), failure=st.none() | st.sampled_from(Failure))
    def end(self, pick: int, failure: Failure | None) -> None:
        attempt = self.flying.pop(pick % len(self.flying))
        if failure is not None:
            self.book.failed(attempt, self.now_ms, failure)
        else:
            self.cancel(self.book.succeeded(attempt, self.now_ms))
            self.wanted.discard(attempt.device)

    def cancel(self, attempts: list[Attempt]) -> None:
        for attempt in attempts:
            self.flying.remove(attempt)

    @invariant()
    def time_is_told_as_by_looking_at_every_pair(self) -> None:
        assert self.book.next_due_ms(self.now_ms) == due_by_pairs(self.book, self.now_ms)

    @invariant()
    def limits_hold(self) -> None:
        assert len(self.book) <= CANDIDATES_MAX
        assert len(self.flying) <= IN_FLIGHT_MAX
        for device in (ANNA, BERT, CLEO):
            ours = sum(attempt.device == device for attempt in self.flying)
            assert ours <= IN_FLIGHT_PER_DEVICE_MAX
        for times in self.starts.values():
            for first, fifth in zip(times, times[ATTEMPTS_PER_MINUTE:], strict=False):
                assert fifth - first >= MINUTE_MS


Dialling.TestCase.settings = settings(max_examples=60, stateful_step_count=40)
TestDialling = Dialling.TestCase


@given(st.lists(st.tuples(st.sampled_from(Source), devices, addresses), max_size=30))
@settings(max_examples=60)
def test_waiting_until_the_next_due_moment_always_brings_an_attempt(
    known: list[tuple[Source, bytes, Address]],
) -> None:
    """The engine sleeps until then: too early would spin, too late would miss."""
    ours = book()
    for device in (ANNA, BERT):
        ours.want(device, 0)
    for source, device, address in known:
        ours.learned(source, device, address, 0)
    now_ms = 0
    for _ in range(30):
        due_ms = ours.next_due_ms(now_ms)
        attempts = ours.due(now_ms)
        assert bool(attempts) == (due_ms == now_ms)
        for attempt in attempts:
            ours.failed(attempt, now_ms, Failure.UNREACHABLE)
        due_ms = ours.next_due_ms(now_ms)
        if due_ms is None:
            break
        now_ms = due_ms
