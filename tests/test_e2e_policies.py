"""Real processes: what the default profile lets travel, and what a person changes and is told.

Two homes on loopback, each a process of its own, that meet by a remembered address.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .processes import Device, homes, pair


@pytest.fixture
def devices(tmp_path: Path) -> Iterator[list[Device]]:
    """A laptop that made the mesh and a phone, paired and up."""
    with homes(tmp_path, "laptop", "phone") as made:
        laptop, phone = made
        for device in made:
            device.init(device.name)
        laptop.up("--no-mdns")
        pair(laptop, phone)
        phone.up("--no-mdns", "--peer", f"127.0.0.1:{laptop.port}")
        phone.run("sync", "--wait")
        yield made


def both_sync(devices: list[Device]) -> None:
    """Both have, and have proved, whatever is shared."""
    for device in devices:
        device.run("sync", "--wait")


def put(device: Device, database: str, id: str, value: Any = None) -> None:
    device.run("put", database, "things", id, json.dumps({"by": device.name, **(value or {})}))


def explain(device: Device, database: str, id: str, other: Device) -> tuple[bool, str]:
    found = device.run("policy", "explain", database, "things", id, other.name)
    assert found["because"]
    return found["allowed"], found["rule"]


def test_the_default_profile_row_by_row(devices: list[Device]) -> None:
    """DESIGN 8, as far as it is about what travels: each database with a record of each device.

    Then the laptop wants all embeddings: those that the phone made go up, its own stay until the
    phone asks for them.
    """
    laptop, phone = devices
    travelling = ("profile", "conversations", "personality", "media")
    for database in (*travelling, "embeddings", "cache"):
        for device in devices:
            put(device, database, device.name)
    both_sync(devices)

    for database in travelling:
        for reader in devices:
            for writer in devices:
                assert reader.run("get", database, "things", writer.name) == {"by": writer.name}
        assert explain(laptop, database, "laptop", phone) == (True, "full")
    for database, rule in (("embeddings", "on-demand"), ("cache", "local-only")):
        assert explain(laptop, database, "laptop", phone) == (False, rule)
        for reader, other in ((laptop, "phone"), (phone, "laptop")):
            assert reader.run("get", database, "things", reader.name) == {"by": reader.name}
            listed = [r["id"] for r in reader.run("ls", database)["records"]]
            assert other not in listed
    policies = {row["name"]: row["policy"] for row in phone.run("db")["databases"]}
    assert policies == {
        **dict.fromkeys(travelling, "full"),
        "cache": "local-only",
        "embeddings": "on-demand",
    }
    rows = phone.run("policy", "show", "media", "phone")["policies"]
    assert rows[0]["settings"]["blobs"] == {"value": "thumbnail", "from": "the profile"}
    assert rows[0]["settings"]["priority"] == {"value": "low", "from": "the profile"}
    put(laptop, "analytics", "a")
    assert explain(laptop, "analytics", "a", phone) == (True, "periodic")
    shown = laptop.run("policy", "show", "analytics", "phone")["policies"][0]["settings"]
    assert shown["mode"] == {"value": "periodic", "from": "the profile"}
    assert shown["interval"] == {"value": "6h", "from": "the default"}

    laptop.run("policy", "set", "embeddings", "laptop", "mode=full")
    both_sync(devices)
    assert laptop.run("get", "embeddings", "things", "phone") == {"by": "phone"}
    assert [r["id"] for r in phone.run("ls", "embeddings")["records"]] == ["phone"]
    assert explain(laptop, "embeddings", "laptop", phone) == (False, "on-demand")
    assert explain(laptop, "embeddings", "phone", phone)[0]
    phone.run("fetch", "embeddings")
    assert [r["id"] for r in phone.run("ls", "embeddings")["records"]] == ["laptop", "phone"]


def test_consent_is_withdrawn_and_given_back_while_both_are_up(devices: list[Device]) -> None:
    """It bites at once, is told in words on the other device, and nothing is lost by it."""
    laptop, phone = devices
    put(laptop, "diary", "before")
    both_sync(devices)
    proof = laptop.run("policy", "explain", "diary", "things", "before", "phone")
    assert (proof["allowed"], proof["proved"]) == (True, True)
    looked = laptop.run("policy", "set", "diary", "phone", "consent=no", "--dry-run")
    assert looked["preview"]["stops"]["records"] == 1 and looked["preview"]["narrows"]
    assert explain(laptop, "diary", "before", phone)[0]

    laptop.run("policy", "set", "diary", "phone", "consent=no")
    put(laptop, "diary", "after")
    both_sync(devices)
    phone.run("get", "diary", "things", "after", code=1)
    assert explain(laptop, "diary", "after", phone) == (False, "consent")
    refused = laptop.run("policy", "explain", "diary", "things", "after", "phone")
    assert refused["proved"] is False
    assert "laptop: phone may not have diary any more" in phone.attempt("log").stdout
    phone.run("policy", "set", "diary", "phone", "consent=yes", code=3)

    laptop.run("policy", "set", "diary", "phone", "consent=default")
    both_sync(devices)
    assert phone.run("get", "diary", "things", "after") == {"by": "laptop"}


def test_a_profile_and_tags_through_the_command_line(devices: list[Device], tmp_path: Path) -> None:
    """A file for everybody, then records that are born where their tags say, on both devices."""
    laptop, phone = devices
    file = tmp_path / "profile.toml"
    file.write_text('[tags]\nwork = "device"\n\n[databases.notes]\nmode = "fulll"\n')
    wrong = laptop.attempt("policy", "profile", "load", str(file))
    assert (wrong.returncode, f"{file}:5: " in wrong.stderr) == (2, True)
    file.write_text('[tags]\nwork = "device"\nfun = "family"\n')
    assert laptop.run("policy", "profile", "load", str(file))["changed"]
    both_sync(devices)

    tagged = json.dumps({"tags": ["work"]})
    phone.run("put", "notes", "things", "w", tagged)
    phone.run("put", "notes", "things", "f", "{}", "--tag", "fun")
    refused = phone.attempt("put", "notes", "things", "x", tagged, "--privacy", "private")
    lines = tmp_path / "lines.jsonl"
    lines.write_text(json.dumps({"id": "f", "tags": ["work"]}) + "\n")
    imported = phone.attempt("import", "notes", "things", str(lines), "--id-field", "id")
    both_sync(devices)

    assert (refused.returncode, "tag.work=device" in refused.stderr) == (3, True)
    assert (imported.returncode, "covey move" in imported.stderr) == (3, True)
    assert phone.run("get", "notes", "things", "w", "--meta")["_meta"]["privacy"] == "device"
    assert laptop.run("get", "notes", "things", "f", "--meta")["_meta"]["privacy"] == "family"
    laptop.run("get", "notes", "things", "w", code=1)
    assert (
        'work = "device"  # said by the mesh' in phone.attempt("policy", "profile", "show").stdout
    )


def test_a_database_is_created_with_a_mode(devices: list[Device]) -> None:
    """The policy is there before the first record, on both devices."""
    laptop, phone = devices
    assert laptop.run("db", "create", "scratch", "--policy", "local-only")["policy"] == "local-only"
    put(laptop, "scratch", "x")
    both_sync(devices)

    assert phone.run("db", "show", "scratch")["policy"] == "local-only"
    phone.run("get", "scratch", "things", "x", code=1)
    phone.run("db", "create", "mine", "--policy", "local-only", code=3)
    assert phone.attempt("db", "create", "mine", "--policy", "ful").returncode == 2
    by_name = {r["device_name"]: r["sync_policy"] for r in phone.run("devices")["devices"]}
    assert by_name == {"laptop": "full; scratch: local-only", "phone": "full; scratch: local-only"}
