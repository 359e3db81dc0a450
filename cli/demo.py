"""The demonstration behind `covey demo`: two devices of one person on this machine.

Everything here is real: two homes, two processes started with the same commands a person would
type, pairing by a code of three words, and mDNS (or, where the network has no multicast, an
address, and that is said). At the end it looks for the text of the conversation in everything that
crossed the network and in every file of both homes, and fails if it finds any.

Nothing outside a temporary folder is touched, and that folder is removed.
"""

import base64
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

from .. import CoveyError
from .output import emit, say

COMMAND_SECONDS_MAX = 120
FINDING_SECONDS = 20
CANARY_CHARACTERS = 24


class DemoFailedError(CoveyError):
    """A step of the demonstration did not do what it must. The text says which."""

    exit_code = 1


def run_demo(*, as_json: bool) -> None:
    """Show two devices paired, in sync, apart, edited on both sides and together again.

    Raises DemoFailedError, and then nothing was left behind but the message.
    """
    with tempfile.TemporaryDirectory(prefix="covey-demo-") as folder:
        demo = _Demo(Path(folder), quiet=as_json)
        try:
            facts = demo.run()
        finally:
            demo.stop()
    if as_json:
        emit(facts)


class _Device:
    """One home, driven by commands, and its node process while it is up."""

    def __init__(self, folder: Path, name: str, kind: str) -> None:
        self.name, self.kind = name, kind
        self.home, self.key = folder / name, folder / f"{name}.key"
        self.capture = folder / f"{name}.wire"
        self.node: subprocess.Popen[str] | None = None
        self.port = 0

    def command(self, *arguments: str) -> list[str]:
        here = ("--home", str(self.home), "--key-file", str(self.key))
        return [sys.executable, "-m", "covey.cli.main", *here, *arguments]

    def run(self, *arguments: str, codes: tuple[int, ...] = (0,)) -> Any:
        done = subprocess.run(
            self.command(*arguments, "--json"),
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS_MAX,
            check=False,
        )
        if done.returncode not in codes:
            raise DemoFailedError(
                f"{self.name}: covey {arguments[0]} ended with {done.returncode}:"
                f" {done.stderr.strip() or done.stdout.strip()}"
            )
        lines = done.stdout.strip().splitlines()
        return json.loads(lines[-1]) if lines else None

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self.command(*arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def up(self, *arguments: str) -> None:
        self.node = self.start("up", "--capture", str(self.capture), *arguments, "--json")
        self.port = next(_lines(self.node, "ready"))["port"]

    def down(self) -> None:
        if self.node is not None:
            self.node.terminate()
            self.node.communicate(timeout=COMMAND_SECONDS_MAX)
            self.node = None


def _lines(process: subprocess.Popen[str], event: str) -> Iterator[dict[str, Any]]:
    assert process.stdout is not None and process.stderr is not None
    for line in process.stdout:
        document = json.loads(line)
        if document.get("event") == event:
            yield document
    raise DemoFailedError(f"no {event!r} came: {process.stderr.read().strip()}")


class _Demo:
    def __init__(self, folder: Path, *, quiet: bool) -> None:
        self.folder = folder
        self.quiet = quiet
        self.laptop = _Device(folder, "laptop", "laptop")
        self.phone = _Device(folder, "phone", "phone")
        self.messages = folder / "conversation.jsonl"
        self.mdns = True

    def run(self) -> dict[str, Any]:
        """The whole story; what it measured."""
        text = files("covey.cli").joinpath("demo_conversation.jsonl").read_text("utf-8")
        self.messages.write_text(text, "utf-8")
        self.tell("1. Two new devices, each with its own keys and encrypted store")
        for device in (self.laptop, self.phone):
            made = device.run(
                "init", "--name", device.name, "--type", device.kind, "--key-file", str(device.key)
            )
            self.tell(f"   {device.name:6}  {made['device']['id']}")
        self.pair()
        self.conversation()
        self.apart()
        facts = self.together()
        facts["plaintext_found"] = self.look_for_plaintext(text)
        facts["mdns"] = self.mdns
        self.tell("\nDone. Next: README.md, or `covey --help`.")
        return facts

    def tell(self, line: str) -> None:
        if not self.quiet:
            say(line)

    def pair(self) -> None:
        self.laptop.up()
        window = self.laptop.start("pair", "--yes", "--json")
        code = next(_lines(window, "code"))
        self.tell(f"\n2. The laptop shows a code: {code['code']}")
        started = time.monotonic()
        joined = self.phone.start(
            "join", code["code"], "--yes", "--timeout", str(FINDING_SECONDS), "--json"
        )
        output, errors = joined.communicate(timeout=COMMAND_SECONDS_MAX)
        if joined.returncode == 4:
            self.mdns = False
            self.tell("   no multicast on this machine: the phone is given the address instead")
            address = f"127.0.0.1:{code['port']}"
            joined = self.phone.start("join", code["code"], "--yes", "--address", address, "--json")
            output, errors = joined.communicate(timeout=COMMAND_SECONDS_MAX)
        if joined.returncode != 0:
            window.kill()
            window.communicate()
            raise DemoFailedError(f"phone: covey join: {errors.strip() or output.strip()}")
        window.communicate(timeout=COMMAND_SECONDS_MAX)
        how = "found it by mDNS" if self.mdns else "went to its address"
        self.tell(
            f"   the phone {how}, typed the code, and is a member: "
            f"{time.monotonic() - started:.1f} s"
        )

    def conversation(self) -> None:
        read = self.laptop.run(
            "import", "conversations", "messages", str(self.messages), "--id-field", "id"
        )
        self.tell(f"\n3. A conversation of {read['written']} messages is written on the laptop")
        started = time.monotonic()
        self.phone_up()
        self.phone.run("sync", "--wait", "--timeout", "60")
        took = time.monotonic() - started
        found = self.phone.run("find", "conversations", "messages", "--text", "lighthouse")
        self.tell(f"   on the phone {took:.1f} s later, `covey find --text lighthouse` says:")
        for record in found["records"]:
            self.tell(f"   {record['author']}: {record['text']}")
        self.traffic("   what travelled")

    def phone_up(self) -> None:
        peers = () if self.mdns else ("--peer", f"127.0.0.1:{self.laptop.port}")
        self.phone.up(*peers)

    def apart(self) -> None:
        self.phone.down()
        self.tell("\n4. Apart: the phone is off the network, and both edit the same record")
        edits = (
            (self.laptop, '{"tea": "kukicha", "tin": "full"}'),
            (self.phone, '{"tin": "half empty", "cups_today": 3}'),
        )
        for device, fields in edits:
            device.run("put", "memory", "facts", "tea", fields)
            self.tell(f"   {device.name:6}  {fields}")

    def together(self) -> dict[str, Any]:
        self.tell("\n5. Together again")
        started = time.monotonic()
        self.phone_up()
        self.phone.run("sync", "--wait", "--timeout", "60")
        took = time.monotonic() - started
        ours = self.laptop.run("get", "memory", "facts", "tea")
        theirs = self.phone.run("get", "memory", "facts", "tea")
        if ours != theirs:
            raise DemoFailedError(f"the devices disagree: {ours} and {theirs}")
        self.tell(f"   both      {json.dumps(ours)}")
        self.tell("   different fields both survived; the same field is the same on both")
        facts = self.traffic("   what travelled")
        status = self.phone.run("status", codes=(0, 1))
        for row in status["peers"][0]["databases"]:
            self.tell(f"   {row['name']}: {row['state']}, proved at {row['proved_at']}")
        return {**facts, "seconds": round(took, 2), "record": ours}

    def traffic(self, label: str) -> dict[str, Any]:
        peer = self.phone.run("status", codes=(0, 1))["peers"][0]
        sent, received = peer["sent_bytes"], peer["received_bytes"]
        entries = peer["sent_entries"] + peer["received_entries"]
        self.tell(
            f"{label}: {received:,} bytes to the phone, {sent:,} back, {entries} sealed entries"
        )
        return {"bytes_to_phone": received, "bytes_to_laptop": sent, "entries": entries}

    def look_for_plaintext(self, text: str) -> int:
        """Search the wire and both homes for every message, in several spellings."""
        self.stop()
        canaries = set()
        for line in text.splitlines():
            words = json.loads(line)["text"][:CANARY_CHARACTERS].encode()
            canaries |= {words, words.hex().encode(), words.decode().encode("utf-16-le")}
            canaries |= {base64.b64encode(words[: CANARY_CHARACTERS // 3 * 3])}
        places = [d.capture for d in (self.laptop, self.phone) if d.capture.exists()]
        wire = sum(place.stat().st_size for place in places)
        for device in (self.laptop, self.phone):
            places += [path for path in device.home.rglob("*") if path.is_file()]
        found = 0
        for place in places:
            content = place.read_bytes()
            found += sum(canary in content for canary in canaries)
        self.tell(
            f"\n6. Looked for the {len(text.splitlines())} messages in {wire:,} captured bytes of"
            f" the wire and in {len(places)} files: {found} found"
        )
        if found or not wire:
            raise DemoFailedError(f"{found} pieces of plaintext in {wire} bytes of wire and homes")
        return found

    def stop(self) -> None:
        for device in (self.laptop, self.phone):
            device.down()
