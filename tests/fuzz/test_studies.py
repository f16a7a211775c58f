"""Whole studies by command lines of every kind, and what may be done with a study afterwards.

They share one Ray, whose start is none of what is tried here, and must leave it as it was.
"""

import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from study import predict, report, run, sync
from study.records.ledger import ENDINGS, StudyState, read_state
from study.tracking.sync_state import events_left
from tests.conftest import SIDE, TINY
from tests.support.studies.command_lines import (
    PHOTOS,
    Words,
    command_lines,
    draw_photos,
    effort,
    outcome,
    tries,
)
from tests.support.words import latest

pytestmark = pytest.mark.fuzz
_MANY = 5
_RUN = run.main
_MORE: dict[str, Callable[..., int]] = {
    "--extend": _RUN,
    "--resume": _RUN,
    "--replay": _RUN,
    "report.py": report.main,
    "sync.py": sync.main,
    "predict.py": predict.main,
}
"""What is done with a study that has ended, and the program that does it."""
_EXTRA: list[Words] = [("--offline",), ("--gpus", "0"), ("--max-failures", "0"), ("--json",)]
_EXTRA += [("--trials", "0"), ("--lr", "1e-3"), ("--what",), ("--out", "nowhere")]


@st.composite
def studies(draw: st.DrawFn) -> Words:
    """A small study, whole or with up to two values that nothing takes."""
    trials, epochs = draw(st.integers(1, 4)), draw(st.integers(1, 2))
    size: Words = ("--trials", f"{trials}", "--epochs", f"{epochs}", "--min-steps", "2")
    size += ("--design", "joint")  # So few trials are not one a cell.
    return (*size, *draw(command_lines(odd=draw(st.sampled_from([0, 0, 0, 1, 2])))))


_extra = st.one_of(st.just(()), st.just(()), st.sampled_from(_EXTRA))
_step = st.tuples(st.sampled_from(sorted(_MORE)), st.integers(0, 3), _extra)
_steps = st.integers(0, 3).flatmap(lambda n: st.lists(_step, min_size=n, max_size=n))
"""What is done afterwards, with which trial or picture, and with which flags beside."""


@dataclass
class Place:
    """Where studies of one test run, and what they came to."""

    root: Path
    before: Words
    """What each command line begins with; what comes later on it holds."""
    tally: Counter[str] = field(default_factory=Counter)

    def study(self, words: Words) -> Path | None:
        """Run a study; return its folder if it ended."""
        there = self._folders()
        code, printed = self._run(
            "run.py", _RUN, latest((*self.before, "--name", uuid.uuid4().hex, *words))
        )
        made = self._folders() - there
        if code == 2:
            assert not made, printed
        if not made:
            assert code in (2, 5), printed
            return None
        (folder,) = made
        if code == 5:  # Its `--max-time` was over; without one it comes to its end.
            code, printed = self._run("--resume", _RUN, ("--resume", str(folder)))
        check(folder, code, int(_last("--trials", words)))
        return folder

    def go_on(self, folder: Path, what: str, number: int, extra: Words) -> None:
        """Do something with a study that has ended."""
        before, main = read_state(folder), _MORE[what]
        words, plain = self._words(what, folder, number), not extra
        code, printed = self._run(what, main, (*words, *extra))
        if what == "--extend" and code not in (2, 5):
            check(folder, code, before.about["settings"]["trials"] + 1)
        if what == "--resume" and plain:
            assert (code, "is finished" in printed) == (0, True), printed
        if what == "--replay" and plain:
            record = before.records.get(number)
            assert code == (0 if record and record.history else 2), printed
        if what == "report.py" and plain:
            assert code == 0, printed
        if what == "sync.py" and plain:
            assert (code, events_left(folder)) == (0, 0), printed
        if what == "predict.py" and plain:
            assert code == (0 if (folder / "winner").exists() else 2), printed

    def _words(self, what: str, folder: Path, number: int) -> Words:
        if what == "predict.py":
            return str(folder), str(sorted(Path(PHOTOS).glob("*/*"))[number])
        if what == "--extend":
            return what, str(folder), "--trials", "1"
        target = f"{folder}/{number}" if what == "--replay" else str(folder)
        return (what, target) if what.startswith("--") else (target,)

    def _run(self, what: str, main: Callable[..., int], words: Sequence[str]) -> tuple[int, str]:
        code, printed = outcome(main, words)
        self.tally[f"{what} ends with {code}"] += 1
        assert_ray_is_idle()
        return code, printed

    def _folders(self) -> set[Path]:
        return {path.parent for path in self.root.rglob("study.json")}


def _last(flag: str, words: Words) -> str:
    return words[len(words) - words[::-1].index(flag)]


def check(folder: Path, code: int, trials: int) -> None:
    """A study that has ended has all that was promised."""
    state = read_state(folder)
    assert state.status == ENDINGS[0 if code == 0 else 1]
    statuses = Counter(record.status for record in state.trials)
    assert set(statuses) <= {"done", "pruned", "failed"}
    assert bool(statuses["failed"]) == (code == 3), statuses
    assert sum(record.kind == "search" for record in state.trials) == trials
    table = pd.read_csv(folder / "trials.csv")
    assert len(table) == trials
    assert (folder / "report.html").is_file()
    assert _has_winner(folder, state)


def _has_winner(folder: Path, state: StudyState) -> bool:
    return (folder / "winner").is_dir() or not any(r.status == "done" for r in state.trials)


def assert_ray_is_idle() -> None:
    """What a study has taken of Ray is given back: no worker of it stays."""
    from ray import available_resources, cluster_resources

    end = time.monotonic() + 60
    cpus = cluster_resources()["CPU"]  # type: ignore[no-untyped-call]
    while (free := available_resources().get("CPU")) != cpus:  # type: ignore[no-untyped-call]
        assert time.monotonic() < end, free
        time.sleep(0.1)


@contextmanager
def already_up(gpus: int, cpus: int | None = None, study: Path | None = None) -> Iterator[None]:
    """Stand for the start of a Ray that is up."""
    yield


@pytest.fixture
def shared_ray(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """One Ray for all studies of a test."""
    from study.cluster import local_ray as ray_local

    with ray_local.local_ray(0):
        monkeypatch.setattr(ray_local, "local_ray", already_up)
        yield


@pytest.fixture
def place(tmp_path: Path, tiny_weights: Path, uri: str, monkeypatch: pytest.MonkeyPatch) -> Place:
    root = tmp_path / "root"  # Some command lines say `--out ../x`.
    (root / "here").mkdir(parents=True)
    monkeypatch.chdir(root / "here")
    draw_photos(Path())
    net = ("--backbone", TINY, "--weights", str(tiny_weights), "--image-size", str(SIDE))
    kept = ("--tracking-uri", uri, "--cache", str(tmp_path / "kept"))
    return Place(root, (*net, *kept, "--data", PHOTOS, "--confirm-seeds", "1"))


@pytest.mark.timeout(60 * tries(_MANY))
def test_studies(place: Place, shared_ray: None) -> None:
    @effort(_MANY, shrink=False)
    @given(words=studies(), then=_steps)
    def each(words: Words, then: list[tuple[str, int, Words]]) -> None:
        if folder := place.study(words):
            for what, number, extra in then:
                place.go_on(folder, what, number, extra)

    try:
        each()
    finally:
        print(*(f"{n} {name}" for name, n in sorted(place.tally.items())), sep="\n")
    assert place.tally["run.py ends with 0"]
    assert place.tally["run.py ends with 2"]
