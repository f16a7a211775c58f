"""Importance of each factor for reaching the best scores, from Optuna."""

import warnings
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import optuna
from optuna.distributions import CategoricalDistribution, IntDistribution
from optuna.trial import FixedTrial, FrozenTrial, create_trial

from study.config.settings import Settings
from study.intervals.two_way import CONFIDENCE
from study.records.trial_record import TrialRecord
from study.search.space import Space
from tl_core.config import direction, sign

if TYPE_CHECKING:
    from optuna.importance import PedAnovaImportanceEvaluator

BEST = 0.25
"""Share of the trials that counts as the best. Optuna's default, 0.1, is only a few trials in most
studies, and then any factor looks important."""
ENOUGH = 40
"""Least number of trials: of 40, ten are the best."""
_SHUFFLES = 99
"""How often scores are shuffled: half a second in all."""


class Importance(NamedTuple):
    """Of one factor."""

    share: float
    """All shares sum to 1, also where no factor matters."""
    beyond_chance: bool
    """Whether it is more than factors have when scores are shuffled among the trials."""


def importances(settings: Settings, records: Iterable[TrialRecord]) -> dict[str, Importance]:
    """Return each searched parameter's share in reaching the best scores, the largest first.

    Conditional parameters (`lr_MODE`) count in the trials of their mode. Trials that were stopped
    early count with their last score, as in the search: they show which configurations are bad.
    Source: Watanabe et al., PED-ANOVA, IJCAI 2023, and its conditional form, both in Optuna.

    There are none if fewer than `ENOUGH` trials have a score, or if nothing
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
        clear = _beyond_chance(study, evaluator, sorted(varied), sign(settings.metric))
    return {name: Importance(found[name], name in clear) for name in found if name in varied}


def _beyond_chance(
    study: optuna.Study, evaluator: "PedAnovaImportanceEvaluator", names: list[str], less: int
) -> set[str]:
    """The factors with more importance than shuffled scores give to the first of all in 95 %.

    The scores of a learning rate are shuffled within its mode, as a mode with more of the best
    trials gives more importance to its learning rate, whether that matters or not. Factors are
    compared in standard deviations of their shuffled importances (Westfall and Young,
    Resampling-Based Multiple Testing, 1993), `less` is the sign that makes less better.
    """
    rng, trials = np.random.default_rng(0), study.get_trials(deepcopy=False)
    scores = less * np.array([trial.value for trial in trials])
    values = scores.copy()

    def value(trial: FrozenTrial) -> float:
        return float(values[trial.number])

    table = np.zeros((1 + _SHUFFLES, len(names)))  # The scores as they are come first.
    for column, name in enumerate(names):
        values[:] = scores
        own = np.flatnonzero([name in trial.params for trial in trials])
        for row in range(len(table)):
            if row:
                values[own] = rng.permutation(scores[own])
            table[row, column] = evaluator.evaluate(study, [name], target=value)[name]
    spread = table.std(axis=0)
    standard = (table - table.mean(axis=0)) / np.where(spread > 0, spread, np.inf)
    least = np.quantile(standard[1:].max(axis=1), CONFIDENCE, method="higher")
    return {name for name, own in zip(names, standard[0], strict=True) if own > least}


def scored(records: Iterable[TrialRecord]) -> list[TrialRecord]:
    """Return the trials with a score that ended or were stopped early."""
    return [r for r in records if r.status in ("done", "pruned") and r.history]


def _as_optuna(settings: Settings, record: TrialRecord) -> FrozenTrial:
    """Return the trial in Optuna's form, with the distributions of the study's space.

    A choice is its place among the choices. Of choices, Optuna 5.0 smooths the shares by the number
    of different ones among the trials, as if that was the number of trials: where all of the best
    trials have one of five, it sees about 40 % there.
    """
    space = Space(settings)
    trial = FixedTrial(space.params(record.config))
    space(trial)  # type: ignore[arg-type]  # It draws the distributions.
    params, spaces = trial.params, trial.distributions
    for name, values in trial.distributions.items():
        if isinstance(values, CategoricalDistribution):
            params[name] = values.choices.index(params[name])
            spaces[name] = IntDistribution(0, len(values.choices) - 1)
    return create_trial(params=params, distributions=spaces, value=record.value(settings.metric))
