"""ChromaIndex: the real VectorIndex, on ChromaDB in memory.

The settings that matter are given here one by one, because Chroma would take what is not given from
the environment and from a file `.env` in the current folder: it could be told there to write to the
disk or to talk to a server. It computes no embedding (its function would download a model), has
telemetry and tracing off, and is given numbers and vectors alone.

All clients in memory of one process share one Chroma, whose settings must be equal. So a collection
has a random name and is deleted when it is closed, the last one closes Chroma, and an application
that has such a client of its own keeps us from opening one: a search is exact then.

Source: SECURITY 2.4; measured with chromadb 1.5.9.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .vector_index import Rows

NEIGHBOURS_MAX = 24
"""Links of a node of the graph. With these three 50,000 vectors of 384 numbers are found again as
benchmarks/vectors.py says."""
CONSTRUCTION = 160
SEARCH = 320


SETTINGS: dict[str, Any] = {
    "_env_file": None,
    "anonymized_telemetry": False,
    "chroma_api_impl": "chromadb.api.rust.RustBindingsAPI",
    "chroma_otel_collection_endpoint": "",
    "chroma_otel_granularity": "none",
    "chroma_server_host": None,
    "is_persistent": False,
    "allow_reset": False,
}


class ChromaIndex:
    """See the module. Implements `VectorIndex`."""

    def __init__(self, name: str, dimension: int) -> None:
        """`name` is 3 to 512 letters and digits. Raises ImportError without chromadb."""
        self._client = _client()
        self._name = name
        self._collection = self._client.create_collection(
            name,
            embedding_function=None,
            configuration={
                "hnsw": {
                    "space": "ip",
                    "max_neighbors": NEIGHBOURS_MAX,
                    "ef_construction": CONSTRUCTION,
                    "ef_search": SEARCH,
                }
            },
        )

    def put(self, numbers: Sequence[int], rows: "Rows") -> None:
        if numbers:
            self._collection.upsert(ids=[str(number) for number in numbers], embeddings=rows)

    def remove(self, numbers: Sequence[int]) -> None:
        if numbers:
            self._collection.delete(ids=[str(number) for number in numbers])

    def nearest(self, row: "Rows", count: int) -> list[int]:
        found = self._collection.query(query_embeddings=[row], n_results=count, include=[])
        return [int(id) for id in found["ids"][0]]

    def close(self) -> None:
        try:
            self._client.delete_collection(self._name)
        finally:
            self._client.close()


def _client() -> Any:
    import chromadb
    from chromadb.config import Settings

    return chromadb.EphemeralClient(settings=Settings(**SETTINGS))
