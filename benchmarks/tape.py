"""Tape: which frames a node's sessions sent and received, and when.

It wraps the two methods of the secure channel, in the process that is measured. Sizes are those on
the wire: a byte of flags and a tag of 16 are added for each Noise message of a frame. The
handshake is not a frame and not on the tape.
"""

from time import monotonic
from typing import Any, cast

from covey.node.hello import Purpose
from covey.node.secure_channel import PIECE_BYTES_MAX, SecureChannel

MESSAGE_OVERHEAD_BYTES = 17


class Tape:
    """Frames in order: (time.monotonic() in seconds, whether it was sent, bytes)."""

    def __init__(self) -> None:
        self.frames: list[tuple[float, bool, int]] = []

    def attach(self) -> None:
        send, receive, frames = SecureChannel.send, SecureChannel.receive, self.frames

        async def taped_send(channel: SecureChannel, frame: bytes) -> None:
            if channel.purpose is Purpose.MEMBER:
                frames.append((monotonic(), True, _wire_bytes(frame)))
            await send(channel, frame)

        async def taped_receive(channel: SecureChannel) -> bytes:
            frame = await receive(channel)
            if channel.purpose is Purpose.MEMBER:
                frames.append((monotonic(), False, _wire_bytes(frame)))
            return frame

        methods = cast(Any, SecureChannel)
        methods.send, methods.receive = taped_send, taped_receive

    def until(self, moment: float) -> tuple[int, int]:
        """(round trips, bytes both ways) up to a moment: a trip is a send and then an answer."""
        trips = size = 0
        asked = False
        for at, sent, wire_bytes in self.frames:
            if at > moment:
                break
            size += wire_bytes
            if sent:
                asked = True
            elif asked:
                trips, asked = trips + 1, False
        return trips, size


def _wire_bytes(frame: bytes) -> int:
    pieces = max(1, -(-len(frame) // PIECE_BYTES_MAX))
    return len(frame) + pieces * MESSAGE_OVERHEAD_BYTES
