import logging
import os
import re
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
from tl_core.data.caching import entries as cache
from tl_core.data.caching.entries import MANIFEST, damage, publish
from tl_core.errors import OutOfTimeError


@pytest.mark.parametrize("kind", [RuntimeError, KeyboardInterrupt])
def test_a_builder_that_raises(tmp_path: Path, entry: Path, kind: type[BaseException]) -> None:
    def build(into: Path) -> None:
        (into / "half").touch()
        raise kind("stopped")

    (entry / "a").write_bytes(b"")
    for path in (tmp_path / "new" / "abc", entry):
        with pytest.raises(kind, match="stopped"):
            publish(path, build)
    assert left_in(tmp_path / "new") == set()
    assert left_in(entry.parent) == {"abc"}
    assert damage(entry) == "a changed"
    publish(tmp_path / "new" / "abc", writes({"whole": b""}))
    assert left_in(tmp_path / "new" / "abc") == {"whole", MANIFEST}


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

    def release(record: logging.LogRecord) -> bool:
        go_on.set()
        return True

    first = threading.Thread(target=publish, args=(tmp_path / "x", build))
    first.start()
    assert begun.wait(20)
    logging.getLogger(cache.__name__).addFilter(release)
    try:
        publish(tmp_path / "x", refuse)
    finally:
        logging.getLogger(cache.__name__).removeFilter(release)
        first.join()
    message = f"waiting for another process that builds cache entry {tmp_path / 'x'}"
    assert caplog.messages == [message]


@pytest.fixture
def builder(tmp_path: Path) -> Iterator["subprocess.Popen[str]"]:
    """A process in the middle of building the entry `abc`."""
    code = (
        "import pathlib, time; from tl_core.data.caching.entries import publish\n"
        "def build(into): (into / 'half').touch(); print('begun', flush=True); time.sleep(60)\n"
        f"publish(pathlib.Path({str(tmp_path / 'abc')!r}), build)"
    )
    words = [sys.executable, "-c", code]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        yield process
        process.kill()


@pytest.mark.usefixtures("builder")
def test_another_builder_is_waited_for_until_the_time_is_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    why = f"--max-time is over: another process still builds cache entry {tmp_path / 'abc'}"
    with pytest.raises(OutOfTimeError, match=f"^{re.escape(why)}$"):
        publish(tmp_path / "abc", refuse, end=time.monotonic() + 0.1)
    with pytest.raises(OutOfTimeError):
        publish(tmp_path / "abc", refuse, end=0.0)
    assert (
        caplog.messages
        == [f"waiting for another process that builds cache entry {tmp_path / 'abc'}"] * 2
    )


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
