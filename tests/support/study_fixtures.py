"""A place to run studies in, with an MLflow store that is ready."""

import os
import shutil
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from filelock import FileLock
from mlflow import MlflowClient

from study.run import main
from tests.support.studies.ray_runs import FinishedStudy, RayRun, ray_runs, run_finished_study

Run = Callable[..., int]
Capture = pytest.CaptureFixture[str]
Patch = pytest.MonkeyPatch


@pytest.fixture(scope="session")
def blank_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SQLite store with all tables and no run; MLflow takes seconds to make one."""
    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """MLflow puts artifacts below the working folder, and studies their files."""
    monkeypatch.chdir(tmp_path)
    before = signal.getsignal(signal.SIGTERM)
    yield tmp_path
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def uri(own_folder: Path, blank_store: Path) -> str:
    """A store of this test's own; MLflow keeps stores by URI, so a relative one would be shared."""
    shutil.copy(blank_store, own_folder / "mlflow.db")
    return f"sqlite:///{own_folder}/mlflow.db"


@pytest.fixture
def client(uri: str) -> MlflowClient:
    """Reads the store at `uri`."""
    return MlflowClient(uri)


@pytest.fixture
def run(uri: str) -> Run:
    """The command line in this process, tracked at `uri`; numbers and paths may stay such."""

    def run_main(*words: object) -> int:
        return main(["--tracking-uri", uri, *(str(word) for word in words)])

    return run_main


@pytest.fixture
def run_alone(own_folder: Path) -> Run:
    """The command line in this process, without a word on tracking."""
    return lambda *words: main([str(word) for word in words])


@pytest.fixture
def ray_run() -> Iterator[RayRun]:
    """Starts studies in processes of their own, and ends what is left of them."""
    with ray_runs() as runs:
        yield runs


@pytest.fixture(scope="module")
def ray_of_one_core() -> Iterator[Path]:
    """The folder of a Ray in which one worker can run at a time, on a GPU if it asks for one."""
    from study.cluster.local_ray import local_ray

    with ray_runs() as runs, pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_TMPDIR", str(runs.home))
        with local_ray(1, 1):
            yield runs.home


@pytest.fixture
def one_core() -> Iterator[None]:
    """One worker, one trial at a time: each draw depends on the trials before it alone."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    yield
    os.sched_setaffinity(0, cores)


@pytest.fixture(scope="session")
def finished_study(
    tmp_path_factory: pytest.TempPathFactory, blank_store: Path, tiny_weights: Path
) -> FinishedStudy:
    """A real study, made once for all test processes, to be read only; `copy` gives one to change.

    It takes half a minute of a core, in a folder whose name has what paths and URIs write in other
    ways.
    """
    base = tmp_path_factory.getbasetemp()
    home = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "finished #1 à 50%20"
    with FileLock(f"{home}.lock"):
        if not home.exists():
            home.mkdir()
            run_finished_study(home, blank_store, tiny_weights).save()
        study = FinishedStudy.read(home)
    assert study.code == 0, study.printed + study.errors
    return study


@pytest.fixture
def nobody() -> str:
    """Address of a server that is not there."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


def _save_no_png(patch: Patch) -> None:
    patch.setattr("study.reporting.page.save_png", lambda _, path: path.touch())


def _draw_nothing(patch: Patch) -> None:
    _save_no_png(patch)
    patch.setattr("study.reporting.page.to_svg", lambda *_: "<svg></svg>")


@pytest.fixture
def without_png(monkeypatch: Patch) -> None:
    """Reports get empty pictures; those in the page are drawn."""
    _save_no_png(monkeypatch)


@pytest.fixture
def undrawn(monkeypatch: Patch) -> None:
    """Reports get empty figures; drawing a report takes seconds."""
    _draw_nothing(monkeypatch)


@pytest.fixture(scope="session")
def reported_study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The study `tiny` with its report, without figures; to be read only."""
    from study.analysis.study_data import read_study_data
    from study.reporting.build import write_report
    from tests.support.studies.synthetic import tiny_study

    home = tmp_path_factory.mktemp("reported")
    with pytest.MonkeyPatch.context() as patch:
        _draw_nothing(patch)
        patch.chdir(home)
        write_report(read_study_data(tiny_study().write(Path("runs/tiny"))))
    return home / "runs" / "tiny"


@pytest.fixture
def undrawn_study(own_folder: Path, undrawn: None, reported_study: Path) -> Path:
    """A copy of `reported_study` among the studies of this folder."""
    return Path(shutil.copytree(reported_study, "runs/tiny"))
