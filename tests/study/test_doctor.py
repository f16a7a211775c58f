"""What the doctor shows, and that it ends in order."""

import io
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from rich.table import Table

from study import doctor
from study.cluster.join import Node, NodeFault, versions
from study.cluster.node_report import NodeReport, ReportedNode
from study.cluster.resources import this_machine
from study.diagnosis.estimate import Eta, Speeds
from study.diagnosis.measure import Measured
from study.diagnosis.tables import check_table, eta_line, node_table, speed_table
from study.preflight.setup import Setup
from tests.conftest import SIDE, TINY, draw_folder
from tests.support.studies.builders import make_settings
from tests.support.studies.ray_runs import RayRun, ray_runs
from tl_core.errors import Fault
from tl_core.models.backbones import load_backbone

H100 = "NVIDIA H100 80GB HBM3"
LOOK = NodeReport(
    versions=versions(),
    hardware={"machine": "x86_64", "cpus": 16, "gpus": [H100, H100]},
    gpu_memory=((70 * 10**9, 80 * 10**9), (5 * 10**9, 80 * 10**9)),
    precisions={"cpu": "fp32", "cuda": "bf16"},
    cache_fault=None,
    cache_free=500 * 10**9,
    weights_fault=None,
    compiler_fault=None,
)


@pytest.fixture
def ray_run() -> Iterator[RayRun]:
    with ray_runs() as runs:
        yield runs


@pytest.fixture
def scratch(own_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary files go."""
    (own_folder / "scratch").mkdir()
    monkeypatch.setenv("TMPDIR", str(own_folder / "scratch"))
    return own_folder / "scratch"


def drawn(table: Table, width: int = 100) -> str:
    """The table as text, on a terminal of so many columns."""
    console = Console(width=width, file=io.StringIO(), record=True)
    console.print(table)
    text = console.export_text()
    assert max(map(len, text.splitlines())) <= width
    return " ".join(text.split())


def node(look: NodeReport | NodeFault, gpus: int = 2, **more: Any) -> dict[str, str]:
    """The row of a node by its columns, each as one line."""
    settings = make_settings(data="photos", address="auto")
    seen = [ReportedNode(Node("id", "10.0.0.7", 16, gpus), look)]
    table = node_table(Setup(settings, nodes=seen, **more))
    assert "10.0.0.7" in drawn(table)
    texts = {str(c.header): " ".join(map(str, c.cells)) for c in table.columns}
    return {name: " ".join(text.split()) for name, text in texts.items()}


def test_a_node_by_what_it_has() -> None:
    found = dict(versions())
    assert node(LOOK) == {
        "node": "10.0.0.7",
        "cores": "16",
        "GPUs": f"{H100}, 70.0 GB of 80.0 GB free {H100}, 5.0 GB of 80.0 GB free",
        "versions": f"python {found['python']} torch {found['torch']} ray {found['ray']}",
        "cache": "can be written, 500.0 GB free",
        "storage": "over Ray",
        "weights": "there",
    }


@pytest.mark.parametrize("name", ["torch", "timm"])
def test_other_versions_are_marked(name: str) -> None:
    other = tuple((n, "0.1" if n == name else v) for n, v in versions())
    told = node(replace(LOOK, versions=other))["versions"]
    assert f"{name} 0.1, driver {dict(versions())[name]}" in told
    assert told.count("driver") == 1


def test_what_a_node_can_not_do_is_marked() -> None:
    told = node(replace(LOOK, cache_fault="--cache x: no", weights_fault="no weights"))
    assert told["cache"] == "can't be written, 500.0 GB free"
    assert told["weights"] == "unavailable"


def test_gpus_that_only_ray_knows_are_told() -> None:
    assert node(LOOK, gpus=3)["GPUs"].endswith("free 3 GPUs in Ray's books")


def test_a_node_that_does_not_answer_has_a_row() -> None:
    assert node(NodeFault("no answer in 60 s"))["GPUs"] == "no answer in 60 s"


def test_the_bucket_is_told_node_by_node() -> None:
    settings = make_settings(data="photos", address="auto", storage="s3://mine")
    seen = [ReportedNode(Node("id", name, 16, 2), LOOK) for name in ("one", "two")]
    table = node_table(Setup(settings, nodes=seen, unwritable={seen[1].node: "no role"}))
    [storage] = [c for c in table.columns if c.header == "storage"]
    assert [*map(str, storage.cells)] == ["can be written", "can't be written"]
    drawn(table)


def test_speeds_by_mode() -> None:
    settings = make_settings(data="photos", mode=("freeze", "finetune"), train_ratio=(0.1, 0.8))
    found = Measured(Speeds(forward=200, train=50, heads=90_000), places=4)
    cells = {("freeze", 0.1): 0.25, ("freeze", 0.8): 1.5, ("finetune", 0.1): 60.4}
    told = drawn(speed_table(settings, found, cells))  # type: ignore[arg-type]
    assert "freeze │ 1 │ 90,000 on features, 8 seeds │ 0.25 at 0.1 to 1.5 at 0.8" in told
    assert "finetune │ 4 │ 50 │ 60 at 0.1 │" in told
    assert "frozen network │ 4 │ 200" in told


def test_a_mode_that_was_not_measured_says_so() -> None:
    settings = make_settings(data="photos", mode=("finetune",))
    assert "finetune │ │ not measured │ not known" in drawn(speed_table(settings, Measured(), {}))


def test_the_eta_by_its_stages() -> None:
    assert eta_line(Eta(10, 0, 20, 600, 3600)) == (
        "ETA of this study: 1:10:30 (start 0:00:10, decoding 0:00:00, features 0:00:20, "
        "search 0:10:00, confirming 1:00:00; early stopping not counted)"
    )


def test_checks_that_find_faults_are_marked() -> None:
    setup = Setup(make_settings(data="photos"), resources=this_machine())
    setup.network = load_backbone("mlp", "none", 32)
    setup.faults_by_name = {"folder": [Fault("--out", "runs: no")]}
    text = drawn(check_table(setup))
    assert "settings │ ok │ 64 trials of freeze finetune at 7 train ratios" in text
    assert "folder │ fault │ listed below" in text


def test_help_lists_the_flags_of_a_study(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        doctor.main(["--help"])
    text = capsys.readouterr().out
    assert "study/doctor.py" in text
    assert "--trials-per-gpu" in text
    assert "--resume" not in text


def test_every_fault_is_reported_and_nothing_measured(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    nobody: str,
) -> None:
    def ray_is_up(*_: object) -> None:
        raise AssertionError("Ray has been started")

    monkeypatch.setattr("study.diagnosis.forecast.local_ray", ray_is_up)
    photos = draw_folder(tmp_path / "two", ("cat", "dog"), n_images=2)
    (tmp_path / "file").write_text("")
    words = ["--data", str(photos), "--backbone", "resnet19", "--out", f"{tmp_path}/file/runs"]
    words += ["--tracking-uri", nobody, "--train-ratio", "0.5", "--epochs", "-1"]
    assert doctor.main(words) == 2
    printed, errors = capsys.readouterr()
    first, *faults = errors.splitlines()
    assert first == "error: the study can't start"
    for start in (
        "--epochs -1: must be greater than or equal to 1",
        "--train-ratio 0.5: class 'cat' has 2 images; train_ratio 0.5 needs 1 more",
        "unknown backbone 'resnet19' (did you mean resnet18",
        f"--out {tmp_path}/file/runs: {tmp_path}/file is not a folder",
        f"--tracking-uri {nobody}: Connection refused",
    ):
        assert [fault for fault in faults if fault.startswith(f"  {start}")], start
    assert printed.count("listed below") == 5
    assert printed.startswith("--epochs -1: must be greater than or equal to 1\n")
    assert "speed not measured: the study can't start" in printed


@pytest.mark.integration
def test_a_study_is_measured_and_nothing_is_left(
    ray_run: RayRun, photo_folder: Path, own_folder: Path, scratch: Path
) -> None:
    process = ray_run.start(
        "--data", photo_folder, "--backbone", TINY, "--weights", "none", "--image-size", SIDE,
        "--mode", "freeze", "finetune", "--train-ratio", 0.2, 0.8, program=doctor.__file__,
    )  # fmt: skip
    code, printed, told = ray_run.finish(process)
    assert (code, told) == (0, ""), printed
    assert "the study can start" in printed
    assert "ETA of this study: 0:0" in printed
    assert "trials an hour" in printed
    assert "not measured" not in printed
    assert {path.name for path in own_folder.iterdir()} == {photo_folder.name, scratch.name}
    assert [*scratch.glob("tl-doctor-*")] == []
    assert ray_run.left_over() == {}


@pytest.mark.integration
def test_ctrl_c_ends_it_in_order(ray_run: RayRun, photo_folder: Path, scratch: Path) -> None:
    process = ray_run.start(
        "--data", photo_folder, "--backbone", TINY, "--weights", "none", "--image-size", SIDE,
        "--train-ratio", 0.2, program=doctor.__file__,
    )  # fmt: skip
    while process.poll() is None and not [*scratch.glob("tl-doctor-*")]:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    code, _, told = ray_run.finish(process)
    assert (code, told) == (130, "interrupted\n")
    assert [*scratch.glob("tl-doctor-*")] == []
    assert ray_run.left_over(wait_s=10) == {}
