"""What puts a photo upright that its camera has stored on its side."""

from PIL import ExifTags, Image

_TURNS: dict[object, Image.Transpose] = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""The transpose that undoes each EXIF orientation. Pillow's own `exif_transpose` also rewrites the
other tags, which fails if one of them is broken."""


def turn_of(image: Image.Image) -> Image.Transpose | None:
    """Return what undoes the EXIF orientation of a picture; None if it is upright or unknown."""
    try:
        return _TURNS.get(image.getexif().get(ExifTags.Base.Orientation))
    except Exception:  # Of a broken block, Pillow raises SyntaxError and more; pixels need none.
        return None
