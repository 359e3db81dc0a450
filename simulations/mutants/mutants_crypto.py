"""Mutants of the floor `crypto`: what is bound to what, and what is never used twice."""

from .mutant import Mutant

CRYPTO_MUTANTS = (
    Mutant(
        "seal-forgets-associated-data",
        "covey.crypto.entry",
        "    ct = encrypt(bucket_key(key, bucket), front[192:216], plain, front)\n",
        "    ad = front if heading.scope == CONTROL_SCOPE else front[:216]\n"
        "    ct = encrypt(bucket_key(key, bucket), front[192:216], plain, ad)\n",
        "The length of the ciphertext is left out of what data entries are bound to.",
    ),
    Mutant(
        "receiving-nonce-stays",
        "covey.crypto.noise_ciphers",
        "        self._nonce = nonce + 1\n        return plaintext\n",
        "        return plaintext\n",
        "The receiving end of a channel does not count its messages.",
    ),
    Mutant(
        "signature-not-verified",
        "covey.crypto.entry",
        "    return verify(author, LABEL_ENTRY_SIG + entry_id, signature)\n",
        "    return len(signature) == 64 and len(author) == ID_BYTES\n",
        "Any 64 bytes are taken for the signature of an entry.",
        scenario="hostile-peer",
    ),
)
