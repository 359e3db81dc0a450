"""Checkers: what must hold in every run, whatever the plan. Each stands for claims I1 to I33.

A checker looks and never touches: `at_tick` now and then while the plan runs, `at_message` at
each message that leaves a machine, `at_start` when a device has come up, `at_rest` when the world
is mended and has settled. What must not be so goes to `World.violate`.
"""

from .ages import AgeChecker
from .authority import AuthorityChecker
from .authorship import AuthorshipChecker
from .blobs import BlobChecker
from .bounds import BoundsChecker
from .checker import Checker
from .convergence import ConvergenceChecker
from .derived import DerivedChecker
from .holds import HoldChecker
from .idempotence import IdempotenceChecker
from .instances import InstanceChecker
from .levels import LevelChecker
from .links import LinkChecker
from .memories import MemoryChecker
from .migrations import MigrationChecker
from .order import OrderChecker
from .pairing import PairingChecker
from .policies import PolicyChecker
from .removals import RemovalChecker
from .shelves import ShelfChecker
from .stores import StoreChecker
from .truth import TruthChecker
from .wire import WireChecker
from .writes import WriteChecker

CHECKERS: tuple[type[Checker], ...] = (
    BlobChecker,
    ConvergenceChecker,
    WriteChecker,
    WireChecker,
    LevelChecker,
    RemovalChecker,
    ShelfChecker,
    OrderChecker,
    AuthorityChecker,
    IdempotenceChecker,
    BoundsChecker,
    StoreChecker,
    TruthChecker,
    PairingChecker,
    InstanceChecker,
    AuthorshipChecker,
    LinkChecker,
    PolicyChecker,
    HoldChecker,
    DerivedChecker,
    MemoryChecker,
    MigrationChecker,
    AgeChecker,
)

__all__ = ["CHECKERS", "Checker"]
