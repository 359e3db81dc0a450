"""The Entropy port on the system: the kernel's random numbers, for keys and for jitter alike.

Nothing is cached or seeded, so a fork or a restored virtual machine repeats nothing.
"""

import os

_FLOAT_BITS = 53
_FLOAT_BYTES = 7


class SystemEntropy:
    """Implements `covey.node.ports.Entropy`."""

    __slots__ = ()

    def draw(self, size: int) -> bytes:
        """Return `size` bytes fit for keys."""
        return os.urandom(size)

    def uniform(self) -> float:
        """Return a float in [0, 1), each of the 2^53 equally spaced values equally likely."""
        bits = int.from_bytes(os.urandom(_FLOAT_BYTES), "big") >> (8 * _FLOAT_BYTES - _FLOAT_BITS)
        return bits / (1 << _FLOAT_BITS)
