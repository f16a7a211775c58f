import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.core.entries import Entry, left_in, refuse, writes
from tests.support.disks import on_small_disk, read_only
from tl_core.data.caching import entries as cache
from tl_core.data.caching.entries import MANIFEST, damage, publish
from tl_core.data.caching.tables import new_array

ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
"""SHA-256 of `abc`, from FIPS 180-2."""
NOTHING = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
"""SHA-256 of no bytes."""


@contextmanager
def pieces_of(size: int) -> Iterator[None]:
    """Hash in pieces of so many bytes, two at a time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cache, "_PIECE", size)
        patch.setattr(cache, "_READ", 2)
        yield


def test_a_whole_entry_is_used(entry: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert (entry / MANIFEST).read_text() == f"{ABC} 0 a\n{NOTHING} 0 b\n"
    (entry / ".DS_Store").write_bytes(b"hidden files of others do no harm")
    publish(entry, refuse)
    (entry / "a").write_bytes(b"")
    publish(entry, refuse, lambda _: None)
    assert caplog.messages == []


LINES = f"{ABC} 0 a\n{NOTHING} 0 b\n".encode()


@pytest.mark.parametrize(("name", "content", "why"), [
    *(("a", content, "a changed") for content in (b"abd", b"ab", b"")),
    ("b", b"x", "b changed"), ("c", b"", "c changed"),
    ("a", None, "a file is missing or truncated"), (MANIFEST, None, f"it has no {MANIFEST}"),
    (MANIFEST, b"", "a and b changed"), (MANIFEST, f"{ABC} 0 a\n".encode(), "b changed"),
    (MANIFEST, LINES + b"\xff", "a file is missing"),
])  # fmt: skip
def test_a_damaged_entry_is_built_anew_with_a_warning(
    entry: Path, caplog: pytest.LogCaptureFixture, name: str, content: bytes | None, why: str
) -> None:
    (entry / name).unlink() if content is None else (entry / name).write_bytes(content)
    publish(entry, writes({"a": b"abc", "b": b""}))
    (message,) = caplog.messages
    assert message.startswith(f"warning: cache entry {entry} is built again: {why}")
    found = {path.name: path.read_bytes() for path in entry.iterdir()}
    assert found == {"a": b"abc", "b": b"", MANIFEST: LINES}
    assert left_in(entry.parent) == {"abc"}


entries = st.dictionaries(st.sampled_from(["a", "b", "c.npy"]), st.binary(max_size=20), min_size=1)


@settings(max_examples=30)  # Each waits for the disk.
@given(files=entries, data=st.data())
def test_any_change_is_found(files: Entry, data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder, pieces_of(4):
        entry = Path(folder) / "entry"
        publish(entry, writes(files))
        assert damage(entry) is None
        path = entry / data.draw(st.sampled_from([*files, MANIFEST]))
        content = bytearray(path.read_bytes())
        how = data.draw(st.sampled_from(["flip", "cut", "add"])) if content else "add"
        if how == "flip":
            content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
        elif how == "cut":
            del content[data.draw(st.integers(0, len(content) - 1)) :]
        else:
            content += data.draw(st.binary(min_size=1, max_size=5))
        path.write_bytes(content)
        assert damage(entry) is not None


def fill_the_disk(folder: Path) -> None:
    """Build an entry of 2 MB; a disk that is full must not kill the process."""
    size = (2 * 10**6,)
    try:
        publish(folder / "x", lambda into: new_array(into / "x.npy", np.uint8, size).fill(1))
    except OSError as error:
        print(error.errno, error.filename, sorted(left_in(folder)))


def test_a_full_disk_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    code = f"from {__name__} import *; fill_the_disk(Path({str(tmp_path)!r}))"
    done = on_small_disk(tmp_path, "1m", "-c", code)
    assert done.stdout == f"28 {tmp_path}/.x.fresh/x.npy []\n", done.stderr
    assert on_small_disk(tmp_path, "5m", "-c", code).stdout == ""


def test_a_whole_entry_on_a_read_only_disk_is_used(entry: Path) -> None:
    code = f"from {__name__} import *; publish(Path({str(entry)!r}), refuse)"
    done = read_only(entry.parent, "-c", code)
    assert (done.returncode, done.stderr) == (0, "")
    (entry / "a").write_bytes(b"")
    done = read_only(entry.parent, "-c", code)
    assert "Read-only file system" in done.stderr
