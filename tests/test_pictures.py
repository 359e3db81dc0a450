"""Pictures: a small one of each, and nothing that a picture can do to us."""

import io
import struct
import zlib

import pytest
from PIL import Image

from covey.node.pictures import PIXELS_MAX, SIDE_PIXELS, thumbnail


def picture(size: tuple[int, int] = (900, 600), kind: str = "PNG", mode: str = "RGB") -> io.BytesIO:
    made = io.BytesIO()
    Image.new(mode, size, "red").save(made, kind)
    made.seek(0)
    return made


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF"])
def test_a_picture_becomes_small_and_keeps_its_shape(kind: str) -> None:
    """A list of pictures shows many at once."""
    made = thumbnail(picture(kind=kind), f"image/{kind.lower()}")

    assert made is not None and made.media_type == "image/jpeg"
    with Image.open(io.BytesIO(made.content)) as small:
        assert small.size == (SIDE_PIXELS, SIDE_PIXELS * 2 // 3)


def test_what_a_picture_carries_beside_its_pixels_is_left_behind() -> None:
    """Where a photo was taken must not travel with a small copy that goes further."""
    made = io.BytesIO()
    exif = Image.Exif()
    exif[0x010E] = "canary: at home"
    Image.new("RGB", (50, 50)).save(made, "JPEG", exif=exif, comment=b"canary")
    made.seek(0)
    small = thumbnail(made, "image/jpeg")

    assert small is not None and b"canary" not in small.content


def test_a_picture_is_turned_upright() -> None:
    """Phones write pixels as the sensor saw them, and say which way is up."""
    made = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (60, 30)).save(made, "JPEG", exif=exif)
    made.seek(0)
    small = thumbnail(made, "image/jpeg")

    assert small is not None
    with Image.open(io.BytesIO(small.content)) as found:
        assert found.size == (30, 60)


def test_transparent_pictures_stand_on_white() -> None:
    """Else what is see-through becomes black."""
    small = thumbnail(io.BytesIO(_see_through()), "image/png")

    assert small is not None
    with Image.open(io.BytesIO(small.content)) as found:
        assert found.getpixel((1, 1)) == (255, 255, 255)


def _see_through() -> bytes:
    made = io.BytesIO()
    Image.new("RGBA", (8, 8), (0, 0, 0, 0)).save(made, "PNG")
    return made.getvalue()


def test_a_picture_that_unpacks_beyond_bounds_is_not_unpacked() -> None:
    """A few bytes can say that they are a hundred million pixels."""
    side = int(PIXELS_MAX**0.5) + 1
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in ((b"IHDR", header), (b"IDAT", zlib.compress(bytes(1000))), (b"IEND", b""))
    )

    assert thumbnail(io.BytesIO(bomb), "image/png") is None


@pytest.mark.parametrize("kind", ["", "text/plain", "application/pdf", "image/x-eps", "image/tiff"])
def test_what_is_no_common_picture_is_not_looked_at(kind: str) -> None:
    """Rare formats are more code that a file could break."""
    assert thumbnail(picture(), kind) is None


def test_a_file_that_lies_about_its_format_is_not_opened_by_another_reader() -> None:
    """The media type is what somebody said; the readers that may run are fixed."""
    made = io.BytesIO()
    Image.new("RGB", (9, 9)).save(made, "TIFF")
    made.seek(0)

    with pytest.raises(OSError, match="cannot identify"):
        thumbnail(made, "image/png")
