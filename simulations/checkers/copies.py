"""Copies: what may be expected of two machines that run copies of one home.

A device looks for each other device of its mesh and stays linked to one store of each that it
finds; it never looks for itself. So two copies bring each other up to date by way of another
device, and only what that one may read. If there is none, or if the others were copied as well and
each store has found one of every device, nothing leads from some stores to the others, and nobody
looks any further. docs/threat-model.md names it among the known weaknesses.
"""

from ...node.ledger import PRIVACY_NAMES
from ..run import Run
from ..sim_device import SimDevice
from .belonging import is_alone
from .convergence import may_read

MEMBERSHIP = 0
"""Stands for the membership log; the privacy level 0 (device) is never shared."""


def spoil_parted_copies(run: Run) -> None:
    """Expect nothing of stores that copies have parted from the rest, if it will stay so.

    A store that has not found some device yet is none of them: it still looks.
    """
    sound = [device for device in run.devices.values() if device.name not in run.spoiled]
    if all(device.is_up for device in sound):
        sound = [device for device in sound if not is_alone(device, sound)]
    if len({_id(device) for device in sound if device.is_up}) == len(sound):
        return
    if not all(device.is_up for device in sound) or not _all_have_found_all(sound):
        return
    for level in range(len(PRIVACY_NAMES)):
        readers = [d for d in sound if level == MEMBERSHIP or may_read(d, level)]
        together = _together(readers)
        for device in readers:
            if device not in together:
                run.spoiled.setdefault(device.name, "copies part it from the others")
                run.witness.forget_places(device.name, lost=True)


def _id(device: SimDevice) -> bytes:
    return device.engine.keys.sig_pk


def _all_have_found_all(devices: list[SimDevice]) -> bool:
    """Whether each has a link to every other device, and knows to which store of it."""
    ids = {_id(device) for device in devices}
    for device in devices:
        links = device.engine.switchboard.links.values()
        if not ids - {_id(device)} <= {link.device for link in links}:
            return False
        if not all("run" in link.remote_state for link in links):
            return False
    return True


def _together(devices: list[SimDevice]) -> list[SimDevice]:
    """The first of these devices, and all that it is linked to through others of them."""
    found = devices[:1]
    for device in found:
        found += [d for d in devices if d not in found and _linked(device, d)]
    return found


def _linked(one: SimDevice, other: SimDevice) -> bool:
    run = other.engine.reach._run
    links = one.engine.switchboard.links_to(_id(other))
    return any(link.remote_state.get("run") == run for link in links)
