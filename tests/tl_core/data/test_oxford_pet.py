import hashlib
import io
import re
import tarfile
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
import torchvision.datasets.oxford_iiit_pet as oxford
from PIL import Image

from tests.support.core.hostile_files import put
from tl_core.data.sources import find_source, has_oxford_pet, oxford_pet_source
from tl_core.errors import InputError


def by_hand(root: Path, trainval: str, test: str, *names: str) -> None:
    """Lay out the unpacked archives: 2-pixel JPEGs of these names, and the lists of both parts.

    A line has an image's name, breed, species (1 cat, 2 dog) and the breed's number in the species.
    """
    base = root / "oxford-iiit-pet"
    Image.new("RGB", (2, 1), "red").save(picture := io.BytesIO(), "jpeg")
    for name in names:
        put(base / "images" / f"{name}.jpg", picture.getvalue())
    put(base / "annotations" / "trainval.txt", trainval.encode())
    put(base / "annotations" / "test.txt", test.encode())


unpacks = pytest.mark.skipif(
    not hasattr(tarfile, "data_filter"), reason="Python before 3.11.4 can't unpack archives safely"
)


@unpacks
@pytest.mark.parametrize("kind", [OSError, RuntimeError])
def test_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: type[Exception]) -> None:
    def offline(*_: object, **__: object) -> None:
        raise kind("no route to host")

    monkeypatch.setattr(oxford, "download_and_extract_archive", offline)
    message = (
        "oxford-pet could not be downloaded (no route to host). Put images.tar.gz and "
        f"annotations.tar.gz of the Oxford-IIIT Pet dataset, unpacked, into "
        f"{tmp_path / 'oxford-pet' / 'oxford-iiit-pet'}, or use --data demo or --data FOLDER"
    )
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        find_source("oxford-pet", tmp_path)


PutOnline = Callable[..., Path]


@pytest.fixture
def put_online(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PutOnline]:
    """Makes an archive of empty members what is downloaded as Oxford-IIIT Pet's images."""

    def put_members(*names_and_links: tuple[str, str]) -> Path:
        archive = tmp_path / "images.tar.gz"
        with tarfile.open(archive, "w:gz") as tar:
            for name, link in names_and_links:
                member = tarfile.TarInfo(name)
                member.type, member.linkname = tarfile.SYMTYPE if link else tarfile.REGTYPE, link
                tar.addfile(member)
        md5 = hashlib.md5(archive.read_bytes()).hexdigest()
        url = f"http://127.0.0.1:{server.server_port}/{archive.name}"
        monkeypatch.setattr(oxford.OxfordIIITPet, "_RESOURCES", ((url, md5),))
        return archive

    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, args=(0.01,)).start()
        yield put_members
        server.shutdown()


@unpacks
@pytest.mark.parametrize("evil", [
    ("../../../evil", ""), ("images/../../../../evil", ""), ("images/out", "../../../.."),
    ("images/out", "/etc"),
])  # fmt: skip
def test_archives_stay_inside(tmp_path: Path, put_online: PutOnline, evil: tuple[str, str]) -> None:
    put_online(("images/a.jpg", ""), evil)
    before = tarfile.TarFile.extraction_filter
    message = r"could not be downloaded \(.*(outside the destination|absolute path)"
    with pytest.raises(InputError, match=message):
        oxford_pet_source(tmp_path / "deep" / "er")
    assert not [*tmp_path.rglob("evil"), *tmp_path.rglob("out")]
    assert tarfile.TarFile.extraction_filter is before


@unpacks
def test_an_archive_is_not_unpacked_if_it_was_changed_or_python_is_too_old(
    tmp_path: Path, put_online: PutOnline, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = put_online(("images/a.jpg", ""))
    archive.write_bytes(archive.read_bytes() + b"\0")
    with pytest.raises(InputError, match=r"could not be downloaded \(File not found or corrupted"):
        oxford_pet_source(tmp_path / "pets")
    put_online(("images/a.jpg", ""))
    monkeypatch.delattr(tarfile, "data_filter")
    with pytest.raises(InputError, match=r"Python before 3\.11\.4 can't unpack archives safely"):
        oxford_pet_source(tmp_path / "pets")
    assert not list((tmp_path / "pets").rglob("a.jpg"))


def test_oxford_pet_by_hand_is_cat_against_dog(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(tarfile, "data_filter", raising=False)  # Nothing is left to unpack.
    names = ("Birman_1", "beagle_1", "Birman_2")
    root = tmp_path / "oxford-pet"
    assert not has_oxford_pet(tmp_path)
    by_hand(root, "beagle_1 2 2 1\nBirman_2 1 1 1\n", "Birman_1 1 1 1\n", *names)
    assert has_oxford_pet(tmp_path)
    source = oxford_pet_source(root)
    assert source.classes == ("cat", "dog")
    assert source.ids == ("Birman_1.jpg", "Birman_2.jpg", "beagle_1.jpg")
    assert source.labels == (0, 0, 1)
    assert np.asarray(source.read(2, 32)).shape == (1, 2, 3)


def test_oxford_pet_with_an_image_missing_is_refused(tmp_path: Path) -> None:
    by_hand(tmp_path, "Birman_1 1 1 1\nBirman_2 1 1 1\n", "", "Birman_1")
    with pytest.raises(InputError, match=r"No such file or directory: .*Birman_2\.jpg"):
        oxford_pet_source(tmp_path)
