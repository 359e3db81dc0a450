"""Manifest: one spelling, nothing but it is read, and what it is made of."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from covey.crypto import blob as chunks
from covey.sync import limits
from covey.sync.errors import DecodeError
from covey.sync.manifest import (
    Manifest,
    blob_id,
    chunk_count,
    decode_manifest,
    encode_manifest,
    is_variant_name,
)

VECTORS = json.loads((Path(__file__).parent / "vectors" / "covey_blobs.json").read_text())
KEY = bytes(range(32))
CID = b"\xc1" * 32
PLAIN = Manifest(KEY, 5, CID, "image/png", "cat.png")

names = st.text("abcdefghijklmnopqrstuvwxyz0123456789-", min_size=1, max_size=8)
keys = st.binary(min_size=32, max_size=32)


def manifests(variants: bool = True) -> st.SearchStrategy[Manifest]:
    inner: st.SearchStrategy[tuple[tuple[str, Manifest], ...]] = st.just(())
    if variants:
        inner = st.dictionaries(names, manifests(False), max_size=3).map(
            lambda found: tuple(sorted(found.items()))
        )
    return st.builds(
        lambda key, size, seed, kind, name, more: Manifest(
            key, size, (seed * chunk_count(size))[: 32 * chunk_count(size)], kind, name, more
        ),
        keys,
        st.integers(0, 3 * 262_144),
        keys,
        st.sampled_from(("", "image/png", "text/plain;charset=utf-8")),
        st.sampled_from(("", "a cat.png", "où.pdf", ".hidden", "..")),
        inner,
    )


@settings(max_examples=100)
@given(manifests())
def test_a_manifest_reads_as_what_was_written(manifest: Manifest) -> None:
    """It is the only way to the content: what is lost here is lost for good."""
    assert decode_manifest(encode_manifest(manifest)) == manifest


@settings(max_examples=200)
@given(manifests(), st.data())
def test_a_changed_manifest_is_refused_or_is_another_one(
    manifest: Manifest, data: st.DataObject
) -> None:
    """Two spellings of one manifest would be two values of one record."""
    encoded = bytearray(encode_manifest(manifest))
    at = data.draw(st.integers(0, len(encoded) - 1))
    encoded[at] ^= data.draw(st.integers(1, 255))

    try:
        found = decode_manifest(bytes(encoded))
    except DecodeError:
        return
    assert found != manifest
    assert encode_manifest(found) == bytes(encoded)


@settings(max_examples=200)
@given(st.binary(max_size=300) | st.binary(max_size=300).map(lambda end: b"CVM1" + end))
def test_any_bytes_are_a_manifest_or_refused(data: bytes) -> None:
    """A member may have written anything; reading its record must not fail."""
    try:
        found = decode_manifest(data)
    except DecodeError:
        return
    assert encode_manifest(found) == data


@pytest.mark.parametrize(
    ("vector"), VECTORS["refused"], ids=[vector["why"] for vector in VECTORS["refused"]]
)
def test_what_no_manifest_may_be_is_refused(vector: dict[str, Any]) -> None:
    """Each of these is a trap that somebody could set in a record."""
    with pytest.raises(DecodeError):
        decode_manifest(bytes.fromhex(vector["manifest"]))


@pytest.mark.parametrize("vector", VECTORS["manifests"])
def test_the_layout_is_the_one_of_the_specification(vector: dict[str, Any]) -> None:
    """Blobs of today must open in ten years."""
    manifest = decode_manifest(bytes.fromhex(vector["manifest"]))

    assert manifest.size == vector["size"]
    assert manifest.media_type == vector["type"]
    assert manifest.name == vector["name"]
    assert [name for name, _ in manifest.variants] == vector["variants"]
    assert blob_id(manifest).hex() == vector["id"]


def test_the_id_covers_the_content_and_its_key_and_no_name() -> None:
    """Two records may call one content by two names; two contents never have one id."""
    others = [
        Manifest(bytes(32), 5, CID),
        Manifest(KEY, 6, CID),
        Manifest(KEY, 5, bytes(32)),
    ]

    assert blob_id(Manifest(KEY, 5, CID, "text/plain", "other")) == blob_id(PLAIN)
    assert len({blob_id(each) for each in (PLAIN, *others)}) == 4


def test_a_manifest_shows_neither_key_nor_chunks() -> None:
    """It stands in frames of errors and in the output of failed tests."""
    shown = repr(PLAIN)

    assert "key" not in shown and "cids" not in shown
    assert KEY.hex() not in shown and repr(KEY) not in shown


def test_the_largest_blob_fits_a_record() -> None:
    """A limit that no record could keep would be none."""
    count = chunk_count(limits.BLOB_BYTES_MAX)
    encoded = encode_manifest(Manifest(KEY, limits.BLOB_BYTES_MAX, CID * count))

    assert len(encoded) < limits.RECORD_BYTES_MAX
    with pytest.raises(DecodeError, match="allowed"):
        decode_manifest(
            encoded[:36] + (limits.BLOB_BYTES_MAX + 1).to_bytes(8, "big") + encoded[44:] + CID
        )


def test_both_floors_mean_the_same_chunk() -> None:
    """They may not import each other, so the number stands twice."""
    assert chunks.CHUNK_BYTES == limits.BLOB_CHUNK_BYTES


@pytest.mark.parametrize("size", [0, 1, 262_144, 262_145, 524_288])
def test_every_content_has_the_chunks_that_hold_it(size: int) -> None:
    """An empty file is a file."""
    assert chunk_count(size) == max(1, (size + 262_143) // 262_144)


@pytest.mark.parametrize("name", ["", "Big", "a b", "x" * 33, "ü", "a/b"])
def test_a_variant_has_a_plain_name(name: str) -> None:
    """It is typed in commands and stands in JSON."""
    assert not is_variant_name(name)
    assert is_variant_name("thumbnail-2")
