"""Importance of each factor for reaching the best scores, from Optuna."""

import warnings
from collections.abc import Iterable

import optuna
from optuna.trial import FixedTrial, FrozenTrial, create_trial

from study.config.settings import Settings
from study.records.trial_record import TrialRecord
from study.search.space import Space
from tl_core.config import direction

BEST = 0.25
"""Share of the trials that counts as the best. Optuna's default, 0.1, is only a few trials in most
studies, and then any factor looks important."""
ENOUGH = 40
"""Least number of trials: of 40, ten are the best."""


def importances(settings: Settings, records: Iterable[TrialRecord]) -> dict[str, float]:
    """Return each searched parameter's share in reaching the best scores, the largest first.

    Conditional parameters (`lr_MODE`) count in the trials of their mode. Trials that were stopped
    early count with their last score, as in the search: they show which configurations are bad.
    Source: Watanabe et al., PED-ANOVA, IJCAI 2023, and its conditional form, both in Optuna.

    The shares sum to 1. There are none if fewer than `ENOUGH` trials have a score, or if nothing
    varied.
    """
    done = scored(records)
    if len(done) < ENOUGH:
        return {}
    # It imports scikit-learn, which takes a second.
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    falls = direction(settings.metric) == "min"
    study = optuna.create_study(direction="minimize" if falls else "maximize")
    study.add_trials([_as_optuna(settings, record) for record in done])
    evaluator = PedAnovaImportanceEvaluator(target_quantile=BEST)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Optuna warns if a mode was drawn only once.
        found = get_param_importances(study, evaluator=evaluator)
    spaces = [trial.distributions for trial in study.trials]
    varied = {name for space in spaces for name in space if not space[name].single()}
    return {name: share for name, share in found.items() if name in varied}


def scored(records: Iterable[TrialRecord]) -> list[TrialRecord]:
    """Return the trials with a score that ended or were stopped early."""
    return [r for r in records if r.status in ("done", "pruned") and r.history]


def _as_optuna(settings: Settings, record: TrialRecord) -> FrozenTrial:
    """Return the trial in Optuna's form, with the distributions of the study's space."""
    space = Space(settings)
    trial = FixedTrial(space.params(record.config))
    space(trial)  # type: ignore[arg-type]  # It draws the distributions.
    return create_trial(
        params=trial.params, distributions=trial.distributions, value=record.value(settings.metric)
    )
