import hashlib
import io
import re
import tarfile
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

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


@pytest.mark.parametrize("kind", [OSError, RuntimeError])
def test_oxford_pet_without_a_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: type[Exception]
) -> None:
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


@pytest.fixture
def site(tmp_path: Path) -> Iterator[str]:
    """Address of a server of the files in `tmp_path`."""
    handler = partial(QuietHandler, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing."""


PutOnline = Callable[..., Path]


@pytest.fixture
def put_online(tmp_path: Path, site: str, monkeypatch: pytest.MonkeyPatch) -> PutOnline:
    """Makes an archive of empty members what is downloaded as Oxford-IIIT Pet's images."""

    def put_members(*members: tarfile.TarInfo) -> Path:
        archive = tmp_path / "images.tar.gz"
        with tarfile.open(archive, "w:gz") as tar:
            for each in members:
                tar.addfile(each)
        md5 = hashlib.md5(archive.read_bytes()).hexdigest()
        monkeypatch.setattr(oxford.OxfordIIITPet, "_RESOURCES", ((f"{site}/{archive.name}", md5),))
        return archive

    return put_members


def member(name: str, link: str = "") -> tarfile.TarInfo:
    message = tarfile.TarInfo(name)
    message.type, message.linkname = (tarfile.SYMTYPE if link else tarfile.REGTYPE), link
    return message


@pytest.mark.parametrize(
    ("name", "link"),
    [
        ("../../../evil", ""),
        ("images/../../../../evil", ""),
        ("images/out", "../../../.."),
        ("images/out", "/etc"),
    ],
)
def test_an_archive_can_not_write_outside_its_folder(
    tmp_path: Path, put_online: PutOnline, name: str, link: str
) -> None:
    put_online(member("images/a.jpg"), member(name, link))
    before = tarfile.TarFile.extraction_filter
    message = r"could not be downloaded \(.*(outside the destination|absolute path)"
    with pytest.raises(InputError, match=message):
        oxford_pet_source(tmp_path / "deep" / "er")
    assert not [*tmp_path.rglob("evil"), *tmp_path.rglob("out")]
    assert tarfile.TarFile.extraction_filter is before


def test_an_archive_that_was_changed_is_not_unpacked(tmp_path: Path, put_online: PutOnline) -> None:
    archive = put_online(member("images/a.jpg"))
    archive.write_bytes(archive.read_bytes() + b"\0")
    with pytest.raises(InputError, match=r"could not be downloaded \(File not found or corrupted"):
        oxford_pet_source(tmp_path / "pets")
    assert not list((tmp_path / "pets").rglob("a.jpg"))


def test_an_archive_is_not_unpacked_by_a_python_that_can_not_do_so_safely(
    tmp_path: Path, put_online: PutOnline, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_online(member("images/a.jpg"))
    monkeypatch.delattr(tarfile, "data_filter")
    with pytest.raises(InputError, match=r"Python before 3\.11\.4 can't unpack archives safely"):
        oxford_pet_source(tmp_path / "pets")
    assert not list((tmp_path / "pets").rglob("a.jpg"))


def test_oxford_pet_by_hand_is_cat_against_dog(tmp_path: Path) -> None:
    names = ("Birman_1", "beagle_1", "Birman_2")
    root = tmp_path / "oxford-pet"
    assert not has_oxford_pet(tmp_path)
    by_hand(root, "beagle_1 2 2 1\nBirman_2 1 1 1\n", "Birman_1 1 1 1\n", *names)
    assert has_oxford_pet(tmp_path)
    source = oxford_pet_source(root)
    assert source.classes == ("cat", "dog")
    assert source.ids == ("Birman_1.jpg", "Birman_2.jpg", "beagle_1.jpg")
    assert source.labels == (0, 0, 1)
    assert source.read(2, 32).size == (2, 1)


def test_oxford_pet_with_an_image_missing_is_refused(tmp_path: Path) -> None:
    by_hand(tmp_path, "Birman_1 1 1 1\nBirman_2 1 1 1\n", "", "Birman_1")
    with pytest.raises(InputError, match=r"No such file or directory: .*Birman_2\.jpg"):
        oxford_pet_source(tmp_path)
