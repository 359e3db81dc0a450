"""What has to be written so that one plain value becomes another: minimal, and deterministic.

Maps are compared name by name, in sorted order; lists and texts by their common beginning and
end; scalars are written only where they differ, in type or in value. Concurrent edits of
different places therefore merge. Counters are written as this device's own contribution, so
that concurrent increments add up (the counters of the library panic).

The operations go to a `Writer`: the library's transaction (crdt.py), or plain rows for the
first change of a record (first_change.py). Nothing here knows of the library. Values are in the
plain form of values.py; spec: docs/protocol.md, section 3, "Values".
"""

from collections.abc import Callable, Collection
from typing import Any, NamedTuple, Protocol

from .change import MAKE_LIST, MAKE_MAP, MAKE_TEXT
from .errors import BadValueError
from .limits import INTEGER_MAX
from .values import Counter, Increment, Text, same


class Writer(Protocol):
    """Takes operations. Objects are opaque; a key is a name or an index."""

    def put(self, target: Any, key: str | int, scalar: Any, insert: bool) -> None:
        """Write a scalar at a name or over an element; or insert it before an index."""

    def make(self, target: Any, key: str | int, kind: int, insert: bool) -> Any:
        """Likewise with a new object of `kind` (MAKE_MAP, MAKE_LIST, MAKE_TEXT); returns it."""

    def delete(self, target: Any, key: str | int) -> None:
        """Remove a name or an element."""

    def child(self, target: Any, key: str | int) -> Any:
        """The object at a name or index."""


Path = tuple[str | int, ...]
"""From the root: names of maps and indices of lists, as they are before the edit."""


class Rewrite(NamedTuple):
    """One place inside of a field that is written anew, whatever is there, and nothing around it.

    What others write beside it meanwhile stays.
    """

    path: Path
    value: Any
    """Plain."""


def write_fields(
    writer: Writer,
    root: Any,
    old: dict[str, Any],
    new: dict[str, Any],
    actor: bytes,
    *,
    replace: bool,
    rewrite: Collection[str | Rewrite] = (),
) -> tuple[str, ...]:
    """Make the fields of a record those of `new`; returns the names of those that changed.

    With `replace` the fields that `new` does not name are removed, without it they stay; names
    that start with `$` stay in any case. The fields and places of `rewrite` are written even if
    equal; each place must exist after `new` is written.
    """
    editor = _Editor(writer, actor.hex())
    touched = []
    if replace:
        for name in sorted(old):
            if name not in new and name[:1] != "$":
                writer.delete(root, name)
                touched.append(name)
    for name in sorted(new):
        if name not in old or name in rewrite:
            editor.write(root, name, new[name], False)
            touched.append(name)
        elif editor.update(root, name, old[name], new[name]):
            touched.append(name)
    for place in rewrite:
        if isinstance(place, Rewrite):
            target = root
            for step in place.path[:-1]:
                target = writer.child(target, step)
            editor.write(target, place.path[-1], place.value, False)
            touched.append(str(place.path[0]))
    return tuple(touched)


def counted(new: Any, old: Any, but: Collection[object] = ()) -> Any:
    """`new`, plain, with each counter that stands over one in `old` as what is added to that.

    Not in the names of `but`: those are written anew.
    """
    if type(new) is dict and type(old) is dict:
        if new.keys().isdisjoint(old):
            return new
        return {n: new[n] if n in but else counted(new[n], old.get(n)) for n in new}
    if type(new) is list and type(old) is list and len(new) == len(old):
        return [counted(*pair) for pair in zip(new, old, strict=True)]
    parts = old.get("$counter") if type(old) is dict and len(old) == 1 else None
    if type(new) is not Counter or type(parts) is not dict:
        return new
    is_counter = all(type(part) is int for part in parts.values())
    return Increment(new.total - sum(parts.values())) if is_counter else new


class _Editor:
    """The recursion of `write_fields`: a writer, and the name of this device's contributions."""

    __slots__ = ("actor", "writer")

    def __init__(self, writer: Writer, actor: str) -> None:
        self.writer = writer
        self.actor = actor

    def write(self, target: Any, key: str | int, value: Any, insert: bool) -> None:
        """Write `value` anew."""
        kind = type(value)
        if kind is dict:
            made = self.writer.make(target, key, MAKE_MAP, insert)
            for name in sorted(value):
                self.write(made, name, value[name], False)
        elif kind is list:
            made = self.writer.make(target, key, MAKE_LIST, insert)
            for index, item in enumerate(value):
                self.write(made, index, item, True)
        elif kind is Text:
            made = self.writer.make(target, key, MAKE_TEXT, insert)
            for index, character in enumerate(value.content):
                self.writer.put(made, index, character, True)
        elif kind is Counter or kind is Increment:
            amount = value.total if kind is Counter else value.by
            made = self.writer.make(target, key, MAKE_MAP, insert)
            parts = self.writer.make(made, "$counter", MAKE_MAP, False)
            self.writer.put(parts, self.actor, amount, False)
        else:
            self.writer.put(target, key, value, insert)

    def update(self, target: Any, key: str | int, old: Any, new: Any) -> bool:
        """Make the value at `key` of `target` from `old` to `new`; whether there was a need."""
        kind = type(new)
        if kind is Counter or kind is Increment:
            return self._update_counter(target, key, old, new)
        if kind is not type(old) or kind not in (dict, list, Text):
            if same(old, new):
                return False
            self.write(target, key, new, False)
            return True
        if kind is dict:
            if _tags(old) != _tags(new):
                self.write(target, key, new, False)
                return True
            return self._update_map(target, key, old, new)
        if kind is list:
            return self._update_list(target, key, old, new)
        return self._update_text(target, key, old.content, new.content)

    def _update_map(
        self, target: Any, key: str | int, old: dict[str, Any], new: dict[str, Any]
    ) -> bool:
        inner = _Lazy(self.writer, target, key)
        for name in sorted(old):
            if name not in new:
                self.writer.delete(inner.get(), name)
        changed = inner.used
        for name in sorted(new):
            if name not in old:
                self.write(inner.get(), name, new[name], False)
                changed = True
            elif not same(old[name], new[name]):
                changed |= self.update(inner.get(), name, old[name], new[name])
        return changed

    def _update_list(self, target: Any, key: str | int, old: list[Any], new: list[Any]) -> bool:
        start, old_end, new_end = _middle(old, new)
        if start == old_end == new_end:
            return False
        inner = self.writer.child(target, key)
        if old_end == new_end:
            changes = [
                self.update(inner, index, old[index], new[index]) for index in range(start, old_end)
            ]
            return any(changes)
        for index in reversed(range(start, old_end)):
            self.writer.delete(inner, index)
        for index in range(start, new_end):
            self.write(inner, index, new[index], True)
        return True

    def _update_text(self, target: Any, key: str | int, old: str, new: str) -> bool:
        if old == new:
            return False
        start = _common(len(old), len(new), lambda size: old[:size] == new[:size])
        shorter = min(len(old), len(new)) - start
        tail = _common(
            shorter, shorter, lambda size: old[len(old) - size :] == new[len(new) - size :]
        )
        old_end, new_end = len(old) - tail, len(new) - tail
        inner = self.writer.child(target, key)
        for index in reversed(range(start, old_end)):
            self.writer.delete(inner, index)
        for index in range(start, new_end):
            self.writer.put(inner, index, new[index], True)
        return True

    def _update_counter(
        self, target: Any, key: str | int, old: Any, new: Counter | Increment
    ) -> bool:
        parts = old.get("$counter") if type(old) is dict and len(old) == 1 else None
        if type(parts) is not dict or any(type(part) is not int for part in parts.values()):
            self.write(target, key, new, False)
            return True
        by = new.by if isinstance(new, Increment) else new.total - sum(parts.values())
        if not by:
            return False
        own = parts.get(self.actor, 0) + by
        if abs(own) > INTEGER_MAX:
            raise BadValueError(f"{key}: the counter leaves ±(2^63 - 1)")
        inner = self.writer.child(self.writer.child(target, key), "$counter")
        self.writer.put(inner, self.actor, own, False)
        return True


class _Lazy:
    """The object at a key, looked up when first needed."""

    __slots__ = ("_at", "_found", "used")

    def __init__(self, writer: Writer, target: Any, key: str | int) -> None:
        self._at = (writer, target, key)
        self.used = False
        self._found: Any = None

    def get(self) -> Any:
        if not self.used:
            writer, target, key = self._at
            self._found = writer.child(target, key)
            self.used = True
        return self._found


def _tags(value: dict[str, Any]) -> set[str]:
    """The special names of a map: {"$vector"} and {"x"} are not edited into one another."""
    return {name for name in value if name[:1] == "$"}


def _common(a: int, b: int, equal: Callable[[int], bool]) -> int:
    """The largest size up to both `a` and `b` for which `equal` holds, which it does below it.

    Found by halving: a text is compared in a few slices instead of character by character.
    """
    low, high = 0, min(a, b)
    while low < high:
        size = (low + high + 1) // 2
        if equal(size):
            low = size
        else:
            high = size - 1
    return low


def _middle(old: list[Any], new: list[Any]) -> tuple[int, int, int]:
    """Where two lists begin to differ, and where the difference ends in each."""
    shorter = min(len(old), len(new))
    start = 0
    while start < shorter and same(old[start], new[start]):
        start += 1
    tail = 0
    while tail < shorter - start and same(old[-1 - tail], new[-1 - tail]):
        tail += 1
    return start, len(old) - tail, len(new) - tail
