"""Journal: what happened, one line of JSON each, and nothing of what anybody wrote.

A line has a time, a level, an event and fields from a fixed list, each of a fixed form: counts,
sizes, durations, short device ids, and words that our own code chose. A field outside the list or
of another form is left out and counted in `stripped`. So no content, no name, no key and no
address can get in, whatever a caller passes and whoever reads the file later.

The same handler takes in what asyncio, aiohttp and others log. Of their records it writes the
logger, the level and the type and place of the error, never the message, which may quote anything.

On top of the standard `logging`; a file is kept below 4 MiB with one predecessor, mode 0600.
"""

import io
import json
import logging
import logging.handlers
import re
import sys
from pathlib import Path

FILE_BYTES_MAX = 4 * 1024 * 1024
FILES_KEPT = 1
LOGGER = "covey"

_WORD = re.compile(r"[a-z][a-z0-9_]{0,31}(\.[a-z0-9_]{1,32}){0,3}")
_SHORT_ID = re.compile(r"[0-9A-HJKMNP-TV-Z]{4}-[0-9A-HJKMNP-TV-Z]{4}")
_NUMBER_MAX = 2**63

NUMBER_FIELDS = frozenset(
    {
        "attempts",
        "batches",
        "bytes",
        "bytes_received",
        "bytes_sent",
        "code",
        "count",
        "devices",
        "entries",
        "epoch",
        "ms",
        "peers",
        "records",
        "version",
    }
)
WORD_FIELDS = frozenset({"kind", "level", "purpose", "reason", "source", "stage", "state"})
DEVICE_FIELDS = frozenset({"device", "peer"})


class Journal:
    """Writes lines through the logger `covey`. Without a handler on it nothing is written."""

    def __init__(self) -> None:
        self._logger = logging.getLogger(LOGGER)

    def note(self, event: str, **fields: object) -> None:
        """Write that something happened."""
        self._write(logging.INFO, event, fields)

    def warn(self, event: str, **fields: object) -> None:
        """Write that something happened which a person may have to do something about."""
        self._write(logging.WARNING, event, fields)

    def _write(self, level: int, event: str, fields: dict[str, object]) -> None:
        assert _WORD.fullmatch(event), "an event is a word of ours"
        if self._logger.isEnabledFor(level):
            self._logger.log(level, "%s", event, extra={"journal": (event, admit(fields))})


def admit(fields: dict[str, object]) -> dict[str, object]:
    """Return the fields that are on the list and of the right form, and how many are not."""
    admitted = {name: value for name, value in fields.items() if _is_admitted(name, value)}
    if len(admitted) < len(fields):
        admitted["stripped"] = len(fields) - len(admitted)
    return admitted


def _is_admitted(name: str, value: object) -> bool:
    match value:
        case bool():
            return False
        case int() | float():
            return name in NUMBER_FIELDS and -_NUMBER_MAX < value < _NUMBER_MAX
        case str() if name in WORD_FIELDS:
            return _WORD.fullmatch(value) is not None
        case str() if name in DEVICE_FIELDS:
            return _SHORT_ID.fullmatch(value) is not None
        case _:
            return False


class JournalFormatter(logging.Formatter):
    """One line of JSON a record, whoever made the record."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {"at": round(record.created, 3), "level": record.levelname}
        written = getattr(record, "journal", None)
        if written is None:
            line |= {"event": "log", "logger": record.name, **_where(record)}
        else:
            event, fields = written
            # Once more, in case somebody built the record by hand.
            line |= {"event": event, **admit({k: v for k, v in fields.items() if k != "stripped"})}
            if "stripped" in fields:
                line["stripped"] = fields["stripped"]
        return json.dumps(line, separators=(",", ":"))


class _PrivateFile(logging.handlers.RotatingFileHandler):
    """A rotating file that only its owner can read, each new one too."""

    def _open(self) -> io.TextIOWrapper:
        Path(self.baseFilename).touch(mode=0o600)
        return super()._open()


def open_journal(path: Path | None, level: int = logging.INFO) -> logging.Handler:
    """Send everything that is logged in this process to a file, or to standard error for None.

    Returns the handler for `close_journal`. Raises: OSError.
    """
    handler: logging.Handler
    if path is None:
        handler = logging.StreamHandler(sys.stderr)
    else:
        handler = _PrivateFile(
            path, maxBytes=FILE_BYTES_MAX, backupCount=FILES_KEPT, encoding="ascii"
        )
    handler.setFormatter(JournalFormatter())
    handler.setLevel(level)
    root = logging.getLogger()
    root.addHandler(handler)
    logging.getLogger(LOGGER).setLevel(level)
    return handler


def close_journal(handler: logging.Handler) -> None:
    logging.getLogger().removeHandler(handler)
    handler.close()


def _where(record: logging.LogRecord) -> dict[str, object]:
    """The type of a logged error and the line of code it came from; both are words of code."""
    kind, _, trace = record.exc_info or (None, None, None)
    if kind is None:
        return {}
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = "" if trace is None else f"{Path(trace.tb_frame.f_code.co_filename).name}"
    line = 0 if trace is None else trace.tb_lineno
    return {"error": kind.__name__, "where": f"{place}:{line}"}
