"""The registry: who counts as what after which operations, and who gets which keys.

Single cases, each a thing somebody might try or stumble into. That the fold follows its rule on
random histories is in test_membership_model.py.
"""

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from covey.sync.membership import Membership
from covey.sync.operations import Operation, decode_operation, encode_operation
from covey.sync.registry import Device, Grant, Ignored, may_hold
from covey.sync.session_limits import CONTROL_SCOPE, PARENTS_MAX

from .membership_history import (
    KEY_ID,
    SCOPE,
    History,
    certificate,
    key,
    mesh_id,
    read_certificate,
)


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
    assert registry.writer_key(SCOPE, {b"1" * 32}) == (1, b"1" * 32)

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

    found = {(m.scope, m.database): {one.sig_pk for one in m.recipients} for m in missing}
    assert found == {
        (CONTROL_SCOPE, ""): {key("ben"), key("guest")},
        (SCOPE, "memory"): {key("ben")},
    }
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
values = st.one_of(
    st.integers(0, 2**64 - 1), st.binary(max_size=40), words, st.booleans(), st.none()
)


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
