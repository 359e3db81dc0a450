"""Real processes: a phone is removed while it is away, comes back, and tries.

Laptop, phone and tablet are homes and processes of their own that meet on loopback.
"""

import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from .processes import Device, homes, pair, up


@pytest.fixture
def devices(tmp_path: Path) -> Iterator[list[Device]]:
    with homes(tmp_path, "laptop", "phone", "tablet") as made:
        yield made


def together(devices: list[Device]) -> None:
    laptop, phone, tablet = devices
    for device, kind in zip(devices, ("laptop", "phone", "tablet"), strict=True):
        device.init(kind)
    up(laptop)
    pair(laptop, phone)
    pair(laptop, tablet)
    up(phone, laptop)
    up(tablet, laptop, phone)
    laptop.run("put", "memory", "facts", "tea", '{"name": "kukicha", "tin": "full"}')
    phone.run("sync", "--wait")
    tablet.run("sync", "--wait")
    phone.run("put", "memory", "facts", "tea", '{"tin": "half"}')
    phone.run("put", "memory", "facts", "seen", '{"by": "phone"}')
    phone.run("sync", "--wait")
    laptop.run("sync", "--wait")
    tablet.run("sync", "--wait")


def test_a_phone_that_was_removed_while_away_comes_back_and_gets_nothing(
    devices: list[Device],
) -> None:
    laptop, phone, tablet = devices
    together(devices)
    for device in devices:
        device.down()

    phone.run("put", "memory", "facts", "tea", '{"tin": "empty"}')
    phone.run("put", "memory", "facts", "late", '{"by": "phone"}')
    removed = laptop.run("devices", "revoke", "phone", "--yes")
    assert (removed["status"], removed["revoked_by"]) == ("revoked", "laptop")
    assert removed["contested"] is False
    # The tablet has not heard of it, and takes what the phone wrote.
    up(tablet)
    up(phone, tablet)
    phone.run("sync", "--wait")
    assert tablet.run("get", "memory", "facts", "late") == {"by": "phone"}
    phone.down()

    up(laptop, tablet)
    laptop.run("sync", "--wait")
    for device in (laptop, tablet):
        device.run("sync", "--wait")
        assert device.run("get", "memory", "facts", "tea") == {"name": "kukicha", "tin": "half"}
        assert device.run("get", "memory", "facts", "seen") == {"by": "phone"}
        device.run("get", "memory", "facts", "late", code=1)
        (shelf,) = device.run("status")["shelf"]
        assert (shelf["device_name"], shelf["database"], shelf["entries"]) == ("phone", "memory", 2)
        by_name = {row["device_name"]: row for row in device.run("devices")["devices"]}
        assert by_name["phone"]["status"] == "revoked"
    laptop.run("put", "memory", "facts", "secret", '{"door": "4711"}')
    tablet.run("put", "memory", "facts", "more", '{"door": "4712"}')
    laptop.run("sync", "--wait")
    tablet.run("sync", "--wait")

    up(phone, laptop, tablet)
    phone.run("sync", "--wait", "--timeout", "5", code=4)
    phone.run("get", "memory", "facts", "secret", code=1)
    phone.run("get", "memory", "facts", "more", code=1)
    phone.down()
    # Nor has anything of it reached its disk, in whatever form.
    sizes = [peer["received_bytes"] for peer in phone.run("status", code=1)["peers"]]
    assert sizes == [0] * len(sizes)

    adopted = laptop.run("devices", "adopt", "phone")
    assert adopted["adopted"] == 2
    tablet.run("sync", "--wait")
    for device in (laptop, tablet):
        assert device.run("get", "memory", "facts", "late") == {"by": "phone"}
        assert device.run("get", "memory", "facts", "tea") == {"name": "kukicha", "tin": "empty"}
        assert device.run("status")["shelf"] == []


def test_a_removal_bites_at_once_while_all_are_connected(devices: list[Device]) -> None:
    """The removed one sees its connections end, and nothing that is written after."""
    laptop, phone, tablet = devices
    together(devices)
    laptop.run("devices", "revoke", "phone", "--yes")
    laptop.run("put", "memory", "facts", "secret", '{"door": "4711"}')
    laptop.run("sync", "--wait", "--with", "tablet")
    tablet.run("put", "memory", "facts", "more", '{"door": "4712"}')
    tablet.run("sync", "--wait")

    phone.wait_for("disconnected")
    phone.run("get", "memory", "facts", "secret", code=1)
    phone.run("get", "memory", "facts", "more", code=1)
    assert tablet.run("get", "memory", "facts", "secret") == {"door": "4711"}
    words = tablet.attempt("log").stdout
    assert "laptop removed phone" in words


def test_what_a_person_may_not_do_is_said_and_changes_nothing(devices: list[Device]) -> None:
    laptop, phone, tablet = devices
    together(devices)
    phone.run("devices", "revoke", "tablet", "--yes", code=3)
    phone.run("devices", "level", "tablet", "guest", code=3)
    phone.run("devices", "role", "phone", "admin", code=3)
    laptop.run("devices", "revoke", "laptop", "--yes", code=3)
    laptop.run("devices", "revoke", "nobody", "--yes", code=1)
    laptop.run("devices", "role", "tablet", "admin")
    tablet.run("sync", "--wait")
    warned = tablet.attempt("devices", "revoke", "laptop", "--yes")
    assert warned.returncode == 0 and "senior" in warned.stderr
    unasked = laptop.attempt("devices", "revoke", "phone")
    assert unasked.returncode == 2 and "--yes" in unasked.stderr


def test_a_level_is_what_a_device_has_keys_for(devices: list[Device]) -> None:
    laptop, phone, _ = devices
    together(devices)
    laptop.run("devices", "level", "phone", "limited")
    laptop.run("put", "memory", "facts", "mine", '{"a": 1}')
    laptop.run("put", "memory", "facts", "ours", '{"a": 2}', "--privacy", "family")
    laptop.run("sync", "--wait")
    phone.run("sync", "--wait")

    assert phone.run("get", "memory", "facts", "ours") == {"a": 2}
    phone.run("get", "memory", "facts", "mine", code=1)
    phone.run("put", "memory", "facts", "other", '{"a": 3}', code=3)
    assert laptop.run("devices", "rotate-keys")["scopes"] == 3
    laptop.run("put", "memory", "facts", "ours", '{"a": 4}')
    laptop.run("sync", "--wait")
    assert phone.run("get", "memory", "facts", "ours") == {"a": 4}


def test_a_member_lets_a_device_ask_and_the_admin_elsewhere_approves_it(
    devices: list[Device],
) -> None:
    laptop, phone, tablet = devices
    laptop.init()
    tablet.init("tablet")
    new = phone.init("phone")
    up(laptop)
    pair(laptop, tablet)
    up(tablet, laptop)
    laptop.run("put", "memory", "facts", "tea", '{"name": "kukicha"}')
    tablet.run("sync", "--wait")
    window = tablet.start("pair", "--yes", "--json")
    assert window.stdout is not None
    code = json.loads(window.stdout.readline())["code"]
    where = ("--yes", "--address", f"127.0.0.1:{tablet.port}", "--json")
    joining = phone.start("join", code, *where)
    laptop.wait_for("request")
    (asking,) = laptop.run("devices", "requests")["requests"]
    assert (asking["device_id"], asking["carried_by"]) == (new["id"], "tablet")
    laptop.run("devices", "approve", "phone", code=2)
    tablet.run("devices", "approve", new["id"], code=3)
    approved = laptop.run("devices", "approve", new["id"])
    assert (approved["device_name"], approved["status"]) == ("phone", "active")
    _, errors = joining.communicate(timeout=60)
    assert joining.returncode == 0, errors
    window.communicate(timeout=60)
    assert phone.run("get", "memory", "facts", "tea") == {"name": "kukicha"}


def test_a_guest_is_given_its_days_with_the_code(devices: list[Device]) -> None:
    """To limit it afterwards is to give it everything first."""
    laptop, phone, _ = devices
    laptop.init()
    phone.init("phone")
    for days in ("0", "3651", "some"):
        assert "--days" in laptop.attempt("pair", "--yes", "--days", days).stderr
        laptop.run("pair", "--yes", "--days", days, code=2)
    laptop.run("put", "memory", "facts", "mine", '{"a": 1}')
    laptop.run("put", "memory", "facts", "open", '{"a": 2}', "--privacy", "public")
    up(laptop)

    joined = pair(laptop, phone, "--level", "guest", "--days", "2")

    for device in (laptop, phone):
        row = next(r for r in device.run("devices")["devices"] if r["device_name"] == "phone")
        assert (row["trust_level"], row["status"]) == ("guest", "active")
        assert row["expires_at"] == joined["expires_at"]
        until = datetime.fromisoformat(row["expires_at"]) - datetime.fromisoformat(
            row["enrolled_at"]
        )
        assert abs(until - timedelta(days=2)) <= timedelta(minutes=1)
    assert phone.run("get", "memory", "facts", "open") == {"a": 2}
    phone.run("get", "memory", "facts", "mine", code=1)
    assert "with level guest for 2 days" in laptop.attempt("log").stdout
