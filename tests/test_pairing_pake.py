"""Pairing: the right code agrees, and every other way through the key exchange ends in an error."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from hashlib import blake2b, sha256
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nacl import bindings as sodium
from nacl.signing import SigningKey

from covey.crypto.noise import Handshake, Pattern
from covey.crypto.pairing import (
    POINT_BYTES,
    PairingFailed,
    PakeInitiator,
    PakeResponder,
    Side,
    WrongCodeError,
    key_is_proved,
    pair_cid,
    prove_key,
)

VECTOR = json.loads((Path(__file__).parent / "vectors" / "covey_pairing.json").read_text())

CODE = "amber-clock-river"
H = bytes(range(32))
STATIC_A = b"\xaa" * 32
STATIC_B = b"\xbb" * 32

# Constants of SPAKE2 over edwards25519, made by `spake2` from the seeds b"M" and b"N".
M = bytes.fromhex("15cfd18e385952982b6a8f8c7854963b58e34388c8e6dae891db756481a02312")
N = bytes.fromhex("f04f2e7eb734b2a8f8b472eaf9c3c632576ac64aea650b496a8a20ff00e583c3")
ORDER = 2**252 + 27742317777372353535851937790883648493

USABLE_POINT = sodium.crypto_scalarmult_ed25519_base_noclamp(b"\5" + bytes(31))


def entropy(seed: str) -> Callable[[int], bytes]:
    """A stream of bytes that differs between sides and is the same in every run."""
    count = 0

    def draw(size: int) -> bytes:
        nonlocal count
        count += 1
        return blake2b(f"{seed} {count}".encode(), digest_size=size).digest()

    return draw


def sides(
    code_a: str = CODE, code_b: str = CODE, h_a: bytes = H, h_b: bytes = H
) -> tuple[PakeInitiator, PakeResponder]:
    return (
        PakeInitiator(code_b, h_b, STATIC_A, STATIC_B, entropy("B")),
        PakeResponder(code_a, h_a, STATIC_A, STATIC_B, entropy("A")),
    )


def run(b: PakeInitiator, a: PakeResponder) -> None:
    b.finish(a.finish(b.confirm(a.answer(b.start()))))


def test_one_code_and_one_handshake_agree() -> None:
    """The whole point of it."""
    b, a = sides()
    run(b, a)

    assert a.agreed and b.agreed


def test_a_wrong_code_fails_at_step_3_and_b_learns_nothing_before() -> None:
    """One guess a code: A confirms nothing before it has checked B."""
    b, a = sides(code_b="amber-clock-robin")
    confirmation = b.confirm(a.answer(b.start()))
    with pytest.raises(WrongCodeError, match="codes differ"):
        a.finish(confirmation)

    assert not a.agreed and not b.agreed
    with pytest.raises(PairingFailed):
        a.finish(confirmation)


def test_b_refuses_a_wrong_confirmation_of_a() -> None:
    """Somebody who only pretends to show the code must not enrol B into his own mesh."""
    b, a = sides()
    right = a.finish(b.confirm(a.answer(b.start())))
    with pytest.raises(WrongCodeError):
        b.finish(right[:-1] + bytes([right[-1] ^ 1]))

    assert not b.agreed
    with pytest.raises(PairingFailed, match="after a failure"):
        b.finish(right)


@pytest.mark.parametrize("size", [0, 31, 33])
def test_a_confirmation_of_another_size_is_refused(size: int) -> None:
    """A comparison over a prefix would be a weaker one."""
    b, a = sides()
    confirmation = (b.confirm(a.answer(b.start())) * 2)[:size]

    with pytest.raises(WrongCodeError):
        a.finish(confirmation)


def test_two_handshakes_do_not_agree_even_with_the_right_code() -> None:
    """A man in the middle can forward every message but cannot make the two hashes equal."""
    b, a = sides(h_b=bytes(32))
    confirmation = b.confirm(a.answer(b.start()))

    with pytest.raises(WrongCodeError):
        a.finish(confirmation)


def handshakes(static_a: bytes, static_b: bytes, seed: str) -> tuple[Handshake, Handshake]:
    """A finished XX handshake: (B's side, A's side)."""
    b = Handshake(Pattern.XX, True, b"hello", entropy(f"{seed} b"), static=static_b)
    a = Handshake(Pattern.XX, False, b"hello", entropy(f"{seed} a"), static=static_a)
    a.read(b.write())
    b.read(a.write())
    a.read(b.write())
    return b, a


def test_a_man_in_the_middle_of_real_handshakes_is_found_out() -> None:
    """He runs one handshake with each device and passes the pairing messages on unchanged."""
    key_a, key_b, key_m = b"a" * 32, b"b" * 32, b"m" * 32
    at_b, _ = handshakes(key_m, key_b, "towards B")
    _, at_a = handshakes(key_a, key_m, "towards A")
    public_a, public_b = map(sodium.crypto_scalarmult_base, (key_a, key_b))
    their_a, their_b = at_b.remote_static, at_a.remote_static
    assert their_a is not None and their_b is not None
    b = PakeInitiator(CODE, at_b.handshake_hash, their_a, public_b, entropy("B"))
    a = PakeResponder(CODE, at_a.handshake_hash, public_a, their_b, entropy("A"))
    confirmation = b.confirm(a.answer(b.start()))

    with pytest.raises(WrongCodeError):
        a.finish(confirmation)


def test_one_real_handshake_agrees() -> None:
    """Shows that the test above fails for the reason it gives."""
    key_a, key_b = b"a" * 32, b"b" * 32
    at_b, at_a = handshakes(key_a, key_b, "direct")
    public_a, public_b = map(sodium.crypto_scalarmult_base, (key_a, key_b))
    assert at_b.remote_static == public_a and at_a.remote_static == public_b
    b = PakeInitiator(CODE, at_b.handshake_hash, public_a, public_b, entropy("B"))
    a = PakeResponder(CODE, at_a.handshake_hash, public_a, public_b, entropy("A"))
    run(b, a)

    assert a.agreed and b.agreed


@pytest.mark.parametrize("which", ["static_a", "static_b"])
def test_other_static_keys_do_not_agree(which: str) -> None:
    """The channel ids bind the exchange to who is at each end, not only to the hash."""
    statics = {"static_a": STATIC_A, "static_b": STATIC_B, which: b"\xcc" * 32}
    b, _ = sides()
    a = PakeResponder(CODE, H, statics["static_a"], statics["static_b"], entropy("A"))
    confirmation = b.confirm(a.answer(b.start()))

    with pytest.raises(WrongCodeError):
        a.finish(confirmation)


def test_reflected_messages_are_refused() -> None:
    """Who knows no code could otherwise let a device agree with itself."""
    b, a = sides()
    pb = b.start()
    with pytest.raises(PairingFailed):
        b.confirm(pb)
    own = a.answer(pb)
    _, other = sides()
    with pytest.raises(PairingFailed):
        other.answer(own)


def test_a_point_reflected_under_the_other_side_letter_is_refused() -> None:
    """The side letter is not part of the point, so changing it is the obvious next try."""
    b, _ = sides()
    pb = b.start()

    with pytest.raises(PairingFailed):
        b.confirm(b"B" + pb[1:])


def test_a_reflected_confirmation_is_refused() -> None:
    """A's and B's confirmations differ in key and label, so neither serves as the other."""
    b, a = sides()
    own = b.confirm(a.answer(b.start()))

    with pytest.raises(WrongCodeError):
        b.finish(own)


BAD_POINTS = {
    "empty": b"",
    "side letter alone": b"A",
    "short": b"A" + USABLE_POINT[:-1],
    "long": b"A" + USABLE_POINT + b"\0",
    "own side": b"B" + USABLE_POINT,
    "symmetric side": b"S" + USABLE_POINT,
    "neutral element": b"A" + b"\1" + bytes(31),
    "neutral element, second spelling": b"A" + bytes.fromhex("ee" + "ff" * 30 + "7f"),
    "order 2": b"A" + bytes.fromhex("ec" + "ff" * 30 + "7f"),
    "order 4": b"A" + bytes(32),
    "not on the curve": b"A" + b"\2" + bytes(31),
    "all ones": b"A" + b"\xff" * 32,
    "mixed order": b"A"
    + sodium.crypto_core_ed25519_add(USABLE_POINT, bytes.fromhex("ec" + "ff" * 30 + "7f")),
}

SWAPPED_SIDES = bytes.maketrans(b"AB", b"BA")


@pytest.mark.parametrize("point", BAD_POINTS.values(), ids=BAD_POINTS.keys())
def test_an_unusable_point_is_refused_and_does_not_burn_the_code(point: bytes) -> None:
    """The library raises AssertionError, ValueError and its own; a stranger must reach none."""
    _, a = sides()
    with pytest.raises(PairingFailed) as refused:
        a.answer(point)

    assert not isinstance(refused.value, WrongCodeError)
    with pytest.raises(PairingFailed, match="after a failure"):
        a.answer(b"A" + USABLE_POINT)


def test_b_refuses_unusable_points_too() -> None:
    """Whoever answers B is as much a stranger as who calls A."""
    for point in BAD_POINTS.values():
        b, _ = sides()
        b.start()
        with pytest.raises(PairingFailed):
            b.confirm(point[:1].translate(SWAPPED_SIDES) + point[1:])


def test_the_usable_point_of_these_tests_is_accepted() -> None:
    """Otherwise the refusals above could have another cause."""
    _, a = sides()

    assert len(a.answer(b"A" + USABLE_POINT)) == POINT_BYTES


@settings(max_examples=60, deadline=None)
@given(st.one_of(st.binary(max_size=70), st.binary(min_size=32, max_size=32).map(b"A".__add__)))
def test_random_bytes_are_refused_or_lead_to_no_agreement(message: bytes) -> None:
    """The only exception a stranger's bytes can cause is ours."""
    _, a = sides()
    try:
        a.answer(message)
        a.finish(message[:32])
    except PairingFailed:
        pass

    assert not a.agreed


def test_replayed_messages_of_another_run_do_not_agree() -> None:
    """All of B's messages recorded, and played to a window that shows the same code again."""
    b, a = sides()
    pb = b.start()
    confirmation = b.confirm(a.answer(pb))
    again = PakeResponder(CODE, H, STATIC_A, STATIC_B, entropy("A, later"))
    again.answer(pb)

    with pytest.raises(WrongCodeError):
        again.finish(confirmation)


def finish_twice(b: PakeInitiator, a: PakeResponder) -> None:
    run(b, a)
    a.finish(bytes(32))


WRONG_ORDERS: dict[str, Callable[[PakeInitiator, PakeResponder], object]] = {
    "B starts twice": lambda b, a: (b.start(), b.start()),
    "B confirms first": lambda b, a: b.confirm(b"B" + USABLE_POINT),
    "B finishes first": lambda b, a: b.finish(bytes(32)),
    "A finishes first": lambda b, a: a.finish(bytes(32)),
    "A answers twice": lambda b, a: (a.answer(b"A" + USABLE_POINT), a.answer(b"A" + USABLE_POINT)),
    "A finishes twice": finish_twice,
}


@pytest.mark.parametrize("play", WRONG_ORDERS.values(), ids=WRONG_ORDERS.keys())
def test_messages_out_of_order_end_it(
    play: Callable[[PakeInitiator, PakeResponder], object],
) -> None:
    """A second use of one machine is a second guess, or gives the code away."""
    b, a = sides()

    with pytest.raises(PairingFailed):
        play(b, a)


def test_a_library_that_fails_in_any_way_is_one_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """An AssertionError of the library would look like a defect of ours and end the node."""
    b, a = sides()
    pb = b.start()

    def fail(message: bytes) -> bytes:
        raise AssertionError(f"{CODE} in the text of a library")

    monkeypatch.setattr(a._spake, "finish", fail)
    with pytest.raises(PairingFailed) as failed:
        a.answer(pb)

    assert "AssertionError" in str(failed.value) and CODE not in str(failed.value)


def test_representations_do_not_show_the_code() -> None:
    """The code is worth a place in the mesh for five minutes."""
    b, a = sides()

    assert (repr(b), repr(a)) == ("<PakeInitiator: start>", "<PakeResponder: start>")


def test_the_constants_of_the_library_are_the_documented_ones() -> None:
    """Whoever knows a discrete logarithm of M or N reads codes; these come from a hash."""
    from spake2.parameters.ed25519 import ParamsEd25519

    assert (ParamsEd25519.M.to_bytes(), ParamsEd25519.N.to_bytes()) == (M, N)


def hkdf_sha256(secret: bytes, info: bytes, size: int) -> bytes:
    import hmac

    key = hmac.digest(bytes(32), secret, "sha256")
    out, block = b"", b""
    for number in range(1, -(-size // 32) + 1):
        block = hmac.digest(key, block + info + bytes([number]), "sha256")
        out += block
    return out[:size]


def spake2_on_libsodium(
    code: bytes, side: bytes, drawn: bytes, their_point: bytes, id_a: bytes, id_b: bytes
) -> tuple[bytes, bytes]:
    """A second implementation of SPAKE2: (our point with side letter, key)."""

    def scalar(number: int) -> bytes:
        return (number % ORDER).to_bytes(32, "little")

    times = sodium.crypto_scalarmult_ed25519_noclamp
    w = int.from_bytes(hkdf_sha256(code, b"SPAKE2 pw", 48), "big") % ORDER
    own = scalar(int.from_bytes(drawn, "big"))
    ours, theirs = (M, N) if side == b"A" else (N, M)
    point = sodium.crypto_core_ed25519_add(
        sodium.crypto_scalarmult_ed25519_base_noclamp(own), times(scalar(w), ours)
    )
    unblinded = sodium.crypto_core_ed25519_sub(their_point[1:], times(scalar(w), theirs))
    x, y = (point, their_point[1:]) if side == b"A" else (their_point[1:], point)
    hashes = b"".join(sha256(text).digest() for text in (code, id_a, id_b))
    return side + point, sha256(hashes + x + y + times(own, unblinded)).digest()


def test_the_frozen_transcript_is_made_again() -> None:
    """Other versions of Covey, and other programs, must pair with this one."""
    field = {name: bytes.fromhex(text) for name, text in VECTOR["hex"].items()}
    statics = field["handshake_hash"], field["static_a"], field["static_b"]
    b = PakeInitiator(VECTOR["code"], *statics, lambda size: field["entropy_b"][:size])
    a = PakeResponder(VECTOR["code"], *statics, lambda size: field["entropy_a"][:size])
    pb = b.start()
    pa = a.answer(pb)
    confirmation_b = b.confirm(pa)
    confirmation_a = a.finish(confirmation_b)
    b.finish(confirmation_a)
    key = SigningKey(field["sig_seed"])
    proof = prove_key(lambda m: key.sign(m).signature, field["handshake_hash"])

    assert pair_cid(field["handshake_hash"], Side.A_SHOWS, field["static_a"]) == field["cid_a"]
    assert pair_cid(field["handshake_hash"], Side.B_TYPES, field["static_b"]) == field["cid_b"]
    assert (pb, pa) == (field["pb"], field["pa"])
    assert (confirmation_b, confirmation_a) == (field["confirmation_b"], field["confirmation_a"])
    assert proof == field["proof"]


def test_the_frozen_transcript_follows_from_the_specification() -> None:
    """Written from the document with libsodium alone: a vector of our own proves nothing else."""
    field = {name: bytes.fromhex(text) for name, text in VECTOR["hex"].items()}
    code = VECTOR["code"].encode()
    h = field["handshake_hash"]
    keyed = partial(blake2b, digest_size=32)
    cid_a = keyed(h + b"A" + field["static_a"], person=b"cvy-pair-cid-v1-").digest()
    cid_b = keyed(h + b"B" + field["static_b"], person=b"cvy-pair-cid-v1-").digest()
    pb, key = spake2_on_libsodium(code, b"A", field["entropy_b"], field["pa"], cid_b, cid_a)
    pa, same_key = spake2_on_libsodium(code, b"B", field["entropy_a"], field["pb"], cid_b, cid_a)
    key_a = keyed(key=key, person=b"cvy-pair-confA-1").digest()
    key_b = keyed(key=key, person=b"cvy-pair-confB-1").digest()
    confirmation_a = keyed(h + pb + pa, key=key_a, person=b"cvy-pair-mac-A-1").digest()
    confirmation_b = keyed(h + pb + pa, key=key_b, person=b"cvy-pair-mac-B-1").digest()

    assert key == same_key
    assert (cid_a, cid_b, pb, pa) == tuple(field[name] for name in ("cid_a", "cid_b", "pb", "pa"))
    assert confirmation_a == field["confirmation_a"]
    assert confirmation_b == field["confirmation_b"]


def test_a_proof_of_the_device_key_holds_for_one_key_and_one_handshake() -> None:
    """B must own the key it asks to enrol, now and not in a recording."""
    key, other = SigningKey(b"k" * 32), SigningKey(b"o" * 32)
    proof = prove_key(lambda m: key.sign(m).signature, H)
    public = key.verify_key.encode()

    assert key_is_proved(public, H, proof)
    assert not key_is_proved(other.verify_key.encode(), H, proof)
    assert not key_is_proved(public, bytes(32), proof)
    assert not key_is_proved(public, H, proof[:-1])
    assert not key_is_proved(public[:-1], H, proof)
    assert not key_is_proved(public, H, bytes(64))
