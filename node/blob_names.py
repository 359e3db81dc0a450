"""Blob names: what a file is called for people, and what it may be called on a disk.

A name in a record was chosen by whoever wrote it. It is shown; a path is only ever made of a name
that `safe_name` has passed, and of a folder that a person chose.
"""

import unicodedata

from ..sync.errors import BadValueError
from ..sync.limits import BLOB_NAME_BYTES_MAX, BLOB_TYPE_BYTES_MAX


def check_media_type(media_type: str) -> None:
    """Raises BadValueError for what a manifest could not hold."""
    is_printable = all("!" <= letter <= "~" for letter in media_type)
    if len(media_type) > BLOB_TYPE_BYTES_MAX or not is_printable:
        raise BadValueError(
            f"media type: at most {BLOB_TYPE_BYTES_MAX} printable ASCII characters, no spaces"
        )


def shown_name(path: str) -> str:
    """The last part of a path as a name in a manifest: without what does not print, cut to fit."""
    name = unicodedata.normalize("NFC", path.replace("\\", "/").rsplit("/", 1)[-1])
    name = "".join(letter for letter in name if letter.isprintable())
    while len(name.encode("utf-8", "replace")) > BLOB_NAME_BYTES_MAX:
        name = name[:-1]
    return name.encode("utf-8", "ignore").decode()


def safe_name(name: str) -> str | None:
    """The name as that of a new file in a folder; None if it cannot be one.

    Normalised first: what looks like a name may become `..` or gain a slash only then.
    """
    name = unicodedata.normalize("NFC", name)
    if not name or name in (".", "..") or "/" in name or "\\" in name or "\0" in name:
        return None
    if name.startswith((".", "-")) or not name.isprintable() or name != name.strip():
        return None
    return name if len(name.encode("utf-8", "replace")) <= BLOB_NAME_BYTES_MAX else None
