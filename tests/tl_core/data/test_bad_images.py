import re
from pathlib import Path

import numpy as np
import pytest

from tests.support.core.drawn import broken, counted, source_of
from tl_core.data.datasets import load_images
from tl_core.data.sources import folder_source
from tl_core.errors import InputError


def test_bad_files_are_told_together_by_path(photo_folder: Path, own_cache: Path) -> None:
    (photo_folder / "cat" / "notes.txt").write_text("not an image")
    torn = photo_folder / "dog" / "01.jpg"
    torn.write_bytes(torn.read_bytes()[:400])
    with pytest.raises(InputError, match="2 files are not readable images") as caught:
        load_images(folder_source(photo_folder), 32, own_cache)
    head, first, second = map(str, caught.value.faults)
    assert head.endswith("images (--skip-bad-images omits them):")
    assert re.match(r"  cat/notes\.txt: UnidentifiedImageError: cannot identify", first)
    assert re.match(r"  dog/01\.jpg: OSError: .*[Tt]runcated", second)


def test_many_bad_files_are_counted(own_cache: Path) -> None:
    source = source_of(broken(*range(25)), labels=(0, 1) * 15)
    with pytest.raises(InputError, match="25 files are not readable images") as caught:
        load_images(source, 16, own_cache)
    assert len(caught.value.faults) == 22
    assert caught.value.faults[1].message == "  photo-0: OSError: 0 is torn"
    assert caught.value.faults[-1].message == "  and 5 more"


def test_skipping_drops_the_bad_and_keeps_the_rest_aligned(own_cache: Path) -> None:
    source = source_of(broken(1, 4), labels=(0, 1, 1, 0, 0, 1))
    images = load_images(source, 16, own_cache, skip_bad_images=True)
    assert images.ids == ("photo-0", "photo-2", "photo-3", "photo-5")
    assert images.labels.tolist() == [0, 1, 0, 1]
    assert images.pixels[:, 0, 0, 0].tolist() == [0, 20, 30, 50]
    np.testing.assert_allclose(images.brightness * 255, [0, 20, 30, 50], rtol=1e-5)
    assert images.bad == (
        ("photo-1", "OSError: 1 is torn"),
        ("photo-4", "OSError: 4 is torn"),
    )
    assert not (images.path / "all.npy").exists()


def test_skipping_after_a_refusal_reads_only_the_bad_files_again(own_cache: Path) -> None:
    seen: list[int] = []
    source = source_of(counted(seen, broken(2)))
    with pytest.raises(InputError, match="1 file is not a readable"):
        load_images(source, 16, own_cache)
    seen.clear()
    assert len(load_images(source, 16, own_cache, skip_bad_images=True).ids) == 5
    assert set(seen) == {2}


def test_a_file_that_can_be_read_by_now_is_taken_in(own_cache: Path) -> None:
    torn = [2]
    source = source_of(lambda i, size: broken(*torn)(i, size))
    with pytest.raises(InputError, match="1 file is not a readable"):
        load_images(source, 16, own_cache)
    torn.clear()
    images = load_images(source, 16, own_cache)
    assert len(images.ids) == 6
    assert images.bad == ()


@pytest.mark.parametrize("bad", [(1, 3, 5), (0, 1, 2, 3, 4, 5)])
def test_skipping_a_whole_class_is_refused(own_cache: Path, bad: tuple[int, ...]) -> None:
    source = source_of(broken(*bad))
    with pytest.raises(InputError, match="class 'dog' has no readable image"):
        load_images(source, 16, own_cache, skip_bad_images=True)
