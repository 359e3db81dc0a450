"""The frozen vectors of the membership log: how they were made, and how another case is added.

`python -m tests.membership_vectors` writes tests/vectors/covey_membership.json. What is in it
stays as it is: a difference after that is a change of the protocol.

Cases are told with the names of membership_history.py and written with real keys, certificates and
a real mesh id; ids of operations are hashes of the case and the place in it.
"""

import json
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path
from typing import Any

from covey.crypto.grants import mesh_id
from covey.crypto.identity import DeviceKeys, make_certificate, read_certificate
from covey.sync.membership import fold
from covey.sync.operations import Operation, decode_operation, encode_operation
from covey.sync.registry import Ignored

from .membership_history import History, key

PATH = Path(__file__).parent / "vectors" / "covey_membership.json"
NAMES = ("anna", "ben", "cleo", "tom", "puppet", "friend", "paper", "theft")
ABOUT = (
    "Histories of the membership log and what they fold to (docs/protocol.md, section 4). Each"
    " operation: id, author (sig key) and body as they are in its entry, and the same in words."
    " members: sig key to level and role; recovery: current keys; void and refused: operations"
    " that do not count, because of a removal or because of their author or form. Keys are those"
    " of DeviceKeys whose secret halves are BLAKE2b of the name and sig, dh or seal. Made by Covey"
    " (tests/membership_vectors.py). Licence: as the repository."
)


def keys_of(name: str) -> DeviceKeys:
    uses = ("sig", "dh", "seal")
    secrets = (blake2b(f"{name} {use}".encode(), digest_size=32).digest() for use in uses)
    return DeviceKeys.decode(b"".join(secrets))


def puppet(history: History) -> None:
    """tom is removed, and admits a puppet before that which removes his remover."""
    history.enroll("anna", "tom", role="admin")
    heads = [history.enroll("anna", "ben", role="admin")]
    history.revoke("anna", "tom", after=heads)
    made = history.enroll("tom", "puppet", role="admin", after=heads)
    history.revoke("puppet", "anna", after=[made])
    history.enroll("puppet", "friend", after=[made])


def mutual_removal(history: History) -> None:
    """ben and cleo remove each other at the same time; ben is senior."""
    history.enroll("anna", "ben", role="admin")
    heads = [history.enroll("anna", "cleo", role="admin")]
    history.revoke("cleo", "ben", after=heads)
    history.revoke("ben", "cleo", after=heads)


def most_senior(history: History) -> None:
    """The paper key removes the founder, who dates back a removal and another paper key."""
    heads = [history.enroll("anna", "ben", role="admin")]
    history.revoke("paper", "anna", after=heads)
    history.revoke("anna", "ben", after=heads)
    history.replace_recovery("anna", "theft", after=heads)


def lent_seniority(history: History) -> None:
    """tom, removed by anna, admits cleo in ben's past; ben and cleo remove each other."""
    tom = history.enroll("anna", "tom", role="admin")
    history.rename("anna", "anna", "x")
    history.enroll("anna", "ben", role="admin")
    heads = [history.enroll("anna", "cleo", role="admin")]
    history.revoke("ben", "cleo", after=heads)
    history.revoke("cleo", "ben", after=heads)
    history.revoke("anna", "tom", after=heads)
    history.enroll("tom", "cleo", role="admin", turn=1, after=[tom])


def junior_contested(history: History) -> None:
    """ben, junior, removes anna, who objects by removing ben at the same time."""
    heads = [history.enroll("anna", "ben", role="admin")]
    gone = history.revoke("ben", "anna", after=heads)
    history.enroll("ben", "cleo", after=[gone])
    history.revoke("anna", "ben", after=heads)


def cascade(history: History) -> None:
    """What the admission of a void device rests on falls, and all that rests on that."""
    heads = [history.enroll("anna", "tom", role="admin")]
    history.revoke("anna", "tom", after=heads)
    ben = history.enroll("tom", "ben", role="admin", after=heads)
    cleo = history.enroll("ben", "cleo", role="admin", after=[ben])
    history.rename("cleo", "cleo", "me", after=[cleo])


def comes_back(history: History) -> None:
    """tom is removed and admitted again with a new certificate; the old one is refused."""
    history.enroll("anna", "tom", role="admin")
    history.revoke("anna", "tom")
    history.enroll("anna", "tom")
    history.enroll("anna", "tom", "limited", turn=1)


def levels(history: History) -> None:
    """Of two levels at once the lower; a later one replaces both; at last a role at once."""
    history.enroll("anna", "ben", role="admin")
    heads = [history.enroll("anna", "cleo")]
    one = history.set_level("anna", "cleo", "guest", after=heads)
    other = history.set_level("ben", "cleo", "limited", after=heads)
    history.set_level("ben", "cleo", "full", after=[one, other])
    heads = [*history.heads()]
    history.set_role("anna", "cleo", "admin", after=heads)
    history.set_role("anna", "ben", "member", after=heads)
    history.enroll("ben", "friend", after=heads)


CASES: tuple[Callable[[History], None], ...] = (
    puppet,
    mutual_removal,
    most_senior,
    lent_seniority,
    junior_contested,
    cascade,
    comes_back,
    levels,
)


def written(case: Callable[[History], None]) -> dict[str, Any]:
    """A case as it stands in the file."""
    told = History(recovery="paper")
    case(told)
    real = {key(name): keys_of(name) for name in NAMES}
    words = {key(name): name for name in NAMES}
    ids: dict[bytes, bytes] = {}
    mesh = b""
    rows, operations = [], {}
    for number, (id, (author, operation)) in enumerate(told.operations.items()):
        details = {name: _real(value, real, mesh) for name, value in operation.details.items()}
        if operation.kind == "genesis":
            details |= {"dh": real[author].dh_pk, "seal": real[author].seal_pk}
        if "recovery" in details:
            recovery = real[operation.details["recovery"][0]]
            details["recovery"] = [recovery.sig_pk, recovery.seal_pk]
        parents = tuple(sorted(ids[parent] for parent in operation.parents))
        body = encode_operation(Operation(operation.kind, parents, operation.hlc, details))
        mesh = mesh or mesh_id(body)
        ids[id] = blake2b(f"{case.__name__} {number}".encode(), digest_size=32).digest()
        operations[ids[id]] = (real[author].sig_pk, decode_operation(body))
        about = details.get("device") or (details["cert"][20:52] if "cert" in details else b"")
        named = next((n for n in NAMES if real[key(n)].sig_pk == about), "")
        rows.append(
            {
                "id": ids[id].hex(),
                "author": real[author].sig_pk.hex(),
                "body": body.hex(),
                "words": f"{words[author]}: {operation.kind} {named}".strip(),
            }
        )
    registry = fold(operations, read_certificate=read_certificate, mesh_id=mesh_id, mesh=mesh)
    void = [id for id, why in registry.ignored.items() if why is Ignored.VOIDED]
    return {
        "name": case.__name__,
        "why": case.__doc__,
        "mesh": mesh.hex(),
        "operations": rows,
        "members": {d.sig_pk.hex(): [d.level, d.role] for d in registry.active()},
        "recovery": sorted(one.sig_pk.hex() for one in registry.recovery),
        "void": sorted(id.hex() for id in void),
        "refused": sorted(id.hex() for id in registry.ignored if id not in void),
    }


def _real(value: Any, real: dict[bytes, DeviceKeys], mesh: bytes) -> Any:
    """The value with the keys of a device for those that stand for them."""
    if type(value) is not bytes:
        return value
    if len(value) == 188:
        turn = value[84:116].rstrip(b".").rpartition(b"seal")[2]
        return make_certificate(real[value[20:52]], mesh, int(turn or 0))
    return real[value].sig_pk if value in real else value


if __name__ == "__main__":
    cases = [written(case) for case in CASES]
    PATH.write_text(json.dumps({"_about": ABOUT, "cases": cases}, indent=1) + "\n")
