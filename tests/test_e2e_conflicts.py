"""Real processes: two devices write apart, and people see, decide and take back what came of it.

Two homes on loopback, each a process of its own. The phone meets the laptop by a remembered
address; they are parted by ending the phone's node, which each command of the phone then does
without.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .processes import Device, homes, pair


@pytest.fixture
def devices(tmp_path: Path) -> Iterator[list[Device]]:
    """A laptop that made the mesh and a phone, paired, and the laptop up."""
    with homes(tmp_path, "laptop", "phone") as made:
        laptop, phone = made
        for device in made:
            device.init(device.name)
        laptop.up("--no-mdns")
        pair(laptop, phone)
        put(laptop, "r", mood="calm", n=0)
        put(laptop, "gone", mood="calm")
        together(laptop, phone)
        yield made


def put(device: Device, id: str, **fields: Any) -> None:
    device.run("put", "memory", "facts", id, json.dumps(fields))


def get(device: Device, id: str, *options: str, code: int = 0) -> Any:
    return device.run("get", "memory", "facts", id, *options, code=code)


def together(laptop: Device, phone: Device) -> None:
    """The phone comes by, both get all, and the phone goes again."""
    if laptop.process is None:
        laptop.up("--no-mdns")
    phone.up("--no-mdns", "--peer", f"127.0.0.1:{laptop.port}")
    for device in (phone, laptop):
        device.run("sync", "--wait")
    phone.down()


def standing(device: Device, *options: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = device.run("conflicts", "list", *options)["conflicts"]
    return found


def test_written_apart_decided_alone_cleared_everywhere_and_taken_back(
    devices: list[Device],
) -> None:
    """The whole life of a conflict, as people meet it on two devices."""
    laptop, phone = devices
    laptop.run("conflicts", "rule", "memory", "facts", "mood", "manual")
    together(laptop, phone)
    put(laptop, "r", mood="glad")
    put(phone, "r", mood="sad")
    together(laptop, phone)
    (row,) = standing(laptop)

    assert standing(phone) == [row]
    assert laptop.run("conflicts")["conflicts"] == [row]
    assert (row["field"], row["rule"], row["state"]) == ("mood", "manual", "open")
    assert {(c["device_name"], c["value"]) for c in row["candidates"]} == {
        ("laptop", "glad"),
        ("phone", "sad"),
    }
    marked = get(laptop, "r", "--meta")
    assert (marked["mood"], marked["_meta"]["conflicts"]) == ("sad", ["mood"])
    shown = laptop.attempt("conflicts", "show", row["id"])
    assert "a person decides" in shown.stdout and '"glad"' in shown.stdout

    # The phone is down: the laptop decides alone.
    decided = laptop.run("conflicts", "resolve", row["id"], "--take", "laptop")
    assert (decided["state"], decided["resolved_by"]) == ("resolved", "laptop")
    assert (standing(laptop), len(standing(phone))) == ([], 1)
    together(laptop, phone)
    assert standing(phone) == [] and get(phone, "r")["mood"] == "glad"
    assert get(phone, "r", "--meta")["_meta"]["conflicts"] == []

    # The laptop is down: the phone takes it back, and then that again.
    laptop.down()
    assert phone.run("conflicts", "undo", row["id"])["id"] == row["id"]
    assert get(phone, "r")["mood"] == "sad"
    together(laptop, phone)
    assert get(laptop, "r")["mood"] == "sad" and standing(laptop) == []
    history = standing(laptop, "--all")
    assert history == standing(phone, "--all")
    assert [(h["id"], h["state"], len(h["candidates"])) for h in history] == [
        (row["id"], "resolved", 2)
    ]


def test_a_record_deleted_here_and_edited_there_and_many_at_once(devices: list[Device]) -> None:
    """The edit survives until a person takes the deletion; a hundred moods are one command."""
    laptop, phone = devices
    for n in range(3):
        put(laptop, f"m{n}", mood="calm")
    laptop.run("conflicts", "rule", "memory", "facts", "mood", "manual")
    together(laptop, phone)
    laptop.run("delete", "memory", "facts", "gone")
    put(phone, "gone", mood="alive")
    for device in devices:
        for n in range(3):
            put(device, f"m{n}", mood=device.name)
    together(laptop, phone)
    found = standing(phone)
    (deletion,) = (row for row in found if row["record"] == "gone")

    assert found == standing(laptop) and len(found) == 4
    assert (deletion["field"], deletion["rule"], deletion["state"]) == ("", "edit-wins", "settled")
    assert get(laptop, "gone") == {"mood": "alive"}
    phone.run("conflicts", "resolve", deletion["id"], "--take", "laptop")
    done = phone.run("conflicts", "resolve", "--all", "memory", "--take", "phone")
    assert done == {"database": "memory", "resolved": 3, "left": 0}
    together(laptop, phone)
    assert standing(laptop) == standing(phone) == []
    get(laptop, "gone", code=1)
    assert [get(laptop, f"m{n}")["mood"] for n in range(3)] == ["phone"] * 3


def test_exit_codes_tell_what_is_wrong(devices: list[Device]) -> None:
    """A script branches on them: not there 1, wrong usage 2, not allowed 3."""
    laptop, phone = devices
    put(laptop, "r", mood="glad")
    put(phone, "r", mood="sad")
    together(laptop, phone)
    (row,) = standing(laptop)

    laptop.run("conflicts", "show", "00" * 10, code=1)
    laptop.run("conflicts", "resolve", "nothing", "--take", "phone", code=1)
    laptop.run("conflicts", "undo", row["id"][:-2], code=1)
    for wrong in (
        ("resolve", row["id"]),
        ("resolve", row["id"], "--take", "phone", "--value", "1"),
        ("resolve", row["id"], "--value", "{not json"),
        ("resolve", row["id"], "--value", "NaN"),
        ("resolve", row["id"], "--value", '{"$blob": 7}'),
        ("resolve", "--all", "memory", "--value", "1"),
        ("resolve", row["id"], "--all", "memory", "--take", "phone"),
        ("rule", "memory", "facts", "mood", "loudest"),
        ("rule", "memory", "facts", "$deleted", "sum"),
        ("rule", "memory", "facts", "mood", "more", "sum"),
    ):
        laptop.run("conflicts", *wrong, code=2)
    phone.run("conflicts", "rule", "memory", "facts", "mood", "manual", code=3)
    laptop.run("conflicts", "resolve", row["id"], "--take", "phone")
    again = laptop.attempt("conflicts", "resolve", row["id"], "--take", "phone")
    assert (again.returncode, "does not stand any more" in again.stderr) == (1, True)
    assert standing(laptop) == []
