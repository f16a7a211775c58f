"""Real pictures of each kind, odd, deep, turned or torn: each is used correctly or refused."""

import io
import os
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tests.support.core.hostile_files import open_rgb, put

ANIMATED: dict[str, Any] = {"save_all": True}
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "jpeg": ("JPEG", {}), "progressive jpeg": ("JPEG", {"progressive": True}),
    "photo of several pictures": ("MPO", ANIMATED), "png": ("PNG", {}),
    "animated png": ("PNG", ANIMATED), "gif": ("GIF", {}), "animated gif": ("GIF", ANIMATED),
    "webp": ("WEBP", {}), "lossless webp": ("WEBP", {"lossless": True}),
    "animated webp": ("WEBP", ANIMATED | {"lossless": True}), "bmp": ("BMP", {}),
    "tiff": ("TIFF", {}), "packed tiff": ("TIFF", {"compression": "tiff_lzw"}),
    "ppm": ("PPM", {}), "jpeg 2000": ("JPEG2000", {}), "avif": ("AVIF", {}),
}  # fmt: skip
LOSSLESS = ("png", "animated png", "lossless webp", "animated webp", "bmp", "tiff", "packed tiff",
            "ppm", "jpeg 2000")  # fmt: skip


def scene(seed: int = 0) -> NDArray[np.uint8]:
    """A smooth picture with some noise, uint8 [24, 32, 3]."""
    y, x = np.mgrid[:24, :32]
    noise = np.random.default_rng(seed).integers(0, 20, (24, 32, 3))
    smooth = np.stack([7 * x, 9 * y, 4 * (x + y)], axis=-1)
    return (smooth + noise).clip(0, 255).astype(np.uint8)


def encode(kind: str) -> bytes:
    file, (name, how) = io.BytesIO(), KINDS[kind]
    more = {"append_images": [Image.fromarray(255 - scene())]} if "save_all" in how else {}
    Image.fromarray(scene()).save(file, name, **how, **more)
    return file.getvalue()


def decode(content: bytes) -> NDArray[np.uint8]:
    return np.asarray(open_rgb(io.BytesIO(content)))


@pytest.mark.parametrize("kind", KINDS)
def test_the_first_frame_of_each_kind_is_read_whatever_its_name(kind: str, tmp_path: Path) -> None:
    found = np.asarray(open_rgb(put(tmp_path / "mislabelled.jpg", encode(kind))), dtype=np.int64)
    assert abs(found - scene()).mean() < (0.01 if kind in LOSSLESS else 12)


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("kind", KINDS)
def test_a_truncated_file_is_never_half_read(kind: str) -> None:
    content = encode(kind)
    whole = decode(content)
    refused = 0
    for length in range(0, len(content), max(1, len(content) // 40)):
        try:
            # Of an animation, or of what only ends a file, there may be enough.
            assert (decode(content[:length]) == whole).all()
        except (OSError, SyntaxError):  # Among them Pillow's UnidentifiedImageError.
            refused += 1
    assert refused > 5


def test_no_other_program_reads_a_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    called = tmp_path / "called"
    put(tmp_path / "bin" / "gs", f"#!/bin/sh\ntouch {called}\n".encode()).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=os.pathsep)
    monkeypatch.setattr("PIL.EpsImagePlugin.gs_binary", None)  # It is looked for once.
    postscript = put(tmp_path / "a.jpg", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    with Image.open(postscript) as image, pytest.raises(OSError, match=r"picture|file|cannot"):
        image.load()
    assert called.exists(), "Pillow itself would call it"
    called.unlink()
    with pytest.raises(OSError, match=r"^a PostScript document; export it as PNG or TIFF$"):
        open_rgb(postscript)
    assert not called.exists()


UPRIGHT = np.array([[0, 40, 80], [120, 160, 200]], dtype=np.uint8)
STORED = {
    **{i: [[0, 40, 80], [120, 160, 200]] for i in (1, 0, 9, 65535)},  # Only 1 is defined.
    2: [[80, 40, 0], [200, 160, 120]], 3: [[200, 160, 120], [80, 40, 0]],
    4: [[120, 160, 200], [0, 40, 80]], 5: [[0, 120], [40, 160], [80, 200]],
    6: [[80, 200], [40, 160], [0, 120]], 7: [[200, 80], [160, 40], [120, 0]],
    8: [[120, 0], [160, 40], [200, 80]],
}  # fmt: skip
"""How a camera stores `UPRIGHT` under each EXIF orientation (its section 4.6.4): for 6, row 0 is
the right side and column 0 the top."""


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_all_orientations_are_put_upright(kind: str, orientation: int) -> None:
    exif, file = Image.Exif(), io.BytesIO()
    exif[0x0112] = orientation
    stored = Image.fromarray(np.array(STORED[orientation], dtype=np.uint8))
    stored.convert("RGB").save(file, kind, exif=exif, lossless=True)
    assert decode(file.getvalue())[:, :, 0].tolist() == UPRIGHT.tolist()


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_broken_exif_costs_no_photo() -> None:
    exif = Image.Exif()
    exif[0x0112], exif[0x010F], exif[0x0132] = 6, "Maker", "2020:01:01 00:00:00"
    whole, rng = exif.tobytes(), np.random.default_rng(0)
    sizes = set()
    for _ in range(300):
        broken = bytearray(whole)
        for at in rng.integers(6, len(whole), 4):
            broken[at] = rng.integers(256)
        file = io.BytesIO()
        Image.new("RGB", (8, 4), "red").save(file, "JPEG", exif=bytes(broken))
        sizes.add(decode(file.getvalue()).shape)
    assert sizes == {(4, 8, 3), (8, 4, 3)}


@pytest.mark.parametrize(
    ("kind", "bits"),
    [("JPEG", np.uint8), ("PNG", np.uint8), ("PNG", np.uint16), ("WEBP", np.uint8)],
)
def test_a_block_that_is_no_exif_costs_no_picture(kind: str, bits: type) -> None:
    file = io.BytesIO()
    Image.fromarray(np.zeros((4, 8), bits)).save(file, kind, exif=b"Exif\0\0garbage!!")
    assert decode(file.getvalue()).shape == (4, 8, 3)


def test_cmyk_of_adobe_is_not_inverted() -> None:
    file = io.BytesIO()
    Image.new("CMYK", (16, 16), (0, 255, 255, 0)).save(file, "JPEG", quality=95)
    content = file.getvalue()
    assert b"Adobe" in content, "which stores inks inverted"
    assert abs(decode(content).astype(int) - (255, 0, 0)).max() <= 3


def test_16_bit_colours_of_a_ppm_are_scaled_and_not_clipped() -> None:
    levels = [200, 30, 10, 0, 128, 255]  # 257 = 65535 / 255.
    content = b"P6 2 1 65535\n" + struct.pack(">6H", *(257 * level for level in levels))
    assert decode(content).tolist() == [[levels[:3], levels[3:]]]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_are_refused(value: float) -> None:
    file = io.BytesIO()
    Image.fromarray(np.array([[value, 0.5]], dtype=np.float32)).save(file, "TIFF")
    with pytest.raises(ValueError, match="the picture holds values that are not finite"):
        open_rgb(file)
