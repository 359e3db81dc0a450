"""What people write is found nowhere but in answers: not in homes, on the wire, in logs or argv.

A canary is a text that occurs nowhere else. One goes in through every command that takes content;
then everything the commands left behind is searched: raw, hex, base64, UTF-16 and deflated.
"""

import base64
import json
import os
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from .processes import Device, homes, pair

CANARIES = {
    "device name": "Zimtschnecke",
    "database": "quokkadb",
    "collection": "wombatnotes",
    "id": "platypus-4711",
    "field": "okapifield",
    "value": "the axolotl sleeps under the harbour",
    "imported": "the pangolin keeps its letters in a tin",
    "device only": "the narwhal never leaves this machine",
    "searched": "capybara",
    "rejected": "the tardigrade was too long for its name",
}
SEARCHED = CANARIES["searched"]
TYPED_NAMES = frozenset(("database", "collection", "id", "rejected"))


@pytest.fixture
def devices(tmp_path: Path) -> Iterator[list[Device]]:
    with homes(tmp_path, CANARIES["device name"], "phone") as made:
        made[0].home = tmp_path / "first"
        made[0].key = tmp_path / "first.key"
        yield made


def spellings(text: str) -> set[bytes]:
    """Every form in which the text might have been written down."""
    raw = text.encode()
    forms = {raw, raw.hex().encode(), text.encode("utf-16-le"), text.encode("utf-16-be")}
    for shift in range(3):
        encoded = base64.b64encode(b"\0" * shift + raw)
        # Without the characters that also hold neighbouring bits.
        forms.add(encoded[4 if shift else 0 : -4])
    return forms


def deflated(content: bytes) -> Iterator[bytes]:
    """What zlib and gzip streams in it hold, wherever they start."""
    at = content.find(b"\x78")
    while at >= 0:
        if int.from_bytes(content[at : at + 2], "big") % 31 == 0:
            stream = zlib.decompressobj()
            with suppress(zlib.error):
                yield stream.decompress(content[at : at + 1_000_000], 1_000_000)
        at = content.find(b"\x78", at + 1)


def found_in(place: str, content: bytes, *, but: frozenset[str] = frozenset()) -> list[str]:
    pieces = [content, *deflated(content)]
    return [
        f"{name} in {place}"
        for name, text in CANARIES.items()
        if name not in but and any(form in piece for form in spellings(text) for piece in pieces)
    ]


def test_what_was_written_is_readable_nowhere(devices: list[Device], tmp_path: Path) -> None:
    """Content at rest or in transit that a thief, a router or a log reader can see."""
    laptop, phone = devices
    chat = tmp_path / "chat.jsonl"
    chat.write_text(json.dumps({"id": "m1", "text": CANARIES["imported"]}) + "\n")
    database, collection = CANARIES["database"], CANARIES["collection"]
    record = json.dumps({CANARIES["field"]: CANARIES["value"], "other": SEARCHED})
    wire = [tmp_path / "laptop.wire", tmp_path / "phone.wire"]
    laptop.init()
    phone.init("phone")
    laptop.up("--no-mdns", "--capture", str(wire[0]))
    pair(laptop, phone)
    phone.up("--no-mdns", "--capture", str(wire[1]))

    said = []
    for device, arguments, stdin in (
        (laptop, ("put", database, collection, CANARIES["id"], "-"), record),
        (laptop, ("put", database, "own", "x", "-", "--privacy", "device"),
         json.dumps({"text": CANARIES["device only"]})),
        (laptop, ("import", database, "chat", str(chat), "--id-field", "id"), None),
        (laptop, ("put", database, collection, "y", "-"),
         json.dumps({"$" + CANARIES["rejected"]: 1})),
        (phone, ("sync", "--wait"), None),
        (phone, ("index", "create", database, collection, CANARIES["field"]), None),
        (phone, ("link", "add", database, collection, CANARIES["field"], collection), None),
        (phone, ("storage", "tidy"), None),
        (phone, ("find", database, collection, "--text", SEARCHED), None),
        (phone, ("get", database, collection, CANARIES["id"], "--meta"), None),
        (phone, ("devices",), None),
        (phone, ("put", database, collection, CANARIES["id"], "-"), '{"cups": 2}'),
        (laptop, ("sync", "--wait"), None),
        (laptop, ("delete", database, collection, CANARIES["id"]), None),
        (laptop, ("status",), None),
    ):  # fmt: skip
        said.append(device.attempt("--verbose", *arguments, stdin=stdin))

    hits: list[str] = []
    for device in devices:
        assert device.process is not None
        for name in ("cmdline", "environ"):
            content = Path(f"/proc/{device.process.pid}/{name}").read_bytes()
            hits += found_in(f"{name} of a node", content)
        for path in device.home.rglob("*"):
            if path.is_file():
                hits += found_in(f"{path.name} while it runs", path.read_bytes())
    laptop.kill()
    hits += found_in("what phone's node said", phone.down().encode())
    for place in [*wire, *(p for d in devices for p in d.home.rglob("*") if p.is_file())]:
        hits += found_in(place.name, place.read_bytes())
    for done in said:
        # A refusal names the place that its own writer typed, never what stands there.
        hits += found_in("standard error", done.stderr.encode(), but=TYPED_NAMES)
    # The log names devices and databases (storage/event_rows.py), and of a record nothing.
    said_by_log = phone.attempt("log", "--json").stdout.encode()
    hits += found_in("the log", said_by_log, but=frozenset(("device name", "database")))

    assert hits == []
    assert said[8].returncode == 0 and CANARIES["value"] in said[8].stdout
    assert wire[0].stat().st_size > 1_000
    assert os.path.getsize(laptop.home / "store.db") > 1_000


def test_the_search_would_find_what_it_looks_for() -> None:
    """A search that finds nothing proves something only if it finds what is there."""
    text = CANARIES["value"]
    for form in (text.encode(), zlib.compress(b"abc" + text.encode()), text.encode("utf-16-le")):
        assert found_in("x", b"\x01" + form + b"\x02") == ["value in x"]
    for shift in range(3):
        assert found_in("x", base64.b64encode(b"z" * shift + text.encode() + b"zz"))
