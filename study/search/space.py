"""The search space: one visible table, define-by-run, with a learning-rate range for each mode."""

import itertools
from dataclasses import dataclass
from typing import Any

import optuna

from study.config.settings import FACTORS, Settings
from study.config.values import is_range
from tl_core.config import FROZEN, Mode, TrialConfig

LR_RANGES: dict[Mode, tuple[float, float]] = {
    "freeze": (1e-4, 1e-1),
    "partial": (1e-5, 1e-2),
    "finetune": (1e-5, 1e-2),
    "lp_ft": (1e-6, 1e-3),
    "scratch": (1e-5, 1e-2),
}
"""AdamW's learning rate, log-uniform: a new head takes more than pretrained weights."""


@dataclass(frozen=True)
class Space:
    """The search space; calling it with an Optuna trial draws a configuration.

    | parameter     | distribution                                            |
    |---------------|---------------------------------------------------------|
    | `mode`        | one of the modes                                        |
    | `train_ratio` | one of the ratios                                       |
    | `lr_MODE`     | log-uniform, only when `mode` is MODE; not for probe    |
    | `aux_weight`  | uniform; not for probe                                  |
    | `unfreeze`    | one of the numbers, only for partial                    |

    A factor with one value is fixed. Two numbers are a range; three and more values are choices, as
    are all values with `auto` among them.
    """

    settings: Settings

    def __call__(self, trial: optuna.Trial) -> None:
        """Draw one configuration into the trial's parameters."""
        mode: Mode = trial.suggest_categorical("mode", self.settings.mode)  # type: ignore[assignment]
        trial.suggest_categorical("train_ratio", self.settings.train_ratio)
        if mode == "probe":
            return
        _draw(trial, f"lr_{mode}", self.settings.lr or LR_RANGES[mode], log=True)
        _draw(trial, "aux_weight", self.settings.aux_weight, log=False)
        if mode == "partial":
            trial.suggest_categorical("unfreeze", self.settings.unfreeze)

    def cells(self) -> list[dict[str, Any]]:
        """Every (mode, train_ratio) once, for the first trials: a search may never try a mode.

        The longest come first, so that no long trial runs alone at the end.
        """
        ratios = sorted(self.settings.train_ratio, reverse=True)
        pairs = itertools.product(ratios, sorted(self.settings.mode, key=FROZEN.__contains__))
        return [{"mode": mode, "train_ratio": ratio} for ratio, mode in pairs]

    def least_aux_weight(self) -> dict[str, Any] | None:
        """The least auxiliary weight, for a cell's first trial.

        None for frozen modes, whose heads share nothing, and if it is learned.
        """
        numbers = [w for w in self.settings.aux_weight if not isinstance(w, str)]
        if not self.settings.networks or not numbers:
            return None
        return {"aux_weight": min(numbers)}

    def config(self, drawn: dict[str, Any]) -> TrialConfig:
        """Turn drawn parameters into a trial's configuration."""
        s, mode = self.settings, drawn["mode"]
        own: dict[str, Any] = {"lr": drawn.get(f"lr_{mode}"), "aux_on": s.aux_images}
        own |= {name: drawn[name] for name in ("aux_weight", "unfreeze") if name in drawn}
        if mode in FROZEN:
            own |= {"seeds": s.seeds}
        else:
            of_networks = {"batchnorm", "head_lr_ratio", "layer_decay"}
            chosen = s.model_dump(include=of_networks, exclude_none=True)
            own |= chosen | {"compile": s.compile}
        if mode == "probe":
            own |= {"epochs": 1}  # It is solved, not trained.
        shared = s.model_dump(include=_SHARED)
        return TrialConfig(**(shared | own | {"mode": mode, "train_ratio": drawn["train_ratio"]}))

    def params(self, config: TrialConfig) -> dict[str, Any]:
        """The drawn parameters of a configuration."""
        factors: dict[str, Any] = {"mode": config.mode, "train_ratio": config.train_ratio}
        if config.mode == "probe":
            return factors
        factors |= {f"lr_{config.mode}": config.lr, "aux_weight": config.aux_weight}
        return factors | ({"unfreeze": config.unfreeze} if config.mode == "partial" else {})


_BY_MODE = {*FACTORS, "aux_on", "seeds", "batchnorm", "head_lr_ratio", "layer_decay", "compile"}
_SHARED = ({*Settings.model_fields} & {*TrialConfig.model_fields}) - _BY_MODE
"""Settings that all trials have as they are."""


def single_config(settings: Settings) -> TrialConfig:
    """Return the trial of settings that have one value for each factor."""
    (mode,), (ratio,) = settings.mode, settings.train_ratio
    drawn: dict[str, Any] = {"mode": mode, "train_ratio": ratio}
    if mode != "probe":
        (drawn[f"lr_{mode}"],), (drawn["aux_weight"],) = settings.lr, settings.aux_weight
    if mode == "partial":
        (drawn["unfreeze"],) = settings.unfreeze
    return Space(settings).config(drawn)


def _draw(trial: optuna.Trial, name: str, values: tuple[Any, ...], log: bool) -> None:
    if is_range(values):
        trial.suggest_float(name, *values, log=log)
    else:
        trial.suggest_categorical(name, values)
