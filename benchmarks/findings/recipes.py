"""The modes under two recipes: `python -m benchmarks.findings.recipes --data FOLDER --out FILE`.

Each mode is tuned at each train ratio under each recipe: the learning rate with the lowest log loss
on validation, for seed 0, is then trained on the other seeds. The file is written after each trial,
and trials in it are not run again. About three hours on two cores.
"""

import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, product

from benchmarks.findings.measure import exit_code, make_parser, measure
from benchmarks.findings.runs import Finished, Group, Planned, read
from tl_core.config import MODES, Mode, TrialConfig
from tl_core.models.article import earlier_recipe

LADDER = (3e-7, 1e-6, 3e-6, 1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3)
"""Learning rates, half a decade apart."""
FIRST: dict[Mode, tuple[int, int]] = {
    "freeze": (7, 11),
    "partial": (4, 8),
    "finetune": (4, 8),
    "lp_ft": (3, 7),
}
"""The part of the ladder that each mode begins with, as many rates for each. While the best one is
at its end, the next one is tried as well. A probe has no learning rate: validation chooses its
penalty."""
EPOCHS = {0.8: 4}
"""Passes where 10, the default, would take hours: 240 steps."""
RATIOS = (0.02, 0.1, 0.8)
SEEDS = (0, 1, 2)
RECIPES: tuple[Group, Group] = ("old recipe", "new recipe")
_NEW_MODES = ("probe", "partial")
"""They came with the new recipe."""


@dataclass(frozen=True)
class Grid:
    """The trials on the first seed."""

    backbone: str
    image_size: int
    ratios: Sequence[float]
    modes: Sequence[Mode] = MODES

    def first(self) -> list[Planned]:
        """Those of the rates in `FIRST`, the cheapest trials first."""
        return self._trials({mode: LADDER[low:high] for mode, (low, high) in FIRST.items()})

    def all(self) -> list[Planned]:
        """Those of every rate."""
        return self._trials(dict.fromkeys(FIRST, LADDER))

    def further(self, done: Sequence[Finished]) -> list[Planned]:
        """The next rate of each cell whose best one is the lowest or highest of those tried."""
        return [
            Planned(group=f.group, config=f.config.model_copy(update={"lr": rate}))
            for f in self._chosen(done)
            if f.config.lr is not None
            for rate in _beyond(f, done)
        ]

    def repeats(self, done: Sequence[Finished]) -> list[Planned]:
        """The chosen configurations on the other seeds."""
        return [
            Planned(group=f.group, config=f.config.model_copy(update={"seed": seed}))
            for f in self._chosen(done)
            for seed in SEEDS[1:]
        ]

    def _chosen(self, done: Sequence[Finished]) -> Iterator[Finished]:
        for f in chosen(done):
            if f.config.train_ratio in self.ratios and f.config.mode in self.modes:
                yield f

    def _trials(self, rates: dict[Mode, tuple[float, ...]]) -> list[Planned]:
        by_mode: dict[Mode, tuple[float | None, ...]] = {"probe": (None,), **rates}
        trials = [
            Planned(group=recipe, config=self._config(recipe, mode, ratio, lr))
            for ratio, (mode, lrs), recipe in product(self.ratios, by_mode.items(), RECIPES)
            if mode in self.modes
            if recipe == "new recipe" or mode not in _NEW_MODES
            for lr in lrs
        ]
        return sorted(trials, key=lambda t: t.config.mode in ("finetune", "lp_ft"))

    def _config(self, recipe: Group, mode: Mode, ratio: float, lr: float | None) -> TrialConfig:
        fixed = {"backbone": self.backbone, "image_size": self.image_size, "precision": "bf16"}
        fixed |= {"lr": lr, "epochs": 1 if lr is None else EPOCHS.get(ratio, 10)}
        old = earlier_recipe(mode) if recipe == "old recipe" else {}
        return TrialConfig(mode=mode, train_ratio=ratio, **fixed | old)


def _beyond(best: Finished, done: Sequence[Finished]) -> Iterator[float]:
    tried = {f.config.lr for f in done if _cell(f) == _cell(best)}
    at = LADDER.index(best.config.lr)
    for next_to in (at - 1, at + 1):
        if 0 <= next_to < len(LADDER) and LADDER[next_to] not in tried:
            yield LADDER[next_to]


def chosen(done: Iterable[Finished]) -> list[Finished]:
    """The best trial on the first seed, by validation, of each recipe, mode and ratio."""
    first = sorted((f for f in done if f.config.seed == SEEDS[0]), key=_cell)
    return [min(of_cell, key=lambda f: f.val_log_loss) for _, of_cell in groupby(first, _cell)]


def _cell(f: Finished) -> tuple[Group, float, int]:
    return f.group, f.config.train_ratio, MODES.index(f.config.mode)


def main(argv: Sequence[str] | None = None) -> int:
    """Run what the file lacks; return the exit code."""
    parser = make_parser("benchmarks.findings.recipes", __doc__)
    parser.add_argument("--train-ratio", type=float, nargs="+", default=RATIOS, help="some of them")
    parser.add_argument("--mode", nargs="+", default=MODES, choices=MODES, help="some of them")
    args = parser.parse_args(argv)
    grid = Grid(args.backbone, args.image_size, args.train_ratio, args.mode)
    known = Grid(args.backbone, args.image_size, RATIOS).all()
    given = (args.data, args.cache, args.out, args.processes)

    def run() -> None:
        trials = grid.first()
        while trials:
            measure(trials, *given, known)
            trials = grid.further(read(args.out))
        measure(grid.repeats(read(args.out)), *given, known)

    return exit_code(run)


if __name__ == "__main__":
    sys.exit(main())
