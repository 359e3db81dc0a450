"""Pictures: thumbnails of what is put, with Pillow, if it is installed (`covey[pictures]`).

Pillow is imported when the first picture is put, and not before. It reads what this person's own
programs put, never what a peer sent; still, a picture may come from anywhere. So the size is looked
at before anything is decoded, only common formats are tried, and nothing that a picture carries
beside its pixels (place, camera, comments) gets into the thumbnail.
"""

import io
from typing import BinaryIO

from .variants import Variant

PIXELS_MAX = 64_000_000
"""A picture that unpacks to more is not opened: 256 MB at 4 bytes a pixel."""
SIDE_PIXELS = 320
QUALITY = 75
FORMATS = ("JPEG", "PNG", "WEBP", "GIF")
MEDIA_TYPES = frozenset(("image/jpeg", "image/png", "image/webp", "image/gif"))


def thumbnail(content: BinaryIO, media_type: str) -> Variant | None:
    """A JPEG of at most 320 pixels a side; None without Pillow or for what is no such picture.

    Raises what Pillow raises for a picture that it cannot read.
    """
    if media_type not in MEDIA_TYPES:
        return None
    try:
        from PIL import Image, ImageOps
    except ImportError:
        return None
    # Formats are named, because the others are more code that nobody needs to run on a picture.
    with Image.open(content, formats=FORMATS) as picture:
        width, height = picture.size
        if width * height > PIXELS_MAX:
            return None
        picture.draft("RGB", (SIDE_PIXELS, SIDE_PIXELS))
        upright = ImageOps.exif_transpose(picture)
        upright.thumbnail((SIDE_PIXELS, SIDE_PIXELS))
        flat = Image.new("RGB", upright.size, "white")
        alpha = upright.convert("RGBA")
        flat.paste(alpha, mask=alpha.getchannel("A"))
    made = io.BytesIO()
    flat.save(made, "JPEG", quality=QUALITY, optimize=True)
    return Variant(made.getvalue(), "image/jpeg")
