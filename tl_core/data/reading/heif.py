"""HEIF pictures (.heic, of phones), with the optional package pillow-heif."""

from functools import cache

from tl_core.data.reading.kinds import NotAPictureError

HEIF = "HEIF"
"""Pillow's name of the format."""


@cache
def register_heif() -> None:
    """Let Pillow read HEIF; raises `NotAPictureError` that says how, if the package is missing."""
    try:
        import pillow_heif
    except ImportError as error:
        how = "pip install -c constraints.txt -e '.[heic]' lets them be read"
        raise NotAPictureError(f"a HEIC picture; {how}") from error
    pillow_heif.register_heif_opener(thumbnails=False)
