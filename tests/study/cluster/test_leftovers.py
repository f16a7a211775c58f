"""The next start of a killed study ends what it has left, and nothing else."""

import errno
import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from study.cluster import local_ray
from study.cluster.local_ray import _mark_owner, end_leftovers
from tests.support.study_fixtures import Patch


@contextmanager
def process_of(ray_folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process as Ray starts them: its folder is in the environment."""
    command = [sys.executable, "-c", "print(flush=True); input()"]
    environment = os.environ | {"RAY_TMPDIR": str(ray_folder)}
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, env=environment, **pipes) as process:
        assert process.stdout
        process.stdout.readline()
        try:
            yield process
        finally:
            process.kill()


def make(base: Path, name: str, study: Path, alive: bool = False) -> Path:
    """The folder of a Ray; its owner has ended unless it is `alive`."""
    folder = base / name
    folder.mkdir()
    _mark_owner(folder, study)
    if not alive:  # A process that began at another time had the number.
        owner = json.loads((folder / "owner.json").read_text())
        (folder / "owner.json").write_text(json.dumps(owner | {"since": "1"}))
    return folder


def no_handles(_: int) -> int:
    raise OSError(errno.ENOSYS, "as on an old kernel")


@pytest.mark.parametrize("pidfd_open", [os.pidfd_open, no_handles, None])
def test_what_a_killed_run_has_left_is_ended(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: Patch, pidfd_open: object
) -> None:
    monkeypatch.setattr(os, "pidfd_open", pidfd_open)
    if pidfd_open is None:
        monkeypatch.delattr(os, "pidfd_open")
    mine, other = Path("runs/mine"), Path("runs/other")
    dead, others = make(tmp_path, "tldead", mine), make(tmp_path, "tlothers", other)
    alive = make(tmp_path, "tlalive", mine, alive=True)
    with process_of(dead) as first, process_of(others) as second, process_of(alive) as third:
        with caplog.at_level(logging.WARNING):
            end_leftovers(tmp_path, mine)
        assert first.wait(10) == -9
        assert (second.poll(), third.poll()) == (None, None)
    assert [r.getMessage() for r in caplog.records] == [
        "note: ended 1 process of Ray that a killed run of this study had left"
    ]
    assert sorted(f.name for f in tmp_path.glob("tl*")) == ["tlalive", "tlothers"]


def test_the_folder_of_processes_that_still_run_stays(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: Patch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(signal, "pidfd_send_signal", refuse)
    monkeypatch.setattr(local_ray, "_PAUSE_S", 0.0)
    dead = make(tmp_path, "tldead", Path("mine"))
    with process_of(dead) as process:
        with caplog.at_level(logging.WARNING):
            end_leftovers(tmp_path, Path("mine"))
        assert process.poll() is None
    assert [r.getMessage() for r in caplog.records] == [
        "note: processes of a killed run of this study still run, and their folder "
        f"{dead} stays: {process.pid}"
    ]
    assert (dead / "owner.json").exists()
    end_leftovers(tmp_path, Path("mine"))
    assert not dead.exists()


@pytest.mark.parametrize("name", ["boot", "namespace"])
def test_another_machine_or_container_is_left_alone(tmp_path: Path, name: str) -> None:
    folder = make(tmp_path, "tlx", Path("mine"))
    owner = json.loads((folder / "owner.json").read_text())
    (folder / "owner.json").write_text(json.dumps(owner | {name: "another"}))
    end_leftovers(tmp_path, Path("mine"))
    assert folder.exists()


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"study": 1}'])
def test_strange_files_are_left_alone(tmp_path: Path, content: str, monkeypatch: Patch) -> None:
    (tmp_path / "tlx").mkdir()
    (tmp_path / "tlx" / "owner.json").write_text(content)
    end_leftovers(tmp_path, Path("mine"))
    assert (tmp_path / "tlx").exists()
