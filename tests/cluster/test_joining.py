"""Who can't work with the driver is named before any work."""

import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

import pytest

from study import run
from study.records.ledger import read_records
from tests.support.hosts import PORT, ROOT, Host, hosts

NETS = (
    "--backbone", "mlp", "--mode", "scratch", "--train-ratio", 0.5, "--trials", 2,
    "--epochs", 1, "--min-steps", 0,
    "--image-size", 32, "--precision", "fp32", "--no-confirm", "--offline", "--name", "mine",
)  # fmt: skip


@pytest.fixture
def other_torch(tmp_path: Path) -> Path:
    """A PYTHONPATH on which torch seems to be another version."""
    (info := tmp_path / "other" / "torch-9.9.9.dist-info").mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: torch\nVersion: 9.9.9\n")
    return info.parent


def start(head: Host, *given: object) -> "subprocess.Popen[str]":
    words = (run.__file__, "--address", f"{head.address}:{PORT}", *given)
    return head.start(sys.executable, *words, TL_STUDY_LOGICAL_GPUS=1, PYTHONPATH=ROOT)


@pytest.mark.cluster
def test_a_node_with_another_torch_is_named_before_any_work(
    tmp_path: Path, photo_folder: Path, other_torch: Path
) -> None:
    with hosts(2) as (head, other):
        head.ray(gpus=0)
        other.ray(head, gpus=0, PYTHONPATH=other_torch)
        study = start(head, "--gpus", 0, *NETS, "--data", photo_folder)
        printed, errors = study.communicate(timeout=200)
    assert study.returncode == 2, printed + errors
    why = f"node {other.address} has torch 9.9.9 where the driver has {version('torch')}"
    assert f"--address {head.address}:{PORT}: {why}: install constraints.txt there" in errors
    assert not (tmp_path / "runs").exists()


@pytest.mark.cluster
def test_one_that_joins_late_stops_the_study_and_takes_no_trial_with_it(
    tmp_path: Path, photo_folder: Path, other_torch: Path
) -> None:
    with hosts(3) as (head, other, good):
        head.ray(gpus=0)
        study = start(head, "--gpus", 1, *NETS, "--data", photo_folder)
        while study.poll() is None and not (tmp_path / "runs" / "mine").exists():
            time.sleep(0.1)
        other.ray(head, PYTHONPATH=other_torch)
        printed, errors = study.communicate(timeout=200)
        assert study.returncode == 2, printed + errors
        why = f"node {other.address} has torch 9.9.9 where the driver has {version('torch')}"
        assert f"error: the study can't go on\n  {why}: install constraints.txt there" in errors
        assert f"go on with: python {run.__file__} --resume mine" in printed
        other.kill()
        good.ray(head)
        study = start(head, "--resume", "mine")
        printed, errors = study.communicate(timeout=200)
    assert study.returncode == 0, printed + errors
    assert {r.node for r in read_records(tmp_path / "runs" / "mine")} == {good.address}
