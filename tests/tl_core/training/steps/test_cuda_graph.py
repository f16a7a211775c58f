"""In which order torch is asked for a graph; there need be no GPU."""

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch

from tl_core.training.steps.cuda_graph import can_capture, capture, rate_format

GPU = torch.device("cuda", 0)


class Stream:
    def __init__(self, name: str, log: list[str]) -> None:
        self.name, self._log = name, log

    def wait_stream(self, other: "Stream") -> None:
        self._log.append(f"{self.name} waits for {other.name}")


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What `torch.cuda` is asked for, in order."""
    asked: list[str] = []
    signature = inspect.signature(torch.cuda.graph)
    here = Stream("main", asked)
    mode = ["default"]

    class Graph:
        def replay(self) -> None:
            asked.append("replay")

    @contextmanager
    def within(name: str) -> Iterator[None]:
        asked.append(f"begin {name}")
        yield
        asked.append(f"end {name}")

    def graph(*given: Any, **options: Any) -> Any:
        signature.bind(*given, **options)
        assert isinstance(given[0], Graph)
        return within(f"graph on {options['stream'].name}, {options['capture_error_mode']}")

    def set_mode(value: str) -> None:
        asked.append(f"waits: {value}")
        mode[0] = value

    fakes = {
        "current_stream": lambda _: here,
        "Stream": lambda _: Stream("side", asked),
        "stream": lambda stream: within(stream.name),
        "set_stream": lambda stream: asked.append(f"back to {stream.name}"),
        "CUDAGraph": Graph,
        "graph": graph,
        "get_sync_debug_mode": lambda: mode[0],
        "set_sync_debug_mode": set_mode,
    }
    for name, fake in fakes.items():
        monkeypatch.setattr(torch.cuda, name, fake)
    return asked


BEFORE = [
    "side waits for main", "begin side", "work", "work",
    "waits: error", "work", "waits: default", "end side", "main waits for side",
]  # fmt: skip


def test_work_is_done_before_it_is_recorded(log: list[str]) -> None:
    replay = capture(lambda: log.append("work"), GPU)
    during = ["begin graph on side, thread_local", "work", "end graph on side, thread_local"]
    assert log == [*BEFORE, *during, "back to main"]
    replay()
    assert log[-1] == "replay"


def test_work_that_waits_is_not_recorded(log: list[str]) -> None:
    def work() -> None:
        log.append("work")
        if log[-2] == "waits: error":
            raise RuntimeError("called a synchronizing CUDA operation")

    with pytest.raises(RuntimeError, match="called a synchronizing CUDA operation"):
        capture(work, GPU)
    # What the side stream still does keeps its memory.
    assert log[-3:] == ["work", "waits: default", "main waits for side"]
    assert not any("graph" in line for line in log)


def test_a_record_that_fails_leaves_the_stream(log: list[str]) -> None:
    def work() -> None:
        if "begin graph" in log[-1]:
            raise RuntimeError("operation not permitted when stream is capturing")

    with pytest.raises(RuntimeError, match="operation not permitted"):
        capture(work, GPU)
    assert log[-1] == "back to main"


def test_only_gpus_of_nvidia_record(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.version, "hip", None)
    assert can_capture(GPU)
    assert not can_capture(torch.device("cpu"))
    with monkeypatch.context() as patch:
        patch.setattr(torch, "are_deterministic_algorithms_enabled", lambda: True)
        assert not can_capture(GPU)
    monkeypatch.setattr(torch.version, "hip", "7.0")
    assert not can_capture(GPU)


def test_the_rate_is_as_exact_as_it_can_be() -> None:
    assert rate_format(torch.device("cpu")) == torch.float64
    assert rate_format(GPU) == torch.float32
