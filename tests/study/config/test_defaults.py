"""Defaults that depend on the machine."""

import pwd
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from study import doctor, run
from study.config.defaults import layers_of
from tests.support.study_fixtures import Capture, Patch


@pytest.fixture
def homeless(monkeypatch: Patch) -> None:
    """As in a container: no HOME, and a user id without a name."""

    def fail(uid: int) -> None:
        raise KeyError(uid)

    for name in ("HOME", "XDG_CACHE_HOME", "TL_STUDY_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", fail)
    monkeypatch.setattr("os.getuid", lambda: 12345)


@pytest.mark.parametrize("main", [run.main, doctor.main])
def test_without_a_home_one_line_says_what_to_set(
    main: Callable[[Sequence[str]], int], homeless: None, capsys: Capture
) -> None:
    assert main([]) == 2
    title, fault = capsys.readouterr().err.splitlines()
    assert title == "error: the study can't start"
    assert fault == (
        "  HOME is not set and user id 12345 has no name, so caches have no place; set HOME to a "
        "folder that you can write, as in HOME=/tmp/me"
    )
    assert not Path("~").exists()


def test_a_place_for_caches_is_enough(homeless: None, monkeypatch: Patch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert layers_of({})["cache"] == Path("/somewhere/tl-study")
