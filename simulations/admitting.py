"""Admitting: a device becomes a member without the network, as after a finished pairing.

The membership operation, the grants and every check of the new device are the real ones; what is
left out is the code and the wire. Pairing itself is simulated by the doing `pair`.
"""

from ..crypto.identity import make_certificate
from ..node.adopting import check_adoption
from ..node.engine import Engine
from ..node.pairing_frames import Welcome


async def admit(admin: Engine, newcomer: Engine, level: str = "full", kind: str = "phone") -> None:
    """Make `newcomer` a member of the admin's mesh. What it wrote before comes along."""
    mesh = admin.mesh
    certificate = make_certificate(newcomer.keys, mesh.id, admin.clock.wall_ms())
    await mesh.enroll(certificate, newcomer.our_device().name, kind, level)
    genesis, keys, frames = await mesh.welcome(newcomer.keys.sig_pk)
    welcome = Welcome(genesis, keys, len(frames))
    adoption = check_adoption(newcomer.keys, mesh.id, admin.keys.sig_pk, welcome, frames)
    await newcomer.adopt(adoption)
