"""The door of a listener: floods of strangers cost a constant, and members are not pushed out."""

from hypothesis import given
from hypothesis import strategies as st

from covey.node.admission import (
    SOURCES_MAX,
    Admission,
    AdmissionLimits,
    Ticket,
    Turned,
    source_of,
)


def arrive(door: Admission, host: str, now_ms: int = 0) -> Ticket:
    outcome = door.arrive(host, now_ms)
    assert isinstance(outcome, Ticket)
    return outcome


def test_a_source_may_have_four_half_open_connections() -> None:
    """One machine must not take every place."""
    door = Admission()
    first = [arrive(door, "192.0.2.1") for _ in range(4)]

    assert door.arrive("192.0.2.1", 0) is Turned.HALF_OPEN_SOURCE
    assert isinstance(door.arrive("192.0.2.2", 0), Ticket)
    door.admit(first[0])
    assert isinstance(door.arrive("192.0.2.1", 0), Ticket)


def test_all_addresses_of_an_ipv6_network_are_one_source() -> None:
    """Whoever has one IPv6 address has 2^64 of them."""
    door = Admission()
    for n in range(4):
        arrive(door, f"2001:db8:0:1::{n}")

    assert door.arrive("2001:db8:0:1:ffff::9", 0) is Turned.HALF_OPEN_SOURCE
    assert isinstance(door.arrive("2001:db8:0:2::1", 0), Ticket)


def test_ipv4_seen_through_an_ipv6_socket_is_counted_as_ipv4() -> None:
    """A dual-stack listener shows all of IPv4 as one IPv6 network."""
    assert source_of("::ffff:192.0.2.7") == source_of("192.0.2.7") == "192.0.2.7"
    assert source_of("fe80::1%eth0") == "fe80::/64"


def test_thirty_two_may_be_half_open_in_all() -> None:
    """A botnet has many addresses; our memory is one."""
    door = Admission()
    for n in range(32):
        arrive(door, f"192.0.2.{n}")

    assert door.arrive("198.51.100.1", 0) is Turned.HALF_OPEN


def test_members_leave_the_door_to_others_until_there_are_128() -> None:
    """Admitted connections are limited as well, but not by the places at the door."""
    door = Admission(AdmissionLimits(arrivals_per_second_max=1000))
    for n in range(128):
        door.admit(arrive(door, f"192.0.2.{n}"))

    assert (door.half_open, door.connections) == (0, 128)
    assert door.arrive("198.51.100.1", 0) is Turned.CONNECTIONS


def test_a_source_may_arrive_twenty_times_a_second() -> None:
    """Each arrival costs a handshake's arithmetic."""
    door = Admission()
    for _ in range(20):
        door.leave(arrive(door, "192.0.2.1"))

    assert door.arrive("192.0.2.1", 0) is Turned.RATE_SOURCE
    assert door.arrive("192.0.2.1", 49) is Turned.RATE_SOURCE
    assert isinstance(door.arrive("192.0.2.1", 100), Ticket)


def test_all_sources_together_may_arrive_a_hundred_times_a_second() -> None:
    """Many sources are as dear as one."""
    door = Admission()
    for n in range(100):
        door.leave(arrive(door, f"192.0.2.{n}"))

    assert door.arrive("198.51.100.1", 0) is Turned.RATE
    assert isinstance(door.arrive("198.51.100.1", 20), Ticket)


def test_rates_are_remembered_for_a_bounded_number_of_sources() -> None:
    """The memory of who came is itself something to fill."""
    door = Admission(AdmissionLimits(arrivals_per_second_max=10_000))
    for n in range(SOURCES_MAX + 50):
        door.leave(arrive(door, f"10.0.{n // 256}.{n % 256}"))

    assert len(door._sources) == SOURCES_MAX


sources = st.sampled_from(["192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8::2"])
steps = st.lists(
    st.tuples(st.sampled_from(["arrive", "admit", "leave"]), sources, st.integers(0, 200))
)


@given(steps)
def test_whatever_happens_the_counts_fit_the_tickets(trace: list[tuple[str, str, int]]) -> None:
    """A place lost for good each time would close the door after a day."""
    door = Admission(AdmissionLimits(half_open_max=5, connections_max=8))
    tickets: list[Ticket] = []
    now_ms = 0
    for step, host, more in trace:
        now_ms += more
        if step == "arrive":
            outcome = door.arrive(host, now_ms)
            tickets += [outcome] if isinstance(outcome, Ticket) else []
        elif tickets:
            ticket = tickets[more % len(tickets)]
            (door.admit if step == "admit" else door.leave)(ticket)
        present = [ticket for ticket in tickets if not ticket.gone]

        assert door.connections == len(present) <= 8
        assert door.half_open == sum(ticket.half_open for ticket in present) <= 5
        assert all(
            sum(t.half_open and t.source == ticket.source for t in present) <= 4
            for ticket in present
        )
