"""The rows by name, in the order in which they run."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module

from benchmarks.speed.bench import Bench
from benchmarks.speed.harness import Row


@dataclass(frozen=True)
class Entry:
    """Where a row is measured; imported when it runs, as Ray and torch take seconds."""

    module: str
    about: str

    def load(self, name: str) -> Callable[[Bench], Iterator[Row]]:
        """The function that measures it; it may yield more rows than one."""
        module = import_module(f"benchmarks.speed.rows.{self.module}")
        measure: Callable[[Bench], Iterator[Row]] = getattr(module, name.replace("-", "_"))
        return measure


ROWS: dict[str, Entry] = {
    "fused-heads": Entry("heads", "heads of 32 seeds fused against one after another"),
    "backbone-flops": Entry("backbone", "the backbone's FLOP/s against a matrix product"),
    "input-share": Entry("training", "input's share of a training step"),
    "cpu-training": Entry("training", "training images/s on a CPU against a DataLoader loop"),
    "attach-memory": Entry("memory", "attach time and total PSS with 1, 2 and 4 workers"),
    "orchestration": Entry("overhead", "milliseconds per no-op trial"),
    "tracking-share": Entry("overhead", "MLflow's share of a frozen search"),
    "tracking-study": Entry("overhead", "wall time of a frozen study with MLflow, without"),
    "frozen-study": Entry("study", "frozen trials an hour against a naive Ray Tune study"),
    "finetune-study": Entry("study", "the same for fine-tuning"),
    "trials-growth": Entry("growth", "16 to 256 frozen trials; 256 against one pass"),
    "images-growth": Entry("growth", "600 to 9,600 images"),
    "gpu-training": Entry("gpu", "ResNet18 at 224, training, eager and compiled"),
    "gpu-features": Entry("gpu", "ResNet18 at 224, features, eager and compiled"),
    "gpu-sharing": Entry("gpu", "several processes at batch 32 against one large batch"),
}


def unknown(names: list[str]) -> str | None:
    """Say which names are no rows, and which there are; None if all are."""
    wrong = [name for name in names if name not in ROWS]
    if not wrong:
        return None
    return f"unknown row {', '.join(wrong)}; the rows are {', '.join(ROWS)}"
