"""Variants: small stand-ins of blobs, made by callbacks of the application when a blob is put.

A callback gets the content as a file object and its media type, and returns a `Variant`, or None
for what it does not know. It runs beside the event loop. One that raises costs its variant and
nothing else: a picture that no library can read is still a file that somebody wants to keep.
"""

import io
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, BinaryIO

from ..storage.blob_files import BlobFiles
from ..sync.errors import BadValueError
from ..sync.limits import VARIANT_BYTES_MAX, VARIANTS_MAX
from ..sync.manifest import is_variant_name
from .blob_content import Content, ContentReader
from .blob_names import check_media_type


@dataclass(frozen=True, slots=True)
class Variant:
    """A small stand-in: its bytes, and what they are."""

    content: bytes
    media_type: str = ""


MakeVariant = Callable[[BinaryIO, str], Variant | None]


class Variants:
    """The callbacks of one node."""

    def __init__(self) -> None:
        self._callbacks: dict[str, MakeVariant] = {}
        self.failures: dict[str, str] = {}
        """The kind of the last failure of each: never its text, which may quote a content."""

    def register(self, name: str, callback: MakeVariant) -> None:
        """Make a variant of this name of whatever is put. A second one takes the first one's place.

        Raises BadValueError.
        """
        if not is_variant_name(name):
            raise BadValueError(f"{name!r:.40}: a variant has a short name of small letters")
        if len(self._callbacks) >= VARIANTS_MAX and name not in self._callbacks:
            raise BadValueError(f"more than {VARIANTS_MAX} variants")
        self._callbacks[name] = callback

    async def make(
        self,
        beside: Callable[..., Awaitable[Any]],
        files: BlobFiles,
        content: Content,
        media_type: str,
    ) -> list[tuple[str, Variant]]:
        """The variants of a content that is whole here, ascending by name."""
        made = []
        for name in sorted(self._callbacks):
            variant = await beside(lambda n=name: self._call(n, files, content, media_type))
            if variant is not None:
                made.append((name, variant))
        return made

    def _call(
        self, name: str, files: BlobFiles, content: Content, media_type: str
    ) -> Variant | None:
        reader = io.BufferedReader(ContentReader(files, content))
        try:
            variant = self._callbacks[name](reader, media_type)
            if variant is None:
                return None
            check_media_type(variant.media_type)
            if len(variant.content) > VARIANT_BYTES_MAX:
                raise BadValueError("a variant is a small stand-in")
        except Exception as error:
            self.failures[name] = type(error).__name__
            return None
        return variant
