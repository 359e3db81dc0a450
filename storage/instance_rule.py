"""Instance rule: a store may go on under its instance id only while it is the one it was made in.

An instance id is the name of a chain (docs/protocol.md, section 2): two stores that write under
one id fork it. So at every start the store is asked whether it may be a copy or an older state:

- the identity of its file (device, inode, birth) must be the one recorded inside: a copy differs;
- a token, renewed at every start, must agree between the store and a file beside it: an older
  store.db that was put back does not know the newest token.

If either fails, a new instance id is drawn and recorded in the same transaction, so that a crash
right after cannot bring the old one back.

The token is first renewed in the store, then in the file. In between the store knows both the
token that is in the file and the coming one, and either is accepted; so a crash there, however
often, does not cost an instance. What this cannot see (a virtual machine set back as a whole) is
found by peers. For them a store remembers under which instances it wrote before: each of its logs
may turn out to be forked long after the store has gone over to another instance, and its own branch
of it is taken out once.
"""

from dataclasses import dataclass
from pathlib import Path

from .files import Files
from .home import translate_os_error, write_durably
from .meta_rows import get_meta, set_meta
from .store import Conn
from .system_files import SYSTEM_FILES

INSTANCE_BYTES = 16
TOKEN_BYTES = 16

_INSTANCE = "instance.id"
_IDENTITY = "instance.file"
_TOKENS = "instance.tokens"
_FORMER = "instance.former"
_TAKEN_OUT = "instance.taken_out"


@dataclass(frozen=True, slots=True)
class Claim:
    """The instance id to write under. `kept` is False if it was drawn just now."""

    instance: bytes
    kept: bool


def claim_instance(
    conn: Conn, identity: bytes, found_token: bytes, new_token: bytes, new_instance: bytes
) -> Claim:
    """Judge by the rule, and record the outcome. To be run as a write job at every start.

    `identity` is that of the store's file, `found_token` what stands in the token file (empty if
    none), `new_token` what the caller writes there after this job is durable.
    """
    tokens = get_meta(conn, _TOKENS) or b""
    known = [tokens[:TOKEN_BYTES], tokens[TOKEN_BYTES:]]
    instance = get_meta(conn, _INSTANCE)
    kept = (
        instance is not None
        and get_meta(conn, _IDENTITY) == identity
        and len(found_token) == TOKEN_BYTES
        and found_token in known
    )
    if not kept or instance is None:
        instance = new_instance
        renew_instance(conn, instance)
        set_meta(conn, _IDENTITY, identity)
    # What is in the file now, and what will be there next: a crash in between leaves the first.
    still_there = found_token if len(found_token) == TOKEN_BYTES else b""
    set_meta(conn, _TOKENS, new_token + still_there)
    return Claim(instance, kept)


def renew_instance(conn: Conn, new_instance: bytes) -> None:
    """Open a new instance, and remember the one before. Run as a write job."""
    former = get_meta(conn, _INSTANCE)
    if former is not None:
        set_meta(conn, _FORMER, (get_meta(conn, _FORMER) or b"") + former)
    set_meta(conn, _INSTANCE, new_instance)


def holds_own_branch(conn: Conn, scope: bytes, instance: bytes) -> bool:
    """Whether this store wrote under an instance, and has not taken its log of the scope out."""
    ours = [get_meta(conn, _INSTANCE), *pieces(get_meta(conn, _FORMER), INSTANCE_BYTES)]
    taken_out = pieces(get_meta(conn, _TAKEN_OUT), len(scope) + INSTANCE_BYTES)
    return instance in ours and scope + instance not in taken_out


def take_branch_out(conn: Conn, scope: bytes, instance: bytes) -> None:
    """Remember that what will be held of this log is what peers hold of it."""
    set_meta(conn, _TAKEN_OUT, (get_meta(conn, _TAKEN_OUT) or b"") + scope + instance)


def pieces(row: bytes | None, size: int) -> list[bytes]:
    """Ids of one size that stand joined in a row, in order; none if there is no row."""
    row = row or b""
    return [row[at : at + size] for at in range(0, len(row), size)]


def read_token(path: Path, files: Files = SYSTEM_FILES) -> bytes:
    """What stands in the token file; empty if there is none or it is not a token."""
    try:
        token = files.read(path, TOKEN_BYTES + 1)
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise translate_os_error(error, path) from error
    return token if len(token) == TOKEN_BYTES else b""


def write_token(path: Path, token: bytes, files: Files = SYSTEM_FILES) -> None:
    """Replace the token file, durably. Raises what `write_durably` raises."""
    write_durably(path, token, files)
