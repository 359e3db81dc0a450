"""Blob chunks: they open as what was sealed, and as nothing else."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from covey.crypto.aead import encrypt
from covey.crypto.blob import (
    CHUNK_BYTES,
    CHUNK_LABEL,
    SEALED_BYTES_MAX,
    chunk_file_name,
    chunk_id,
    open_chunk,
    seal_chunk,
    sealed_bytes,
)
from covey.crypto.errors import FormatError, OpenError
from covey.crypto.secret import Secret

VECTORS = json.loads((Path(__file__).parent / "vectors" / "covey_blobs.json").read_text())
KEY = Secret(bytes(range(32)))


@settings(max_examples=50)
@given(st.binary(max_size=5_000), st.integers(0, 20_000))
def test_the_last_chunk_opens_as_what_was_sealed(content: bytes, index: int) -> None:
    """The filling must not become part of a file."""
    sealed = seal_chunk(KEY, index, content, last=True)

    assert open_chunk(KEY, index, sealed, len(content), last=True) == content
    assert len(sealed) == sealed_bytes(len(content), last=True) <= SEALED_BYTES_MAX


def test_a_full_chunk_opens_as_what_was_sealed() -> None:
    """All chunks but the last are of one size, which tells nothing."""
    content = bytes(range(256)) * 1024
    sealed = seal_chunk(KEY, 3, content, last=False)

    assert open_chunk(KEY, 3, sealed, CHUNK_BYTES, last=False) == content
    assert len(sealed) == SEALED_BYTES_MAX == sealed_bytes(CHUNK_BYTES, last=False)


def test_a_chunk_opens_only_in_its_place() -> None:
    """Who stores our chunks must not be able to swap them, or to cut a file short."""
    content = bytes(CHUNK_BYTES)
    sealed = seal_chunk(KEY, 1, content, last=False)

    for index, last, key in ((0, False, KEY), (1, True, KEY), (1, False, Secret(bytes(32)))):
        with pytest.raises(OpenError):
            open_chunk(key, index, sealed, CHUNK_BYTES, last=last)
    with pytest.raises(OpenError):
        open_chunk(KEY, 1, sealed[:-1] + bytes((sealed[-1] ^ 1,)), CHUNK_BYTES, last=False)
    with pytest.raises(OpenError):
        open_chunk(KEY, 1, b"short", CHUNK_BYTES, last=False)


def test_small_contents_look_alike() -> None:
    """The size of a small file would tell which one it is."""
    sizes = {len(seal_chunk(KEY, 0, b"x" * size, last=True)) for size in (0, 1, 500, 1024)}

    assert sizes == {1024 + 16}


@pytest.mark.parametrize("padded", [b"abc".ljust(1023, b"\0"), b"abcd".ljust(1024, b"\0")])
def test_another_filling_is_refused(padded: bytes) -> None:
    """Whoever made the key could hide something in there, or make two ids of one content."""
    ad = CHUNK_LABEL + bytes(8) + b"\x01"
    sealed = encrypt(KEY.reveal(), bytes(24), padded, ad)

    with pytest.raises(FormatError):
        open_chunk(KEY, 0, sealed, 3, last=True)


@pytest.mark.parametrize("vector", VECTORS["chunks"])
def test_chunks_are_those_of_the_specification(vector: dict[str, Any]) -> None:
    """Another program must seal and open the same bytes."""
    content = bytes.fromhex(vector["content"]) * vector["times"]
    key = Secret(bytes.fromhex(vector["key"]))
    sealed = seal_chunk(key, vector["index"], content, last=vector["last"])

    assert chunk_id(sealed).hex() == vector["cid"]
    assert sealed[-16:].hex() == vector["tag"]
    assert len(sealed) == vector["sealed_bytes"]


def test_the_names_of_files_tell_nothing() -> None:
    """A thief sees them: neither the chunk nor that two of them belong together may show."""
    place = bytes(32)
    found = {chunk_file_name(place, index) for index in range(3)}

    assert len(found) == 3
    assert all(len(name) == 64 and int(name, 16) >= 0 for name in found)
    assert found.isdisjoint({chunk_file_name(b"\x01" * 32, index) for index in range(3)})
