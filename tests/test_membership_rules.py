"""The rules of the membership log, kind by kind: who may, and what it changes.

That they hold together in any history is test_fold_histories.py.
"""

from dataclasses import replace

import pytest

from covey.sync.membership import Membership
from covey.sync.registry import Ignored, Recovery
from covey.sync.session_limits import CONTROL_SCOPE, REQUESTS_PER_DEVICE_MAX

from .membership_history import (
    KEY_ID,
    SCOPE,
    History,
    certificate,
    key,
    mesh_id,
    read_certificate,
)

LOG, OTHER_LOG = (SCOPE, b"1" * 16), (SCOPE, b"2" * 16)
ENTRY, OTHER_ENTRY = b"e" * 32, b"f" * 32


def mesh_of(*admins: str, recovery: str | None = None) -> History:
    history = History(recovery=recovery)
    for name in admins:
        history.enroll("anna", name, role="admin")
    return history


def standing(history: History, name: str) -> tuple[str, str] | None:
    device = history.fold().devices.get(key(name))
    return (device.level, device.role) if device is not None and device.active else None


# Removal -----------------------------------------------------------------------------------------


def test_removed_device_stays_listed_with_who_removed_it_and_when() -> None:
    """Its entries have an author, and people ask what happened to it."""
    history = mesh_of("ben", "cleo")
    id = history.revoke("anna", "ben")
    registry = history.fold()
    ben = registry.devices[key("ben")]

    assert (ben.active, ben.level, ben.role) == (False, "full", "admin")
    assert (ben.revoked_by, ben.revoked_at, ben.revoked_ms) == (key("anna"), id, 0)
    assert [device.name for device in registry.active()] == ["anna", "cleo"]
    assert registry.by_dh(key("ben", "dh")) is None
    assert not registry.is_admin(key("ben")) and registry.is_admin(key("cleo"))


def test_removed_device_decides_nothing_any_more() -> None:
    """What it writes knowing of its removal was never entitled."""
    history = mesh_of("ben")
    history.revoke("anna", "ben")
    late = [history.enroll("ben", "cleo"), history.rename("ben", "ben", "x")]

    assert history.fold().ignored == dict.fromkeys(late, Ignored.NOT_ENTITLED)


def test_puppet_admitted_in_the_past_of_the_removal_is_void_with_all_it_did() -> None:
    """A thief admits devices that nobody removed, and lets those undo the removal."""
    history = mesh_of("tom", "ben")
    before = history.heads()
    history.revoke("anna", "tom")
    puppet = history.enroll("tom", "puppet", role="admin", after=[*before])
    counter = history.revoke("puppet", "anna", after=[puppet])
    friend = history.enroll("puppet", "friend", after=[counter])
    registry = history.fold()

    assert registry.ignored == dict.fromkeys((puppet, counter, friend), Ignored.VOIDED)
    assert [device.name for device in registry.active()] == ["anna", "ben"]
    assert not registry.devices[key("puppet")].active


def test_of_two_admins_that_remove_each_other_the_senior_stays() -> None:
    """With "both go" a thief could undo at any time what its remover did since."""
    history = mesh_of("ben", "cleo")
    heads = [*history.heads()]
    history.revoke("cleo", "ben", after=heads)
    history.revoke("ben", "cleo", after=heads)
    registry = history.fold()

    assert [device.name for device in registry.active()] == ["anna", "ben"]
    assert registry.outranks(key("ben"), key("cleo"))
    assert not registry.outranks(key("cleo"), key("ben"))
    assert not registry.outranks(key("ben"), key("zoe"))


def test_recovery_key_removes_the_most_senior_admin_for_good() -> None:
    """The laptop that founded the mesh can be stolen as well."""
    history = mesh_of("ben", recovery="paper")
    heads = [*history.heads()]
    history.revoke("paper", "anna", after=heads)
    history.revoke("anna", "ben", after=heads)
    history.replace_recovery("anna", "theft", after=heads)
    registry = history.fold()

    assert [device.name for device in registry.active()] == ["ben"]
    assert [one.sig_pk for one in registry.recovery] == [key("paper")]
    assert registry.outranks(key("paper"), key("anna"))


def test_seniority_lent_by_a_void_enrolment_counts_for_nothing() -> None:
    """A removed admin must not decide a quarrel between two others by admitting one of them
    again in the past of both."""
    history = History()
    tom = history.enroll("anna", "tom", role="admin")
    history.rename("anna", "anna", "x")
    history.enroll("anna", "ben", role="admin")
    heads = [history.enroll("anna", "cleo", role="admin")]
    history.revoke("ben", "cleo", after=heads)
    history.revoke("cleo", "ben", after=heads)
    history.revoke("anna", "tom", after=heads)
    history.enroll("tom", "cleo", role="admin", turn=1, after=[tom])
    registry = history.fold()

    assert registry.devices[key("ben")].active and not registry.devices[key("cleo")].active
    assert not registry.outranks(key("ben"), key("cleo")), "nor is it told as if it were sure"


def test_what_a_removed_admin_did_in_the_past_of_its_removal_stays() -> None:
    """Whoever removes a device knew of it and left it."""
    history = mesh_of("ben")
    history.enroll("ben", "cleo")
    history.revoke("anna", "ben")

    assert standing(history, "cleo") == ("full", "member")
    assert history.fold().ignored == {}


def test_member_may_leave_and_removes_nobody_else() -> None:
    """Leaving needs nobody's consent."""
    history = mesh_of("ben")
    history.enroll("anna", "cleo", "guest")
    other = history.revoke("cleo", "ben")
    history.revoke("cleo", "cleo")

    assert history.fold().ignored == {other: Ignored.NOT_ENTITLED}
    assert standing(history, "cleo") is None and standing(history, "ben") is not None


def test_nobody_removes_a_recovery_key_or_a_device_that_never_was() -> None:
    """A removal that waits for a device to come would be a ban that nobody sees."""
    history = mesh_of("ben", recovery="paper")
    paper, zoe = history.revoke("anna", "paper"), history.revoke("anna", "zoe")
    lowered = history.set_level("anna", "paper", "guest")

    assert history.fold().ignored == {
        paper: Ignored.NOT_ENTITLED,
        lowered: Ignored.NOT_ENTITLED,
        zoe: Ignored.UNKNOWN_TARGET,
    }


def test_cuts_of_removals_and_what_was_adopted_are_united() -> None:
    """Two admins have seen different parts of what the removed device wrote."""
    history = mesh_of("ben", "cleo")
    heads = [*history.heads()]
    history.revoke("anna", "cleo", [(*LOG, 3, ENTRY)], after=heads)
    history.revoke("ben", "cleo", [(*LOG, 2, OTHER_ENTRY), (*OTHER_LOG, 1, ENTRY)], after=heads)
    history.adopt("ben", "cleo", [(*OTHER_LOG, 4, OTHER_ENTRY)])
    stranger = history.adopt("ben", "zoe", [(*LOG, 9, ENTRY)])
    registry = history.fold()

    assert registry.cuts == {key("cleo"): {LOG: (3, ENTRY), OTHER_LOG: (4, OTHER_ENTRY)}}
    assert registry.ignored == {stranger: Ignored.UNKNOWN_TARGET}


def test_removed_device_comes_back_with_a_new_certificate_only() -> None:
    """A junior admin could admit the thief again with what is in everybody's log."""
    history = mesh_of("ben")
    history.revoke("anna", "ben")
    old = history.enroll("anna", "ben")
    assert history.fold().ignored == {old: Ignored.BAD_CERTIFICATE}
    back = history.enroll("anna", "ben", "limited", turn=1)
    ben = history.fold().devices[key("ben")]

    assert (ben.active, ben.level, ben.role) == (True, "limited", "member")
    assert (ben.enrolled_at, ben.seal_pk) == (back, key("ben", "seal1"))
    assert ben.revoked_at is None and ben.revoked_by is None and ben.revoked_ms is None


def test_enrolment_at_the_time_of_a_removal_ends_with_it() -> None:
    """Who removes a device means it, whoever admits it somewhere else meanwhile."""
    history = mesh_of("ben", "cleo")
    heads = [*history.heads()]
    history.revoke("ben", "cleo", after=heads)
    history.enroll("anna", "cleo", turn=1, after=heads)

    assert standing(history, "cleo") is None


def test_admissible_is_what_was_admitted_before_and_still_counts() -> None:
    """Entries of a removed device count up to the cut, those after it came back as before."""
    history = mesh_of("ben", recovery="paper")
    before = [*history.heads()]
    history.revoke("anna", "ben")
    history.enroll("anna", "ben", turn=1)
    now = [*history.heads()]
    membership = Membership(read_certificate, mesh_id, history.mesh)
    membership.add(history.operations)

    assert not membership.admissible(key("ben"), before)
    assert membership.admissible(key("ben"), now)
    assert membership.admissible(key("anna"), before)
    assert membership.admissible(key("paper"), before)
    assert not membership.admissible(key("anna"), [b"?" * 32])
    assert membership.standing(key("ben"), before) == ("full", "admin")
    assert membership.standing(key("paper"), before) == ("full", "admin")


# Levels and roles --------------------------------------------------------------------------------


def test_last_word_on_a_level_counts_and_of_two_at_once_the_lower() -> None:
    """Nobody gets more than the most careful of those who decided at the same time."""
    history = mesh_of("ben")
    history.enroll("anna", "cleo", "guest", expires=5_000)
    assert history.fold().devices[key("cleo")].expires_ms == 5_000
    history.set_level("ben", "cleo", "full")
    heads = [*history.heads()]
    assert history.fold().devices[key("cleo")].expires_ms is None
    history.set_level("ben", "cleo", "limited", after=heads)
    history.set_level("anna", "cleo", "guest", expires=7_000, after=heads)
    cleo = history.fold().devices[key("cleo")]

    assert (cleo.level, cleo.expires_ms) == ("guest", 7_000)


def test_device_lowers_itself_and_neither_rises_nor_outstays() -> None:
    """A guest must not trade its level for more time."""
    history = mesh_of()
    history.enroll("anna", "ben", "limited", expires=5_000)
    same = history.set_level("ben", "ben", "limited")
    more = history.set_level("ben", "ben", "full", expires=9_000)
    history.set_level("ben", "ben", "guest")
    registry = history.fold()

    assert registry.ignored == dict.fromkeys((same, more), Ignored.NOT_ENTITLED)
    ben = registry.devices[key("ben")]
    assert (ben.level, ben.expires_ms) == ("guest", 5_000)


def test_only_full_devices_are_admins() -> None:
    """An admin decides over keys, and must be able to hold them."""
    history = mesh_of("ben")
    history.enroll("anna", "cleo", "limited")
    refused = history.set_role("anna", "cleo", "admin")
    history.set_level("anna", "ben", "limited")
    assert standing(history, "ben") == ("limited", "member")
    history.set_level("anna", "ben", "full")
    history.set_level("anna", "cleo", "full")
    history.set_role("ben", "cleo", "admin")

    assert standing(history, "ben") == standing(history, "cleo") == ("full", "admin")
    assert history.fold().ignored == {refused: Ignored.NOT_ENTITLED}


def test_word_that_lowered_a_device_at_its_removal_holds_when_it_comes_back() -> None:
    """As Appendix A has it: a demotion counts for every admission that did not know of it."""
    history = mesh_of("ben", "cleo")
    heads = [*history.heads()]
    gone = history.revoke("ben", "cleo", after=heads)
    history.enroll("ben", "cleo", role="admin", turn=1, after=[gone])
    history.set_role("anna", "cleo", "member", after=heads)

    assert standing(history, "cleo") == ("full", "member")


def test_demoted_admin_loses_what_it_did_meanwhile_and_stays_a_member() -> None:
    """Authority that is taken away ends at once, and not when the device hears of it."""
    history = mesh_of("ben")
    heads = [*history.heads()]
    history.set_role("anna", "ben", "member", after=heads)
    void = history.enroll("ben", "cleo", after=heads)
    registry = history.fold()

    assert standing(history, "ben") == ("full", "member")
    assert registry.ignored == {void: Ignored.VOIDED}


# Recovery keys -----------------------------------------------------------------------------------


def test_recovery_key_is_replaced_by_itself_and_by_nobody_else() -> None:
    """Or the founder's thief would replace it first of all."""
    history = mesh_of("ben", recovery="paper")
    stolen = history.replace_recovery("anna", "theft")
    id = history.replace_recovery("paper", "steel")
    late = history.enroll("paper", "cleo")
    history.enroll("steel", "dora", role="admin")
    registry = history.fold()

    assert registry.recovery == (Recovery(key("steel"), key("steel", "seal"), id),)
    assert registry.ignored == dict.fromkeys((stolen, late), Ignored.NOT_ENTITLED)
    assert registry.is_admin(key("dora")) and not registry.is_admin(key("steel"))
    assert registry.outranks(key("steel"), key("anna"))


def test_most_senior_admin_sets_the_first_recovery_key() -> None:
    """A mesh that was founded without one can still get one, and a junior does not choose it."""
    history = mesh_of("ben")
    junior = history.replace_recovery("ben", "theft")
    device = history.replace_recovery("anna", "ben")
    history.replace_recovery("anna", "paper")
    registry = history.fold()

    assert registry.ignored == dict.fromkeys((junior, device), Ignored.NOT_ENTITLED)
    assert [one.sig_pk for one in registry.recovery] == [key("paper")]
    assert registry.outranks(key("paper"), key("anna"))


def test_recovery_key_of_a_removed_setter_stands_if_the_removal_knew_of_it() -> None:
    """It was made for that day; one that was dated back to before was not."""
    history = mesh_of("ben")
    founding = [*history.heads()]
    history.replace_recovery("anna", "paper")
    history.revoke("paper", "anna")
    history.enroll("paper", "cleo", role="admin")
    assert standing(history, "cleo") == ("full", "admin")
    history.replace_recovery("anna", "theft", after=founding)
    registry = history.fold()

    assert [one.sig_pk for one in registry.recovery] == [key("paper")]
    assert [device.name for device in registry.active()] == ["ben", "cleo"]


def test_key_that_is_a_recovery_key_is_never_enrolled() -> None:
    """One key with two standings would be neither removable nor trustworthy."""
    history = mesh_of(recovery="paper")
    id = history.enroll("anna", "paper")

    assert history.fold().ignored == {id: Ignored.NOT_ENTITLED}


# Keys --------------------------------------------------------------------------------------------


def test_grant_is_never_void_and_nobody_writes_under_what_a_removed_device_holds() -> None:
    """Data may be sealed under it; but the removed device, which made it, can read with it."""
    history = mesh_of("ben")
    heads = [*history.heads()]
    history.grant("anna", ("anna",), key_id=b"1" * 32)
    history.revoke("anna", "ben")
    late = history.grant("ben", ("anna",), epoch=2, after=heads)
    registry = history.fold()

    assert late in {grant.id for grant in registry.grants}
    assert registry.writer_key(SCOPE) == (1, b"1" * 32)


def test_key_of_a_device_that_may_not_hold_it_any_more_is_not_written_under() -> None:
    """A demotion is worth nothing while what is written goes on to be readable."""
    history = mesh_of("ben")
    history.grant("anna", ("anna", "ben"))
    assert history.fold().writer_key(SCOPE) == (1, KEY_ID)
    history.set_level("anna", "ben", "limited")

    assert history.fold().writer_key(SCOPE) is None


def test_recovery_keys_get_every_key_and_may_grant() -> None:
    """Or nothing could be read again from paper alone."""
    history = mesh_of("ben", recovery="paper")
    history.grant("anna", ("anna",), 0, scope=CONTROL_SCOPE, database="", key_id=b"c" * 32)
    history.grant("anna", ("anna", "ben"), 1)
    missing = history.fold().missing_grants({KEY_ID, b"c" * 32})

    assert [{one.sig_pk for one in lack.recipients} for lack in missing] == [
        {key("ben"), key("paper")},
        {key("paper")},
    ]
    history.grant("paper", ("ben", "paper"), 1)
    history.grant("anna", ("ben", "paper"), 0, scope=CONTROL_SCOPE, database="", key_id=b"c" * 32)
    registry = history.fold()
    assert registry.ignored == {} and registry.missing_grants({KEY_ID, b"c" * 32}) == ()
    assert registry.writer_key(SCOPE) == (1, KEY_ID)


def test_rekey_changes_the_seal_key_of_the_device_itself() -> None:
    """Boxes are made for the new one; an old certificate does not bring back the old."""
    history = mesh_of("ben")
    history.rekey("ben", 1)
    other = history.rekey("anna", 1, cert=certificate("ben", history.mesh, 2))
    again = history.rekey("ben", 0)
    history.enroll("anna", "ben")
    registry = history.fold()

    assert registry.devices[key("ben")].seal_pk == key("ben", "seal1")
    assert registry.ignored == {other: Ignored.NOT_ENTITLED, again: Ignored.BAD_CERTIFICATE}


def test_rekey_takes_no_channel_key_of_another_device() -> None:
    """Its links would be taken for those of the one who took it."""
    history = mesh_of("ben")
    mine = certificate("ben", history.mesh, 1)
    stolen = mine[:52] + key("anna", "dh") + mine[84:]
    id = history.rekey("ben", 1, cert=stolen)

    assert history.fold().ignored == {id: Ignored.BAD_CERTIFICATE}


# What else is said -------------------------------------------------------------------------------


def test_description_is_given_by_the_device_or_an_admin() -> None:
    """It is shown to people beside the name, so not everybody writes it."""
    history = mesh_of("ben")
    history.enroll("anna", "cleo")
    history.describe("cleo", "cleo", use="mobile")
    other = history.describe("cleo", "ben")
    registry = history.fold()
    cleo = registry.devices[key("cleo")]

    assert (cleo.relationship, cleo.use, cleo.capabilities) == (
        "family",
        "mobile",
        ("camera", "print"),
    )
    assert registry.ignored == {other: Ignored.NOT_ENTITLED}


def test_policy_is_said_by_an_admin_or_by_the_device_of_itself() -> None:
    """Who owns the mesh decides; a phone may still spare its own battery."""
    history = mesh_of("ben")
    history.enroll("anna", "cleo")
    history.policy("ben", "", "media", blobs="thumbnail")
    history.policy("ben", "cleo", "media", consent=False, mode="summary")
    history.policy("cleo", "cleo", "media", mode="on-demand", unmetered=True)
    refused = [
        history.policy("cleo", "", "media", mode="full"),
        history.policy("cleo", "ben", "media", mode="full"),
        history.policy("cleo", "cleo", "media", mode="full", consent=True),
        history.policy("cleo", "cleo", "media", tag__secret="public"),
    ]
    registry = history.fold()

    assert registry.settings == {
        (b"", "media"): {"blobs": "thumbnail"},
        (key("cleo"), "media"): {"consent": False, "mode": "on-demand", "unmetered": True},
    }
    assert registry.ignored == dict.fromkeys(refused, Ignored.NOT_ENTITLED)


def test_policy_is_taken_back_key_by_key_and_unknown_ones_change_nothing() -> None:
    """A newer version may know more keys; older devices keep to what they know."""
    history = mesh_of("ben")
    history.policy("anna", "ben", "media", mode="window", window_days=30, warp=9)
    history.policy("anna", "ben", "media", mode=None, window_days=-1, priority="urgent")

    assert history.fold().settings == {(key("ben"), "media"): {"window_days": 30}}
    assert not history.fold().ignored


def test_policy_of_a_removed_admin_that_it_wrote_in_secret_does_not_count() -> None:
    """Or a stolen laptop could open a database for everybody, dated back."""
    history = mesh_of("ben")
    before = history.heads()
    history.revoke("anna", "ben")
    secret = history.policy("ben", "", "media", consent=True, after=before)
    registry = history.fold()

    assert registry.settings == {} and registry.ignored == {secret: Ignored.VOIDED}


def test_request_waits_for_an_admin_until_its_device_is_admitted() -> None:
    """A member that is no admin can bring a device to the door."""
    history = mesh_of()
    history.enroll("anna", "ben", "limited")
    history.enroll("anna", "box", "mailbox")
    refused = history.request("box", "cleo")
    id = history.request("ben", "cleo", "guest")
    (request,) = history.fold().requests

    assert (request.id, request.by, request.sig_pk) == (id, key("ben"), key("cleo"))
    assert (request.cert, request.level) == (certificate("cleo", history.mesh), "guest")
    assert history.fold().ignored == {refused: Ignored.NOT_ENTITLED}
    history.enroll("anna", "cleo", "guest")
    assert history.fold().requests == ()
    history.revoke("anna", "cleo")
    assert history.fold().requests == (), "it was answered, and must be asked again"
    again = history.request("ben", "cleo", turn=1)
    assert [request.id for request in history.fold().requests] == [again]


def test_one_member_has_no_more_than_its_newest_requests_pending() -> None:
    """The list is read by a person."""
    history = mesh_of("ben")
    ids = [history.request("ben", f"new-{i}") for i in range(REQUESTS_PER_DEVICE_MAX + 4)]
    mine = history.request("anna", "cleo")

    assert [request.id for request in history.fold().requests] == [*ids[4:], mine]


def test_long_history_of_removals_neither_recurses_nor_takes_long() -> None:
    """Years of a device that goes and comes, with somebody who objects each time."""
    history = mesh_of("ben", "cleo")
    last = history.heads()[0]
    for turn in range(700):
        gone = history.revoke("anna", "cleo", after=[last])
        objected = history.rename("cleo", "cleo", "me", after=[last])
        back = history.enroll("ben", "cleo", role="admin", turn=turn + 1, after=[gone, objected])
        last = history.set_role("cleo", "ben", "admin", after=[back])
    registry = history.fold()

    assert [device.active for device in registry.devices.values()] == [True] * 3
    assert set(registry.ignored.values()) == {Ignored.VOIDED} and len(registry.ignored) == 700


# Malformed ---------------------------------------------------------------------------------------

WELL_FORMED: dict[str, dict[str, object]] = {
    "enroll": {"cert": None, "name": "zoe", "type": "phone", "level": "full", "role": "member"},
    "set-level": {"device": key("ben"), "level": "limited"},
    "set-role": {"device": key("ben"), "role": "member"},
    "rename": {"device": key("ben"), "name": "x"},
    "describe": {"device": key("ben"), "relationship": "", "use": "", "capabilities": []},
    "revoke": {"device": key("ben"), "cut": [[*LOG, 1, ENTRY]]},
    "adopt": {"device": key("ben"), "cut": []},
    "recovery-replace": {"recovery": [key("paper"), key("paper", "seal")]},
    "request": {"cert": None, "name": "zoe", "type": "phone", "level": "full"},
    "rekey": {"cert": None},
    "policy": {"device": key("ben"), "database": "media", "set": {"mode": "full"}},
}
ROW = [*LOG, 1, ENTRY]
MALFORMED: list[tuple[str, dict[str, object]]] = [
    ("enroll", {"expires": -1}),
    ("enroll", {"expires": None}),
    ("enroll", {"expires": 2**48}),
    ("enroll", {"cert": bytes(187)}),
    ("enroll", {"level": 3}),
    ("enroll", {"level": "royal"}),
    ("enroll", {"level": "limited", "role": "admin"}),
    ("set-level", {"level": "royal"}),
    ("set-level", {"level": ""}),
    ("set-level", {"expires": "soon"}),
    ("set-level", {"expires": True}),
    ("set-level", {"device": key("ben")[1:]}),
    ("set-role", {"role": "owner"}),
    ("set-role", {"role": b"admin"}),
    ("set-role", {"device": "ben"}),
    ("rename", {"name": "x" * 41}),
    ("describe", {"relationship": "enemy"}),
    ("describe", {"relationship": None}),
    ("describe", {"use": "toaster"}),
    ("describe", {"capabilities": ["b", "a"]}),
    ("describe", {"capabilities": ["a", "a"]}),
    ("describe", {"capabilities": [""]}),
    ("describe", {"capabilities": ["x" * 33]}),
    ("describe", {"capabilities": [f"{i:02}" for i in range(17)]}),
    ("describe", {"capabilities": "camera"}),
    ("policy", {"device": key("ben")[1:]}),
    ("policy", {"device": None}),
    ("policy", {"database": "x" * 256}),
    ("policy", {"set": {}}),
    ("policy", {"set": []}),
    ("policy", {"set": {"mode": 1.5}}),
    ("policy", {"set": {"mode": b"full"}}),
    ("policy", {"set": {"mode": ["full"]}}),
    ("policy", {"set": {"mode": "x" * 65}}),
    ("policy", {"set": {"": "full"}}),
    ("policy", {"set": {f"key {i}": 1 for i in range(65)}}),
    ("revoke", {"cut": None}),
    ("revoke", {"cut": [[*LOG, 1]]}),
    ("revoke", {"cut": [[*LOG, 0, ENTRY]]}),
    ("revoke", {"cut": [[*LOG, -1, ENTRY]]}),
    ("revoke", {"cut": [[*LOG, 2**63, ENTRY]]}),
    ("revoke", {"cut": [[*LOG, True, ENTRY]]}),
    ("revoke", {"cut": [[*LOG, 1, ENTRY[1:]]]}),
    ("revoke", {"cut": [[SCOPE, b"1", 1, ENTRY]]}),
    ("revoke", {"cut": [ROW, ROW]}),
    ("revoke", {"cut": [[*OTHER_LOG, 1, ENTRY], ROW]}),
    ("revoke", {"cut": [[SCOPE, i.to_bytes(16, "big"), 1, ENTRY] for i in range(1_001)]}),
    ("revoke", {"device": b""}),
    ("adopt", {"cut": {}}),
    ("adopt", {"cut": [ROW, ROW]}),
    ("recovery-replace", {"recovery": [key("paper")]}),
    ("recovery-replace", {"recovery": [key("paper"), b"seal"]}),
    ("recovery-replace", {"recovery": key("paper")}),
    ("recovery-replace", {"recovery": [key("paper"), key("paper", "seal"), b""]}),
    ("request", {"cert": bytes(189)}),
    ("request", {"level": "royal"}),
    ("request", {"name": ""}),
    ("request", {"type": "x" * 33}),
    ("rekey", {"cert": "cert"}),
    ("rekey", {"cert": b""}),
]


def details_of(history: History, kind: str) -> dict[str, object]:
    details = dict(WELL_FORMED[kind])
    if "cert" in details:
        name = "anna" if kind == "rekey" else "zoe"
        details["cert"] = certificate(name, history.mesh, 1)
    return details


@pytest.mark.parametrize(("kind", "change"), MALFORMED)
def test_malformed_details_count_for_nothing(kind: str, change: dict[str, object]) -> None:
    """Every form has one spelling and a bound, and a wrong one changes nothing for anybody."""
    history = mesh_of("ben")
    before = history.fold()
    id = history.write("anna", kind, details_of(history, kind) | change)
    after = history.fold()

    assert after.ignored == {id: Ignored.MALFORMED}
    assert replace(after, heads=before.heads, ignored={}) == before


@pytest.mark.parametrize("kind", WELL_FORMED)
def test_each_kind_counts_with_all_its_details_and_not_without_one(kind: str) -> None:
    """The table above is of faults only if what they are made of has none."""
    history = mesh_of("ben")
    good = history.write("anna", kind, details_of(history, kind))
    assert good not in history.fold().ignored
    for name in WELL_FORMED[kind]:
        history = mesh_of("ben")
        details = details_of(history, kind)
        del details[name]
        assert history.fold().ignored == {}
        id = history.write("anna", kind, details)
        assert history.fold().ignored == {id: Ignored.MALFORMED}, name


def test_largest_cut_fits_into_an_operation() -> None:
    """A device that wrote to a thousand logs can be removed all the same."""
    history = mesh_of("ben")
    cut = [(SCOPE, i.to_bytes(16, "big"), 2**63 - 1, ENTRY) for i in range(1_000)]
    history.revoke("anna", "ben", cut)

    assert len(history.fold().cuts[key("ben")]) == 1_000
