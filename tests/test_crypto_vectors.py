"""Our own frozen vectors: what another implementation of docs/protocol.md must compute.

They were computed from the specification without the code under test. A change that makes one of
these fail changes the protocol, and breaks every mesh that exists.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from covey.crypto import entry, grants, hashing, identity, padding
from covey.crypto.errors import FormatError, OpenError

VECTORS: dict[str, Any] = json.loads(
    (Path(__file__).parent / "vectors" / "covey_crypto.json").read_text(encoding="utf-8")
)
DEVICES = [identity.DeviceKeys.decode(bytes.fromhex(d["secret"])) for d in VECTORS["devices"]]
ERRORS = {"format": FormatError, "open": OpenError}


def cases(name: str, expect: str) -> list[Any]:
    """The cases of one section and one class; there is always at least one."""
    section = VECTORS[name]
    found = [pytest.param(c, id=f"{name}-{i}") for i, c in enumerate(section)]
    chosen = [p for p, c in zip(found, section, strict=True) if c["expect"] == expect]
    assert chosen, f"no {expect} case in {name}"
    return chosen


def unhex(case: dict[str, Any], *names: str) -> list[bytes]:
    return [bytes.fromhex(case[name]) for name in names]


def heading_of(case: dict[str, Any]) -> entry.Heading:
    names = ("mesh", "scope", "author", "instance", "auth_ref", "key_id")
    return entry.Heading(case["kind"], *unhex(case, *names))


def test_device_keys_are_derived_from_the_frozen_secrets() -> None:
    """A device that updates its software must stay the same device."""
    for keys, case in zip(DEVICES, VECTORS["devices"], strict=True):
        assert [keys.sig_pk, keys.dh_pk, keys.seal_pk] == unhex(case, "sig_pk", "dh_pk", "seal_pk")
        assert keys.encode().reveal().hex() == case["secret"]
        assert identity.shown_id(keys.sig_pk) == case["shown_id"]
        assert identity.short_id(keys.sig_pk) == case["short_id"]


@pytest.mark.parametrize("case", cases("shown_ids", "valid"))
def test_shown_id_is_the_frozen_one(case: dict[str, str]) -> None:
    """People wrote these down."""
    shown = identity.shown_id(bytes.fromhex(case["sig_pk"]))

    assert shown == case["shown_id"]
    assert identity.parse_shown_id(shown) == shown


@pytest.mark.parametrize("case", cases("typed_ids", "valid"))
def test_typed_id_is_read_with_its_look_alikes(case: dict[str, str]) -> None:
    """An id is read aloud and typed from paper."""
    assert identity.parse_shown_id(case["text"]) == case["canonical"]


@pytest.mark.parametrize("case", cases("typed_ids", "format"))
def test_typed_id_is_refused_with_the_reason(case: dict[str, str]) -> None:
    """Whoever mistyped must learn what to look at."""
    with pytest.raises(FormatError) as caught:
        identity.parse_shown_id(case["text"])

    assert case["why"] in str(caught.value)


@pytest.mark.parametrize("case", cases("h", "valid"))
def test_hash_with_a_label_is_the_frozen_one(case: dict[str, str]) -> None:
    """Ids of entries and keys never change."""
    got = hashing.digest(case["label"].encode(), bytes.fromhex(case["data"]))

    assert got.hex() == case["result"]


@pytest.mark.parametrize("case", cases("k", "valid"))
def test_derived_key_is_the_frozen_one(case: dict[str, str]) -> None:
    """A key that comes out differently after an update locks the user out."""
    key, context = unhex(case, "key", "context")

    assert hashing.derive(key, case["label"].encode(), context).hex() == case["result"]


def test_padme_table_is_the_frozen_one() -> None:
    """Two nodes that disagree about one size refuse each other's entries."""
    assert [[n, padding.padme(n)] for n, _ in VECTORS["padme"]] == VECTORS["padme"]


@pytest.mark.parametrize("case", cases("padding", "valid"))
def test_padded_body_is_the_frozen_one(case: dict[str, str]) -> None:
    """The padding is inside the ciphertext that everyone hashes."""
    plain, body = unhex(case, "plain", "body")

    assert padding.pad(body) == plain
    assert padding.unpad(plain) == body


@pytest.mark.parametrize("case", cases("padding", "format"))
def test_second_spelling_of_a_padded_body_is_refused(case: dict[str, str]) -> None:
    """Room in the filling is room for a message nobody checks."""
    with pytest.raises(FormatError) as caught:
        padding.unpad(bytes.fromhex(case["plain"]))

    assert case["why"] in str(caught.value)


def test_mesh_id_and_tags_are_the_frozen_ones() -> None:
    """Peers match scopes by tag alone."""
    tags = VECTORS["tags"]
    tag_key = grants.tag_key(bytes.fromhex(tags["control_key"]))
    mesh_id = grants.mesh_id(bytes.fromhex(VECTORS["mesh"]["genesis_body"]))

    assert mesh_id.hex() == VECTORS["mesh"]["mesh"]
    assert tag_key.hex() == tags["tag_key"]
    for case in tags["scopes"]:
        if case["expect"] == "valid":
            got = grants.scope_tag(tag_key, case["database"], case["privacy"])
            assert got.hex() == case["tag"]
    for case in tags["databases"]:
        if case["expect"] == "valid":
            assert grants.database_tag(tag_key, case["database"]).hex() == case["tag"]


def test_tags_and_keys_of_time_buckets_are_the_frozen_ones() -> None:
    """Nobody grants them: two implementations that derive others share no record of any month."""
    tag_key = bytes.fromhex(VECTORS["tags"]["tag_key"])
    for case in VECTORS["buckets"]:
        tag = grants.scope_tag(tag_key, case["database"], case["privacy"], case["bucket"])

        assert tag.hex() == case["tag"]
        key = entry.bucket_key(bytes.fromhex(case["scope_key"]), case["bucket"])
        assert key.hex() == case["key"]


def test_database_name_of_a_wrong_size_has_no_tag() -> None:
    """The length is one byte: a longer name would run into the next field."""
    tag_key = bytes.fromhex(VECTORS["tags"]["tag_key"])
    for case in VECTORS["tags"]["scopes"]:
        if case["expect"] == "format":
            with pytest.raises(FormatError):
                grants.scope_tag(tag_key, case["database"], case["privacy"])
    for case in VECTORS["tags"]["databases"]:
        if case["expect"] == "format":
            with pytest.raises(FormatError):
                grants.database_tag(tag_key, case["database"])


def test_discovery_hint_is_the_frozen_one_and_a_changed_one_does_not_match() -> None:
    """Old and new software must find each other on the local network."""
    case = VECTORS["discovery"]
    key = grants.discovery_key(bytes.fromhex(case["control_key"]))
    hint = grants.discovery_hint(key, bytes.fromhex(case["n8"]))

    assert (key.hex(), hint.hex()) == (case["disc_key"], case["hint"])
    assert grants.matches_hint(key, hint)
    assert not any(grants.matches_hint(key, bytes.fromhex(h)) for h in case["refused"])


@pytest.mark.parametrize("case", cases("entries", "valid"))
def test_entry_is_sealed_to_the_frozen_bytes(case: dict[str, Any]) -> None:
    """Id, ciphertext and signature of an entry are the same on every node, for ever."""
    heading, seq = heading_of(case), case["seq"]
    key, prev, salt, body = unhex(case, "key", "prev", "salt", "body")
    ct, entry_id = entry.seal(heading, key, seq, prev, salt, body)
    header = entry.encode_header(heading, seq, prev, salt, len(ct), entry.ct_hash(ct))

    assert (ct.hex(), entry_id.hex()) == (case["ct"], case["entry_id"])
    assert header.hex() == case["header"]
    assert entry.key_id(key) == heading.key_id
    assert entry.auth_ref([bytes.fromhex(h) for h in case["heads"]]) == heading.auth_ref
    assert entry.sign_entry(DEVICES[0], entry_id).hex() == case["signature"]
    assert entry.verify_entry(heading.author, entry_id, bytes.fromhex(case["signature"]))


@pytest.mark.parametrize("case", cases("entries", "valid"))
def test_receiver_without_key_computes_the_frozen_id(case: dict[str, Any]) -> None:
    """A mailbox checks chains it cannot read."""
    prev, salt, ct, key = unhex(case, "prev", "salt", "ct", "key")
    entry_id, ad, nonce = entry.entry_id(heading_of(case), case["seq"], prev, salt, ct)
    header = entry.decode_header(bytes.fromhex(case["header"]))

    assert entry_id.hex() == case["entry_id"]
    assert (header.entry_id, header.seq) == (entry_id, case["seq"])
    assert (header.heading, header.prev, header.salt) == (heading_of(case), prev, salt)
    assert entry.open_sealed(key, ad, nonce, ct).hex() == case["body"]


@pytest.mark.parametrize("case", cases("headers", "valid"))
def test_good_header_is_read(case: dict[str, str]) -> None:
    """The refused headers beside it differ in one thing each, so this one must be good."""
    data = bytes.fromhex(case["header"])
    h = entry.decode_header(data)

    assert entry.encode_header(h.heading, h.seq, h.prev, h.salt, h.ct_len, h.ct_hash) == data


@pytest.mark.parametrize("case", cases("headers", "format"))
def test_header_with_one_fault_is_refused_for_it(case: dict[str, str]) -> None:
    """A fork is proved by two headers: nobody may be framed with a malformed one."""
    with pytest.raises(FormatError) as caught:
        entry.decode_header(bytes.fromhex(case["header"]))

    assert case["why"] in str(caught.value)


def test_sealed_body_opens_exactly_as_frozen() -> None:
    """Wrong key or changed bytes, and a badly padded body, are two different faults."""
    for case in VECTORS["openings"]:
        header, ct, key = unhex(case, "header", "ct", "key")
        if case["expect"] == "valid":
            assert entry.open_sealed(key, header[:220], header[192:216], ct)
            continue
        with pytest.raises(ERRORS[case["expect"]]) as caught:
            entry.open_sealed(key, header[:220], header[192:216], ct)
        assert case["why"] in str(caught.value)


@pytest.mark.parametrize("case", cases("certificates", "valid"))
def test_certificate_is_the_frozen_one(case: dict[str, Any]) -> None:
    """Certificates are kept in the membership log for ever."""
    keys, mesh = DEVICES[case["device"]], bytes.fromhex(case["mesh"])
    data = identity.make_certificate(keys, mesh, case["created_ms"])
    expected = identity.Certificate(mesh, keys.sig_pk, keys.dh_pk, keys.seal_pk, case["created_ms"])

    assert data.hex() == case["certificate"]
    assert identity.read_certificate(data) == expected


@pytest.mark.parametrize("case", cases("certificates", "format"))
def test_bad_certificate_is_refused_for_its_fault(case: dict[str, str]) -> None:
    """A key nobody can seal to would stop every later grant to the whole mesh."""
    with pytest.raises(FormatError) as caught:
        identity.read_certificate(bytes.fromhex(case["certificate"]))

    assert case["why"] in str(caught.value)


@pytest.mark.parametrize("case", cases("grants", "valid"))
def test_sealed_key_is_the_frozen_one(case: dict[str, Any]) -> None:
    """The box is libsodium's own format, with our plaintext in it."""
    keys = DEVICES[case["device"]]
    mesh, scope, key_id, key, ephemeral = unhex(case, "mesh", "scope", "key_id", "key", "ephemeral")
    epoch = case["epoch"]
    box = grants.seal_key(key, mesh, scope, epoch, keys.sig_pk, keys.seal_pk, lambda n: ephemeral)

    assert box.hex() == case["box"]
    assert grants.open_key(box, keys, mesh, scope, epoch, key_id) == key


@pytest.mark.parametrize("case", cases("grants", "open"))
def test_sealed_key_for_something_else_is_refused(case: dict[str, Any]) -> None:
    """A box must not be replayed for another mesh, scope, epoch or device."""
    mesh, scope, key_id, box = unhex(case, "mesh", "scope", "key_id", "box")

    with pytest.raises(OpenError) as caught:
        grants.open_key(box, DEVICES[case["device"]], mesh, scope, case["epoch"], key_id)

    assert case["why"] in str(caught.value)
    assert case["key"] not in str(caught.value)


@pytest.mark.parametrize("case", cases("names", "valid"))
def test_good_name_comes_back_in_nfc(case: dict[str, str]) -> None:
    """One name has one spelling, whatever keyboard it was typed on."""
    assert identity.check_name(case["name"]) == case["result"]
    assert identity.check_name(case["result"]) == case["result"]


@pytest.mark.parametrize("case", cases("names", "format"))
def test_name_that_deceives_an_eye_or_a_terminal_is_refused(case: dict[str, str]) -> None:
    """Names come from other devices and are printed next to questions about trust."""
    with pytest.raises(FormatError) as caught:
        identity.check_name(case["name"])

    assert case["why"] in str(caught.value)
    assert str(caught.value).isascii()
