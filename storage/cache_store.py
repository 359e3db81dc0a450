"""Cache store: values for a while, in rows that tell nothing of them and never grow beyond a bound.

A row is one of these, by its first byte. `place` and `group` are keyed hashes (crypto/cache.py);
`seq` counts the puts, so rows of values lie in the order in which they were written, and the oldest
leave as one range.

| row | holds |
|---|---|
| `s` | version (1), salt (16), a sealed name that shows whether the key is the right one |
| `n` group (16) | the name of the cache, sealed |
| `k` place (48) | seq (8), when it expires (8), size (4) |
| `a` seq (8) | place (48), when it expires (8), size (4) |
| `v` seq (8) | the value, sealed |

So whoever sees the files learns how many values of how many caches there are, their rounded sizes,
their order and when they expire. A value that does not open counts as absent and is dropped. What
is dropped one by one leaves the files when RocksDB writes them anew, or when it is half the bound;
a range, and a cache that is cleared, leave at once.

Nothing here awaits or is called twice at a time. Times are milliseconds since 1970, sizes bytes,
integers big-endian. Every method raises StorageError, RowsDamagedError among them.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from struct import Struct
from typing import NamedTuple

from .. import CoveyError
from ..crypto.aead import NONCE_BYTES
from ..crypto.cache import GROUP_BYTES, PLACE_BYTES, SALT_BYTES, CacheKeys
from ..crypto.errors import CryptoError
from ..crypto.secret import Secret
from .key_values import KeyValues, Row, RowPlace, RowsDamagedError

Draw = Callable[[int], bytes]

VERSION = b"\x01"
TTL_MS_MAX = 30 * 86_400_000
CLOCK_BACK_MS_MAX = 86_400_000
"""A clock may be put back by so much before values are taken to live longer than they may."""
CACHES_MAX = 1_000
PAGE_ROWS = 1_000
ROOM_SHARE = 10
"""What is made room for when the bound is reached: a tenth of it, so that it is seldom."""
DROPPED_SHARE = 2
"""Half the bound may be dropped one by one, but not given back, as RocksDB is in no hurry."""
_HEAD = b"s"
_NAME = b"n"
_KEY = b"k"
_AGE = b"a"
_VALUE = b"v"
_INDEX = Struct(">QQI")
_AGED = Struct(f">{PLACE_BYTES}sQI")
_SEQ = Struct(">Q")
_SEQ_END = b"\xff" * 9
ROWS_BYTES = 3 * 1 + PLACE_BYTES + _INDEX.size + 2 * _SEQ.size + _AGED.size
"""What a value takes in rows beside its sealed bytes."""
_NO_GROUP = bytes(GROUP_BYTES)


class TooManyCachesError(CoveyError):
    """A cache of another name was to be begun, and there are as many as there may be."""

    exit_code = 2

    def __init__(self) -> None:
        super().__init__(f"there are {CACHES_MAX} caches already: put more keys into fewer caches")


class _Entry(NamedTuple):
    seq: int
    place: bytes
    expires_ms: int
    size: int


@dataclass(slots=True)
class Amount:
    """How many values there are, and the bytes that they take."""

    values: int = 0
    bytes: int = 0


@dataclass(slots=True)
class Contents:
    """What is in a cache store. `caches` are by name, in the order of their names."""

    whole: Amount
    caches: dict[str, Amount]


class CacheStore:
    """All caches of one device. Made by `open_cache`."""

    def __init__(
        self, place: RowPlace, rows: KeyValues, cache_key: Secret, draw: Draw, now_ms: int
    ) -> None:
        self._path = place.path
        self._rows = rows
        self._draw = draw
        self._keys = self._begin(cache_key)
        self._groups: dict[bytes, Amount] = {}
        self._whole = Amount()
        self._seq = 0
        self._dropped_bytes = 0
        """What was dropped one by one since RocksDB was last told to give its room back."""
        self.expired = self.evicted = self.unreadable = 0
        """Values that were dropped since it was opened, and why."""
        self._count_all(now_ms)

    # Values ------------------------------------------------------------------------------------

    def put(
        self,
        name: bytes,
        key: bytes,
        value: bytes,
        expires_ms: int,
        now_ms: int,
        bytes_max: int,
    ) -> None:
        """Keep a value, in the place of the one that was there. The oldest go if it is too much.

        Raises: TooManyCachesError.
        """
        place = self._keys.place(name, key)
        group, old = place[:GROUP_BYTES], self._find(place)
        sealed = self._keys.seal_value(self._draw(NONCE_BYTES), place, expires_ms, value)
        new = _Entry(self._seq + 1, place, expires_ms, len(sealed) + ROWS_BYTES)
        puts = [*_rows_of(new), (_VALUE + _SEQ.pack(new.seq), sealed)]
        if group not in self._groups:
            if len(self._groups) >= CACHES_MAX:
                raise TooManyCachesError
            puts.append((_NAME + group, self._keys.seal_name(self._draw(NONCE_BYTES), group, name)))
        self._rows.write(puts, [] if old is None else _keys_of(old)[1:])
        self._seq = new.seq
        if old is not None:
            self._count(old, -1)
            self._dropped_bytes += old.size
        self._count(new, 1)
        if self._whole.bytes > bytes_max:
            self._make_room(now_ms, bytes_max - bytes_max // ROOM_SHARE)
        if self._dropped_bytes > bytes_max // DROPPED_SHARE:
            self._give_back()

    def get(self, name: bytes, key: bytes, now_ms: int) -> bytes | None:
        """The value, if it is there, has not expired and opens."""
        place = self._keys.place(name, key)
        found = self._find(place)
        if found is None:
            return None
        if _is_over(found, now_ms):
            self.expired += 1
            self._drop([found])
            return None
        try:
            sealed = self._rows.get(_VALUE + _SEQ.pack(found.seq)) or b""
            return self._keys.open_value(place, found.expires_ms, sealed)
        except CryptoError:
            self.unreadable += 1
            self._drop([found])
            return None

    def delete(self, name: bytes, key: bytes) -> bool:
        """Drop a value; False if there was none."""
        found = self._find(self._keys.place(name, key))
        if found is None:
            return False
        self._drop([found])
        return True

    def clear(self, name: bytes) -> int:
        """Drop a whole cache, from the files as well; how many values it had."""
        group, dropped = self._keys.group(name), 0
        start, end = _KEY + group, _KEY + group + b"\xff" * PLACE_BYTES
        while page := self._rows.scan(start, end, PAGE_ROWS):
            self._drop([self._entry(key[1:], row) for key, row in page])
            dropped += len(page)
        if dropped:
            self._give_back()
        return dropped

    def contents(self) -> Contents:
        """What there is, by the names of caches."""
        names = {}
        for group, amount in self._groups.items():
            sealed = self._rows.get(_NAME + group) or b""
            try:
                name = self._keys.open_name(group, sealed).decode()
            except (CryptoError, UnicodeDecodeError):
                raise RowsDamagedError(self._path, "the name of a cache does not open") from None
            names[name] = Amount(amount.values, amount.bytes)
        return Contents(Amount(self._whole.values, self._whole.bytes), dict(sorted(names.items())))

    def close(self) -> None:
        self._rows.close()

    # Rows --------------------------------------------------------------------------------------

    def _begin(self, cache_key: Secret) -> CacheKeys:
        """The keys of these rows; of new ones if there are none. Raises: RowsDamagedError."""
        head = self._rows.get(_HEAD)
        if head is None:
            if self._rows.scan(b"", b"\xff", 1):
                raise RowsDamagedError(self._path, "rows without their head")
            salt = self._draw(SALT_BYTES)
            keys = CacheKeys(cache_key, salt)
            proof = keys.seal_name(self._draw(NONCE_BYTES), _NO_GROUP, b"")
            self._rows.write([(_HEAD, VERSION + salt + proof)])
            return keys
        salt_end = 1 + SALT_BYTES
        if head[:1] != VERSION or len(head) <= salt_end:
            raise RowsDamagedError(self._path, "rows of another version")
        keys = CacheKeys(cache_key, head[1:salt_end])
        try:
            keys.open_name(_NO_GROUP, head[salt_end:])
        except CryptoError:
            raise RowsDamagedError(self._path, "sealed under another key") from None
        return keys

    def _count_all(self, now_ms: int) -> None:
        """Count what is there, and drop what has expired meanwhile."""
        for page in self._pages():
            for entry in page:
                self._seq = entry.seq
                self._count(entry, 1)
            self._drop_expired(page, now_ms)

    def _make_room(self, now_ms: int, bytes_max: int) -> None:
        """Drop what has expired, then the oldest, until there are no more than `bytes_max`."""
        for page in self._pages():
            self._drop_expired(page, now_ms)
        last = 0
        for page in self._pages():
            going = []
            for entry in page:
                if self._whole.bytes <= bytes_max:
                    break
                going.append(entry)
                self._count(entry, -1)
            if going:
                last = going[-1].seq + 1
                self.evicted += len(going)
                ranges = [(_AGE, _AGE + _SEQ.pack(last)), (_VALUE, _VALUE + _SEQ.pack(last))]
                self._rows.write([], [_KEY + entry.place for entry in going], ranges)
                self._forget_groups(going)
            if len(going) < len(page):
                break
        if last:
            for kind in (_AGE, _VALUE):
                self._rows.compact(kind, kind + _SEQ.pack(last))

    def _drop_expired(self, page: list[_Entry], now_ms: int) -> None:
        over = [entry for entry in page if _is_over(entry, now_ms)]
        self.expired += len(over)
        self._drop(over)

    def _give_back(self) -> None:
        """Take what was dropped out of the files."""
        self._rows.compact(_AGE, _VALUE + _SEQ_END)
        self._dropped_bytes = 0

    def _drop(self, entries: list[_Entry]) -> None:
        if entries:
            self._rows.write([], [key for entry in entries for key in _keys_of(entry)])
        for entry in entries:
            self._count(entry, -1)
            self._dropped_bytes += entry.size
        self._forget_groups(entries)

    def _forget_groups(self, entries: list[_Entry]) -> None:
        """A cache without values is none."""
        groups = dict.fromkeys(entry.place[:GROUP_BYTES] for entry in entries)
        empty = [group for group in groups if self._groups[group].values <= 0]
        if empty:
            self._rows.write([], [_NAME + group for group in empty])
        for group in empty:
            del self._groups[group]

    def _count(self, entry: _Entry, sign: int) -> None:
        group = self._groups.setdefault(entry.place[:GROUP_BYTES], Amount())
        for amount in (group, self._whole):
            amount.values += sign
            amount.bytes += sign * entry.size

    def _find(self, place: bytes) -> _Entry | None:
        row = self._rows.get(_KEY + place)
        return None if row is None else self._entry(place, row)

    def _entry(self, place: bytes, row: bytes) -> _Entry:
        if len(row) != _INDEX.size or len(place) != PLACE_BYTES:
            raise RowsDamagedError(self._path, "a row of another form")
        seq, expires_ms, size = _INDEX.unpack(row)
        return _Entry(seq, place, expires_ms, size)

    def _pages(self) -> Iterator[list[_Entry]]:
        """All entries, the oldest first. Those of a page may be dropped before the next."""
        start = _AGE
        while rows := self._rows.scan(start, _AGE + _SEQ_END, PAGE_ROWS):
            yield [self._aged(key, row) for key, row in rows]
            start = rows[-1][0] + b"\0"

    def _aged(self, key: bytes, row: bytes) -> _Entry:
        if len(row) != _AGED.size or len(key) != 1 + _SEQ.size:
            raise RowsDamagedError(self._path, "a row of another form")
        return _Entry(*_SEQ.unpack(key[1:]), *_AGED.unpack(row))


def open_cache(place: RowPlace, cache_key: Secret, draw: Draw, now_ms: int) -> CacheStore:
    """The caches that are kept at a place. Raises: what the place raises; RowsDamagedError if they
    were sealed under another key, or are of another form.
    """
    rows = place.open()
    try:
        return CacheStore(place, rows, cache_key, draw, now_ms)
    except BaseException:
        rows.close()  # Or nobody could throw it away.
        raise


def _rows_of(entry: _Entry) -> list[Row]:
    """What an entry puts beside its value."""
    seq = _SEQ.pack(entry.seq)
    return [
        (_KEY + entry.place, _INDEX.pack(entry.seq, entry.expires_ms, entry.size)),
        (_AGE + seq, _AGED.pack(entry.place, entry.expires_ms, entry.size)),
    ]


def _keys_of(entry: _Entry) -> list[bytes]:
    seq = _SEQ.pack(entry.seq)
    return [_KEY + entry.place, _AGE + seq, _VALUE + seq]


def _is_over(entry: _Entry, now_ms: int) -> bool:
    """Also if it has longer to go than anything may: then the clock was put back meanwhile."""
    return not now_ms < entry.expires_ms <= now_ms + TTL_MS_MAX + CLOCK_BACK_MS_MAX
