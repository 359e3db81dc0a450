"""Two and three real processes pair by code and stay in sync, end to end.

Every device here is a home of its own and a process of its own; they meet on loopback.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from .processes import Device, homes, pair

MESSAGES = 10_000


@pytest.fixture
def devices(tmp_path: Path) -> Iterator[list[Device]]:
    with homes(tmp_path, "laptop", "phone", "tablet") as made:
        yield made


def status_of(device: Device, *, code: int = 0) -> dict[str, dict[str, str]]:
    """State of each database with each peer: {peer name: {database: state}}."""
    status = device.run("status", code=code)
    return {
        peer["name"]: {row["name"]: row["state"] for row in peer["databases"]}
        for peer in status["peers"]
    }


def test_ten_thousand_imported_messages_are_readable_on_the_other_device(
    devices: list[Device], tmp_path: Path
) -> None:
    """A tool that says "synced" while data is missing is what people come from."""
    laptop, phone, _ = devices
    laptop.init()
    phone.init("phone")
    lines = tmp_path / "chat.jsonl"
    lines.write_text(
        "".join(
            json.dumps({"id": f"m{i:05d}", "author": "mara", "text": f"message {i} about tea"})
            + "\n"
            for i in range(MESSAGES)
        )
    )
    laptop.up("--no-mdns")
    pair(laptop, phone)
    phone.up("--no-mdns")

    first = laptop.run("import", "conversations", "messages", str(lines), "--id-field", "id")
    phone.run("sync", "--wait", "--timeout", "60")

    assert first == {"read": MESSAGES, "written": MESSAGES, "unchanged": 0}
    assert phone.run("get", "conversations", "messages", "m09999")["text"].startswith(
        "message 9999"
    )
    assert phone.run("db", "show", "conversations")["records"] == MESSAGES
    assert status_of(phone) == {"laptop": {"conversations": "synced"}}
    assert status_of(laptop) == {"phone": {"conversations": "synced"}}
    found = phone.run("find", "conversations", "messages", "--text", "message 4711")
    assert [record["id"] for record in found["records"]] == ["m04711"]

    before = laptop.run("status")["peers"][0]["sent_entries"]
    again = laptop.run("import", "conversations", "messages", str(lines), "--id-field", "id")
    laptop.run("sync", "--wait")
    after = laptop.run("status")["peers"][0]["sent_entries"]

    assert again == {"read": MESSAGES, "written": 0, "unchanged": MESSAGES}
    assert after == before


def test_different_fields_survive_and_the_same_field_ends_equal(devices: list[Device]) -> None:
    """Two people's edits of one record made apart must not cost either of them theirs."""
    laptop, phone, _ = devices
    laptop.init()
    phone.init("phone")
    laptop.up("--no-mdns")
    pair(laptop, phone)
    laptop.run("put", "memory", "facts", "tea", '{"name": "kukicha", "tin": "empty"}')
    phone.up("--no-mdns")
    phone.run("sync", "--wait")
    phone.down()

    laptop.run("put", "memory", "facts", "tea", '{"tin": "full", "shop": "corner"}')
    phone.run("put", "memory", "facts", "tea", '{"tin": "half", "cups": 3}')
    phone.up("--no-mdns")
    phone.run("sync", "--wait")

    ours = laptop.run("get", "memory", "facts", "tea")
    theirs = phone.run("get", "memory", "facts", "tea")
    assert ours == theirs
    assert (ours["shop"], ours["cups"], ours["name"]) == ("corner", 3, "kukicha")
    assert ours["tin"] in ("full", "half")


def test_a_write_reaches_a_device_its_author_never_meets(devices: list[Device]) -> None:
    """Laptop and phone meet, phone and tablet meet: the tablet still gets the laptop's data."""
    laptop, phone, tablet = devices
    for device in devices:
        device.init()
    laptop.up("--no-mdns")
    pair(laptop, phone)
    laptop.run("put", "memory", "facts", "lamp", '{"text": "the street lamp is too bright"}')
    phone.up("--no-mdns")
    phone.run("sync", "--wait")
    pair(laptop, tablet)
    laptop.run("devices", "list")
    phone.run("sync", "--wait")
    laptop.down()

    tablet.up("--no-mdns", "--peer", f"127.0.0.1:{phone.port}")
    tablet.run("sync", "--wait", "--with", "phone")

    record = tablet.run("get", "memory", "facts", "lamp", "--meta")
    names = {d["device_id"]: d["device_name"] for d in tablet.run("devices")["devices"]}
    assert record["text"] == "the street lamp is too bright"
    assert names[record["_meta"]["device"]] == "laptop"


def test_what_was_written_before_pairing_is_on_both_devices_afterwards(
    devices: list[Device],
) -> None:
    """Joining a mesh must not leave behind what the new device already knew."""
    laptop, phone, _ = devices
    laptop.init()
    phone.init("phone")
    phone.run("put", "memory", "facts", "old", '{"text": "written before pairing"}')
    phone.run("put", "memory", "facts", "mine", '{"text": "stays here"}', "--privacy", "device")
    laptop.up("--no-mdns")

    pair(laptop, phone)
    phone.up("--no-mdns")
    phone.run("sync", "--wait")

    assert laptop.run("get", "memory", "facts", "old") == {"text": "written before pairing"}
    assert phone.run("get", "memory", "facts", "mine") == {"text": "stays here"}
    laptop.run("get", "memory", "facts", "mine", code=1)


def test_a_deleted_record_is_gone_on_both_sides(devices: list[Device]) -> None:
    """A deletion that does not travel brings the record back."""
    laptop, phone, _ = devices
    laptop.init()
    phone.init("phone")
    laptop.up("--no-mdns")
    pair(laptop, phone)
    laptop.run("put", "memory", "facts", "x", '{"a": 1}')
    phone.up("--no-mdns")
    phone.run("sync", "--wait")

    phone.run("delete", "memory", "facts", "x")
    phone.run("sync", "--wait")

    laptop.run("get", "memory", "facts", "x", code=1)
    assert laptop.run("ls", "memory", "facts") == {"records": []}
