"""The benchmarks' own arithmetic, on small numbers: `python -m benchmarks.selfcheck`.

The rows check everything else when they run: each has a gate on what both sides computed.
"""

import io
import json
import math
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any, NoReturn

import pytest
import torch
from rich.console import Console
from torch import nn

from benchmarks.gpu.check import Check, GpuBench
from benchmarks.gpu.parts.drawing import images
from benchmarks.gpu.parts.limits import SHARE, advice
from benchmarks.gpu.parts.repeats import gaps
from benchmarks.gpu.parts.training import no_wait, train
from benchmarks.gpu.plan import PARTS, WHOLE_S, run_part
from benchmarks.scaling.disk import WIDTHS
from benchmarks.scaling.driver import rates
from benchmarks.scaling.spread import Span, most_at_once, spread_row, utilisation
from benchmarks.speed.bench import Bench
from benchmarks.speed.harness import (
    Gate,
    SkippedError,
    agree,
    all_of,
    interleaved,
    measured,
    verdict,
)
from benchmarks.speed.rows.frozen import count_flops, near_fp32
from benchmarks.speed.rows.study import finetune_gates
from benchmarks.speed.run import ROWS, Run
from tests.support.core.fake_gpu import fake_gpu
from tl_core.config import EpochMetrics
from tl_core.models.backbones import load_backbone


def check_harness() -> None:
    """A wrong or missing number passes no gate, and a failed gate hides the row's number."""
    assert [agree("loss", x, 0.5, 1e-3).ok for x in (0.5009, 0.502, math.nan)] == [1, 0, 0]
    one, two, bad = Gate(True, "one"), Gate(True, "two"), Gate(False, "bad")
    assert all_of([one, two, one]) == Gate(True, "one; two")
    assert all_of([one, bad]) == Gate(False, "bad")
    assert not all_of([]).ok
    row = measured("row", "time", [4, 1, 3], one, target=3)
    assert (row.median, row.low, row.high, verdict(row)) == (3, 1, 4, "held")
    assert verdict(measured("row", "time", [math.nan], one, target=3)) == "missed"
    assert verdict(measured("row", "time", [4], one, target=3, direction="at most")) == "missed"
    assert verdict(measured("row", "time", [4], one)) == "measured"
    row = measured("row", "time", [4], bad, target=3)
    assert (row.median, row.held, verdict(row)) == (None, None, "gate failed")
    a, b = iter([100.0, 6, 8]), iter([100.0, 2, 4])
    pairs = interleaved(lambda: next(a), lambda: next(b), 2, print)
    assert pairs == [(6, 2), (8, 4)]  # The warm-up does not count.


def check_networks() -> None:
    """FLOPs by hand; bf16 is near float32 and noise is not; widths are the networks' own."""
    # 2 images, 4 x 4 places, 5 filters of 3 x 3 x 3 weights: a product and a sum each.
    images = torch.zeros(2, 3, 4, 4)
    assert count_flops(nn.Conv2d(3, 5, 3, padding=1), images) == 2 * 16 * 5 * 27 * 2
    plain = torch.linspace(-1, 1, 64)
    assert near_fp32(plain.bfloat16().float(), plain).ok
    assert not near_fp32(plain + 0.5, plain).ok
    right = EpochMetrics(1, 0.5, 0.5, 0.7, 0.7, 0.9, 0.5, 1.0)
    for loss, accuracy, expected in ((0.5099, 0.87, [1, 1]), (math.nan, 0.86, [0, 0])):
        ours = EpochMetrics(1, loss, 0.5, 0.7, 0.7, accuracy, 0.5, 1.0)
        assert [g.ok for g in finetune_gates("trial", ours, right, 100)] == expected
    assert {name: load_backbone(name, "none", 64).n_features for name in WIDTHS} == WIDTHS


def check_scaling() -> None:
    """Rates and utilisation by hand."""
    row = rates([(10.0, 1.0), (10.5, 1.1), (11.0, 1.2)], slots=4, sleep_s=1.0)
    # Four slots end two trials a second: each has a trial for 2 s, which sleeps for one.
    assert (row["trials_per_s"], row["driver_cpu_ms"], row["idle_slot_ms"]) == (2, 100, 1000)
    spans = [Span((gpu,), *span) for gpu, *span in ((0, 0, 3), (0, 1, 2), (3, 2, 4))]
    assert (utilisation(spans, slots=2), most_at_once(spans)) == (0.75, 2)
    row = spread_row(spans, 4, 2, swept=5)
    assert (row["trials_on_gpus"], row["most_on_one_gpu"], row["gpus_a_trial"]) == (3, 2, 1)


def check_run() -> None:
    """A row after a broken one still runs; that and a failed gate make the exit code 1."""

    def skipped(bench: Bench) -> NoReturn:
        raise SkippedError("no GPU")

    fake: Any = ModuleType("fake")
    fake.skipped = skipped
    fake.broken = lambda _: 1 / 0
    fake.wrong = lambda _: [measured("wrong", "time", [1], Gate(False, "1 against 2"))]
    fake.right = lambda _: [measured("right", "time", [1], Gate(True, "same"))]
    sys.modules["benchmarks.speed.rows.fake"] = fake
    names = ["broken", "wrong", "right", "skipped"]
    ROWS.update(dict.fromkeys(names, ("fake", "a fake")))
    with TemporaryDirectory() as folder:
        out, bench = Path(folder) / "out.json", Bench("demo", "mlp", 32, 1, True, Path(folder))
        run = Run(bench, out, {})
        assert run.measure(["right", "skipped"]) == 0
        run.show(Console(file=(screen := io.StringIO()), width=200))
        assert "skipped: no GPU" in screen.getvalue()
        assert Run(bench, out, {}).measure(names) == 1
        rows = json.loads(out.read_text())["rows"]
    assert [row["verdict"] for row in rows] == ["gate failed", "gate failed", "measured", "skipped"]
    assert rows[0]["gate_text"] == "broke: ZeroDivisionError: division by zero"


def check_gpu_lines() -> None:
    """Verdicts and lines; parts have 8 minutes; one that breaks or hangs is told and ended."""
    slow, fast = Check("a", 2.0, "s", 3.0), Check("a", 2.0, "s", 3.0, "at most")
    assert (slow.verdict, fast.verdict) == ("missed", "ok")
    assert Check("a", math.nan, "s", 3.0).verdict == "missed"
    assert (Check("a", 9, "s", 3, fault="b").verdict, Check("a").verdict) == ("failed", "ok")
    assert slow.line("part") == "missed  part         a: 2 s (at least 3)"
    assert Check("a", skipped="needs a GPU").line("p") == "skipped p            a: needs a GPU"
    assert gaps([{"x": 1.0, "y": None}], [{"x": 1.5, "y": 2.0}]) == {
        "x of epoch 1": 0.5, "y of epoch 1": math.inf
    }  # fmt: skip
    assert sum(part.limit_s for part in PARTS.values()) <= WHOLE_S == 8 * 60
    with TemporaryDirectory() as folder:
        (hung,) = run_part("replay", "cpu", True, Path(folder), 0.1)
        assert (hung.verdict, hung.fault[:14]) == ("failed", "not done after")
        (broken,) = run_part("eager", "cpu", True, Path(folder), 600)
        assert broken.fault.startswith("its process ended with code 1; FileNotFoundError")


def check_gpu_parts() -> None:
    """Parts that need a GPU, on one of limited bytes that is made of the host's memory."""
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        # Smaller images take less memory than the network has while it is built.
        patch.setattr(GpuBench, "side", 96)
        bench = GpuBench(torch.device("cpu"), True, Path(folder))
        assert [c.verdict for c in images(bench)] == ["ok"]
        with fake_gpu(patch, 10**12) as gpu:
            assert [c.verdict for c in no_wait(bench)] == ["ok"]
            assert gpu.sync_modes == ["error", "default", "default"]
        with fake_gpu(patch, 10**12) as gpu:
            train(bench, 32, epochs=1)
        with fake_gpu(patch, int(0.7 * gpu.most / SHARE)):
            (found,) = advice(bench)
        assert found.verdict == "ok", found
        assert found.value is not None
        assert 1 <= found.value < 32
        with fake_gpu(patch, 10**12):
            (found,) = advice(bench)
        assert found.fault == "a batch of 32 fits into 5% of the memory"


if __name__ == "__main__":
    checks = (check_harness, check_networks, check_scaling, check_run)
    for check in (*checks, check_gpu_lines, check_gpu_parts):
        check()
    print("the benchmarks' arithmetic holds")
