import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from tests.support.core.hostile_files import open_rgb
from tl_core.data.reading.png import without_extras

NOISE = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)


def saved(**more: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(NOISE).save(file, "PNG", **more)
    return file.getvalue()


def with_text(packed: bool, n: int = 1) -> bytes:
    info = PngImagePlugin.PngInfo()
    for i in range(n):
        info.add_text(f"text {i}", "x" * 2_500_000, zip=packed)
    return saved(pnginfo=info)


def with_late_text() -> bytes:
    """A large text behind the pixels."""
    chunk = b"zTXt" + b"late\0\0" + zlib.compress(bytes(3_000_000))
    late = struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
    plain = saved()
    return plain[:-12] + late + plain[-12:]


@pytest.mark.parametrize(
    "content",
    [saved(icc_profile=np.arange(600_000).tobytes()), with_text(packed=True),
     with_text(packed=False), with_text(packed=True, n=40), with_late_text()],
    ids=["profile", "packed text", "plain text", "many texts", "text at the end"],
)  # fmt: skip
def test_a_png_with_a_large_profile_or_text_is_used(content: bytes) -> None:
    assert (np.asarray(open_rgb(io.BytesIO(content))) == NOISE).all()


def test_only_profiles_and_texts_are_left_out() -> None:
    content = saved(icc_profile=b"profile", dpi=(72, 72))
    kept = without_extras(io.BytesIO(content)).read()
    assert b"iCCP" in content
    assert b"iCCP" not in kept
    assert b"pHYs" in kept
    assert without_extras(io.BytesIO(kept)).read() == kept
    for length in range(0, len(content), 13):
        short = without_extras(io.BytesIO(content[:length])).read()
        assert len(short) <= length
