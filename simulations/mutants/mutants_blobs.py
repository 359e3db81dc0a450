"""Bugs in how blobs are put, fetched, kept and served."""

from .mutant import Mutant

BLOB_MUTANTS: tuple[Mutant, ...] = (
    Mutant(
        "chunks-of-a-lost-link-stay-claimed",
        "covey.sync.blob_fetch",
        "        if giver is None:\n            return []\n        self._free(giver)\n",
        "        if giver is None:\n            return []\n",
        "What was under way when a link ended is never wanted of anybody again.",
        scenario="blobs",
    ),
    Mutant(
        "a-failed-put-leaves-its-chunks",
        "covey.node.blob_care",
        "            for row in await self._unfinished(BlobState.PUTTING):\n"
        "                await self._discard(row)\n",
        "            pass\n",
        "What a crash left of a put stays on the disk for ever.",
        scenario="blobs",
    ),
    Mutant(
        "a-chunk-counts-before-the-disk-has-it",
        "covey.node.blobs",
        "        self.files.write(place, index, sealed)\n        return chunk_id(sealed)\n",
        "        return chunk_id(sealed)\n",
        "A chunk of a put is named in the manifest and never stored.",
        scenario="blobs",
    ),
    Mutant(
        "records-do-not-tell-of-their-blobs",
        "covey.node.applying",
        "        if any(row.blobs for opened in entries for row in opened.rows):\n",
        "        if False:\n",
        "A blob that came to be known while its givers were linked is not fetched.",
        scenario="blobs",
    ),
)
