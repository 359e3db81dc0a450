"""Remembered answers of libsodium are those that it gives, and nothing else is remembered."""

import pytest
from nacl import bindings

from covey.crypto import aead, identity, noise
from covey.crypto.errors import FormatError, OpenError
from covey.crypto.identity import DeviceKeys, check_public_keys, verify
from covey.simulations.dice import Dice
from covey.simulations.sim_entropy import SimEntropy
from covey.simulations.sodium import _ALL, ANSWERS_BYTES_MAX, _Answers, remembered

NOISE, IDENTITY = vars(noise), vars(identity)
"""The names by which these modules ask libsodium."""
KEY, NONCE = bytes(range(32)), bytes(24)


def keys_of(name: str) -> DeviceKeys:
    return DeviceKeys.generate(SimEntropy(Dice("sodium"), name, 0).draw)


def test_both_ends_of_an_exchange_get_what_sodium_gives() -> None:
    """The second end is told what the first got, so it had better be the same."""
    ours, theirs = keys_of("ours"), keys_of("theirs")
    our_secret, their_secret = ours.dh_secret().reveal(), theirs.dh_secret().reveal()
    expected = bindings.crypto_scalarmult(our_secret, theirs.dh_pk)

    with remembered():
        assert NOISE["crypto_scalarmult"](our_secret, theirs.dh_pk) == expected
        assert NOISE["crypto_scalarmult"](their_secret, ours.dh_pk) == expected
        assert NOISE["crypto_scalarmult_base"](our_secret) == ours.dh_pk


def test_a_signature_holds_for_its_message_and_its_key_only() -> None:
    """A device that accepts a forged entry must do so in the simulator as well."""
    keys, other = keys_of("signer"), keys_of("other")

    with remembered():
        signature = keys.sign(b"said")

        for _ in range(2):
            assert verify(keys.sig_pk, b"said", signature)
            assert not verify(keys.sig_pk, b"sad!", signature)
            assert not verify(other.sig_pk, b"said", signature)
            assert not verify(keys.sig_pk, b"said", signature[:-1] + bytes((signature[-1] ^ 1,)))


@pytest.mark.parametrize("changed", ["key", "nonce", "ciphertext", "ad"])
def test_what_was_encrypted_opens_under_nothing_else(changed: str) -> None:
    """Every argument is a part of the question, or a mixed-up one would never be noticed."""
    with remembered():
        asked = {
            "key": KEY,
            "nonce": NONCE,
            "ciphertext": aead.encrypt(KEY, NONCE, b"plain", b"where"),
            "ad": b"where",
        }
        assert aead.decrypt(**asked) == b"plain"

        spoiled = asked[changed]
        asked[changed] = bytes((spoiled[0] ^ 1,)) + spoiled[1:]
        for _ in range(2):
            with pytest.raises(OpenError):
                aead.decrypt(**asked)


def test_a_key_of_small_order_is_refused_each_time() -> None:
    """A failure is no answer, so it is not remembered as one."""
    keys = keys_of("member")

    with remembered():
        for _ in range(2):
            with pytest.raises(FormatError):
                check_public_keys(keys.sig_pk, bytes(32), keys.seal_pk)


def test_afterwards_the_program_asks_sodium_again() -> None:
    """Tests of the cryptography share a process with simulations."""
    with remembered():
        with remembered():
            assert NOISE["crypto_scalarmult"] is not bindings.crypto_scalarmult
        assert NOISE["crypto_scalarmult"] is not bindings.crypto_scalarmult

    assert NOISE["crypto_scalarmult"] is bindings.crypto_scalarmult
    assert IDENTITY["crypto_sign_open"] is bindings.crypto_sign_open


def test_no_more_memory_is_taken_than_the_limit() -> None:
    """A year is simulated in one process, and a message of a channel has 64 KiB."""
    answers = _Answers()
    for number in range(3 * ANSWERS_BYTES_MAX // 65_536):
        answers.keep((number.to_bytes(4, "big"), bytes(32_768)), bytes(32_768))
        assert answers.size <= ANSWERS_BYTES_MAX
        assert answers.size == sum(len(q[0]) + len(q[1]) + len(a) for q, a in answers.items())


def test_nothing_is_remembered_from_one_run_to_the_next() -> None:
    """Thousands of seeds run in one process: together they held gigabytes."""
    with remembered():
        NOISE["crypto_scalarmult_base"](bytes(32))
        assert len(_ALL[0]) == 1
    assert not any(_ALL)
