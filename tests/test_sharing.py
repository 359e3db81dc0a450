"""Sharing: the terms of a session say what the rule says, and what they leave out stays here."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey.node.mesh_view import NotAdminError
from covey.node.trust import TrustRefusedError
from covey.sync.policy import MODES, Item, Party, Policy, Value, decide
from covey.sync.sharing import ALL_TERMS, CLOSED, Sharing, Terms, terms_between
from covey.sync.vectors import Holdings

from .loopback import Device, in_sync, meet, nodes, until

A, B, OTHER = (letter * 32 for letter in (b"a", b"b", b"c"))
DATABASE, SCOPE, OLD = b"D" * 16, b"s" * 16, b"o" * 16

policies = st.builds(
    Policy,
    mode=st.sampled_from((*MODES, "quantum")),
    direction=st.sampled_from(("both", "send", "receive", "up")),
    consent=st.booleans(),
)


@given(policies, policies)
def test_terms_say_of_every_author_what_the_rule_says(one: Policy, other: Policy) -> None:
    """The rule is what people are told; the terms are what the session does."""
    a, b = Party(A, "full", one), Party(B, "full", other)
    terms = terms_between(a, b)

    for author in (A, B, OTHER, b"d" * 32):
        assert terms.allows(author) == decide(Item(1, author), a, b).allowed
    assert terms == terms_between(b, a)
    assert terms.is_open == any(terms.allows(author) for author in (A, B, OTHER))


@given(policies)
def test_two_stores_of_one_device_share_what_their_one_policy_lets_go(policy: Policy) -> None:
    """A copy of a home may meet its original. Found by `covey simulate policies --seeds 13`."""
    one = Party(A, "full", policy)
    terms = terms_between(one, one)

    for author in (A, OTHER):
        assert terms.allows(author) == decide(Item(1, author), one, one).allowed


@given(
    st.sets(st.integers(0, 3)),
    st.sampled_from((ALL_TERMS, CLOSED, Terms(A), Terms(None, (A,)), Terms(floor=2))),
    st.integers(0, 3),
    st.integers(0, 3),
)
def test_what_is_not_shared_is_in_no_listing_vector_or_digest(
    privacies: set[int], terms: Terms, privacy: int, bucket: int
) -> None:
    """One place that forgot to ask would be a leak."""
    sharing = Sharing.of(privacies, [(DATABASE, terms)])
    holdings = Holdings()
    holdings.add_scope(SCOPE, DATABASE, privacy, bucket)
    nothing = holdings.root(sharing)
    for author in (A, B):
        holdings.set_head(SCOPE, author[:16], author, 1, b"x" * 32)
    open_scope = privacy in privacies - {0} and terms.is_open and not 0 < bucket < terms.floor
    shared = {author[:16] for author in (A, B) if open_scope and terms.allows(author)}

    assert holdings.is_shared(SCOPE, sharing) == (SCOPE in holdings.scopes(sharing)) == open_scope
    assert (holdings.root(sharing) != nothing) == bool(shared)
    assert [tag for tag, _ in holdings.scope_rows(DATABASE, sharing)] == [SCOPE] * bool(shared)
    for author in (A, B):
        assert holdings.shares(SCOPE, author, sharing) == (author[:16] in shared)
    if open_scope:
        assert holdings.heads(SCOPE, sharing).keys() == shared


@given(
    st.tuples(policies, policies, policies),
    st.lists(st.sampled_from(("full", "limited", "guest")), min_size=2, max_size=2),
    st.tuples(st.integers(0, 2), st.integers(0, 2)),
)
def test_what_covers_another_sharing_shares_whatever_that_does(
    wanted: tuple[Policy, Policy, Policy], levels: list[str], floors: tuple[int, int]
) -> None:
    """Who relies on one peer to have all that it shares with another must not be mistaken."""
    us, *others = (Party(id, "full", said) for id, said in zip((A, B, OTHER), wanted, strict=True))
    readable = {"full": (1, 2, 3), "limited": (2, 3), "guest": (3,)}
    here, there = (
        Sharing.of(readable[level], [(DATABASE, terms_between(us, other))]).with_floors(
            [(DATABASE, floor)]
        )
        for other, level, floor in zip(others, levels, floors, strict=True)
    )
    holdings = Holdings()
    for privacy in (1, 2, 3):
        for bucket in (0, 1, 2):
            scope = bytes((privacy, bucket)) * 8
            holdings.add_scope(scope, DATABASE, privacy, bucket)
    scopes = [bytes((privacy, bucket)) * 8 for privacy in (1, 2, 3) for bucket in (0, 1, 2)]

    assert here.covers(here, DATABASE)
    if here.covers(there, DATABASE):
        for scope in scopes:
            for author in (A, B, OTHER, b"d" * 32):
                if holdings.shares(scope, author, there):
                    assert holdings.shares(scope, author, here)


def test_a_guest_covers_no_full_device_and_a_full_one_everybody() -> None:
    """The two cases that matter most."""
    full, guest = Sharing.of((1, 2, 3)), Sharing.of((3,))
    closed = Sharing.of((1, 2, 3), [(DATABASE, CLOSED)])
    mine = Sharing.of((1, 2, 3), [(DATABASE, Terms(A))])

    assert full.covers(guest, DATABASE) and not guest.covers(full, DATABASE)
    assert guest.covers(closed, DATABASE) and not closed.covers(full, DATABASE)
    assert full.covers(mine, DATABASE) and not mine.covers(full, DATABASE)


def test_floors_take_buckets_away_and_never_bring_one_back() -> None:
    """Each side tells its own; the higher one counts."""
    sharing = Sharing.of((1,), [(DATABASE, Terms(floor=3))])

    assert sharing.with_floors([(DATABASE, 2)]) == sharing
    assert sharing.with_floors([(DATABASE, 5)]).terms_of(DATABASE).floor == 5
    assert sharing.with_floors([(OLD, 1)]).terms_of(OLD) == Terms(floor=1)
    assert Sharing.of((0, 1), [(DATABASE, ALL_TERMS)]) == Sharing(frozenset({1}))


# On links ----------------------------------------------------------------------------------------


async def say(admin: Device, device: Device | None, database: str, **said: Value | None) -> None:
    id = b"" if device is None else device.keys.sig_pk
    await admin.engine.trust.set_policy(id, database, said)


async def put(device: Device, *databases: str) -> None:
    """A record of its own in each database."""
    for database in databases:
        name = device.engine.our_device().name
        await device.node.database(database).collection("c").put({"by": name}, id=name)


async def held(device: Device) -> dict[str, set[str]]:
    """Database to the devices of whose records it has some."""
    found: dict[str, set[str]] = {}
    for (database, _, id), _ in (await device.records()).items():
        found.setdefault(database, set()).add(id)
    return found


async def rows(device: Device) -> dict[str, str]:
    """How its only peer stands with each database."""
    (peer,) = (await device.node.status())["peers"]
    return {row["name"]: row["state"] for row in peer["databases"]}


async def settled(*devices: Device) -> None:
    """Linked devices have proved that they hold the same of what they share."""

    def proved() -> bool:
        return all(
            device.engine.standing_with(other.keys.sig_pk).proved
            for device in devices
            for other in devices
            if other is not device
        )

    await until(proved)


async def test_consent_that_is_withdrawn_and_given_again_counts_on_the_open_link(
    tmp_path: Path,
) -> None:
    """At once, in both directions, and everything else goes on."""
    async with nodes(tmp_path) as opened:
        laptop, phone = await opened.mesh("laptop", "phone")
        await put(laptop, "notes", "memory")
        await meet(laptop, phone)
        await say(laptop, phone, "notes", consent=False)
        await settled(laptop, phone)
        (link,) = laptop.engine.switchboard.links.values()
        await laptop.node.database("notes").collection("c").put({"secret": 1}, id="later")
        await put(phone, "notes", "memory")
        await settled(laptop, phone)

        assert await held(phone) == {"notes": {"laptop", "phone"}, "memory": {"laptop", "phone"}}
        assert await held(laptop) == {"notes": {"laptop", "later"}, "memory": {"laptop", "phone"}}
        assert (
            await rows(laptop) == {"memory": "synced", "notes": "not-shared"} == await rows(phone)
        )

        await say(laptop, phone, "notes", consent=None)
        await in_sync(laptop, phone)
        everybody = {"laptop", "phone", "later"}
        assert await held(phone) == await held(laptop)
        assert (await held(phone))["notes"] == everybody
        assert list(laptop.engine.switchboard.links.values()) == [link]


@pytest.mark.parametrize(
    ("of_laptop", "of_phone", "at_laptop", "at_phone"),
    [
        ({}, {}, {"laptop", "phone"}, {"laptop", "phone"}),
        ({"mode": "local-only"}, {}, {"laptop"}, {"phone"}),
        ({}, {"direction": "send"}, {"laptop", "phone"}, {"phone"}),
        ({}, {"direction": "receive"}, {"laptop"}, {"laptop", "phone"}),
        ({"direction": "send"}, {"direction": "send"}, {"laptop"}, {"phone"}),
        ({"direction": "send"}, {"direction": "receive"}, {"laptop"}, {"laptop", "phone"}),
        ({}, {"mode": "on-demand"}, {"laptop", "phone"}, {"phone"}),
        ({"mode": "on-demand"}, {"mode": "on-demand"}, {"laptop"}, {"phone"}),
        ({}, {"mode": "summary"}, {"laptop", "phone"}, {"laptop", "phone"}),
    ],
)
async def test_modes_and_directions_on_a_real_link(
    tmp_path: Path,
    of_laptop: dict[str, Any],
    of_phone: dict[str, Any],
    at_laptop: set[str],
    at_phone: set[str],
) -> None:
    """What was written before the devices met, and while they are linked; all proved at the end."""
    async with nodes(tmp_path) as opened:
        laptop, phone = await opened.mesh("laptop", "phone")
        for device, said in ((laptop, of_laptop), (phone, of_phone)):
            if said:
                await say(laptop, device, "notes", **said)
        await put(laptop, "notes")
        await meet_under_terms(laptop, phone)
        await put(phone, "notes")
        await settled(laptop, phone)

        assert (await held(laptop))["notes"] == at_laptop
        assert (await held(phone))["notes"] == at_phone


async def test_the_default_profile_keeps_a_cache_at_home(tmp_path: Path) -> None:
    """Nobody has to say it."""
    async with nodes(tmp_path) as opened:
        laptop, phone = await opened.mesh("laptop", "phone")
        await put(laptop, "cache", "profile")
        await meet_under_terms(laptop, phone)

        assert await held(phone) == {"profile": {"laptop"}}
        assert await rows(laptop) == {"cache": "not-shared", "profile": "synced"}


async def test_a_third_device_passes_on_what_two_do_not_share(tmp_path: Path) -> None:
    """A policy is about one device: what the others may have, they have from whoever has it."""
    async with nodes(tmp_path) as opened:
        laptop, phone, tablet = await opened.mesh("laptop", "phone", "tablet")
        await say(laptop, phone, "notes", direction="send")
        await put(phone, "notes")
        await put(laptop, "notes")
        await meet_under_terms(laptop, phone)
        await meet_under_terms(laptop, tablet)
        await settled(laptop, tablet)

        assert (await held(tablet))["notes"] == {"laptop", "phone"}
        assert (await held(phone))["notes"] == {"phone"}


async def test_who_may_say_what_and_what_is_refused_changes_nothing(tmp_path: Path) -> None:
    """A wrong word must not half count."""
    async with nodes(tmp_path) as opened:
        laptop, phone = await opened.mesh("laptop", "phone")
        await meet(laptop, phone)
        before = phone.engine.mesh.registry.heads
        senseless: list[dict[str, Value | None]] = [{"mode": "fast"}, {"warp": 9}, {}]
        for said in senseless:
            with pytest.raises(TrustRefusedError):
                await phone.engine.trust.set_policy(phone.keys.sig_pk, "notes", said)
        for device, key in ((phone, "consent"), (None, "unmetered"), (laptop, "unmetered")):
            with pytest.raises(NotAdminError):
                await say(phone, device, "notes", **{key: True})
        assert phone.engine.mesh.registry.heads == before

        await say(phone, phone, "notes", unmetered=True)
        assert phone.engine.mesh.policy(phone.keys.sig_pk, "notes").unmetered


async def meet_under_terms(first: Device, second: Device) -> None:
    """Link two devices that do not share everything, until both have proved the rest."""
    first.engine.add_address("127.0.0.1", second.engine.port or 0, second.keys.sig_pk)
    await until(lambda: first.engine.switchboard.links and second.engine.switchboard.links)
    await settled(first, second)
