"""The fetch plan: nothing is wanted twice, nothing missing is forgotten, and it is bounded."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from covey.sync.digests import LogHead
from covey.sync.fetch import FetchPlan
from covey.sync.vectors import CONTROL_SCOPE, Vector

AUTHOR = b"a" * 32
SCOPE = b"s" * 16
PEERS = (b"p" * 32, b"q" * 32, b"r" * 32)
LOGS = (b"i" * 16, b"j" * 16, b"k" * 16)


def vector(*seqs: int) -> Vector:
    return {log: LogHead(AUTHOR, seq, b"") for log, seq in zip(LOGS, seqs, strict=False) if seq}


def test_two_peers_are_never_asked_for_the_same_log() -> None:
    """Sending a range twice doubles the cost of the slowest network there is."""
    plan = FetchPlan()
    first = plan.request(PEERS[0], SCOPE, vector(10, 20), vector(4))

    assert first == ((LOGS[0], 5, 10), (LOGS[1], 1, 20))
    assert plan.request(PEERS[1], SCOPE, vector(10, 25, 3), vector(4)) == ((LOGS[2], 1, 3),)
    assert plan.missing(SCOPE, vector(10, 25, 3), vector(4)) == (34, 5)
    assert plan.covers(SCOPE, LOGS[0], 5) and not plan.covers(SCOPE, LOGS[0], 11)


def test_what_a_lost_peer_was_asked_for_is_free_again_from_where_it_stopped() -> None:
    """A transfer goes on at the last durable entry, with whoever is left."""
    plan = FetchPlan()
    plan.request(PEERS[0], SCOPE, vector(10), vector())
    plan.arrived(SCOPE, LOGS[0], 6)

    assert plan.release(PEERS[0])
    assert plan.request(PEERS[1], SCOPE, vector(10), vector(6)) == ((LOGS[0], 7, 10),)
    assert not plan.release(PEERS[0])


def test_no_more_than_the_window_is_in_flight_and_it_is_refilled_by_halves() -> None:
    """Unbounded wants fill the memory of a phone; wants in crumbs cost a round trip each."""
    plan = FetchPlan(entries_max=10)

    assert plan.request(PEERS[0], SCOPE, vector(100), vector()) == ((LOGS[0], 1, 10),)
    assert plan.request(PEERS[0], SCOPE, vector(100), vector()) == ()
    plan.arrived(SCOPE, LOGS[0], 4)
    assert plan.request(PEERS[0], SCOPE, vector(100), vector(4)) == ()
    plan.arrived(SCOPE, LOGS[0], 5)
    assert plan.request(PEERS[0], SCOPE, vector(100), vector(5)) == ((LOGS[0], 11, 15),)
    assert plan.in_flight(PEERS[0]) == 10


def test_membership_is_wanted_even_while_the_window_is_full() -> None:
    """Data waits for the membership log; were it to wait for data, neither would ever come."""
    plan = FetchPlan(entries_max=10)
    plan.request(PEERS[0], SCOPE, vector(100), vector())

    assert plan.request(PEERS[0], CONTROL_SCOPE, vector(3), vector()) == ((LOGS[0], 1, 3),)


def test_what_is_on_its_way_to_the_disk_is_not_wanted_from_others() -> None:
    """A relay announces what was pushed to us a moment ago and is not durable yet."""
    plan = FetchPlan()
    plan.receiving(PEERS[0], SCOPE, LOGS[0], 1, 3)

    assert plan.request(PEERS[1], SCOPE, vector(5), vector()) == ((LOGS[0], 4, 5),)
    assert plan.covers(SCOPE, LOGS[0], 2)
    plan.settled(PEERS[0], SCOPE, LOGS[0], 1, 3)
    assert not plan.covers(SCOPE, LOGS[0], 2)


def test_dropped_log_is_free_for_others_at_once() -> None:
    """One peer's forked log must not keep the others from sending theirs."""
    plan = FetchPlan()
    plan.request(PEERS[0], SCOPE, vector(5), vector())
    plan.drop(PEERS[1], SCOPE, LOGS[0])
    assert plan.in_flight(PEERS[0]) == 5
    plan.drop(PEERS[0], SCOPE, LOGS[0])

    assert plan.in_flight(PEERS[0]) == 0
    assert plan.request(PEERS[1], SCOPE, vector(5), vector()) == ((LOGS[0], 1, 5),)


def test_what_came_after_entries_that_were_lost_on_the_way_is_wanted_again() -> None:
    """A claim that begins beyond a gap cannot end: what it brings fits nowhere."""
    plan = FetchPlan()
    plan.receiving(PEERS[0], SCOPE, LOGS[0], 2, 3)
    assert plan.request(PEERS[1], SCOPE, vector(6), vector(1)) == ((LOGS[0], 4, 6),)
    assert plan.request(PEERS[1], SCOPE, vector(6), vector(1)) == ()
    plan.release(PEERS[0])

    assert plan.request(PEERS[1], SCOPE, vector(6), vector(1)) == ((LOGS[0], 2, 6),)
    assert plan.in_flight(PEERS[1]) == 5


def test_entries_that_do_not_continue_ours_keep_nobody_from_bringing_those_between() -> None:
    """Whoever pushes with a gap would leave the gap open until its batch is judged."""
    plan = FetchPlan()
    plan.receiving(PEERS[0], SCOPE, LOGS[0], 5, 6)
    plan.receiving(PEERS[0], SCOPE, LOGS[0], 2, 2)

    assert plan.request(PEERS[1], SCOPE, vector(6), vector(1)) == ((LOGS[0], 3, 6),)


class PlanMachine(RuleBasedStateMachine):
    """Peers want, send, and vanish in any order; a plain set of wanted entries is the model."""

    def __init__(self) -> None:
        super().__init__()
        self.plan = FetchPlan(entries_max=12)
        self.held = dict.fromkeys(LOGS, 0)
        self.wanted: dict[tuple[bytes, int], bytes] = {}

    @rule(peer=st.sampled_from(PEERS), seqs=st.tuples(*[st.integers(0, 30)] * 3))
    def request(self, peer: bytes, seqs: tuple[int, int, int]) -> None:
        ours = vector(*self.held.values())
        for log, first, last in self.plan.request(peer, SCOPE, vector(*seqs), ours):
            assert last <= seqs[LOGS.index(log)]
            for seq in range(first, last + 1):
                assert seq > self.held[log] and (log, seq) not in self.wanted
                self.wanted[(log, seq)] = peer

    @rule(log=st.sampled_from(LOGS), count=st.integers(1, 8))
    def arrive(self, log: bytes, count: int) -> None:
        self.held[log] += count
        self.plan.arrived(SCOPE, log, self.held[log])
        self.wanted = {
            place: by for place, by in self.wanted.items() if place[1] > self.held[place[0]]
        }

    @rule(peer=st.sampled_from(PEERS))
    def release(self, peer: bytes) -> None:
        self.plan.release(peer)
        self.wanted = {place: by for place, by in self.wanted.items() if by != peer}

    @invariant()
    def counts_agree(self) -> None:
        for peer in PEERS:
            count = sum(by == peer for by in self.wanted.values())
            assert self.plan.in_flight(peer) == count <= 12
            assert self.plan.is_busy_besides(peer) == (len(self.wanted) > count)
        assert all(self.plan.covers(SCOPE, log, seq) for log, seq in self.wanted)


TestPlan = PlanMachine.TestCase
TestPlan.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
