"""Transfer: import a file of JSON lines, export databases as JSON lines.

Exports of chat services are imported by `chat_import.py`.

An import goes in slices, each of which is written whole or not at all, and ends at the first
faulty line, which it names. Ids come from the field that `--id-field` names, or else from what the
line says (BLAKE2b-128 of its sorted JSON; the n-th equal line of a file is told from the first),
so importing twice adds nothing. An export to a file never replaces one unasked and leaves no
half-written one behind.

Sizes in bytes.
"""

import hashlib
import json
import os
import stat
import sys
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import click

from .. import CoveyError
from .chat_import import FORMATS, import_chat
from .client import NodeCalls
from .data_commands import parse_record
from .erase_commands import sought
from .errors import NodeError, NotSoError
from .options import Settings, json_option, open_node, pass_settings
from .output import Progress, emit, note, on_terminal, progress, visible

SLICE_LINES_MAX = 500
SLICE_BYTES_MAX = 2 * 1024 * 1024
LINE_BYTES_MAX = 1024 * 1024
"""No record is larger: an entry of a log holds no more (docs/protocol.md, section 2)."""


@click.command("import")
@click.argument("database", metavar="DB")
@click.argument("collection")
@click.argument("file", metavar="FILE")
@click.option(
    "--format",
    "file_format",
    type=click.Choice(["jsonl", *FORMATS]),
    default="jsonl",
    show_default=True,
    help="One JSON object a line, or the export of a chat service (.zip or .json).",
)
@click.option("--id-field", metavar="F", help="Take each record's id from this field (jsonl).")
@click.option("--conversations", metavar="C", help="Collection of an export's conversations.")
@click.option("--attachments", metavar="C", help="Collection of what came with its messages.")
@json_option
@pass_settings
def import_command(
    settings: Settings,
    database: str,
    collection: str,
    file: str,
    file_format: str,
    id_field: str | None,
    conversations: str | None,
    attachments: str | None,
) -> None:
    """Import a file of JSON lines, or the export of a chat.

    `-` is standard input. Importing twice adds nothing. At a faulty line the import stops. Of an
    export what is broken is named and left out; its messages go to COLLECTION, the rest to
    `conversations` and `attachments` unless they are named.
    """
    beside = {"conversations": conversations, "attachments": attachments}
    if file_format != "jsonl":
        params = {"database": database, "collection": collection, "format": file_format, **beside}
        return import_chat(settings, file, params, {"--id-field": id_field})
    for name, value in beside.items():
        if value is not None:
            raise click.UsageError(f"--{name}: only the export of a chat service has them")
    run = _Import(database, collection, visible(file), id_field)
    source = sys.stdin.buffer if file == "-" else open(file, "rb")  # noqa: SIM115 closed below
    with (
        closing(source),
        open_node(settings) as node,
        progress("importing", in_bytes=True) as bar,
    ):
        run.all(source, node, bar)
    if settings.json:
        emit({"read": run.read, "written": run.written, "unchanged": run.unchanged})
    else:
        note(f"{run.read} read, {run.written} written, {run.unchanged} unchanged")


@click.command()
@click.argument("database", metavar="[DB]", required=False)
@click.option("-o", "--output", metavar="FILE", help="Write to FILE, readable by you alone.")
@click.option("--force", is_flag=True, help="Replace FILE if it exists.")
@click.option("--about", metavar="FIELD=VALUE", help="Only records with this value in this field.")
@click.option("--via", multiple=True, metavar="F", help="And what refers to them in its field F.")
@json_option
@pass_settings
def export(
    settings: Settings,
    database: str | None,
    output: str | None,
    force: bool,
    about: str | None,
    via: tuple[str, ...],
) -> None:
    """Export one database, or all, as JSON lines. They are not encrypted."""
    if via and about is None:
        raise click.UsageError("--via: follows what --about finds")
    params: dict[str, Any] = {"database": database}
    if about is not None:
        params |= sought(about, None, via)
    with open_node(settings) as node, closing(node.stream("export", params)) as rows:
        if output is None:
            for row in rows:
                # On a terminal in ASCII, as a record may hold what commands a terminal.
                _write_row(sys.stdout.buffer, row, ascii_only=settings.json or on_terminal())
            return
        with _new_file(output, force) as file, progress("exporting", in_bytes=False) as bar:
            count = _write_rows(file, rows, bar)
    if settings.json:
        emit({"read": count, "written": count, "unchanged": 0, "file": output})
    else:
        note(f"{count} records in {visible(output)}, not encrypted")


@dataclass(slots=True)
class _Import:
    """One import and how far it has come, in lines."""

    database: str
    collection: str
    file: str
    id_field: str | None
    read: int = 0
    written: int = 0
    unchanged: int = 0
    seen: dict[bytes, int] = field(default_factory=dict)

    def all(self, source: BinaryIO, node: NodeCalls, bar: Progress) -> None:
        total, done = _size(source), 0
        for first, size, items in self._slices(source):
            self._send(node, first, items)
            done += size
            bar.at(done, total)

    def _slices(self, source: BinaryIO) -> Iterator[tuple[int, int, list[dict[str, Any]]]]:
        """(number of the first line, bytes, items) of each slice, all of whose lines are sound."""
        number, first, size = 0, 1, 0
        items: list[dict[str, Any]] = []
        while line := source.readline(LINE_BYTES_MAX + 1):
            number += 1
            size += len(line)
            if line.strip():
                items.append(self._item(line, number))
            if len(items) >= SLICE_LINES_MAX or size >= SLICE_BYTES_MAX:
                yield first, size, items
                first, size, items = number + 1, 0, []
        yield first, size, items

    def _item(self, line: bytes, number: int) -> dict[str, Any]:
        try:
            if len(line) > LINE_BYTES_MAX:
                raise click.UsageError(f"longer than {LINE_BYTES_MAX} bytes")
            value = parse_record(line.decode())
            return {"id": self._id(value), "value": value}
        except UnicodeDecodeError:
            problem = "not UTF-8 text"
        except click.UsageError as error:
            problem = error.message
        raise NotSoError(f"{self.file}:{number}: {problem}; {self._standing()}")

    def _id(self, value: dict[str, Any]) -> str:
        if self.id_field is not None:
            found = value.get(self.id_field)
            if isinstance(found, bool) or not isinstance(found, str | int) or found == "":
                raise click.UsageError(f"no text or number in the field {self.id_field!r}")
            return str(found)
        canonical = json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
        digest = hashlib.blake2b(canonical, digest_size=16).digest()
        count = self.seen[digest] = self.seen.get(digest, 0) + 1
        return digest.hex() if count == 1 else f"{digest.hex()}-{count}"

    def _send(self, node: NodeCalls, first: int, items: list[dict[str, Any]]) -> None:
        if not items:
            return
        params = {
            "database": self.database,
            "collection": self.collection,
            "items": items,
            "id_field": None,
        }
        try:
            result = node.call("put_many", params)
        except CoveyError as error:
            where = f"{self.file}: in the {len(items)} records from line {first}"
            message = f"{where}: {error}; {self._standing()}"
            raise NodeError(message, error.exit_code) from error
        self.read += len(items)
        self.written += result["written"]
        self.unchanged += result["unchanged"]

    def _standing(self) -> str:
        done = self.written + self.unchanged
        return f"the {done} records before are stored; correct it and import the file again"


def _size(source: BinaryIO) -> int | None:
    """Bytes of a regular file, else None."""
    with suppress(OSError, ValueError):
        found = os.fstat(source.fileno())
        return found.st_size if stat.S_ISREG(found.st_mode) else None
    return None


def _write_rows(file: BinaryIO, rows: Generator[dict[str, Any], None, None], bar: Progress) -> int:
    count = 0
    for row in rows:
        _write_row(file, row, ascii_only=False)
        count += 1
        if count % 500 == 0:
            bar.at(count, None)
    return count


def _write_row(file: BinaryIO, row: dict[str, Any], *, ascii_only: bool) -> None:
    text = json.dumps(row, ensure_ascii=ascii_only, separators=(",", ":"))
    file.write(text.encode() + b"\n")


@contextmanager
def _new_file(path: str, force: bool) -> Iterator[BinaryIO]:
    """A file of mode 0600 that is at `path`, whole and on disk, if the block ends well."""
    if not force and os.path.lexists(path):
        raise NotSoError(f"{path}: exists; give another name, or --force to replace it")
    partial = f"{path}.partial-{os.getpid()}" if force else path
    try:
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        raise NotSoError(f"{partial}: exists; remove it or give another name") from None
    try:
        with open(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if force:
            os.replace(partial, path)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(partial)
        raise
