"""Sessions between honest nodes: whatever breaks and however things interleave, all end up equal.

Every world checks while it runs that credit is kept, nothing is wanted twice, nothing that is not
shared is spoken of, and nobody breaks a rule (session_world.py). What is asserted here is where
they end.
"""

from itertools import pairwise
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from covey.sync.messages import (
    Ack,
    Batch,
    Digests,
    Greeting,
    Have,
    Root,
    VectorMessage,
    Want,
    encode,
)
from covey.sync.session import Phase
from covey.sync.session_events import ReadEntries, SharedScopesChanged, Timer
from covey.sync.session_limits import CREDIT_BYTES
from covey.sync.session_standing import Condition
from covey.sync.sharing import ALL_TERMS, CLOSED, Sharing, Terms
from covey.sync.vectors import CONTROL_SCOPE

from .session_world import ALL, DATABASES, FAMILY, PUBLIC, SCOPES, World

MEMORY, HOME, NOTES = (b"D\x01" * 8, b"D\x02" * 8, b"E\x01" * 8)
SECRET = b"D\x00" * 8
SHARED = tuple(scope for scope, (_, privacy) in SCOPES.items() if privacy)

seeds = st.integers(0, 2**32 - 1)


def assert_in_sync(world: World, one: str, other: str, sharing: Sharing = ALL) -> None:
    for name, peer in ((one, other), (other, one)):
        assert world.phase(name, peer) is Phase.STREAMING
        for scope, (_, privacy) in SCOPES.items():
            shared = privacy > 0 and world.nodes[name].holdings.is_shared(scope, sharing)
            expected = Condition.SYNCED if shared else Condition.NOT_SHARED
            assert world.standing(name, peer, scope) is expected
            if shared:
                mine, theirs = (world.nodes[n].holdings for n in (name, peer))
                assert mine.heads(scope, sharing) == theirs.heads(scope, sharing)
    assert world.ranges(one, CONTROL_SCOPE) == world.ranges(other, CONTROL_SCOPE)


def live(world: World, links: list[tuple[str, str]], sharing: list[Sharing]) -> None:
    """A random life: commits, meetings, breaks, and any number of things in between."""
    rng, names = world.rng, sorted(world.nodes)
    for _ in range(40):
        what = rng.random()
        if what < 0.35:
            count = rng.choice((1, 1, 1, 5, 30))
            world.commit(rng.choice(names), rng.choice(sorted(SCOPES)), count)
        elif what < 0.42:
            world.commit(rng.choice(names), CONTROL_SCOPE, rng.choice((1, 2)))
        elif what < 0.6:
            at = rng.randrange(len(links))
            world.connect(*links[at], sharing[at])
        elif what < 0.7:
            world.disconnect(*rng.choice(links))
        else:
            for _ in range(rng.randrange(30)):
                world.advance()
    for link, shared in zip(links, sharing, strict=True):
        world.connect(*link, shared)
    world.run()


@given(seeds)
@settings(max_examples=60, deadline=None)
def test_random_lives_of_a_line_of_nodes_end_in_proved_sync(seed: int) -> None:
    """Nobody chooses when to write, to meet and to lose the network; nothing may hang on it."""
    world = World("abcd", seed)
    links = list(pairwise("abcd"))
    sharing = [Random(seed + i).choice((ALL, Sharing(frozenset({0, FAMILY})))) for i in range(3)]
    live(world, links, sharing)

    for link, shared in zip(links, sharing, strict=True):
        assert_in_sync(world, *link, shared)
    assert not any(node.timers for node in world.nodes.values())
    assert not any(node.wanted or node.forks for node in world.nodes.values())


@given(seeds)
@settings(max_examples=60, deadline=None)
def test_random_lives_under_terms_end_in_proved_sync_of_what_is_shared(seed: int) -> None:
    """Whose logs go where is a wish of two devices; what they share is proved all the same."""
    rng = Random(seed)
    world = World("abc", seed)
    links = [("a", "b"), ("b", "c"), ("a", "c")]
    sharing = [Sharing.of((1, 2, 3), random_terms(world, rng, link)) for link in links]
    live(world, links, sharing)

    for link, shared in zip(links, sharing, strict=True):
        assert_in_sync(world, *link, shared)
    assert not any(node.wanted or node.forks for node in world.nodes.values())


def random_terms(world: World, rng: Random, link: tuple[str, str]) -> list[tuple[bytes, Terms]]:
    ids = [world.nodes[name].id for name in link]
    return [
        (database, rng.choice((ALL_TERMS, CLOSED, Terms(ids[0]), Terms(None, (ids[1],)))))
        for database in DATABASES
    ]


@given(seeds)
@settings(max_examples=60, deadline=None)
def test_terms_that_change_while_entries_are_on_their_way_leave_nothing_waiting(
    seed: int,
) -> None:
    """A person changes a policy whenever they like, on one device first."""
    rng = Random(seed)
    world = World("ab", seed)
    world.connect("a", "b")
    for _ in range(12):
        for _ in range(rng.randrange(4)):
            world.commit(rng.choice("ab"), rng.choice(SHARED), rng.choice((1, 5, 30)))
        for _ in range(rng.randrange(25)):
            world.advance()
        sharing = Sharing.of((1, 2, 3), random_terms(world, rng, ("a", "b")))
        world.decide("a", sharing)
    world.run()

    assert_in_sync(world, "a", "b", sharing)
    assert world.now_ms < 55_000, "only the stall timer got it going again"


@given(seeds)
@settings(max_examples=80, deadline=None)
def test_what_is_taken_on_demand_is_proved_only_once_all_of_it_is_here(seed: int) -> None:
    """Digests that were told under the old terms may be equal by chance; they prove nothing."""
    rng = Random(seed)
    world = World("ab", seed)
    a, b = (world.nodes[name] for name in "ab")
    narrow = Sharing.of((1, 2, 3), [(DATABASES[0], Terms(b.id))])
    world.by_ask = {frozenset(): narrow, frozenset((b.id,)): ALL}
    asked = False
    world.connect("a", "b", narrow)
    for _ in range(30):
        what = rng.random()
        if what < 0.3:
            world.commit(rng.choice("ab"), rng.choice(SHARED), rng.choice((1, 5)))
        elif what < 0.4:
            world.commit(rng.choice("ab"), CONTROL_SCOPE)
        elif what < 0.6:
            asked = not asked
            world.ask("b", DATABASES[:1] if asked else ())
        for _ in range(rng.randrange(12)):
            world.advance()
            on_the_way = world.channels[(a.id, b.id)].frames or (b.id, Timer.ANNOUNCE) in a.timers
            for scope in SHARED if asked and not on_the_way else ():
                if world.standing("b", "a", scope) is Condition.SYNCED:
                    assert a.holdings.heads(scope) == b.holdings.heads(scope)
    world.run()

    assert_in_sync(world, "a", "b", ALL if asked else narrow)
    assert world.now_ms < 55_000, "only the stall timer got it going again"


@given(seeds, st.integers(16, 90))
@settings(max_examples=40, deadline=None)
def test_small_credit_and_small_windows_slow_a_sync_down_and_never_stop_it(
    seed: int, window: int
) -> None:
    """Memory of a phone is small; the bounds that protect it must not leave it waiting for ever."""
    world = World("abc", seed, credit=20_000, window=window)
    live(world, [("a", "b"), ("b", "c"), ("a", "c")], [ALL] * 3)

    for link in ("ab", "bc", "ac"):
        assert_in_sync(world, *link)
    assert world.now_ms < 55_000, "only the stall timer got it going again"


def test_transfer_that_breaks_at_any_point_goes_on_where_it_was_durable() -> None:
    """A phone on a train must get further with every tunnel, not begin anew after each."""
    whole = World("ab")
    whole.commit("a", MEMORY, 60, size=20_000)
    whole.connect("a", "b")
    steps = whole.run()
    for broken_after in range(steps):
        world = World("ab")
        world.commit("a", CONTROL_SCOPE)
        world.commit("a", MEMORY, 60, size=20_000)
        world.connect("a", "b")
        for _ in range(broken_after):
            world.advance()
        held = world.nodes["b"].holdings.head(MEMORY, world.nodes["a"].instance)
        world.disconnect("a", "b")
        world.connect("a", "b")
        world.run()
        wants = [m for m in world.said("b", "a") if isinstance(m, Want) and m.scope == MEMORY]

        assert_in_sync(world, "a", "b")
        assert all(want.ranges[0][1] > (held.seq if held else 0) for want in wants)


def test_reconnect_in_sync_is_proved_by_the_greetings_alone() -> None:
    """The budget: one round trip and a kilobyte, however many records there are."""
    world = World("ab")
    for scope in SHARED:
        world.commit("a", scope, 20)
    world.connect("a", "b")
    world.run()
    world.disconnect("a", "b")
    proofs = len(world.nodes["a"].proofs)
    world.connect("a", "b")
    world.run()

    assert_in_sync(world, "a", "b")
    for name, peer in (("a", "b"), ("b", "a")):
        (greeting,) = world.said(name, peer)
        assert isinstance(greeting, Greeting) and len(encode(greeting)) < 512
    assert len(world.nodes["a"].proofs) == proofs + 1


def test_commit_reaches_a_peer_in_one_frame_and_costs_four_in_all() -> None:
    """A keystroke on one device shows on the other at once, and the rest stays silent."""
    world = World("ab")
    world.commit("a", MEMORY)
    world.connect("a", "b")
    world.run()
    before = {name: len(world.said(name, peer)) for name, peer in (("a", "b"), ("b", "a"))}
    world.commit("a", MEMORY)
    first = world.said("a", "b")[before["a"] :]
    world.run()

    assert [type(message) for message in first] == [Batch]
    assert [type(m) for m in world.said("a", "b")[before["a"] :]] == [Batch, Root]
    assert [type(m) for m in world.said("b", "a")[before["b"] :]] == [Ack, Root]
    assert_in_sync(world, "a", "b")
    assert not world.advance(), "something happens at rest"


def test_new_operation_of_the_membership_log_is_settled_in_one_round_trip() -> None:
    """Data waits while the membership logs differ, so the wait must be short."""
    world = World("ab")
    world.connect("a", "b")
    world.run()
    before = {name: len(world.said(name, peer)) for name, peer in (("a", "b"), ("b", "a"))}
    world.commit("a", CONTROL_SCOPE)
    world.run()

    assert [type(m) for m in world.said("a", "b")[before["a"] :]] == [Batch, Root]
    assert [type(m) for m in world.said("b", "a")[before["b"] :]] == [Ack, Root]
    assert_in_sync(world, "a", "b")


def test_data_is_spoken_of_only_after_the_membership_logs_are_equal() -> None:
    """An entry cannot be judged by a node that does not know its author yet."""
    world = World("ab", 7)
    world.commit("a", CONTROL_SCOPE, 5)
    world.commit("b", CONTROL_SCOPE, 5)
    world.commit("a", MEMORY, 5)
    world.connect("a", "b")
    while world.phase("a", "b") in (Phase.GREETING, Phase.MEMBERSHIP):
        said = [*world.said("a", "b"), *world.said("b", "a")]
        world.advance()
    told = {m.control for m in said if isinstance(m, Greeting | Root)}
    world.run()

    scopes = {m.scope for m in said if isinstance(m, Batch | Want | VectorMessage | Ack | Have)}
    assert scopes == {CONTROL_SCOPE} and not any(isinstance(m, Digests) for m in said)
    assert world.nodes["a"].holdings.control_digest() in told
    assert_in_sync(world, "a", "b")


def test_only_what_differs_is_compared() -> None:
    """A thousand databases in sync must not be listed scope by scope for one that is not."""
    world = World("ab")
    for scope in SHARED:
        world.commit("a", scope)
    world.connect("a", "b")
    world.run()
    world.disconnect("a", "b")
    world.commit("a", HOME)
    world.commit("b", HOME)
    world.connect("a", "b")
    world.run()

    for name, peer in (("a", "b"), ("b", "a")):
        said = world.said(name, peer)
        levels = [(m.level, m.node) for m in said if isinstance(m, Digests)]
        assert levels == [(0, b""), (1, b"D" * 16)]
        assert [m.scope for m in said if isinstance(m, VectorMessage)] == [HOME]
    assert_in_sync(world, "a", "b")


def test_entries_travel_along_a_line_and_are_announced_not_pushed_on() -> None:
    """Pushed on by everybody, one entry would cross a mesh of n nodes n times n times."""
    world = World("abc")
    world.connect("a", "b")
    world.connect("b", "c")
    world.run()
    world.commit("a", MEMORY)
    world.run()
    onwards = world.said("b", "c")

    assert [type(m) for m in onwards if not isinstance(m, Root)] == [Greeting, Have, Batch]
    assert not any(isinstance(m, Have) for m in world.said("b", "a"))
    assert_in_sync(world, "b", "c")


def test_burst_of_commits_to_a_peer_that_lags_is_announced_a_few_times() -> None:
    """Five thousand writes a second must not become five thousand announcements a second."""
    world = World("ab")
    world.commit("a", MEMORY, 200)
    world.connect("a", "b")
    while world.phase("a", "b") is not Phase.STREAMING:
        world.advance()
    for _ in range(500):
        world.commit("a", MEMORY)
    world.run()

    assert sum(isinstance(m, Have) for m in world.said("a", "b")) <= 5
    assert_in_sync(world, "a", "b")


def test_each_of_two_peers_brings_what_the_other_does_not() -> None:
    """With two sources in reach, neither sends what the other sends."""
    world = World("abc", 3)
    for scope in SHARED:
        world.commit("a", scope, 40)
    world.connect("a", "b")
    world.run()
    world.connect("a", "c")
    world.connect("b", "c")
    world.run()

    sent = [
        run.last_seq - run.first_seq + 1
        for name in "ab"
        for message in world.said(name, "c")
        if isinstance(message, Batch)
        for run in message.runs
    ]
    assert sum(sent) == 40 * len(SHARED)
    assert_in_sync(world, "a", "c")
    assert_in_sync(world, "b", "c")


def test_what_one_peer_took_to_the_grave_is_fetched_from_another() -> None:
    """A session that ends gives back what was wanted from it, at once."""
    world = World("abc")
    world.commit("a", MEMORY, 50, size=20_000)
    world.connect("a", "b")
    world.run()
    world.connect("a", "c")
    world.connect("b", "c")
    while not world.nodes["c"].wanted:
        world.advance()
    holder = next(iter(world.nodes["c"].wanted.values()))
    gone = world.by_id[holder].instance[:1].decode()
    world.disconnect(gone, "c")
    world.run()

    assert_in_sync(world, "b" if gone == "a" else "a", "c")
    assert world.now_ms < 50_000, "only the stall timer got it going again"


def test_silent_peer_loses_what_was_wanted_from_it_to_another() -> None:
    """A hung peer that keeps its connection must not keep the data as well."""
    world = World("abc")
    world.commit("a", MEMORY, 5)
    world.connect("a", "b")
    world.run()
    world.connect("b", "c")
    while not world.nodes["c"].wanted:
        world.advance()
    todo = world.nodes["b"].to_do[world.nodes["c"].id]
    while not any(isinstance(one, ReadEntries) for one in todo):
        world.advance()
    todo.clear()
    world.connect("a", "c")
    world.run()

    assert world.standing("c", "a", MEMORY) is Condition.SYNCED
    assert world.now_ms >= 60_000
    assert world.ranges("c", MEMORY) == world.ranges("a", MEMORY)


def test_scopes_that_a_guest_may_not_read_are_never_named_to_it() -> None:
    """The names of what one may not have are already too much."""
    world = World("ab")
    for scope in SCOPES:
        world.commit("a", scope, 3)
    world.connect("a", "b", Sharing(frozenset({0, PUBLIC})))
    world.run()

    assert_in_sync(world, "a", "b", Sharing(frozenset({PUBLIC})))
    heard = b"".join(encode(message) for message in world.said("a", "b"))
    assert not any(scope in heard for scope, (_, privacy) in SCOPES.items() if privacy != PUBLIC)


def test_raised_and_lowered_levels_take_effect_in_the_open_session() -> None:
    """Who is trusted less reads nothing more from this moment on; who is trusted more waits not."""
    world = World("ab")
    for scope in SHARED:
        world.commit("a", scope, 3)
    world.connect("a", "b", Sharing(frozenset({PUBLIC})))
    world.run()
    for sharing in (ALL, Sharing(frozenset({FAMILY, PUBLIC}))):
        for node in world.nodes.values():
            for peer in list(node.sessions):
                world.happen(node, peer, SharedScopesChanged(sharing))
        world.run()
        assert_in_sync(world, "a", "b", sharing)
    world.commit("a", MEMORY)
    world.run()

    assert world.ranges("b", MEMORY) != world.ranges("a", MEMORY)
    assert world.standing("a", "b", MEMORY) is Condition.NOT_SHARED


def test_copied_store_shows_as_a_fork_and_costs_no_endless_talk() -> None:
    """Two stores that write as one can never agree; a person must hear of it, once."""
    world = World("ab")
    world.nodes["b"].instance = world.nodes["a"].instance
    world.nodes["b"].id, owner = world.nodes["a"].id, world.nodes["b"].id
    world.commit("a", MEMORY, 3)
    world.commit("b", MEMORY, 3)
    world.nodes["b"].id = owner
    world.commit("a", NOTES, 2)
    world.connect("a", "b")
    world.run()

    assert [(fork.scope, fork.seq) for fork in world.nodes["a"].forks] == [(MEMORY, 3)]
    assert world.standing("a", "b", MEMORY) is Condition.DIVERGED
    assert world.standing("a", "b", NOTES) is not Condition.DIVERGED
    assert world.ranges("b", NOTES) == world.ranges("a", NOTES)
    assert len(world.said("a", "b")) < 20 and not world.advance()


def test_branch_that_does_not_continue_ours_is_not_fetched_for_ever() -> None:
    """Seen only as an entry that does not fit: the longer branch of a copied store."""
    world = World("ab")
    world.nodes["b"].instance = world.nodes["a"].instance
    world.commit("a", MEMORY, 3)
    world.commit("b", MEMORY, 5)
    world.connect("a", "b")
    world.run()

    assert world.standing("a", "b", MEMORY) is Condition.DIVERGED
    assert sum(isinstance(m, Want) for m in world.said("a", "b")) == 1
    assert not world.advance()


def test_what_does_not_fit_from_one_peer_is_fetched_from_another() -> None:
    """A log forked, and who is asked first has the other branch."""
    world = World("abc")
    b, c = world.nodes["b"], world.nodes["c"]
    world.commit("c", MEMORY, 3)
    world.connect("a", "c")
    world.run()
    world.disconnect("a", "c")
    world.commit("c", MEMORY, 2)
    b.instance, b.id, owner = c.instance, c.id, b.id
    world.commit("b", MEMORY, 5)
    b.id = owner
    world.connect("a", "b")
    world.connect("a", "c")
    world.run()

    assert any(isinstance(message, Want) for message in world.said("a", "b"))
    assert world.ranges("a", MEMORY) == world.ranges("c", MEMORY)


def test_whoever_sees_that_a_log_forked_says_so_to_the_other_side() -> None:
    """It may be the owner of the log, who offers its branch, and nobody wants it."""
    world = World("abc")
    b, c = world.nodes["b"], world.nodes["c"]
    c.instance, c.id, owner = b.instance, b.id, c.id
    world.commit("c", MEMORY, 3)
    c.id = owner
    world.commit("b", MEMORY, 3)
    for name in "bc":
        world.connect("a", name)
    world.run()

    assert world.nodes["a"].holdings.heads(MEMORY) == b.holdings.heads(MEMORY)
    assert [(fork.scope, fork.seq) for fork in world.nodes["a"].forks] == [(MEMORY, 3)]
    assert [(fork.scope, fork.seq) for fork in c.forks] == [(MEMORY, 3)]
    assert not world.advance()


def test_closed_session_still_tells_how_things_stood() -> None:
    """ "Not reachable, 2 entries behind" is worth more than "not reachable"."""
    world = World("ab")
    world.commit("a", MEMORY, 4)
    world.connect("a", "b")
    world.run()
    world.disconnect("a", "b")
    assert world.standing("a", "b", MEMORY) is Condition.SYNCED
    world.commit("a", MEMORY)

    assert world.standing("a", "b", MEMORY) is Condition.AHEAD
    assert world.standing("a", "b", HOME) is Condition.SYNCED


def test_cold_sync_pipelines_within_the_credit() -> None:
    """Batches must follow one another without waiting for each to be stored."""
    world = World("ab", 1)
    world.commit("a", MEMORY, 100, size=60_000)
    world.connect("a", "b")
    most = 0
    while world.advance():
        state = world.nodes["a"].sessions[world.nodes["b"].id]
        most = max(most, state.sending.unacked)

    assert CREDIT_BYTES * 0.5 < most <= CREDIT_BYTES
    assert_in_sync(world, "a", "b")
