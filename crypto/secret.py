"""Secret: a wrapper that keeps key bytes out of reprs, logs, pickles and copies.

The wrapper prevents accidents, not attacks: Python cannot wipe `bytes`, so a secret stays in the
memory of the process until that ends. The one way out is `reveal()`, which is easy to search for.

Two secrets compare in constant time. A secret is not hashable, so that no dictionary or set
compares its bytes in any other way, and it is never equal to plain `bytes`.
"""

from __future__ import annotations

from typing import NoReturn, SupportsIndex

from nacl.bindings import sodium_memcmp


class Secret:
    """Some secret bytes. Shows nothing, cannot be pickled or copied, compares in constant time."""

    __slots__ = ("_value",)

    def __init__(self, value: bytes) -> None:
        # A bytearray or a Secret in here would change or unwrap behind our back.
        assert type(value) is bytes, "a Secret holds bytes"
        self._value = value

    def reveal(self) -> bytes:
        """Return the bytes themselves. Keep them in as narrow a scope as possible."""
        return self._value

    def __repr__(self) -> str:
        return "<secret>"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return sodium_memcmp(self._value, other._value)

    # Defining __eq__ alone already does this; written out because it is a promise.
    __hash__ = None  # type: ignore[assignment]

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        """Refuse `pickle`, `copy.copy` and `copy.deepcopy`, which all come through here.

        Raises: TypeError, always.
        """
        raise TypeError("a Secret cannot be pickled or copied")

    def __getstate__(self) -> NoReturn:
        """Refuse what serialisers other than pickle ask for.

        Raises: TypeError, always.
        """
        raise TypeError("a Secret cannot be pickled or copied")
