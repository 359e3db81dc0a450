"""The frozen histories of the membership log fold to what is written beside them.

They hold the rules of section 4 in bytes that another implementation can read as well.
"""

import json
from random import Random
from typing import Any

import pytest

from covey.crypto.grants import mesh_id
from covey.crypto.identity import read_certificate
from covey.sync.membership import Membership
from covey.sync.operations import decode_operation
from covey.sync.registry import Ignored

from .membership_vectors import CASES, PATH

VECTORS = json.loads(PATH.read_text(encoding="utf-8"))["cases"]


@pytest.mark.parametrize("case", VECTORS, ids=[case["name"] for case in VECTORS])
@pytest.mark.parametrize("seed", range(3))
def test_frozen_history_folds_to_its_members(case: dict[str, Any], seed: int) -> None:
    """A device with another version must not see other members in the same log."""
    rows = case["operations"]
    Random(seed).shuffle(rows)
    membership = Membership(read_certificate, mesh_id, bytes.fromhex(case["mesh"]))
    for row in rows:
        operation = decode_operation(bytes.fromhex(row["body"]))
        membership.add({bytes.fromhex(row["id"]): (bytes.fromhex(row["author"]), operation)})
    registry = membership.registry
    void = {id for id, why in registry.ignored.items() if why is Ignored.VOIDED}

    members = {device.sig_pk.hex(): [device.level, device.role] for device in registry.active()}
    assert members == case["members"]
    assert sorted(one.sig_pk.hex() for one in registry.recovery) == case["recovery"]
    assert sorted(id.hex() for id in void) == case["void"]
    assert sorted(id.hex() for id in registry.ignored.keys() - void) == case["refused"]


def test_every_case_that_is_told_is_frozen() -> None:
    """One that was added and not written would be tested by nobody."""
    assert [case["name"] for case in VECTORS] == [case.__name__ for case in CASES]
