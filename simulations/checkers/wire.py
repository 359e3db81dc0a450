"""I4: nothing that a user wrote can be read off a wire or out of a file that is not the store."""

import base64
from typing import ClassVar

from ..run import Run
from ..witness import CANARY
from .checker import Checker


def spellings(text: str) -> tuple[bytes, ...]:
    """A text as it is, in hex, in UTF-16 and in base64 at each of its three alignments."""
    raw = text.encode()
    return (
        raw,
        raw.hex().encode(),
        text.encode("utf-16-le"),
        *map(_in_base64, (raw,) * 3, range(3)),
    )


def _in_base64(raw: bytes, before: int) -> bytes:
    """The characters that a text gives for sure, with `before` bytes in front of it."""
    bits = 8 * before, 8 * (before + len(raw))
    return base64.b64encode(bytes(before) + raw)[-(-bits[0] // 6) : bits[1] // 6]


class WireChecker(Checker):
    """Every value begins with one word, which no message and no small file may hold."""

    claims: ClassVar[dict[str, str]] = {
        "I4": "no message and no file but the store holds what a user wrote, in any spelling",
    }

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self._needles = spellings(CANARY)

    def at_message(self, source: str, target: str, message: bytes) -> None:
        for needle in self._needles:
            if needle in message:
                self.violate("I4", source, f"plaintext in a message to {target}")

    async def at_rest(self) -> None:
        for device in self.run.devices.values():
            for name, inode in device.disk.files.items():
                if any(needle in inode.content for needle in self._needles):
                    self.violate("I4", device.name, f"plaintext in the file {name}")
