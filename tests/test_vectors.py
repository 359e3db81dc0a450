"""Version vectors and digests: equal digests mean equal logs, and cost nothing while heads move."""

from hashlib import blake2b

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from covey.sync import digests, vectors
from covey.sync.digests import LogHead
from covey.sync.sharing import NOTHING, Sharing
from covey.sync.vectors import (
    CONTROL_SCOPE,
    Fork,
    Holdings,
    ahead,
    entry_count,
    forks,
    missing,
)

AUTHOR = b"a" * 32
DATABASES = (b"D" * 16, b"E" * 16)
SCOPES = {bytes((1 + i, p)) * 8: (DATABASES[i], p) for i in range(2) for p in range(4)}
ALL = Sharing(frozenset({1, 2, 3}))

tags = st.sampled_from(sorted(SCOPES))
instances = st.sampled_from([bytes((i,)) * 16 for i in range(4)])
ids = st.sampled_from([bytes((i,)) * 32 for i in range(1, 4)])
steps = st.lists(st.tuples(tags, instances, st.integers(1, 9), ids), max_size=12)
heads = st.dictionaries(instances, st.builds(LogHead, st.just(AUTHOR), st.integers(1, 9), ids))


def empty() -> Holdings:
    holdings = Holdings()
    for scope, (database, privacy) in SCOPES.items():
        holdings.add_scope(scope, database, privacy)
    return holdings


def digest(label: bytes, *rows: bytes) -> bytes:
    return blake2b(b"".join(sorted(rows)), digest_size=32, person=label).digest()


def test_digests_are_those_of_the_protocol() -> None:
    """Two implementations that disagree here never find themselves in sync."""
    holdings = empty()
    scope = bytes((1, 2)) * 8
    holdings.set_head(scope, b"j" * 16, AUTHOR, 7, b"y" * 32)
    holdings.set_head(scope, b"i" * 16, AUTHOR, 258, b"x" * 32)

    rows = (
        b"i" * 16 + bytes(6) + b"\x01\x02" + b"x" * 32,
        b"j" * 16 + bytes(7) + b"\x07" + b"y" * 32,
    )
    scope_digest = digest(b"covey-vv-digest1", *rows)
    database_digest = digest(b"covey-db-digest1", scope + scope_digest)
    assert holdings.scope_digest(scope) == scope_digest
    assert holdings.database_digest(DATABASES[0], ALL) == database_digest
    assert holdings.root(ALL) == digest(b"covey-root-dig-1", DATABASES[0] + database_digest)
    assert holdings.control_digest() == digest(b"covey-vv-digest1")


@given(steps, steps)
@settings(max_examples=100)
def test_cached_digests_equal_those_computed_afresh(
    before: list[tuple[bytes, bytes, int, bytes]], after: list[tuple[bytes, bytes, int, bytes]]
) -> None:
    """A digest that outlives a change would prove a sync that is none."""
    asked, fresh = empty(), empty()
    for scope, instance, seq, entry_id in before:
        asked.set_head(scope, instance, AUTHOR, seq, entry_id)
    asked.root(ALL)
    asked.root(Sharing(frozenset({3})))
    for scope, instance, seq, entry_id in after:
        asked.set_head(scope, instance, AUTHOR, seq, entry_id)
    for scope, instance, seq, entry_id in before + after:
        fresh.set_head(scope, instance, AUTHOR, seq, entry_id)

    for sharing in (ALL, Sharing(frozenset({3})), Sharing(frozenset({0, 1})), NOTHING):
        assert asked.root(sharing) == fresh.root(sharing)
        assert asked.database_rows(sharing) == fresh.database_rows(sharing)
    assert all(asked.scope_digest(scope) == fresh.scope_digest(scope) for scope in SCOPES)


def test_device_scopes_are_in_nothing_that_a_peer_sees() -> None:
    """What never leaves the device must not even be counted outside, whoever asks with a 0."""
    holdings = empty()
    secret = bytes((1, 0)) * 8
    nothing = holdings.root(Sharing(frozenset({0, 1, 2, 3})))
    holdings.set_head(secret, b"i" * 16, AUTHOR, 1, b"x" * 32)

    assert holdings.root(Sharing(frozenset({0, 1, 2, 3}))) == nothing
    assert secret not in holdings.scopes(Sharing(frozenset({0, 1, 2, 3})))
    assert not holdings.is_shared(secret, Sharing(frozenset({0, 1, 2, 3})))
    assert holdings.scope_rows(DATABASES[0], Sharing(frozenset({0}))) == ()


def test_scopes_without_entries_do_not_change_the_root() -> None:
    """One node knows a new scope before the other does; that alone is no difference."""
    holdings, other = empty(), Holdings()

    assert holdings.root(ALL) == other.root(ALL)
    assert holdings.database_digest(DATABASES[0], ALL) is None


def test_control_scope_is_apart_from_the_root() -> None:
    """Membership is compared before data, so its digest must not hide in the root."""
    holdings = empty()
    root, control = holdings.root(ALL), holdings.control_digest()
    holdings.set_head(CONTROL_SCOPE, b"i" * 16, AUTHOR, 1, b"x" * 32)

    assert holdings.root(ALL) == root
    assert holdings.control_digest() != control
    assert holdings.is_shared(CONTROL_SCOPE, NOTHING)


def test_vector_that_was_handed_out_never_changes() -> None:
    """Sessions keep what they were given; a change beneath them would falsify their counts."""
    holdings = empty()
    scope = bytes((1, 1)) * 8
    holdings.set_head(scope, b"i" * 16, AUTHOR, 1, b"x" * 32)
    before = holdings.heads(scope)
    holdings.set_head(scope, b"i" * 16, AUTHOR, 2, b"y" * 32)

    assert before[b"i" * 16].seq == 1
    assert holdings.heads(scope)[b"i" * 16].seq == 2


@given(heads, heads)
def test_missing_plus_held_is_all_there_is(
    ours: dict[bytes, LogHead], theirs: dict[bytes, LogHead]
) -> None:
    """A range too few is a lost entry, one too many is wanted for ever."""
    lacking = missing(ours, theirs)
    reached = {instance: head.seq for instance, head in ours.items()}
    for instance, first, last in lacking:
        assert first == reached.get(instance, 0) + 1
        reached[instance] = last

    joined = ours.keys() | theirs.keys()
    nothing = LogHead(AUTHOR, 0, b"")
    most = {i: max(ours.get(i, nothing).seq, theirs.get(i, nothing).seq) for i in joined}
    assert reached == most
    assert ahead(theirs, ours) == lacking
    assert entry_count(lacking) == sum(most.values()) - sum(head.seq for head in ours.values())


def test_same_number_with_another_id_is_a_fork_and_an_unknown_id_is_not() -> None:
    """A fork raises an alarm that a person sees, so a guess is not enough."""
    ours = {b"i" * 16: LogHead(AUTHOR, 4, b"x" * 32), b"j" * 16: LogHead(AUTHOR, 4, b"x" * 32)}
    theirs = {b"i" * 16: LogHead(AUTHOR, 4, b"y" * 32), b"j" * 16: LogHead(AUTHOR, 4, b"")}

    assert forks(ours, theirs) == (Fork(b"i" * 16, 4, b"x" * 32, b"y" * 32),)
    assert missing(ours, theirs) == ()


def test_advancing_heads_computes_no_digest(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cold sync advances ten thousand heads a second; hashing them all would eat its budget."""
    computed = []
    holdings = empty()
    scope = bytes((1, 1)) * 8
    real = digests.vector_digest

    def counting(heads: vectors.Vector) -> bytes:
        computed.append(1)
        digest: bytes = real(heads)
        return digest

    monkeypatch.setattr(vectors, "vector_digest", counting)
    for seq in range(1, 1_001):
        holdings.set_head(scope, b"i" * 16, AUTHOR, seq, b"x" * 32)
    holdings.root(ALL)

    assert len(computed) == 1
