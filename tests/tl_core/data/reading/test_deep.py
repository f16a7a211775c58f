import io
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tests.support.core.hostile_files import GREY, RGB, open_rgb, png, tiff
from tl_core.data.decode import open_picture
from tl_core.data.reading.deep import Deep, Depth, Levels, fit_levels, fit_scales

RGBA = 6


@pytest.mark.parametrize(("ranges", "levels"), [
    ([(0, 4095)], (0, 4095)), ([(0, 4021), (17, 90)], (0, 4095)), ([(0, 4096)], (0, 8191)),
    ([(5, 65535)], (0, 65535)), ([(0, 200)], (0, 255)), ([(0, 1)], (0, 1)),
    ([(30_000, 34_000)], (30_000, 34_000)), ([(-1024, 3071)], (-1024, 3071)),
    ([(0, 2**31 - 1)], (0, 2**31 - 1)), ([(7, 7)], (0, 255)), ([(-3, -3)], (0, 255)),
    ([(0.0, 0.9), (0.1, 1.0)], (0, 1)), ([(0.0, 0.9), (0.1, 1.2)], (0.0, 1.2)),
    ([(0.0, 254.0)], (0, 255)), ([(-1.0, 1.0)], (-1.0, 1.0)), ([(0.0, 0.01)], (0.0, 0.01)),
    ([(0.0, 1e20)], (0, 1e20)),
])  # fmt: skip
def test_the_range_of_a_data_set(
    ranges: list[tuple[float, float]], levels: tuple[float, float]
) -> None:
    assert fit_levels([Levels(*both) for both in ranges]) == levels


@given(st.lists(st.tuples(*[st.integers(-70_000, 70_000)] * 2), min_size=1))
def test_no_value_is_clipped_and_a_quarter_of_the_levels_is_used(
    pairs: list[tuple[int, int]],
) -> None:
    ranges = [Levels(min(pair), max(pair)) for pair in pairs]
    low, high = min(r.black for r in ranges), max(r.white for r in ranges)
    black, white = fit_levels(ranges)
    if low < high:
        assert black <= low <= high <= white
        assert high - low >= (white - black) / 4


def read(content: bytes) -> Deep:
    picture = open_picture(io.BytesIO(content))
    assert isinstance(picture, Deep)
    return picture


def shorts(*values: int, order: str = ">") -> bytes:
    return struct.pack(f"{order}{len(values)}H", *values)


COLOURS = (1, 256, 4095, 65535, 770, 2)


@pytest.mark.parametrize(("content", "depth", "values"), [
    (png(3, 1, 16, GREY, b"\0" + shorts(1, 300, 4095)), "16-bit grey", [[1, 300, 4095]]),
    (tiff(3, 16, 1, shorts(1, 300, 4095, order="<")), "16-bit grey", [[1, 300, 4095]]),
    (tiff(3, 16, 1, shorts(1, 300, 4095), order=">"), "16-bit grey", [[1, 300, 4095]]),
    (b"P5 3 1 65535\n" + shorts(1, 300, 4095), "16-bit grey", [[1, 300, 4095]]),
    (tiff(3, 12, 1, bytes((0x00, 0x00, 0xA1, 0xFF, 0xF0))), "12-bit grey", [[0, 161, 4095]]),
    (png(2, 1, 16, RGB, b"\0" + shorts(*COLOURS)), "16-bit colour", None),
    (tiff(2, 16, 3, shorts(*COLOURS, order="<")), "16-bit colour", None),
    (tiff(2, 16, 3, shorts(*COLOURS), order=">"), "16-bit colour", None),
])  # fmt: skip
def test_all_bits_are_read(content: bytes, depth: Depth, values: object) -> None:
    found = read(content)
    assert found.depth == depth
    assert found.values.tolist() == (values or [[[1, 256, 4095], [65535, 770, 2]]])
    assert found.alpha is None


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "tiff_adobe_deflate"])
def test_packed_grey_of_a_tiff(compression: str) -> None:
    file, values = io.BytesIO(), np.array([[1, 300], [4095, 0]], dtype=np.uint16)
    Image.fromarray(values).save(file, "TIFF", compression=compression)
    assert (read(file.getvalue()).values == values).all()


def test_colours_with_transparency_are_put_on_white() -> None:
    rows = b"\0" + shorts(4095, 0, 0, 65535, 0, 0, 4095, 0)
    found = read(png(2, 1, 16, RGBA, rows))
    assert found.values.tolist() == [[[4095, 0, 0], [0, 0, 4095]]]
    rgb = np.asarray(found.to_rgb({"16-bit colour": Levels(0, 4095)}))
    assert rgb.tolist() == [[[255, 0, 0], [255, 255, 255]]]


@pytest.mark.parametrize(("kind", "rows", "more", "values", "alpha"), [
    # Grey and transparency in turn.
    (4, (4095, 65535, 300, 0, 7, 32768), b"", [[4095, 300, 7]], [[255, 0, 128]]),
    # One value is said to be clear, with all of its bits.
    (GREY, (300, 4095, 301), b"tRNS" + shorts(300), [[300, 4095, 301]], [[0, 255, 255]]),
    (RGB, (1, 2, 300, 1, 2, 301, 9, 9, 9), b"tRNS" + shorts(1, 2, 300),
     [[[1, 2, 300], [1, 2, 301], [9, 9, 9]]], [[0, 255, 255]]),
])  # fmt: skip
def test_all_bits_are_read_beside_transparency(
    kind: int, rows: tuple[int, ...], more: bytes, values: object, alpha: object
) -> None:
    found = read(png(3, 1, 16, kind, b"\0" + shorts(*rows), more))
    assert found.depth == ("16-bit colour" if kind == RGB else "16-bit grey")
    assert found.values.tolist() == values
    assert found.alpha is not None
    assert found.alpha.tolist() == alpha


def test_a_scale_replaces_the_full_range() -> None:
    content = io.BytesIO(png(4, 1, 16, GREY, b"\0" + shorts(0, 1024, 4095, 5000)))
    scaled = open_rgb(content, {"16-bit grey": Levels(0, 4095)})
    assert np.asarray(scaled)[0, :, 0].tolist() == [0, 63, 255, 255]
    scales: list[dict[Depth, Levels]] = [{}, {"fractions": Levels(0, 1)}]
    for others in scales:
        assert np.asarray(open_rgb(content, others))[0, :, 0].tolist() == [0, 3, 15, 19]


@pytest.mark.parametrize(("values", "white"), [
    (np.array([[0, 100, 200]], np.int32), 255), (np.array([[0, 100, 300]], np.int32), 65535),
    (np.array([[0, 9, 70_000]], np.int32), 2**32 - 1), (np.array([[-5, 1, 900]], np.int32), 65535),
    (np.array([[0, 0.25, 0.75]], np.float32), 1), (np.array([[0, 0.5, 1.5]], np.float32), 255),
    (np.array([[0.7, 0.8, 0.9]], np.float32), 1),
])  # fmt: skip
def test_without_a_scale_32_bits_are_scaled_as_in_studies_that_recorded_none(
    values: np.ndarray, white: float
) -> None:
    """The rule of those versions: white is the narrowest of four ranges, black is 0."""
    file = io.BytesIO()
    Image.fromarray(values).save(file, "TIFF")
    expected = np.clip(values.astype(float) * (255 / white), 0, 255).astype(np.uint8)
    assert (np.asarray(open_rgb(file))[..., 0] == expected).all()


@pytest.mark.parametrize("scales", [{}, {"16-bit colour": Levels(0, 65535)}])
def test_full_colours_are_what_pillow_makes_of_them(scales: dict[Depth, Levels]) -> None:
    values = np.random.default_rng(0).integers(0, 65536, (4, 5, 3), dtype=np.uint16)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    content = png(5, 4, 16, RGB, rows)
    with Image.open(io.BytesIO(content)) as image:
        expected = np.asarray(image.convert("RGB"))
    assert (np.asarray(open_rgb(io.BytesIO(content), scales)) == expected).all()


def test_deep_pictures_are_turned_upright() -> None:
    exif, file = Image.Exif(), io.BytesIO()
    exif[0x0112] = 6
    grey = np.array([[0, 65535, 0]], dtype=np.uint16)
    Image.fromarray(grey).save(file, "PNG", exif=exif)
    assert np.asarray(open_rgb(file))[:, :, 0].tolist() == [[0], [255], [0]]


def test_scales_are_fitted_to_each_kind() -> None:
    ranges: list[tuple[Depth, Levels]] = [
        ("16-bit grey", Levels(0, 900)),
        ("fractions", Levels(0.0, 0.5)),
        ("16-bit grey", Levels(3, 4000)),
    ]
    scales = fit_scales(ranges)
    assert scales == {"16-bit grey": (0, 4095), "fractions": (0, 1)}
