"""Sealing: encrypted fields, which only devices of level full can open, and nothing else sees.

The store is encrypted and so is what travels. An encrypted field is sealed once more, inside of its
record: what is made from records (full text, indexes, tables, caches, exports, lists) has bytes
that say nothing, and so has a device that may hold the record and not the *private* scope of its
database. The key follows from the key of that scope, so it is renewed when a device is removed or
trusted less, devices that come later get it, and a record keeps it wherever it is moved.

When this device joins another mesh its old keys are kept (`FIELD_KEYS`), to open what comes along
and seal it anew. A sealed value stays as it is as long as what it holds is written again.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ...crypto.entry import key_id
from ...crypto.errors import CryptoError
from ...crypto.field import field_key_id, open_field, seal_field
from ...storage import meta_rows
from ...storage.store import Conn
from ...sync.errors import BadValueError
from ...sync.values import BlobRef, Counter, Increment, Text, from_json, same, to_plain, value_text
from ..ledger import PRIVACY_NAMES
from ..record_requests import NotOpenError
from .definition import CollectionSchema

if TYPE_CHECKING:
    from ..engine import Engine

FIELD_KEYS = "field_keys"
"""Keys of scopes of a mesh that this device has left, 32 bytes each."""
PRIVATE = PRIVACY_NAMES.index("private")
KEY_BYTES = 32
NONCE_BYTES = 24


class Sealing:
    """Seals and opens encrypted fields with the keys of one engine's mesh."""

    def __init__(self, engine: "Engine") -> None:
        self._engine = engine
        self._former: dict[bytes, bytes] = {}

    async def start(self) -> None:
        """Know the keys of the mesh that was left."""
        kept = await self._engine.database.read(lambda conn: meta_rows.get_meta(conn, FIELD_KEYS))
        self._former = {key_id(key): key for key in _keys_of(kept or b"")}

    def sealed(
        self,
        schema: CollectionSchema,
        place: tuple[str, str],
        value: Mapping[str, Any],
        shown: Mapping[str, Any],
    ) -> dict[str, Any]:
        """The fields of a write with those sealed that are to be. `place`: database, collection.

        Raises NotOpenError where the private scope is still to be made, NotEntitledError on a
        device that may not have its keys, BadValueError.
        """
        return {
            name: self._seal(place, item, shown.get(name)) if name in schema.encrypted else item
            for name, item in value.items()
        }

    def sealed_if_possible(
        self,
        schema: CollectionSchema,
        place: tuple[str, str],
        value: Mapping[str, Any],
        shown: Mapping[str, Any],
    ) -> dict[str, Any]:
        """The same for what was written before: it stays as it is where it cannot be sealed.

        Raises NotOpenError.
        """
        if not self._engine.mesh.can_open(place[0], PRIVATE):
            return dict(value)  # Under the keys of the mesh that was left, this device opens it.
        found = dict(value)
        for name in schema.encrypted:
            if name in found:
                with suppress(BadValueError):
                    found[name] = self._seal(place, found[name], shown.get(name))
        return found

    def opened(
        self, schema: CollectionSchema, place: tuple[str, str], value: Mapping[str, Any]
    ) -> dict[str, Any]:
        """The fields of a record with those opened that this device can open."""
        found = dict(value)
        for name in schema.encrypted:
            if name in found:
                opened = self._open(place, found[name])
                found[name] = found[name] if opened is None else opened[0]
        return found

    async def chosen(self, place: tuple[str, str], field: str, value: Any) -> Any:
        """A value by which a person decides a conflict, sealed if its field is encrypted."""
        schema = self._engine.schemas.fitting.schemas.get(place)
        if schema is None or field not in schema.encrypted:
            return value
        if self._engine.ledger.scope_named(place[0], PRIVATE) is None:
            await self._engine.mesh.open_scope(place[0], PRIVATE)
        return self._seal(place, value, None)

    def retiring(self) -> Callable[[Conn], None]:
        """What keeps the keys of the mesh that is left, in the transaction that leaves it."""
        keys = list(self._private_keys())

        def keep(conn: Conn) -> None:
            kept = meta_rows.get_meta(conn, FIELD_KEYS) or b""
            meta_rows.set_meta(conn, FIELD_KEYS, b"".join(dict.fromkeys([*_keys_of(kept), *keys])))

        return keep

    # Parts of these ----------------------------------------------------------------------------

    def _seal(self, place: tuple[str, str], value: Any, before: Any) -> Any:
        id = field_key_id(value)
        if value is None or (id is not None and id not in self._former):
            # Sealed already: a step of a migration, or whoever reads a record, moved it.
            return value
        if id is not None:
            opened = self._open(place, value)
            value = value if opened is None else opened[0]
        to_plain({"value": value})  # A limit that it breaks is told before it is hidden.
        _require_sealable(place, value)
        opened = self._open(place, before)
        if opened is not None and same(opened[0], value) and not self._is_former(before):
            return before  # Another nonce would be a change of what did not change.
        scope_key = self._current_key(place[0])
        nonce = self._engine.entropy.draw(NONCE_BYTES)
        return seal_field(scope_key, nonce, _ad(place), value_text(value).encode())

    def _is_former(self, value: Any) -> bool:
        return field_key_id(value) in self._former

    def _open(self, place: tuple[str, str], value: Any) -> tuple[Any] | None:
        """The value inside of a sealed one, None if it is none or this device cannot open it."""
        id = field_key_id(value)
        key = None if id is None else self._key(place[0], id)
        if key is None:
            return None
        try:
            return (from_json(json.loads(open_field(key, _ad(place), value))),)
        except (CryptoError, BadValueError, ValueError, RecursionError):
            return None  # Somebody with the key wrote nonsense: it is shown as it is.

    def _current_key(self, database: str) -> bytes:
        mesh = self._engine.mesh
        scope = self._engine.ledger.scope_named(database, PRIVATE)
        if scope is None:
            raise NotOpenError(PRIVATE, 0)
        key = mesh.key(mesh.writing_key_id(scope))
        assert key is not None, "a key to write under is held"
        return key

    def _key(self, database: str, id: bytes) -> bytes | None:
        """The key of this id, if it is one of the private scope: others have keys of wider ones."""
        scope = self._engine.ledger.scope_named(database, PRIVATE)
        grants = self._engine.mesh.registry.grants
        if scope is not None and any(g.key_id == id and g.scope == scope.key_tag for g in grants):
            return self._engine.mesh.key(id)
        return self._former.get(id)

    def _private_keys(self) -> Iterator[bytes]:
        mesh = self._engine.mesh
        for grant in mesh.registry.grants:
            key = mesh.key(grant.key_id)
            if grant.privacy == PRIVATE and key is not None:
                yield key


def _require_sealable(place: tuple[str, str], value: Any) -> None:
    """What merges, or refers to a blob, has to be seen by more than its readers."""
    if isinstance(value, BlobRef | Counter | Increment | Text):
        raise BadValueError(f"{place[1]}: a {type(value).__name__} cannot be in an encrypted field")
    if isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            _require_sealable(place, item)


def _keys_of(kept: bytes) -> list[bytes]:
    return [kept[start : start + KEY_BYTES] for start in range(0, len(kept), KEY_BYTES)]


def _ad(place: tuple[str, str]) -> bytes:
    """What is authenticated of the place: two names, told apart by the length of the first."""
    database, collection = (name.encode() for name in place)
    return len(database).to_bytes(2, "big") + database + collection
