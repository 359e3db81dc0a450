"""Doings: what users and fate can do in a plan, each by name.

`DOINGS` has them all. A doing is a function of the run and of the step's arguments; what takes time
goes on in a task of the device that does it, and dies with it. A doing that makes no sense now (its
device is down, its image was never made) does nothing. `FAULTS` has the kinds of fault that a plan
may hold, with the function that draws their steps.
"""

from .clock_doings import CLOCK_DOINGS, CLOCK_FAULTS
from .conflict_doings import CONFLICT_DOINGS
from .data_doings import DATA_DOINGS
from .disk_doings import DISK_DOINGS, DISK_FAULTS
from .fault import Doing, FaultKind, Stage
from .network_doings import NETWORK_DOINGS, NETWORK_FAULTS
from .pairing_doings import PAIRING_DOINGS
from .peer_doings import PEER_DOINGS, PEER_FAULTS
from .policy_doings import POLICY_DOINGS
from .process_doings import PROCESS_DOINGS, PROCESS_FAULTS
from .schema_doings import SCHEMA_DOINGS
from .surroundings_doings import SURROUNDINGS_DOINGS, SURROUNDINGS_FAULTS
from .trust_doings import TRUST_DOINGS
from .user_doings import USER_DOINGS
from .window_doings import WINDOW_DOINGS

DOINGS: dict[str, Doing] = {
    **USER_DOINGS,
    **TRUST_DOINGS,
    **WINDOW_DOINGS,
    **POLICY_DOINGS,
    **CONFLICT_DOINGS,
    **PAIRING_DOINGS,
    **DATA_DOINGS,
    **SCHEMA_DOINGS,
    **NETWORK_DOINGS,
    **DISK_DOINGS,
    **CLOCK_DOINGS,
    **PROCESS_DOINGS,
    **PEER_DOINGS,
    **SURROUNDINGS_DOINGS,
}

FAULTS: dict[str, FaultKind] = {
    kind.name: kind
    for kind in (
        *NETWORK_FAULTS,
        *DISK_FAULTS,
        *CLOCK_FAULTS,
        *PROCESS_FAULTS,
        *PEER_FAULTS,
        *SURROUNDINGS_FAULTS,
    )
}

__all__ = ["DOINGS", "FAULTS", "Doing", "FaultKind", "Stage"]
