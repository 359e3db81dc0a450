"""Blob fetch: every chunk comes once, from whoever has it, whatever the others do."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from covey.sync.blob_fetch import (
    BlobFetch,
    BlobWhole,
    DropPeer,
    FetchEffect,
    WantChunks,
)
from covey.sync.session_limits import (
    BLOB_BAD_CHUNKS_MAX,
    BLOB_CHUNKS_COMING_MAX,
    BLOB_CHUNKS_IN_FLIGHT_MAX,
    BLOB_STALL_MS,
)

CAT, DOG = b"c" * 32, b"d" * 32
ANN, BEN = b"ann", b"ben"


def seeking(*ids: bytes, count: int = 10) -> BlobFetch:
    fetch = BlobFetch()
    for id in ids:
        assert fetch.seek(id, 2**count - 1, urgent=False, now_ms=0) == []
    return fetch


def wanted(effects: list[FetchEffect], peer: bytes = ANN) -> list[tuple[bytes, int]]:
    return [
        (effect.id, index)
        for effect in effects
        if isinstance(effect, WantChunks) and effect.peer == peer
        for index in effect.indices
    ]


def take(fetch: BlobFetch, peer: bytes, id: bytes, index: int) -> list[FetchEffect]:
    """A right chunk arrives, and the disk takes it."""
    before = fetch.arrived(peer, id, index, is_right=True, now_ms=0)
    return before + fetch.stored(peer, id, index, is_durable=True, now_ms=0)


def test_four_chunks_are_under_way_from_one_peer() -> None:
    """More would wait in its buffers, and be sent for nothing when the link is cut."""
    fetch = seeking(CAT)

    assert wanted(fetch.offered(ANN, CAT, 2**10 - 1, 0)) == [(CAT, i) for i in range(4)]
    assert wanted(take(fetch, ANN, CAT, 0)) == [(CAT, 4)]


def test_a_chunk_that_the_disk_has_not_taken_counts_as_under_way() -> None:
    """A slow disk must slow the peer, and not fill the memory."""
    fetch = seeking(CAT)
    fetch.offered(ANN, CAT, 2**10 - 1, 0)

    assert fetch.arrived(ANN, CAT, 0, is_right=True, now_ms=0) == []
    assert wanted(fetch.stored(ANN, CAT, 0, is_durable=True, now_ms=0)) == [(CAT, 4)]


def test_two_peers_give_different_chunks() -> None:
    """Two links are twice as fast, if nothing comes twice."""
    fetch = seeking(CAT)

    first = wanted(fetch.offered(ANN, CAT, 2**10 - 1, 0))
    second = wanted(fetch.offered(BEN, CAT, 2**10 - 1, 0), BEN)
    assert len({*first, *second}) == len(first) + len(second) == 8


def test_only_what_is_missing_is_wanted() -> None:
    """After a restart the transfer goes on where it was."""
    fetch = BlobFetch()
    fetch.seek(CAT, 0b1010_0000, urgent=False, now_ms=0)

    assert wanted(fetch.offered(ANN, CAT, 0b1111_1111, 0)) == [(CAT, 5), (CAT, 7)]


def test_a_blob_is_whole_when_the_disk_has_every_chunk() -> None:
    """Not before: the power may go."""
    fetch = seeking(CAT, count=2)
    fetch.offered(ANN, CAT, 3, 0)
    take(fetch, ANN, CAT, 1)

    assert fetch.arrived(ANN, CAT, 0, is_right=True, now_ms=0) == []
    assert fetch.stored(ANN, CAT, 0, is_durable=True, now_ms=0) == [BlobWhole(CAT)]
    assert not fetch.seeks(CAT)


def test_what_is_whole_already_is_not_sought() -> None:
    """The chunks may have been found on the disk."""
    assert BlobFetch().seek(CAT, 0, urgent=False, now_ms=0) == [BlobWhole(CAT)]


def test_a_wrong_chunk_is_fetched_elsewhere() -> None:
    """A peer whose disk rots must not keep a blob from us that another has whole."""
    fetch = seeking(CAT, count=1)
    fetch.offered(ANN, CAT, 1, 0)
    fetch.offered(BEN, CAT, 1, 0)

    effects = fetch.arrived(ANN, CAT, 0, is_right=False, now_ms=0)
    assert wanted(effects, BEN) == [(CAT, 0)]
    assert fetch.offered(ANN, CAT, 1, 0) == []


def test_who_sends_wrong_chunks_again_and_again_is_hung_up_on() -> None:
    """Each costs a quarter of a MiB and a hash."""
    ids = [bytes([i]) * 32 for i in range(BLOB_BAD_CHUNKS_MAX)]
    fetch = seeking(*ids, count=1)
    for id in ids:
        fetch.offered(ANN, id, 1, 0)
    effects = [fetch.arrived(ANN, id, 0, is_right=False, now_ms=0) for id in ids]

    assert [DropPeer(ANN) in each for each in effects] == [False, False, True]


def test_nothing_more_is_wanted_of_whom_we_hang_up_on() -> None:
    """A want for a link that ends is lost; once it has ended, others are asked."""
    ids = [bytes([i]) * 32 for i in range(BLOB_BAD_CHUNKS_MAX)]
    fetch = seeking(*ids, DOG)
    for id in ids:
        fetch.offered(ANN, id, 1, 0)
    fetch.offered(ANN, DOG, 2**10 - 1, 0)
    effects = [fetch.arrived(ANN, id, 0, is_right=False, now_ms=0) for id in ids]

    assert [bool(wanted(each)) for each in effects] == [True, True, False]
    fetch.left(ANN, 0)
    assert wanted(fetch.offered(BEN, DOG, 2**10 - 1, 0), BEN) == [(DOG, i) for i in range(4)]


def test_what_was_under_way_when_a_link_ended_is_wanted_of_others() -> None:
    """And of the same peer, when it is back: nothing else is."""
    fetch = seeking(CAT, count=4)
    fetch.offered(ANN, CAT, 15, 0)
    take(fetch, ANN, CAT, 2)
    assert fetch.left(ANN, 0) == []

    assert wanted(fetch.offered(BEN, CAT, 15, 0), BEN) == [(CAT, 0), (CAT, 1), (CAT, 3)]


def test_what_came_before_the_link_ended_is_stored_and_not_wanted_again() -> None:
    """Else each cut would cost what was on its way to the disk."""
    fetch = seeking(CAT, count=2)
    fetch.offered(ANN, CAT, 3, 0)
    fetch.arrived(ANN, CAT, 0, is_right=True, now_ms=0)
    fetch.left(ANN, 0)

    assert wanted(fetch.offered(BEN, CAT, 3, 0), BEN) == [(CAT, 1)]
    fetch.stored(ANN, CAT, 0, is_durable=True, now_ms=0)
    assert fetch.missing(CAT) == 2


def test_a_disk_that_refuses_leaves_a_chunk_missing() -> None:
    """It is wanted again, when there is room."""
    fetch = seeking(CAT, count=1)
    fetch.offered(ANN, CAT, 1, 0)
    fetch.arrived(ANN, CAT, 0, is_right=True, now_ms=0)

    assert wanted(fetch.stored(ANN, CAT, 0, is_durable=False, now_ms=0)) == [(CAT, 0)]


def test_a_peer_that_gives_nothing_is_passed_over_until_it_stirs() -> None:
    """A phone in a lift must not hold up what the desktop has as well."""
    fetch = seeking(CAT, count=2)
    fetch.offered(ANN, CAT, 3, 0)
    assert fetch.passed(BLOB_STALL_MS - 1) == []
    assert fetch.passed(BLOB_STALL_MS) == []
    assert not fetch.is_waiting and not fetch.is_offered(CAT)

    assert wanted(fetch.offered(BEN, CAT, 1, BLOB_STALL_MS), BEN) == [(CAT, 0)]
    assert wanted(fetch.offered(ANN, CAT, 3, BLOB_STALL_MS)) == [(CAT, 1)]


def test_a_chunk_that_is_refused_is_not_wanted_of_that_peer_again() -> None:
    """It was evicted there; to ask again would go round in a circle."""
    fetch = seeking(CAT, count=1)
    fetch.offered(ANN, CAT, 1, 0)

    assert fetch.refused(ANN, CAT, 0, 0) == []
    assert not fetch.is_offered(CAT)
    assert fetch.refused(ANN, CAT, 0, 0) == []


def test_urgent_blobs_come_first() -> None:
    """A person waits for this one."""
    fetch = seeking(CAT, count=8)
    fetch.seek(DOG, 1, urgent=True, now_ms=0)
    fetch.offered(ANN, CAT, 0, 0)
    fetch.offered(ANN, DOG, 1, 0)

    assert wanted(fetch.offered(ANN, CAT, 255, 0)) == [(CAT, i) for i in range(3)]
    assert fetch.expects(ANN, DOG, 0)


def test_all_peers_together_are_bounded() -> None:
    """Ten linked devices must not mean ten times the memory."""
    fetch = seeking(CAT, count=100)
    effects = [fetch.offered(bytes([i]), CAT, 2**100 - 1, 0) for i in range(10)]

    assert sum(len(e.indices) for each in effects for e in each if isinstance(e, WantChunks)) == (
        BLOB_CHUNKS_COMING_MAX
    )


@pytest.mark.parametrize("known", [False, True])
def test_a_blob_that_is_forgotten_is_not_expected(known: bool) -> None:
    """Its record is gone; the room is for others."""
    fetch = seeking(CAT, DOG, count=4) if known else seeking(DOG, count=4)
    fetch.offered(ANN, CAT, 15, 0)
    fetch.offered(ANN, DOG, 15, 0)
    fetch.forget(CAT, 0)

    assert not fetch.expects(ANN, CAT, 0)
    assert all(fetch.expects(ANN, DOG, index) for index in range(4))


class Resume(RuleBasedStateMachine):
    """Against a model: a disk, and peers of which some are wrong, slow or gone."""

    peers = st.sampled_from((b"1", b"2", b"3"))
    ids = st.sampled_from((CAT, DOG))

    @initialize(counts=st.tuples(st.integers(1, 12), st.integers(1, 12)))
    def begin(self, counts: tuple[int, int]) -> None:
        self.fetch = BlobFetch()
        self.counts = dict(zip((CAT, DOG), counts, strict=True))
        self.disk: dict[bytes, set[int]] = {CAT: set(), DOG: set()}
        self.under_way: dict[bytes, set[tuple[bytes, int]]] = {}
        self.offers: dict[tuple[bytes, bytes], int] = {}
        self.storing: list[tuple[bytes, bytes, int]] = []
        self.whole: set[bytes] = set()
        self.now_ms = 0
        for id in (CAT, DOG):
            self.obey(self.fetch.seek(id, self.missing(id), urgent=id == DOG, now_ms=0))

    def missing(self, id: bytes) -> int:
        return sum(1 << i for i in range(self.counts[id]) if i not in self.disk[id])

    def obey(self, effects: list[FetchEffect]) -> None:
        for effect in effects:
            match effect:
                case WantChunks(peer, id, indices):
                    for index in indices:
                        assert index not in self.disk[id], "wanted again"
                        assert self.offers.get((peer, id), 0) >> index & 1, "not offered"
                        assert not any((id, index) in each for each in self.under_way.values())
                        self.under_way.setdefault(peer, set()).add((id, index))
                case BlobWhole(id):
                    assert len(self.disk[id]) == self.counts[id]
                    self.whole.add(id)
                case DropPeer(peer):
                    self.end(peer)

    def end(self, peer: bytes) -> None:
        self.under_way.pop(peer, None)
        self.offers = {key: value for key, value in self.offers.items() if key[0] != peer}
        self.obey(self.fetch.left(peer, self.now_ms))

    @rule(peer=peers, id=ids, data=st.data())
    def offer(self, peer: bytes, id: bytes, data: st.DataObject) -> None:
        chunks = data.draw(st.integers(0, 2 ** self.counts[id] - 1))
        self.offers[peer, id] = chunks
        self.obey(self.fetch.offered(peer, id, chunks, self.now_ms))

    @precondition(lambda self: any(self.under_way.values()))
    @rule(data=st.data(), is_right=st.booleans())
    def arrive(self, data: st.DataObject, is_right: bool) -> None:
        coming = sorted((p, *key) for p, keys in self.under_way.items() for key in keys)
        peer, id, index = data.draw(st.sampled_from(coming))
        self.under_way[peer].remove((id, index))
        if is_right:
            self.storing.append((peer, id, index))
        else:
            self.offers.pop((peer, id), None)
        effects = self.fetch.arrived(peer, id, index, is_right=is_right, now_ms=self.now_ms)
        self.obey(effects)

    @precondition(lambda self: self.storing)
    @rule(is_durable=st.booleans())
    def store(self, is_durable: bool) -> None:
        peer, id, index = self.storing.pop(0)
        if is_durable:
            self.disk[id].add(index)
        effects = self.fetch.stored(peer, id, index, is_durable=is_durable, now_ms=self.now_ms)
        self.obey(effects)

    @rule(peer=peers)
    def leave(self, peer: bytes) -> None:
        self.end(peer)

    @rule()
    def stall(self) -> None:
        self.now_ms += BLOB_STALL_MS
        self.under_way = {}
        self.obey(self.fetch.passed(self.now_ms))

    @rule()
    def restart(self) -> None:
        """The process dies: what the disk has is all that is left."""
        self.fetch, self.under_way, self.offers, self.storing = BlobFetch(), {}, {}, []
        for id in (CAT, DOG):
            self.obey(self.fetch.seek(id, self.missing(id), urgent=False, now_ms=self.now_ms))

    @invariant()
    def bounded(self) -> None:
        for peer, coming in self.under_way.items():
            storing = sum(1 for each in self.storing if each[0] == peer)
            assert len(coming) <= BLOB_CHUNKS_IN_FLIGHT_MAX, storing

    def teardown(self) -> None:
        """Whatever happened: an honest peer with everything brings everything."""
        if not hasattr(self, "fetch"):
            return
        for id in (CAT, DOG):
            self.offers[b"honest", id] = 2 ** self.counts[id] - 1
            self.obey(self.fetch.offered(b"honest", id, self.offers[b"honest", id], self.now_ms))
        for _ in range(100):
            while self.storing:
                self._store_now()
            if not any(self.under_way.values()):
                break
            for peer in sorted(self.under_way):
                for id, index in sorted(self.under_way[peer]):
                    if (id, index) not in self.under_way.get(peer, ()):
                        continue
                    self.under_way[peer].remove((id, index))
                    self.storing.append((peer, id, index))
                    self.obey(
                        self.fetch.arrived(peer, id, index, is_right=True, now_ms=self.now_ms)
                    )
        assert all(len(self.disk[id]) == self.counts[id] for id in (CAT, DOG))

    def _store_now(self) -> None:
        peer, id, index = self.storing.pop(0)
        self.disk[id].add(index)
        self.obey(self.fetch.stored(peer, id, index, is_durable=True, now_ms=self.now_ms))


Resume.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestResume = Resume.TestCase
