"""The benchmarks' commands, run as a user runs them, on the cheapest rows and parts."""

import json
import os
import re
import runpy
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import draw_folder

Run = Callable[..., "subprocess.CompletedProcess[str]"]
ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
ROWS = {
    "fused-heads": ["fused-heads-efficientnet_lite0-plain", "fused-heads-resnet18-alone"],
    "probe": ["probe-2", "probe-10"],
    "cpu-training": ["cpu-training"],
    "partial-step": ["partial-step-resnet18-64", "partial-step-efficientnet_lite0-64"],
    "attach-memory": ["pss-1", "pss-4", "attach-4"],
    "orchestration": ["orchestration"],
}
"""Cheap rows of `python -m benchmarks`, and some of the rows that they write to the file."""

GPU_PARTS = {
    "images",
    "first-epoch",
    "epoch",
    "extraction",
    "eager",
    "compiled",
    "sharing",
    "replay",
}
"""Parts of `python -m benchmarks gpu` that a CPU can try."""
NEED_A_GPU = {"no-wait", "captured", "auto", "filled", "advice"}


def run(module: str, *args: object, **variables: str) -> "subprocess.CompletedProcess[str]":
    """Run a module in the working folder, which is the test's own."""
    command = [sys.executable, "-m", module, *(str(arg) for arg in args)]
    env = os.environ | {"PYTHONPATH": str(ROOT)} | variables
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False)


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a module in this process, which need not import torch anew."""

    def run_module(module: str, *args: object) -> "subprocess.CompletedProcess[str]":
        monkeypatch.setattr(sys, "argv", [module, *(str(arg) for arg in args)])
        code = 0
        try:
            runpy.run_module(module, run_name="__main__")
        except SystemExit as ended:
            code = int(ended.code or 0)
        return subprocess.CompletedProcess([module], code, *capsys.readouterr())

    return run_module


def passed(done: "subprocess.CompletedProcess[str]") -> "subprocess.CompletedProcess[str]":
    assert done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.fixture
def short_temp() -> Iterator[Path]:
    """A folder for temporary files with a short path, as Ray's sockets need it."""
    folder = Path(tempfile.mkdtemp(prefix="tl", dir="/tmp"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.benchmarks
def test_rows_are_measured_and_pass_their_gates(tmp_path: Path, short_temp: Path) -> None:
    out = tmp_path / "out.json"
    done = passed(run("benchmarks", "--quick", "--out", out, *ROWS, TMPDIR=str(short_temp)))
    found = json.loads(out.read_text())
    rows = {row["name"]: row for row in found["rows"]}
    assert {name for names in ROWS.values() for name in names} <= rows.keys()
    for name, row in rows.items():
        assert row["verdict"] in ("held", "missed", "measured")
        assert row["gate_text"]
        assert row["low"] <= row["median"] <= row["high"]
        assert name in done.stdout
    assert found["options"]["image_size"] == 64
    assert {"versions", "cpu", "load_before", "load_after"} <= found["environment"].keys()
    assert all(value > 0 for value in found["ceilings"].values())
    # Ray leaves its logs; everything else is removed.
    assert [path.name for path in short_temp.iterdir() if path.name != "ray"] == []


@pytest.mark.integration
def test_bad_input_is_refused(here: Run) -> None:
    done = here("benchmarks", "heads", "x", "--repeats", 0, "--out", "/nowhere/x.json")
    assert (done.returncode, done.stdout) == (2, "")
    unknown, repeats, out = done.stderr.splitlines()
    assert unknown.startswith("error: unknown row heads, x; the rows are fused-heads, ")
    assert repeats == "error: --repeats 0: must be 1 or more"
    assert out == "error: --out /nowhere/x.json: its folder does not exist"
    done = here("benchmarks", "fused-heads", "--data", "/nowhere")
    assert (done.returncode, done.stdout) == (2, "")
    assert "data folder /nowhere does not exist" in done.stderr


@pytest.mark.integration
def test_a_machine_without_a_gpu_is_told(here: Run) -> None:
    done = here("benchmarks", "gpu")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: no GPU here that networks run on; --device cpu tries")
    done = here("benchmarks", "gpu", "--device", "cpu", "--out", "/nowhere/gpu.json")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: --out /nowhere/gpu.json: its folder does not exist\n"
    listed = passed(here("benchmarks", "gpu", "--list")).stdout.splitlines()
    assert {line.split()[0] for line in listed} == GPU_PARTS | NEED_A_GPU
    assert sum(int(line.split()[1]) for line in listed) <= 8 * 60


@pytest.mark.benchmarks
def test_parts_of_the_gpu_command_run_on_a_cpu(tmp_path: Path, short_temp: Path) -> None:
    out = tmp_path / "gpu.json"
    args = ("benchmarks", "gpu", "--device", "cpu", "--out", out)
    done = passed(run(*args, TMPDIR=str(short_temp)))
    found = json.loads(out.read_text())
    verdicts = {
        name: {c["verdict"] for c in part["checks"]} for name, part in found["parts"].items()
    }
    assert verdicts == {name: {"ok"} for name in GPU_PARTS} | {
        name: {"skipped"} for name in NEED_A_GPU
    }
    assert all(f" {name} " in done.stdout for name in verdicts)
    left = [path for path in short_temp.rglob("*") if not path.name.startswith("torchinductor_")]
    assert left == [], "torch alone makes a folder, which stays empty, when it is imported"


@pytest.mark.integration
def test_the_rows_are_listed_and_the_arithmetic_holds(here: Run) -> None:
    listed = [line.split()[0] for line in passed(here("benchmarks", "--list")).stdout.splitlines()]
    assert set(ROWS) < set(listed)
    assert len(listed) == len(set(listed))
    assert passed(here("benchmarks.selfcheck")).stdout == "the benchmarks' arithmetic holds\n"


@pytest.mark.benchmarks
def test_parts_are_measured_and_added_to_the_file(short_temp: Path, tmp_path: Path) -> None:
    committed: dict[str, Any] = json.loads((DOCS / "scaling.json").read_text())
    out = tmp_path / "scaling.json"
    shutil.copy(DOCS / "scaling.json", out)
    args = ["--quick", "--out", out, "disk", "memory", "spread"]
    done = passed(run("benchmarks.scaling", *args, TMPDIR=str(short_temp)))
    report: dict[str, Any] = json.loads(out.read_text())
    kept = committed.keys() - {"disk", "memory", "spread", "budget"}
    assert {part: report[part] for part in kept} == {part: committed[part] for part in kept}
    assert report["budget"]["tables"] == committed["budget"]["tables"]
    for part in ("disk", "memory", "spread"):
        assert all(f"{part}: {title}" in done.stdout for title in report[part]["tables"])
    # An epoch trains on more images than the memory that it may allocate.
    ((row,),) = report["memory"]["tables"].values()
    assert row["copy_refused"] == "True"
    assert row["epoch_read_mb"] > row["limit_mb"] >= row["allocated_mb"]
    assert row["anon_peak_mb"] - row["anon_start_mb"] <= row["limit_mb"]
    # Trials fill two GPUs in pairs, and frozen ones are drawn among them.
    row = report["spread"]["tables"]["8 timed trials over 2 GPUs"][0]
    assert (row["trials_on_gpus"], row["most_on_one_gpu"], row["gpus_a_trial"]) == (8, 2, 1)
    assert row["swept_meanwhile"] == 8
    refused = run("benchmarks.scaling", "dsk")
    assert refused.returncode == 2
    assert "unknown part dsk; must be of search, driver, spread" in refused.stderr


@pytest.mark.integration
def test_cheap_parts_are_measured_on_their_own() -> None:
    done = passed(run("benchmarks.scaling", "--quick", "search", "journal"))
    assert "search: ms a trial by finished trials" in done.stdout
    assert "journal: ms in the driver" in done.stdout


@pytest.mark.integration
@pytest.mark.parametrize("name", ["scaling", "findings"])
def test_the_committed_page_holds_the_committed_figures(
    here: Run, tmp_path: Path, name: str
) -> None:
    committed = (DOCS / f"{name}.md").read_text()
    assert committed.count("<!-- end -->") >= 6
    page = tmp_path / f"{name}.md"
    page.write_text(
        re.sub(r"(<!-- \w+ \|[^>]*-->\n).*?(<!-- end)", r"\1old\n\2", committed, flags=re.S)
    )
    assert page.read_text().count("old\n") >= 6
    for file in DOCS.glob("*.json"):
        shutil.copy(file, tmp_path)
    args = (tmp_path / f"{name}.json", page) if name == "scaling" else (page,)
    passed(here(f"benchmarks.{name}.page", *args))
    assert page.read_text() == committed
    assert (name == "scaling") != page.with_suffix(".png").exists()


@pytest.mark.benchmarks
def test_findings_run_only_what_their_file_lacks(tmp_path: Path) -> None:
    photos = draw_folder(tmp_path / "photos", ("cat", "dog"), n_images=30)
    out = tmp_path / "findings.json"
    args = ["--data", photos, "--out", out, "--cache", tmp_path / "cache", "--seeds", "1"]
    args += ["--image-size", "32"]
    passed(run("benchmarks.findings", *args))
    first = json.loads(out.read_text())["runs"]
    lines = out.read_text().splitlines()[1:-1]  # One run each.
    assert [json.loads(line.removesuffix(",")) for line in lines] == first
    kept = [r for r in first if r["config"]["backbone"] != "shared_mlp"]
    assert len(first) - len(kept) == 2
    article = [r["config"] for r in first if r["group"] == "article"]
    assert {(c["mode"], c["train_ratio"]) for c in article} == {
        ("freeze", 0.1), ("freeze", 0.8), ("scratch", 0.8)
    }  # fmt: skip
    assert len(article) == 10 + 10 + 1
    for r in first:
        assert r["right"].count("1") / len(r["right"]) == pytest.approx(r["test"]["test_accuracy"])
    out.write_text(json.dumps({"runs": kept}))
    passed(run("benchmarks.findings", *args, "--processes", 1))
    again = json.loads(out.read_text())["runs"]
    assert again[: len(kept)] == kept
    assert len(again) == len(first)
    scores = {json.dumps(r["config"]): r["test"] for r in first}
    assert {json.dumps(r["config"]): r["test"] for r in again} == scores
    other = run("benchmarks.findings", *args, "--lr", "1e-3")
    assert other.returncode == 2
    assert "holds runs of other settings or images" in other.stderr
