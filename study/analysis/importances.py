"""How much each factor mattered to reach the best scores, by Optuna's own measure."""

import warnings
from collections.abc import Iterable

import optuna
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.trial import FixedTrial, FrozenTrial, create_trial

from study.config.settings import Settings
from study.records.trial_record import TrialRecord
from study.search.space import Space
from tl_core.config import DIRECTIONS

BEST = 0.25
"""Share of the trials that counts as the best. Optuna's default, a tenth, is a handful of trials in
most studies, and then any factor looks important."""
ENOUGH = 40
"""Trials that it takes, so that ten are the best."""


def importances(settings: Settings, records: Iterable[TrialRecord]) -> dict[str, float]:
    """Return each searched parameter's share in reaching the best scores, the largest first.

    Conditional parameters (`lr_MODE`) count where their mode was drawn. Trials that were stopped
    early count with the score they had then, as they do in the search: without them, what makes
    a configuration bad would not be seen. Source: Watanabe et al., PED-ANOVA, IJCAI 2023, and
    its conditional form, as Optuna has them.

    Returns:
        Shares that sum to 1; empty if fewer than `ENOUGH` trials have a score or nothing varied.
    """
    done = scored(records)
    if len(done) < ENOUGH:
        return {}
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    falls = DIRECTIONS[settings.metric] == "min"
    study = optuna.create_study(direction="minimize" if falls else "maximize")
    study.add_trials([_as_optuna(settings, record) for record in done])
    evaluator = PedAnovaImportanceEvaluator(target_quantile=BEST)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # It warns of a mode that was drawn only once.
        found = get_param_importances(study, evaluator=evaluator)
    varied = {name for name in found if _varies(name, study.trials)}
    return {name: share for name, share in found.items() if name in varied}


def scored(records: Iterable[TrialRecord]) -> list[TrialRecord]:
    """Return the trials that importances are made from."""
    return [r for r in records if r.status in ("done", "pruned") and r.history]


def _as_optuna(settings: Settings, record: TrialRecord) -> FrozenTrial:
    """The trial as if Optuna had run it, with the distributions of the study's own space."""
    c = record.config
    drawn = {"mode": c.mode, "train_ratio": c.train_ratio, f"lr_{c.mode}": c.lr}
    trial = FixedTrial(drawn | {"aux_weight": c.aux_weight})
    Space(settings)(trial)  # type: ignore[arg-type]  # It draws as any trial does.
    return create_trial(
        params=trial.params, distributions=trial.distributions, value=record.value(settings.metric)
    )


def _varies(name: str, trials: Iterable[FrozenTrial]) -> bool:
    return any(name in t.distributions and not t.distributions[name].single() for t in trials)
