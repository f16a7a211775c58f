import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

from tests.support.core.entries import left_in, refuse, writes
from tl_core.data import cache
from tl_core.data.cache import MANIFEST, damage, publish


@pytest.mark.parametrize("kind", [RuntimeError, KeyboardInterrupt])
def test_a_builder_that_raises_leaves_nothing(tmp_path: Path, kind: type[BaseException]) -> None:
    def build(into: Path) -> None:
        (into / "half").touch()
        raise kind("stopped")

    with pytest.raises(kind, match="stopped"):
        publish(tmp_path / "entries" / "abc", build)
    assert left_in(tmp_path / "entries") == set()
    publish(tmp_path / "entries" / "abc", lambda into: (into / "whole").touch())
    assert left_in(tmp_path / "entries" / "abc") == {"whole", MANIFEST}


def test_a_rebuild_that_raises_leaves_the_entry_to_be_found_damaged(entry: Path) -> None:
    (entry / "a").write_bytes(b"")
    with pytest.raises(AssertionError, match="built although"):
        publish(entry, refuse)
    assert damage(entry) == "a changed"


def build_slowly(entry: Path) -> None:
    def build(into: Path) -> None:
        with (entry.parent.parent / "builders").open("a") as log:
            log.write(f"{os.getpid()}\n")
        time.sleep(0.3)
        (into / "done").touch()

    publish(entry, build)
    assert (entry / "done").exists()


@pytest.mark.parametrize("damaged", [False, True])
def test_two_processes_build_once(tmp_path: Path, damaged: bool) -> None:
    entry = tmp_path / "entries" / "abc"
    if damaged:
        publish(entry, writes({"done": b""}))
        (entry / "done").write_text("changed")
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        list(pool.map(build_slowly, [entry, entry]))
    assert len((tmp_path / "builders").read_text().splitlines()) == 1
    assert left_in(entry.parent) == {"abc"}
    assert damage(entry) is None


def test_who_waits_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def build(into: Path) -> None:
        begun.set()
        assert go_on.wait(20)

    class Release(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            go_on.set()

    first = threading.Thread(target=publish, args=(tmp_path / "x", build))
    first.start()
    assert begun.wait(20)
    logging.getLogger(cache.__name__).addHandler(handler := Release())
    try:
        publish(tmp_path / "x", refuse)
    finally:
        logging.getLogger(cache.__name__).removeHandler(handler)
        first.join()
    assert caplog.messages == [
        f"waiting for another process that builds cache entry {tmp_path / 'x'}"
    ]


def build_for_ever(entry: Path) -> None:
    def build(into: Path) -> None:
        (into / "half").touch()
        print("begun", flush=True)
        time.sleep(60)

    publish(entry, build)


@pytest.fixture
def builder(tmp_path: Path) -> Iterator["subprocess.Popen[str]"]:
    """A process in the middle of building the entry `abc`."""
    code = f"from {__name__} import *; build_for_ever(Path({str(tmp_path / 'abc')!r}))"
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])},
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        yield process
        process.kill()


@pytest.mark.parametrize("name", ["abc", "another"])
def test_what_a_killed_builder_left_is_removed_by_the_next(
    tmp_path: Path, builder: "subprocess.Popen[str]", name: str
) -> None:
    publish(tmp_path / "meanwhile", writes({"a": b""}))
    assert left_in(tmp_path) == {".abc.fresh", "meanwhile"}, "a builder that lives was robbed"
    builder.send_signal(signal.SIGKILL)
    builder.wait()
    assert left_in(tmp_path) == {".abc.fresh", "meanwhile"}
    publish(tmp_path / name, writes({"a": b"abc"}))
    assert left_in(tmp_path) == {"meanwhile", name}
    assert damage(tmp_path / name) is None
