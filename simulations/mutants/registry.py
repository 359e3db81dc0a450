"""Registry: all mutants by name."""

from .mutant import Mutant
from .mutants_blobs import BLOB_MUTANTS
from .mutants_conflicts import CONFLICT_MUTANTS
from .mutants_crypto import CRYPTO_MUTANTS
from .mutants_data import DATA_MUTANTS
from .mutants_node import NODE_MUTANTS
from .mutants_policies import POLICY_MUTANTS
from .mutants_storage import STORAGE_MUTANTS
from .mutants_sync import SYNC_MUTANTS
from .mutants_timing import TIMING_MUTANTS
from .mutants_trust import TRUST_MUTANTS

MUTANTS: dict[str, Mutant] = {
    mutant.name: mutant
    for mutant in (
        *STORAGE_MUTANTS,
        *CRYPTO_MUTANTS,
        *SYNC_MUTANTS,
        *NODE_MUTANTS,
        *TRUST_MUTANTS,
        *BLOB_MUTANTS,
        *POLICY_MUTANTS,
        *CONFLICT_MUTANTS,
        *DATA_MUTANTS,
        *TIMING_MUTANTS,
    )
}
