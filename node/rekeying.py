"""Rekeying: a device gets another key to receive with, its `seal` key, to which others are sealed.

For a device that is in good hands again after somebody may have read what it was sent: what is
sealed from now on opens with the new key alone. It goes on being the same device, with the same
`sig` and `dh` keys, so whoever has a copy of all of them is not kept out by this but by a removal.

The new key is on the disk before anybody hears of it, and the former ones are kept, because others
seal to them until they have heard. Which one is the present one, the membership log says
(`current_keys`), so there is no moment at which a crash could part the two.

A home that is put back to before this (a restored backup, a copy) lacks the new key, and nobody can
tell it from a thief's: it reads nothing that is written since, and says so (`is_outdated`).

Spec: docs/protocol.md, section 4, `rekey`. Keys are 32 bytes.
"""

from typing import TYPE_CHECKING

from ..crypto.identity import DeviceKeys, make_certificate
from ..crypto.secret import Secret
from ..storage import meta_rows
from .founding import DEVICE_KEYS
from .mesh import KEY_BYTES

if TYPE_CHECKING:
    from .engine import Engine


async def rekey(engine: "Engine") -> None:
    """Renew the `seal` key of this device. Durable, and said to the mesh, when it returns.

    Raises NotEntitledError for a device that was removed, StorageError; then the present key is the
    one before.
    """
    keys = engine.keys.renewed(Secret(engine.entropy.draw(KEY_BYTES)))
    # Nothing awaits before this: of two that come together the second keeps the key of the first.
    engine.keys = keys
    engine.mesh.receive_with(keys)
    await engine.database.write(
        lambda conn: meta_rows.set_meta(conn, DEVICE_KEYS, keys.encode().reveal())
    )
    certificate = make_certificate(keys, engine.mesh.id, engine.clock.wall_ms())
    await engine.mesh.write([("rekey", {"cert": certificate})])


def current_keys(engine: "Engine") -> DeviceKeys:
    """Our keys with the `seal` key by which the mesh knows us."""
    return engine.keys.receiving_with(engine.our_device().seal_pk) or engine.keys


def is_outdated(engine: "Engine") -> bool:
    """Whether the mesh seals to a key of this device that this home does not have."""
    us = engine.our_device()
    return us.active and engine.keys.receiving_with(us.seal_pk) is None
