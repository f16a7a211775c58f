"""What goes through Ray's object store: a study's own, and features if they went through it."""

import logging
import os
import pickle
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import ray

from benchmarks.scale_base import Row, Tables, figures, median_ms, scratch
from benchmarks.scale_disk import WIDTHS
from benchmarks.scale_noop import made_up
from benchmarks.scale_search import study_space
from study.search import Job

COUNTS = (2_400, 25_000, 1_200_000)
CHUNKS = (256, 4_096, 16_384)
"""Rows of features returned at once."""
REPEATS = 20
# https://docs.ray.io/en/latest/ray-core/configure.html: smaller results travel with the reply.
INLINE_BYTES = 100 * 1024


def measure(repeats: int = REPEATS) -> Tables:
    """Bytes by arithmetic, rates by trial."""
    with scratch() as folder, _local_ray(folder):
        size = int(ray.cluster_resources()["object_store_memory"])  # type: ignore[no-untyped-call]
        rates = [_rate(rows, WIDTHS["efficientnet_lite0"], repeats) for rows in CHUNKS]
    return {
        "a study's own objects": study_objects(),
        "chunks of features, 1,280 floats a row": rates,
        "features against the store": [features(n, name, size) for name in WIDTHS for n in COUNTS],
    }


def study_objects() -> list[Row]:
    """What a study sends: the job once, a configuration a trial and metrics an epoch."""
    folder = Path("/home/someone/.cache/tl-study/images") / ("0" * 24 + "-224-v1")
    drawn = {"mode": "finetune", "train_ratio": 0.1, "lr_finetune": 1e-3, "aux_weight": 0.5}
    sent: dict[str, tuple[str, Any]] = {
        "job (space, settings, paths)": ("study", Job(study_space(), folder, folder)),
        "configuration": ("trial", drawn),
        "metrics": ("epoch", asdict(made_up(1, 0.5))),
    }
    return [
        {
            "object": name,
            "once_a": often,
            "bytes": (n := len(pickle.dumps(value))),
            "beside_the_store": str(n < INLINE_BYTES),
        }
        for name, (often, value) in sent.items()
    ]


def features(n: int, backbone: str, store: int) -> Row:
    """The features of N images, were they all in the store at once."""
    size = 4 * WIDTHS[backbone] * n
    return {
        "images": n,
        "backbone": backbone,
        "features_gb": figures(size / 1e9),
        "store_gb": figures(store / 1e9),
        "share_of_store": figures(size / store),
    }


@contextmanager
def _local_ray(folder: Path) -> Iterator[None]:
    os.environ["RAY_TMPDIR"] = str(folder)
    ray.init(
        address="local",
        num_cpus=1,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
        _node_ip_address="127.0.0.1",
    )
    try:
        yield
    finally:
        ray.shutdown()


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
    # A get maps the store's memory; the copy is what a writer of the cache does with it.
    np.copyto(chunk, ray.get(held))
    got = time.perf_counter()
    ray.get(make.remote(*chunk.shape))
    return put - start, got - put, time.perf_counter() - got


def _make_rows(rows: int, width: int) -> np.ndarray:
    return np.zeros((rows, width), np.float32)
