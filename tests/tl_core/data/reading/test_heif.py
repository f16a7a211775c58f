import builtins
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.support.core.hostile_files import open_rgb, put
from tl_core.data.reading.heif import register_heif
from tl_core.data.reading.kinds import NotAPictureError

HEIC = b"\0\0\0\x1cftypheic\0\0\0\0mif1heicmiaf" + bytes(99)


def test_a_refusal_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any) -> Any:
        if name == "pillow_heif":
            raise ImportError(name)
        return real(name, *args)

    register_heif.cache_clear()
    monkeypatch.setattr(builtins, "__import__", without)
    why = r"^a HEIC picture; pip install -c constraints.txt -e '\.\[heic\]' lets them be read$"
    for name in ("a.heic", "a.HEIF", "a.jpg"):
        with pytest.raises(NotAPictureError, match=why):
            open_rgb(put(tmp_path / name, HEIC))


@pytest.mark.parametrize(("orientation", "lit"), [(1, (0, 0)), (6, (63, 0)), (3, (95, 63))])
def test_photos_of_phones_are_read_upright(
    tmp_path: Path, orientation: int, lit: tuple[int, int]
) -> None:
    pillow_heif = pytest.importorskip("pillow_heif")
    pillow_heif.register_heif_opener()
    register_heif.cache_clear()
    scene, exif = np.zeros((64, 96, 3), dtype=np.uint8), Image.Exif()
    scene[:32, :32] = 255, 0, 0
    exif[0x0112] = orientation
    Image.fromarray(scene).save(tmp_path / "a.heic", exif=exif.tobytes(), quality=95)
    found = open_rgb(tmp_path / "a.heic")
    assert found.size == ((64, 96) if orientation == 6 else (96, 64))
    off = np.asarray(found)[lit[1], lit[0]].astype(int) - (255, 0, 0)
    assert abs(off).max() < 10
