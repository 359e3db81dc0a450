"""The fold of the membership log: one registry from one set, in whatever order it arrived.

The model is the rule as section 4 of docs/protocol.md words it, computed anew for every operation
by walking to its ancestors; the histories it is compared on are made of entitled and of
unentitled operations by devices that know more or less of what went before.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from hashlib import blake2b
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from covey.sync.errors import DecodeError
from covey.sync.membership import Membership, fold
from covey.sync.operations import Operation, decode_operation, encode_operation
from covey.sync.packing import pack
from covey.sync.registry import LEVELS, Device, Grant, Ignored, Registry, may_hold
from covey.sync.session_limits import CONTROL_SCOPE, PARENTS_MAX

SCOPE = b"s" * 16
KEY_ID = b"k" * 32
NAMES = ("anna", "ben", "cleo", "dora", "emil")
LEVEL_NAMES = ("mailbox", "guest", "limited", "full")


def key(name: str, use: str = "sig") -> bytes:
    return f"{name} {use}".encode().ljust(32, b".")


@dataclass(frozen=True)
class Certificate:
    mesh: bytes
    sig_pk: bytes
    dh_pk: bytes
    seal_pk: bytes


def certificate(name: str, mesh: bytes) -> bytes:
    return (b"CVC1" + mesh + key(name) + key(name, "dh") + key(name, "seal")).ljust(188, b"c")


def read_certificate(data: bytes) -> Certificate:
    if data[:4] != b"CVC1":
        raise DecodeError("no certificate")
    return Certificate(data[4:20], data[20:52], data[52:84], data[84:116])


def mesh_id(body: bytes) -> bytes:
    return blake2b(body, digest_size=32, person=b"covey-mesh-id-v1").digest()[:16]


class History:
    """Operations as devices write them, by id, and shorthands to write the next one."""

    def __init__(self, founder: str = "anna") -> None:
        self.operations: dict[bytes, tuple[bytes, Operation]] = {}
        details = {
            "sig": key(founder),
            "dh": key(founder, "dh"),
            "seal": key(founder, "seal"),
            "name": founder,
            "type": "laptop",
            "salt": b"s" * 16,
            "created": 0,
        }
        genesis = Operation("genesis", (), 0, details)
        self.mesh = mesh_id(encode_operation(genesis))
        self.genesis = self.add(founder, genesis)

    def add(self, author: str, operation: Operation) -> bytes:
        body = encode_operation(operation)
        count = len(self.operations).to_bytes(8, "big")
        id = blake2b(count + key(author) + body, digest_size=32).digest()
        self.operations[id] = (key(author), decode_operation(body))
        return id

    def write(
        self, author: str, kind: str, details: dict[str, Any], after: list[bytes] | None = None
    ) -> bytes:
        parents = self.heads() if after is None else tuple(sorted(after))
        return self.add(author, Operation(kind, parents, len(self.operations), details))

    def enroll(
        self, author: str, name: str, level: str = "full", role: str = "member", **more: Any
    ) -> bytes:
        cert = more.pop("cert", certificate(name, self.mesh))
        details = {"cert": cert, "name": name, "type": "phone", "level": level, "role": role}
        return self.write(author, "enroll", details, **more)

    def grant(self, author: str, to: tuple[str, ...], privacy: int = 1, **more: Any) -> bytes:
        details = {
            "scope": more.pop("scope", SCOPE),
            "database": more.pop("database", "memory"),
            "privacy": privacy,
            "epoch": more.pop("epoch", 1),
            "key_id": more.pop("key_id", KEY_ID),
            "sealed": [[recipient, b"b" * 164] for recipient in sorted(map(key, to))],
        }
        return self.write(author, "grant", details, **more)

    def rename(self, author: str, device: str, name: str, **more: Any) -> bytes:
        return self.write(author, "rename", {"device": key(device), "name": name}, **more)

    def heads(self) -> tuple[bytes, ...]:
        inner = {parent for _, op in self.operations.values() for parent in op.parents}
        return tuple(sorted(self.operations.keys() - inner))[:PARENTS_MAX]

    def fold(self) -> Registry:
        return fold(
            self.operations, read_certificate=read_certificate, mesh_id=mesh_id, mesh=self.mesh
        )


@st.composite
def histories(draw: st.DrawFn) -> History:
    """Histories with forks, merges, useless operations, and authors who may not."""
    history = History()
    for _ in range(draw(st.integers(0, 14))):
        known = sorted(history.operations)
        after = draw(
            st.one_of(st.none(), st.lists(st.sampled_from(known), max_size=3, unique=True))
        )
        author, name = draw(st.sampled_from(NAMES)), draw(st.sampled_from(NAMES))
        match draw(st.sampled_from(("enroll", "enroll", "grant", "rename", "revoke"))):
            case "enroll":
                level = draw(st.sampled_from((*LEVEL_NAMES, "royal")))
                role = draw(st.sampled_from(("admin", "member")))
                history.enroll(author, name, level, role, after=after)
            case "grant":
                to = tuple(draw(st.sets(st.sampled_from(NAMES), min_size=1, max_size=3)))
                scope = draw(st.sampled_from((SCOPE, CONTROL_SCOPE)))
                database = draw(st.sampled_from(("memory", "")))
                privacy = draw(st.integers(0, 3))
                history.grant(author, to, privacy, scope=scope, database=database, after=after)
            case "rename":
                history.rename(author, name, draw(st.text("xyz", max_size=3)), after=after)
            case kind:
                history.write(author, kind, {"device": key(name)}, after=after)
    return history


def ancestors(history: History, id: bytes) -> set[bytes]:
    found: set[bytes] = set()
    for parent in history.operations[id][1].parents:
        found |= {parent} | ancestors(history, parent)
    return found


def depth(history: History, id: bytes) -> int:
    parents = history.operations[id][1].parents
    return 1 + max((depth(history, parent) for parent in parents), default=0)


def model(history: History, ids: set[bytes]) -> tuple[dict[bytes, tuple[str, str]], set[bytes]]:
    """Level and role of each device, and the operations that count, of a closed set."""
    devices: dict[bytes, tuple[str, str]] = {}
    counting: set[bytes] = set()
    for id in ids:
        author, operation = history.operations[id]
        before, _ = model(history, ancestors(history, id)) if operation.parents else ({}, None)
        if _model_counts(history, author, operation, before):
            counting.add(id)
    for id in counting:
        author, operation = history.operations[id]
        details = operation.details
        if operation.kind == "genesis":
            device, joined = details["sig"], ("full", "admin")
        elif operation.kind == "enroll":
            device, joined = details["cert"][20:52], (details["level"], details["role"])
        else:
            continue
        known = devices.get(device, joined)
        devices[device] = (
            min(known[0], joined[0], key=LEVEL_NAMES.index),
            min(known[1], joined[1], key=("member", "admin").index),
        )
    return devices, counting


def _model_counts(
    history: History, author: bytes, operation: Operation, before: dict[bytes, tuple[str, str]]
) -> bool:
    details = operation.details
    level, role = before.get(author, ("", ""))
    match operation.kind:
        case "genesis":
            return mesh_id(encode_operation(operation)) == history.mesh
        case "enroll":
            known = details["level"] in LEVEL_NAMES
            return (
                role == "admin"
                and known
                and (details["role"] == "member" or details["level"] == "full")
            )
        case "rename":
            return (role == "admin" or (bool(level) and details["device"] == author)) and (
                details["device"] in before and details["name"] != ""
            )
        case "grant":
            control = details["scope"] == CONTROL_SCOPE
            return (
                level == "full"
                and control == (details["database"] == "")
                and all(
                    recipient in before
                    and before[recipient][0] != "mailbox"
                    and (control or details["privacy"] in LEVELS[before[recipient][0]])
                    for recipient, _ in details["sealed"]
                )
            )
    return False


@given(histories())
@settings(max_examples=150, deadline=None)
def test_fold_says_what_the_rule_says(history: History) -> None:
    """The fast fold with its bit sets must be the slow rule that people can read."""
    devices, counting = model(history, set(history.operations))
    registry = history.fold()

    assert {d.sig_pk: (d.level, d.role) for d in registry.devices.values()} == devices
    assert {grant.id for grant in registry.grants} == {
        id for id in counting if history.operations[id][1].kind == "grant"
    }
    others = {id for id, (_, op) in history.operations.items() if op.kind == "revoke"}
    assert registry.ignored.keys() == history.operations.keys() - counting - others
    assert registry.unknown_kinds == (("revoke",) if others else ())


@given(histories(), st.randoms(use_true_random=False))
@settings(max_examples=100, deadline=None)
def test_order_and_pieces_of_arrival_do_not_matter(history: History, rng: Random) -> None:
    """Two devices that hold the same operations must agree who belongs, or nothing else can."""
    arriving = list(history.operations.items())
    rng.shuffle(arriving)
    membership = Membership(read_certificate, mesh_id, history.mesh)
    while arriving:
        count = rng.randint(1, 3)
        membership.add(dict(arriving[:count]))
        arriving = arriving[count:]

    assert membership.registry == history.fold()
    assert membership.parked == 0


@given(histories(), st.data())
@settings(max_examples=100, deadline=None)
def test_fold_of_a_past_is_the_fold_of_just_these_operations(
    history: History, data: st.DataObject
) -> None:
    """An entry is judged by what its author knew, however much has happened since."""
    heads = data.draw(st.lists(st.sampled_from(sorted(history.operations)), min_size=1, max_size=3))
    membership = Membership(read_certificate, mesh_id, history.mesh)
    membership.add(history.operations)
    past = set(heads).union(*(ancestors(history, head) for head in heads))
    alone = {id: history.operations[id] for id in past}
    expected = fold(alone, read_certificate=read_certificate, mesh_id=mesh_id, mesh=history.mesh)
    at = membership.at(heads)

    assert at is not None and replace(at, heads=expected.heads) == expected
    for name in NAMES:
        device = expected.devices.get(key(name))
        standing = membership.standing(key(name), heads)
        assert standing == ((device.level, device.role) if device else None)


def test_member_grants_and_renames_itself_and_admits_nobody() -> None:
    """A stolen device that is no admin has no authority to abuse."""
    history = History()
    history.enroll("anna", "ben", "full")
    admitted = history.enroll("ben", "cleo")
    other = history.rename("ben", "anna", "fool")
    history.rename("ben", "ben", "phone")
    granted = history.grant("ben", ("anna", "ben"))
    registry = history.fold()

    assert registry.devices.keys() == {key("anna"), key("ben")}
    assert registry.devices[key("anna")].name == "anna"
    assert registry.devices[key("ben")].name == "phone"
    assert [grant.id for grant in registry.grants] == [granted]
    assert registry.ignored == {admitted: Ignored.NOT_ENTITLED, other: Ignored.NOT_ENTITLED}


def test_authority_that_comes_later_does_not_cure_an_earlier_operation() -> None:
    """Or a stranger could write first and be admitted for it afterwards."""
    history = History()
    early = history.enroll("ben", "cleo", after=[history.genesis])
    history.enroll("anna", "ben", "full", "admin")

    registry = history.fold()
    assert key("cleo") not in registry.devices
    assert registry.ignored == {early: Ignored.NOT_ENTITLED}


GUEST_GRANT = "a guest gets nothing but public"


@pytest.mark.parametrize(
    ("why", "write", "fault"),
    [
        (GUEST_GRANT, lambda h: h.grant("anna", ("guest",), 2), Ignored.NOT_ENTITLED),
        ("device scopes", lambda h: h.grant("anna", ("anna",), 0), Ignored.NOT_ENTITLED),
        ("stranger", lambda h: h.grant("anna", ("zoe",), 3), Ignored.UNKNOWN_TARGET),
        (
            "mailbox reads the membership log",
            lambda h: h.grant("anna", ("box",), 0, scope=CONTROL_SCOPE, database=""),
            Ignored.NOT_ENTITLED,
        ),
        (
            "control key under a name",
            lambda h: h.grant("anna", ("anna",), 0, scope=CONTROL_SCOPE),
            Ignored.MALFORMED,
        ),
        (
            "data key without one",
            lambda h: h.grant("anna", ("anna",), database=""),
            Ignored.MALFORMED,
        ),
        ("epoch 0", lambda h: h.grant("anna", ("anna",), epoch=0), Ignored.MALFORMED),
        ("limited grants", lambda h: h.grant("limited", ("anna",), 2), Ignored.NOT_ENTITLED),
        ("royal level", lambda h: h.enroll("anna", "zoe", "royal"), Ignored.MALFORMED),
        ("guest as admin", lambda h: h.enroll("anna", "zoe", "guest", "admin"), Ignored.MALFORMED),
        (
            "certificate of another mesh",
            lambda h: h.enroll("anna", "zoe", cert=certificate("zoe", b"m" * 16)),
            Ignored.BAD_CERTIFICATE,
        ),
        (
            "no certificate",
            lambda h: h.enroll("anna", "zoe", cert=b"x" * 188),
            Ignored.BAD_CERTIFICATE,
        ),
        ("short certificate", lambda h: h.enroll("anna", "zoe", cert=b"x"), Ignored.MALFORMED),
        ("name of nobody", lambda h: h.rename("anna", "zoe", "x"), Ignored.UNKNOWN_TARGET),
        ("empty name", lambda h: h.rename("anna", "anna", ""), Ignored.MALFORMED),
        ("details missing", lambda h: h.write("anna", "rename", {"name": "x"}), Ignored.MALFORMED),
        (
            "second genesis",
            lambda h: h.add(
                "zoe",
                Operation(
                    "genesis", (), 0, {**h.operations[h.genesis][1].details, "sig": key("zoe")}
                ),
            ),
            Ignored.OTHER_MESH,
        ),
    ],
)
def test_operation_does_not_count(
    why: str, write: Callable[[History], bytes], fault: Ignored
) -> None:
    """Each of these, if it counted, would give somebody what nobody gave them."""
    history = History()
    for name, level in (("guest", "guest"), ("box", "mailbox"), ("limited", "limited")):
        history.enroll("anna", name, level)
    before = history.fold()
    id = write(history)
    after = history.fold()

    assert after.ignored == {id: fault}, why
    assert (after.devices, after.grants) == (before.devices, before.grants)


def test_several_enrolments_of_one_device_give_the_lower_level() -> None:
    """Two admins admit the same phone at once; neither may give more than the other meant."""
    history = History()
    first = history.enroll("anna", "ben", "full", "admin", after=[history.genesis])
    history.enroll("anna", "ben", "limited", after=[history.genesis])
    history.enroll("ben", "cleo", after=[first])
    registry = history.fold()

    assert (registry.devices[key("ben")].level, registry.devices[key("ben")].role) == (
        "limited",
        "member",
    )
    assert key("cleo") in registry.devices


def test_operation_without_its_parents_waits_and_changes_nothing() -> None:
    """What rests on something unseen cannot be judged, and guessing would differ by device."""
    history = History()
    ben = history.enroll("anna", "ben", "full", "admin")
    cleo = history.enroll("ben", "cleo")
    membership = Membership(read_certificate, mesh_id, history.mesh)
    membership.add({id: history.operations[id] for id in (history.genesis, cleo)})
    before = membership.registry
    assert membership.at([cleo]) is None and membership.standing(key("ben"), [cleo]) is None
    assert membership.parked == 1
    membership.add({ben: history.operations[ben]})

    assert before.devices.keys() == {key("anna")} and before.heads == (history.genesis,)
    assert membership.registry.devices.keys() == {key("anna"), key("ben"), key("cleo")}
    assert membership.registry.heads == (cleo,)


def test_operations_that_were_not_durable_are_taken_out_again() -> None:
    """A full disk must not leave a device in the registry that no other device ever sees."""
    history = History()
    before = history.fold()
    ben = history.enroll("anna", "ben")
    membership = Membership(read_certificate, mesh_id, history.mesh)
    membership.add(history.operations)
    assert key("ben") in membership.registry.devices
    membership.remove([ben])

    assert membership.registry == before


def test_writers_use_no_key_that_a_stranger_holds() -> None:
    """Of the keys that only members hold: the highest epoch, then the smallest key id."""
    history = History()
    history.enroll("anna", "ben")
    history.grant("anna", ("anna", "ben"), epoch=1, key_id=b"1" * 32)
    history.grant("anna", ("anna",), epoch=2, key_id=b"3" * 32)
    history.grant("ben", ("ben",), epoch=2, key_id=b"2" * 32)
    registry = history.fold()
    assert registry.writer_key(SCOPE) == (2, b"2" * 32)

    gone = {key("ben"): replace(registry.devices[key("ben")], active=False)}
    without = replace(registry, devices={**registry.devices, **gone})
    assert without.writer_key(SCOPE) == (2, b"3" * 32)
    assert registry.writer_key(b"t" * 16) is None


def test_missing_grants_are_those_of_keys_we_hold_for_devices_that_may() -> None:
    """A new phone reads nothing until somebody seals it the keys, and a guest never gets these."""
    history = History()
    history.grant("anna", ("anna",), 0, scope=CONTROL_SCOPE, database="", key_id=b"c" * 32)
    history.grant("anna", ("anna",), 2)
    history.enroll("anna", "ben", "limited")
    history.enroll("anna", "guest", "guest")
    history.enroll("anna", "box", "mailbox")
    registry = history.fold()
    missing = registry.missing_grants({KEY_ID, b"c" * 32, b"x" * 32})

    found = {(m.scope, m.database): sorted(d.name for d in m.recipients) for m in missing}
    assert found == {(CONTROL_SCOPE, ""): ["ben", "guest"], (SCOPE, "memory"): ["ben"]}
    assert registry.missing_grants(set()) == ()


def test_unknown_device_level_or_privacy_is_entitled_to_nothing() -> None:
    """What a newer version means by a word it alone knows must not open a door in this one."""
    history = History()
    history.enroll("anna", "ben", "guest")
    registry = history.fold()
    ben, anna = registry.devices[key("ben")], registry.devices[key("anna")]
    stranger = replace(anna, sig_pk=key("zoe"))

    assert [registry.entitled(anna, privacy) for privacy in range(5)] == [False, *[True] * 3, False]
    assert [registry.entitled(ben, privacy) for privacy in range(5)] == [*[False] * 3, True, False]
    assert not registry.entitled(stranger, 3)
    assert not may_hold("royal", SCOPE, 3) and not may_hold("royal", CONTROL_SCOPE, 3)
    assert registry.by_dh(key("ben", "dh")) == ben and registry.by_dh(key("zoe", "dh")) is None


def test_more_heads_than_the_wire_allows_are_cited_in_part_and_joined_over_time() -> None:
    """A member that floods the log with side branches must not stop everybody else's writing."""
    history = History()
    flood = [history.rename("anna", "anna", f"n{i}", after=[history.genesis]) for i in range(90)]
    ben = history.enroll("anna", "ben", after=[flood[0]])
    registry = history.fold()

    assert len(registry.heads) == PARENTS_MAX and ben in registry.heads
    decode_operation(encode_operation(Operation("rename", registry.heads, 1, {})))
    history.write("anna", "rename", {"device": key("anna"), "name": "n"}, after=[*registry.heads])
    assert len(history.fold().heads) == 90 - PARENTS_MAX + 1


def test_long_history_neither_recurses_nor_forgets() -> None:
    """Ten years of operations in one line must fold as ten do."""
    history = History()
    last = history.genesis
    for count in range(3_000):
        last = history.rename("anna", "anna", str(count), after=[last])
    registry = history.fold()

    assert registry.devices[key("anna")].name == "2999"
    assert registry.heads == (last,)


words = st.text(min_size=1, max_size=8)
ids = st.binary(min_size=32, max_size=32)
values = st.one_of(
    st.integers(0, 2**64 - 1), st.binary(max_size=40), words, st.booleans(), st.none()
)
operations = st.builds(
    Operation,
    words,
    st.sets(ids, max_size=4).map(lambda found: tuple(sorted(found))),
    st.integers(0, 2**64 - 1),
    st.dictionaries(words, st.one_of(values, st.lists(values, max_size=3)), max_size=4),
)


@given(operations)
def test_every_operation_comes_back_as_it_was(operation: Operation) -> None:
    """Its id is a hash over these bytes, for kinds of the future as well."""
    assert decode_operation(encode_operation(operation)) == operation


P = [bytes((i,)) * 32 for i in range(70)]


@pytest.mark.parametrize(
    "fields",
    [
        [],
        ["rename", [], 0],
        ["rename", [], 0, {}, 0],
        {"kind": "rename"},
        [b"rename", [], 0, {}],
        ["", [], 0, {}],
        ["x" * 33, [], 0, {}],
        ["rename", [P[1], P[0]], 0, {}],
        ["rename", [P[1], P[1]], 0, {}],
        ["rename", [b"short"], 0, {}],
        ["rename", P[:65], 0, {}],
        ["rename", [], -1, {}],
        ["rename", [], True, {}],
        ["rename", [], 0, []],
    ],
)
def test_operation_is_refused(fields: Any) -> None:
    """What cannot be read cannot be kept for later either."""
    with pytest.raises(DecodeError):
        decode_operation(pack(fields))


@given(st.binary(max_size=120))
def test_random_bytes_are_refused_or_are_an_operation(body: bytes) -> None:
    """The control key holds back strangers, not members with a bad intention."""
    try:
        operation = decode_operation(body)
    except DecodeError:
        return

    assert encode_operation(operation) == body


@given(st.data())
@settings(max_examples=100, deadline=None)
def test_details_of_any_form_never_break_the_fold(data: st.DataObject) -> None:
    """One member's malformed operation must not keep a whole mesh from starting."""
    history = History()
    kind = data.draw(st.sampled_from(("genesis", "enroll", "grant", "rename")))
    names = ("cert", "name", "type", "level", "role", "sealed", "scope", "device", "privacy")
    details = data.draw(
        st.dictionaries(st.sampled_from(names), st.one_of(values, st.lists(values, max_size=2)))
    )
    id = history.write("anna", kind, details)

    assert history.fold().ignored == {id: Ignored.MALFORMED}


def test_device_and_grant_of_the_registry_carry_what_the_log_says() -> None:
    """Channels, sealed keys and the device list are built from these fields."""
    history = History()
    enrolled = history.enroll("anna", "ben", "limited")
    granted = history.grant("anna", ("ben",), 2, epoch=7)
    registry = history.fold()

    assert registry.mesh == history.mesh and registry.genesis == history.genesis
    assert registry.devices[key("ben")] == Device(
        key("ben"),
        key("ben", "dh"),
        key("ben", "seal"),
        "ben",
        "phone",
        "limited",
        "member",
        key("anna"),
        enrolled,
    )
    assert registry.grants == (
        Grant(granted, key("anna"), SCOPE, "memory", 2, 7, KEY_ID, {key("ben"): b"b" * 164}),
    )
