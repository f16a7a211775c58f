"""What the doctor prints of nodes, checks, speeds and the time that a study takes."""

import io
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console
from rich.table import Table

from study.cluster.join import Node, NodeFault, versions
from study.cluster.node_report import NodeReport, ReportedNode
from study.cluster.resources import this_machine
from study.diagnosis.estimate import Speeds
from study.diagnosis.measure import Measured
from study.diagnosis.tables import (
    check_table,
    eta_line,
    limit_line,
    node_table,
    shm_note,
    speed_table,
)
from study.preflight.setup import Setup
from tests.support.studies.builders import make_settings
from tl_core.errors import Fault
from tl_core.models.backbones import load_backbone

H100 = "NVIDIA H100 80GB HBM3"
REPORT = NodeReport(
    versions=versions(), hardware={"machine": "x86_64", "cpus": 16, "gpus": [H100, H100]},
    gpu_memory=((70 * 10**9, 80 * 10**9), (5 * 10**9, 80 * 10**9)),
    precisions={"cpu": "fp32", "cuda": "bf16"}, cache_fault=None, cache_free=500 * 10**9,
    weights_fault=None, compiler_fault=None,
)  # fmt: skip
FOUND = dict(versions())


def drawn(table: Table, width: int = 100) -> str:
    """The table as text, on a terminal of so many columns."""
    console = Console(width=width, file=io.StringIO(), record=True)
    console.print(table)
    text = console.export_text()
    assert max(map(len, text.splitlines())) <= width
    return " ".join(text.split())


def node(report: NodeReport | NodeFault, gpus: int = 2, **more: Any) -> dict[str, str]:
    """The row of a node by its columns, each as one line."""
    settings = make_settings(data="photos", address="auto", storage=more.get("storage"))
    place = Node("id", "10.0.0.7", 16, gpus)
    unwritable = {place: "no role"} if more.get("unwritable") else {}
    table = node_table(Setup(settings, nodes=[ReportedNode(place, report)], unwritable=unwritable))
    assert "10.0.0.7" in drawn(table)
    texts = {str(c.header): " ".join(map(str, c.cells)) for c in table.columns}
    return {name: " ".join(text.split()) for name, text in texts.items()}


def test_a_node_by_what_it_has() -> None:
    assert node(REPORT) == {
        "node": "10.0.0.7", "cores": "16", "storage": "over Ray", "weights": "there",
        "GPUs": f"{H100}, 70.0 GB of 80.0 GB free {H100}, 5.0 GB of 80.0 GB free",
        "versions": f"python {FOUND['python']} torch {FOUND['torch']} ray {FOUND['ray']}",
        "cache": "can be written, 500.0 GB free",
    }  # fmt: skip
    for name in ("torch", "timm"):
        other = tuple((n, "0.1" if n == name else v) for n, v in versions())
        text = node(replace(REPORT, versions=other))["versions"]
        assert f"{name} 0.1, driver {FOUND[name]}" in text
        assert text.count("driver") == 1


@pytest.mark.parametrize(("row", "column", "text"), [
    (node(replace(REPORT, cache_fault="no")), "cache", "can't be written, 500.0 GB free"),
    (node(replace(REPORT, weights_fault="no")), "weights", "unavailable"),
    (node(replace(REPORT, gpu_memory=((1, 2), (0, 0)))), "GPUs", "its memory is not known"),
    (node(REPORT, gpus=3), "GPUs", "free 3 GPUs in Ray's books"),
    (node(NodeFault("no answer in 60 s")), "GPUs", "no answer in 60 s"),
    (node(REPORT, storage="s3://mine"), "storage", "can be written"),
    (node(REPORT, storage="s3://mine", unwritable=True), "storage", "can't be written"),
])  # fmt: skip
def test_what_a_node_lacks_is_marked(row: dict[str, str], column: str, text: str) -> None:
    assert row[column].endswith(text)


def test_speeds_eta_and_checks() -> None:
    settings = make_settings(data="photos", mode=("freeze", "finetune"), train_ratio=(0.1, 0.8))
    found = Measured(Speeds(forward=200, train=50, sweep=4e9), places=4)
    cells = {("freeze", 0.1): 0.25, ("freeze", 0.8): 1.5, ("finetune", 0.1): 60.4}
    text = drawn(speed_table(settings, found, cells))  # type: ignore[arg-type]
    assert "freeze │ 1 core │ many at once, 8 seeds │ 0.25 at 0.1 to 1.5 at 0.8" in text
    assert "finetune │ 4 │ 50 │ 60 at 0.1 │" in text
    assert "frozen network │ 4 │ 200" in text
    unknown = drawn(speed_table(make_settings(data="photos", mode=("finetune",)), Measured(), {}))
    assert "finetune │ │ not measured │ not known" in unknown
    stages = {"start": 10, "decoding": 0, "features": 20, "search": 600, "confirming": 3600}
    assert eta_line(stages) == (
        "ETA of this study: 1:10:30 (start 0:00:10, decoding 0:00:00, features 0:00:20, "
        "search 0:10:00, confirming 1:00:00; early stopping not counted)"
    )
    # Trials have 15 % more, and the report a minute, or a tenth of the time.
    assert limit_line(stages, 4921.0) == "--max-time 1:22:01 is enough"
    assert limit_line(stages, 4919.0) == "--max-time 1:21:59 ends it before; --resume goes on then"
    short = stages | {"search": 100, "confirming": 0}
    assert [limit_line(short, s).split()[2] for s in (161.0, 162.0)] == ["ends", "is"]
    setup = Setup(make_settings(data="photos"), resources=this_machine())
    setup.network = load_backbone("mlp", "none", 32)
    setup.faults_by_name = {"folder": [Fault("--out", "runs: no")]}
    text = drawn(check_table(setup))
    assert "settings │ ok │ 80 trials of freeze finetune at 5 train ratios" in text
    assert "folder │ fault │ listed below" in text
    setup.left_out = (0.01,)
    setup.change(train_ratio=(0.03, 0.1, 0.3, 0.8), trials=64)
    fewer = "settings │ ok │ 64 trials of freeze finetune at 4 train ratios"
    assert fewer in drawn(check_table(setup))


def test_little_shared_memory_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for size in (64, 1000):
        usage = SimpleNamespace(total=size * 10**6)
        monkeypatch.setattr("shutil.disk_usage", lambda _, usage=usage: usage)
        why = f"{tmp_path} has 64.0 MB, so Ray keeps its objects in its folder in /tmp; docker run "
        assert shm_note(tmp_path) == (f"{why}--shm-size=1g gives it more" if size == 64 else "")
    assert shm_note(tmp_path / "none") == ""
