"""Loading: what an engine needs of its store to begin, in one read, and where it goes."""

from typing import NamedTuple

from ..crypto.entry import CONTROL_SCOPE
from ..storage import blob_rows, log_rows, membership_rows, meta_rows, ruling_rows
from ..storage.store import Conn
from .committer import HLC_RESERVED
from .founding import MESH_ID
from .ledger import Ledger, Log, Scope
from .mesh import Mesh


class Stored(NamedTuple):
    """What a store holds, but for entries, records and chunks."""

    scopes: list[log_rows.Scope]
    logs: list[log_rows.LogHead]
    operations: list[membership_rows.Operation]
    keys: list[membership_rows.ScopeKey]
    hlc: int
    """Stamps up to here are spent."""
    mesh: bytes | None
    knows_blobs: bool
    """Whether a record has ever referred to a blob."""
    rulings: list[ruling_rows.KeptRuling]


def read_stored(conn: Conn) -> Stored:
    """All of it, of one moment."""
    return Stored(
        log_rows.scopes(conn),
        log_rows.logs(conn),
        membership_rows.operations(conn),
        membership_rows.scope_keys(conn),
        int.from_bytes(meta_rows.get_meta(conn, HLC_RESERVED) or b"", "big"),
        meta_rows.get_meta(conn, MESH_ID),
        blob_rows.any_blob(conn),
        ruling_rows.rulings(conn),
    )


def fill(ledger: Ledger, mesh: Mesh, stored: Stored) -> None:
    """Give the parts what the store holds: membership first, it names the scopes."""
    for row in stored.scopes:
        if row.tag == CONTROL_SCOPE:
            ledger.add_scope(Scope(row.scope_no, row.tag, "", row.privacy), b"")
    mesh.load([(o.op_id, o.author, o.body) for o in stored.operations], stored.keys)
    for row in stored.scopes:
        if row.tag != CONTROL_SCOPE:
            mesh.load_scope(row)
    mesh.load((), stored.keys)
    for head in stored.logs:
        log = Log(head.log_no, ledger.scope_numbered(head.scope_no), head.instance, head.author)
        if head.head_seq:
            log.head_seq = log.tail_seq = head.head_seq
            log.head_id = log.tail_id = head.head_id
        ledger.add_log(log)
