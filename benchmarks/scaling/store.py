"""What goes through Ray's object store: a study's messages, and features if they did."""

import os
import pickle
import re
import time
from pathlib import Path
from typing import Any

import numpy as np
import ray

from benchmarks.common import Row, Tables, figures, median_ms
from benchmarks.scaling.disk import WIDTHS
from benchmarks.scaling.driver import run_noops
from study.cluster.local_ray import local_ray
from study.cluster.stores import Folder
from study.search.confirmation import Planned
from study.search.searcher import as_job
from study.trials.trial_context import TrialContext
from tests.support.studies.builders import make_config, make_epoch
from tests.support.studies.counting_journal import CountingJournal

COUNTS = (2_400, 25_000, 1_200_000)
CHUNKS = (256, 4_096, 16_384)
"""Rows of features returned at once."""
REPEATS = 20
_DUMP_PERIOD, _DUMP_MS = "RAY_debug_dump_period_milliseconds", 300


def measure(quick: bool) -> Tables:
    """Bytes by arithmetic, rates by measurement."""
    chunks, repeats = (CHUNKS[:1], 2) if quick else (CHUNKS, REPEATS)
    with local_ray(0, cpus=1):
        size = int(ray.cluster_resources()["object_store_memory"])  # type: ignore[no-untyped-call]
        rates = [_rate(rows, WIDTHS["efficientnet_lite0"], repeats) for rows in chunks]
    return {
        "a study's own messages": study_messages(),
        "a study of no-op trials": [study_use(trials=4 if quick else 20)],
        "chunks of features, 1,280 floats a row": rates,
        "features against the store": [
            {
                "images": n,
                "backbone": name,
                "features_gb": figures(4 * width * n / 1e9),
                "store_gb": figures(size / 1e9),
                "share_of_store": figures(4 * width * n / size),
            }
            for name, width in WIDTHS.items()
            for n in COUNTS
        ],
    }


class _StoreJournal(CountingJournal):
    """Notes how many objects the store got by the first and by the last trial's end."""

    def __init__(self, trials: int) -> None:
        super().__init__()
        self._trials = trials
        self.given: list[int] = []

    def end(self, *args: Any, **kwargs: Any) -> None:
        """Close a record."""
        super().end(*args, **kwargs)
        if len(self.ends) in (1, self._trials):
            self.given.append(objects_given(Path(os.environ["RAY_TMPDIR"]), time.time()))


def objects_given(ray_folder: Path, since: float) -> int:
    """Objects put into the store so far, from the file that the node writes at intervals."""
    (file,) = ray_folder.rglob("session_latest/logs/debug_state.txt")
    end = time.monotonic() + 30 * _DUMP_MS / 1000
    while file.stat().st_mtime < since:
        if time.monotonic() > end:
            raise TimeoutError(f"{file} is not rewritten every {_DUMP_MS} ms")
        time.sleep(_DUMP_MS / 1000)
    found = re.search(r"ObjectManager\.ObjectAdded - (\d+) total", file.read_text())
    return int(found[1]) if found else 0


def study_use(trials: int) -> Row:
    """Objects that a study puts into the store between its first and its last trial's end."""
    os.environ[_DUMP_PERIOD] = str(_DUMP_MS)
    journal, slots, epochs = _StoreJournal(trials), 2, 10
    run_noops(journal, slots, 0.0, epochs, trials)
    first, last = journal.given
    a_trial = figures((last - first) / (trials - 1))
    row: Row = {"trials": trials, "epochs": epochs, "objects_before_first_end": first}
    return row | {"objects_at_end": last, "objects_a_trial": a_trial}


def study_messages() -> list[Row]:
    """A study's messages: the context once, a configuration a trial and metrics an epoch."""
    cache, images = Path("/home/someone/.cache/tl-study"), "images/" + "0" * 24 + "-224-v1"
    config = make_config(mode="finetune", aux_weight=0.5)
    sent: dict[str, tuple[str, Any]] = {
        "job (paths)": ("study", TrialContext(cache, images, Folder(cache), "val_log_loss")),
        "trial": ("trial", as_job([Planned(config, trial=0)])),
        "metrics": ("epoch", make_epoch().plain()),
    }
    return [
        {"message": name, "once_a": often, "pickled_bytes": len(pickle.dumps(value))}
        for name, (often, value) in sent.items()
    ]


def _rate(rows: int, width: int, repeats: int) -> Row:
    chunk = np.ones((rows, width), np.float32)
    mb = chunk.nbytes / 1e6
    make = ray.remote(_make_rows)
    times = [_put_get_return_s(chunk, make) for _ in range(repeats + 1)][1:]
    put, get, returned = (
        mb / median_ms(list(column)) * 1000 for column in zip(*times, strict=True)
    )
    return {
        "rows": rows,
        "chunk_mb": figures(mb),
        "put_mb_per_s": figures(put),
        "get_and_copy_mb_per_s": figures(get),
        "returned_by_a_worker_mb_per_s": figures(returned),
    }


def _put_get_return_s(chunk: np.ndarray, make: Any) -> tuple[float, float, float]:
    start = time.perf_counter()
    held = ray.put(chunk)
    put = time.perf_counter()
    # A get maps the store's memory; the copy stands for the writer of the cache.
    np.copyto(chunk, ray.get(held))
    got = time.perf_counter()
    ray.get(make.remote(*chunk.shape))
    return put - start, got - put, time.perf_counter() - got


def _make_rows(rows: int, width: int) -> np.ndarray:
    return np.zeros((rows, width), np.float32)
