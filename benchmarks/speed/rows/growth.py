"""How the wall time of a frozen study grows with its trials and with its images."""

import math
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

from benchmarks.speed.bench import Bench, tile
from benchmarks.speed.harness import Gate, Row, all_of, measured, rounds, seconds
from benchmarks.speed.studies.our_study import OurStudy, all_done, run_ours, settings_of
from tl_core.training.features import load_features


def trials_growth(bench: Bench) -> Iterator[Row]:
    """From 16 to 256 trials on features that are there; and 256 against one pass."""
    sizes: tuple[int, ...] = bench.pick((16, 64, 256), (4, 16))
    studies: list[OurStudy] = []
    gates: list[Gate] = []

    def study(trials: int) -> float:
        studies.append(run_ours(settings_of(bench, bench.cache, trials)))
        gates.append(all_done(studies[-1].records, trials))
        return studies[-1].wall_s

    load_features(bench.images, bench.backbone, bench.cache, bench.device)
    runs: dict[str, Callable[[], float]]
    runs = {str(n): partial(study, n) for n in sizes} | {"pass": seconds(lambda: _pass(bench))}
    found = rounds(runs, bench.repeats, bench.tell)
    yield _growth("trials-growth", "trials", sizes, found, all_of(gates), trials=sizes[-1])
    # Without Ray's start, which would hide what a trial more costs.
    turns = [studies[i : i + len(sizes)] for i in range(0, len(studies), len(sizes))]
    searching = [{str(len(s.records)): s.searching_s for s in turn} for turn in turns]
    yield _growth("trials-growth-running", "trials", sizes, searching, all_of(gates))
    yield from _moonshot(sizes[-1], found, studies, all_of(gates))


def images_growth(bench: Bench) -> Iterator[Row]:
    """From 600 to 9,600 images, each study with its pass of the backbone."""
    times: tuple[int, ...]
    times, trials = bench.pick((1, 4, 16), (1, 4)), bench.pick(16, 4)
    home = bench.fresh("tiled")
    sets = {k: tile(bench.images, k, home / f"tiled-{k}") for k in times}
    gates: list[Gate] = []

    def study(k: int) -> float:
        cache = bench.without_features(home)
        given = settings_of(bench, cache, trials)
        ours = run_ours(given, {"images": replace(sets[k], path=cache / "images" / sets[k].key)})
        gates.append(all_done(ours.records, trials))
        shutil.rmtree(cache)
        return ours.wall_s

    found = rounds({str(k): partial(study, k) for k in times}, bench.repeats, bench.tell)
    images = {str(k): len(sets[k].labels) for k in times}
    yield _growth("images-growth", "images", times, found, all_of(gates), images=images)


def _growth(
    name: str,
    of_what: str,
    sizes: tuple[int, ...],
    found: list[dict[str, float]],
    gate: Gate,
    **details: object,
) -> Row:
    first, last = sizes[0], sizes[-1]
    grown = [each[str(last)] / each[str(first)] for each in found]
    exponents = [round(math.log(g) / math.log(last / first), 3) for g in grown]
    what = f"wall time of a frozen study with {last // first} times the {of_what}"
    walls = {str(n): [round(each[str(n)], 2) for each in found] for n in sizes}
    told = {"wall_s": walls, "exponent": exponents} | details
    linear = last / first
    return measured(name, what, grown, gate, target=linear, direction="at most", details=told)


def _moonshot(
    trials: int, found: list[dict[str, float]], studies: list[OurStudy], gate: Gate
) -> Iterator[Row]:
    """What so many configurations cost, in passes of the backbone over the data."""
    searching = [s.searching_s for s in studies if len(s.records) == trials]
    passes = [each["pass"] for each in found]
    training = [s / p for s, p in zip(searching, passes, strict=True)]
    told = {
        "pass_s": [round(p, 3) for p in passes],
        "pass_is": "the features of all images, in this process with all its threads",
        "searching_s": [round(s, 2) for s in searching],
    }
    name, what = "frozen-cost", f"{trials} frozen configurations, search included, in passes"
    limit: dict[str, Any] = {"unit": "passes", "target": 1.5, "direction": "at most"}
    yield measured(name, what, training, gate, details=told, **limit)
    whole = [1 + each[str(trials)] / each["pass"] for each in found]
    what = f"the same with the pass itself, Ray's start, files and plots ({trials} trials)"
    yield measured("frozen-cost-whole", what, whole, gate, **limit)


def _pass(bench: Bench) -> None:
    cache = bench.fresh("cache-of-pass")
    load_features(bench.images, bench.backbone, cache, bench.device)
    shutil.rmtree(cache)
