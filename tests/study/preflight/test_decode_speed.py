from pathlib import Path

import pytest

from study.preflight.decode_speed import try_decoding
from tests.conftest import SIDE, draw_folder
from tl_core.data.datasets import load_images
from tl_core.data.sources import folder_source


def test_what_is_not_decoded_yet_is_timed(photo_folder: Path, own_cache: Path) -> None:
    undecoded, bad = try_decoding(folder_source(photo_folder), SIDE, own_cache)
    assert undecoded is not None
    assert undecoded.number == 40
    assert undecoded.per_s > 0
    assert bad == []
    assert not own_cache.exists()


@pytest.mark.parametrize("decoded", [False, True])
def test_a_broken_file_is_found_with_its_reason(
    photo_folder: Path, own_cache: Path, decoded: bool
) -> None:
    (photo_folder / "cat" / "bad.jpg").write_bytes(b"no picture")
    source = folder_source(photo_folder)
    if decoded:
        load_images(source, SIDE, own_cache, skip_bad_images=True)
    undecoded, bad = try_decoding(source, SIDE, own_cache)
    assert (undecoded is None) == decoded
    [(name, reason)] = bad
    assert name == "cat/bad.jpg"
    assert reason.startswith("UnidentifiedImageError: ")


def test_of_many_images_only_some_are_tried(
    tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("study.preflight.decode_speed._MOST", 3)
    root = draw_folder(tmp_path / "all-broken", ("cat", "dog"), n_images=4)
    for file in root.rglob("*.*g"):
        file.write_bytes(b"no picture")
    undecoded, bad = try_decoding(folder_source(root), SIDE, own_cache)
    assert undecoded is not None
    assert undecoded.number == 8
    assert len({name for name, _ in bad}) == 3
