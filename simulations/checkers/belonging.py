"""Belonging: which devices belong together at the end, after some were removed.

A device that was removed mostly never hears of it: nobody tells it anything any more. So what may
be claimed of two devices follows from what each thinks of the other. Devices that take one another
for members come to the same; they are a *circle*. Whoever is taken for a member by nobody is a
circle of its own, and nothing is claimed of what it has of others.

Two admins who remove each other part the mesh for good where nobody is left who knows of both
removals: each side holds the other for removed, and does not listen. So there can be two circles.
"""

from collections.abc import Sequence

from ...node.buckets import Floors
from ...sync.sharing import Sharing
from ..sim_device import SimDevice


def takes_for_member(one: SimDevice, other: SimDevice) -> bool:
    """Whether a device belongs to the mesh as another one knows it."""
    known = one.engine.mesh.registry.devices.get(other.engine.keys.sig_pk)
    return known is not None and known.active


def are_together(one: SimDevice, other: SimDevice) -> bool:
    """Whether each of two devices takes the other for a member, and itself as well."""
    return all(takes_for_member(a, b) for a in (one, other) for b in (one, other))


def circles(devices: Sequence[SimDevice]) -> list[list[SimDevice]]:
    """Devices by who belongs together with whom, directly or through others, in order."""
    found: list[list[SimDevice]] = []
    for device in devices:
        near = [c for c in found if any(are_together(device, other) for other in c)]
        found = [circle for circle in found if circle not in near]
        found.append([*(other for circle in near for other in circle), device])
    return found


def circle_of(device: SimDevice, devices: Sequence[SimDevice]) -> list[SimDevice]:
    """The circle of one of these devices."""
    return next(circle for circle in circles(devices) if device in circle)


def shared_between(one: SimDevice, other: SimDevice) -> Sharing:
    """What two devices have in common: as they told each other on their link, if they have one."""
    sharing = one.engine.mesh.sharing_with(other.engine.keys.sig_pk)
    return sharing.with_floors((*floors_towards(one, other), *floors_towards(other, one)))


def floors_towards(one: SimDevice, other: SimDevice) -> Floors:
    """The oldest time buckets that a device takes of another: by the clock that it had then."""
    links = one.engine.switchboard.links_to(other.engine.keys.sig_pk)
    return links[-1].floors if links else one.engine.mesh.buckets.floors()


def is_alone(device: SimDevice, devices: Sequence[SimDevice]) -> bool:
    """Whether there are others, and none of them is together with this device."""
    others = [other for other in devices if other is not device]
    return bool(others) and not any(are_together(device, other) for other in others)
