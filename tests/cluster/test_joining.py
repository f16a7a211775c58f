"""Who can't work with the driver is named before any work."""

import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from study import run
from study.cluster import version_fault
from tests.cluster.hosts import PORT, hosts, needs_hosts


def test_a_version_fault_names_the_node_and_both_versions() -> None:
    wanted = (("python", "3.11.7"), ("torch", "2.14.1"), ("ray", "2.60.0"))
    assert version_fault("10.0.0.2", wanted, wanted) is None
    found = (("python", "3.12.1"), ("torch", "2.14.1"), ("ray", "none"))
    told = (
        "node 10.0.0.2 has python 3.12.1 where the driver has 3.11.7, "
        "ray none where the driver has 2.60.0: install constraints.txt there"
    )
    assert version_fault("10.0.0.2", wanted, found) == told


@pytest.mark.slow
def test_a_node_with_another_torch_is_named_before_any_work(
    tmp_path: Path, photo_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs_hosts()
    monkeypatch.chdir(tmp_path)
    (other_torch := tmp_path / "other" / "torch-9.9.9.dist-info").mkdir(parents=True)
    (other_torch / "METADATA").write_text("Metadata-Version: 2.1\nName: torch\nVersion: 9.9.9\n")
    with hosts(2) as (head, other):
        head.ray(gpus=0)
        other.ray(head, gpus=0, PYTHONPATH=other_torch.parent)
        address = f"{head.address}:{PORT}"
        words = ["--address", address, "--gpus", "0", "--data", str(photo_folder), "--name", "mine"]
        words += ["--backbone", "mlp", "--mode", "scratch", "--offline"]
        study = head.start(sys.executable, run.__file__, *words)
        printed, told = study.communicate(timeout=200)
    assert study.returncode == 2, printed + told
    why = f"node {other.address} has torch 9.9.9 where the driver has {version('torch')}"
    assert f"--address {address}: {why}: install constraints.txt there" in told
    assert not (tmp_path / "runs").exists()
