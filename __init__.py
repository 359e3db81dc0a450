"""Covey: a peer-to-peer, end-to-end encrypted sync node. The public face of the package.

    async with covey.open(home, unlock=covey.KeyFile("covey.key")) as node:
        facts = node.database("memory").collection("facts")
        await facts.put({"text": "likes tea"}, id="tea")

Everything but `CoveyError` is loaded when it is first used, so that a command that only talks to
a running node starts fast.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .node.api import Change, Collection, Database, Node, Transaction
    from .node.data.bus import Bus
    from .node.data.cache_api import Cache
    from .node.data.codecs import Codec, DataclassCodec, RecordShapeError
    from .node.data.embedding import embedding
    from .node.data.memory_repository import MemoryDatabase, MemoryRepository
    from .node.data.plugins import discover_schemas
    from .node.data.repositories import Changed, RecordRepository, Repository
    from .node.data.schema import register_schema, registered, unregister_schema
    from .node.data.steps import Migration
    from .node.data.unit_of_work import UnitOfWork
    from .node.main import open_node as open
    from .node.unlock import KeyFile, Keyring, Passphrase
    from .node.variants import Variant
    from .storage.link_text import link_to
    from .sync.values import BlobRef, Counter, Increment, Text, Vector

__all__ = [
    "BlobRef",
    "Bus",
    "Cache",
    "Change",
    "Changed",
    "Codec",
    "Collection",
    "Counter",
    "CoveyError",
    "Database",
    "DataclassCodec",
    "Increment",
    "KeyFile",
    "Keyring",
    "MemoryDatabase",
    "MemoryRepository",
    "Migration",
    "Node",
    "Passphrase",
    "RecordRepository",
    "RecordShapeError",
    "Repository",
    "Text",
    "Transaction",
    "UnitOfWork",
    "Variant",
    "Vector",
    "discover_schemas",
    "embedding",
    "link_to",
    "open",
    "register_schema",
    "registered",
    "unregister_schema",
]

_HOMES = {
    "open": (".node.main", "open_node"),
    **dict.fromkeys(("Change", "Collection", "Database", "Node", "Transaction"), (".node.api", "")),
    **dict.fromkeys(("KeyFile", "Keyring", "Passphrase"), (".node.unlock", "")),
    "discover_schemas": (".node.data.plugins", ""),
    "Migration": (".node.data.steps", ""),
    **dict.fromkeys(
        ("register_schema", "registered", "unregister_schema"), (".node.data.schema", "")
    ),
    "Variant": (".node.variants", ""),
    "embedding": (".node.data.embedding", ""),
    "Bus": (".node.data.bus", ""),
    "Cache": (".node.data.cache_api", ""),
    **dict.fromkeys(("Codec", "DataclassCodec", "RecordShapeError"), (".node.data.codecs", "")),
    **dict.fromkeys(("MemoryDatabase", "MemoryRepository"), (".node.data.memory_repository", "")),
    **dict.fromkeys(("Changed", "RecordRepository", "Repository"), (".node.data.repositories", "")),
    "UnitOfWork": (".node.data.unit_of_work", ""),
    "link_to": (".storage.link_text", ""),
    **dict.fromkeys(("BlobRef", "Counter", "Increment", "Text", "Vector"), (".sync.values", "")),
}


class CoveyError(Exception):
    """The base of every error that Covey raises on purpose. Its text is one line for a person.

    `exit_code` is what the command line ends with (docs/cli.md, "Exit codes").
    """

    exit_code = 1


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    module, attribute = _HOMES[name]
    return getattr(import_module(module, __name__), attribute or name)
