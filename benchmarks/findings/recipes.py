"""The modes under two recipes: `python -m benchmarks.findings.recipes --data FOLDER --out FILE`.

Each mode is tuned at each train ratio under each recipe: the learning rate with the lowest log loss
on validation, for seed 0, is then trained on the other seeds. The file is written after each trial,
and trials in it are not run again. About three hours on two cores.
"""

import argparse
import sys
from collections.abc import Iterable, Iterator, Sequence
from itertools import product
from pathlib import Path

from benchmarks.findings.__main__ import measure
from benchmarks.findings.runs import Finished, Group, Planned, read
from study.config.validate import resolve
from study.signals import interruptible
from tl_core.config import MODES, Mode, TrialConfig, earlier_recipe
from tl_core.errors import InputError

RATES: dict[Mode, tuple[float | None, ...]] = {
    "freeze": (1e-3, 3e-3, 1e-2, 3e-2),
    "probe": (None,),  # It has no learning rate: validation chooses its penalty.
    "partial": (3e-5, 1e-4, 3e-4, 1e-3),
    "finetune": (3e-5, 1e-4, 3e-4, 1e-3),
    "lp_ft": (1e-5, 3e-5, 1e-4, 3e-4),
}
"""As many for each mode that has one, half a decade apart."""
RATIOS = (0.02, 0.1, 0.8)
SEEDS = (0, 1, 2)
RECIPES: tuple[Group, Group] = ("old recipe", "new recipe")
_NEW_MODES = ("probe", "partial")
"""They came with the new recipe."""


def tuning(backbone: str, image_size: int) -> list[Planned]:
    """Every learning rate on the first seed, the cheapest trials first."""
    cells = product(RATIOS, RATES.items(), RECIPES)
    trials = [
        Planned(group=recipe, config=_config(recipe, mode, ratio, lr, backbone, image_size))
        for ratio, (mode, rates), recipe in cells
        if recipe == "new recipe" or mode not in _NEW_MODES
        for lr in rates
    ]
    return sorted(trials, key=lambda t: t.config.mode in ("finetune", "lp_ft"))


def _config(
    recipe: Group, mode: Mode, ratio: float, lr: float | None, backbone: str, image_size: int
) -> TrialConfig:
    fixed = {"backbone": backbone, "image_size": image_size, "precision": "bf16", "lr": lr}
    old = earlier_recipe(mode) if recipe == "old recipe" else {}
    return TrialConfig(mode=mode, train_ratio=ratio, **fixed | old)


def chosen(done: Iterable[Finished]) -> list[Finished]:
    """The best trial on the first seed, by validation, of each recipe, mode and ratio."""
    best: dict[tuple[Group, float, int], Finished] = {}
    for f in done:
        cell = (f.group, f.config.train_ratio, MODES.index(f.config.mode))
        if f.config.seed == SEEDS[0] and (
            cell not in best or f.val_log_loss < best[cell].val_log_loss
        ):
            best[cell] = f
    return [best[cell] for cell in sorted(best)]


def repeats(done: Iterable[Finished]) -> Iterator[Planned]:
    """The chosen configurations on the other seeds."""
    for f in chosen(done):
        for seed in SEEDS[1:]:
            yield Planned(group=f.group, config=f.config.model_copy(update={"seed": seed}))


def main(argv: Sequence[str] | None = None) -> int:
    """Run what the file lacks; return the exit code: 0, 2 (bad input) or 130 (interrupted)."""
    parser = argparse.ArgumentParser(
        "python -m benchmarks.findings.recipes", description=__doc__, allow_abbrev=False
    )
    parser.add_argument("--data", required=True, help="a folder of class sub-folders, or demo")
    parser.add_argument("--out", type=Path, required=True, help="JSON file to start or resume")
    parser.add_argument("--backbone", default="efficientnet_lite0", help="as in study/run.py")
    parser.add_argument("--image-size", type=int, default=128, help="pixels")
    parser.add_argument("--train-ratio", type=float, nargs="+", default=RATIOS, help="some of them")
    parser.add_argument("--processes", type=int, default=2, help="trials at once, a thread each")
    parser.add_argument("--cache", type=Path, default=resolve({})[0].cache, help="as in study/run")
    args = parser.parse_args(argv)
    plan = tuning(args.backbone, args.image_size)
    run = (args.data, args.cache, args.out, args.processes)
    try:
        with interruptible():
            for phase in ("tuning", "repeats"):
                trials = plan if phase == "tuning" else [*repeats(read(args.out))]
                now = [t for t in trials if t.config.train_ratio in args.train_ratio]
                measure(now, *run, known=plan)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; the same command resumes", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
