"""What to try next, each with its command."""

from collections.abc import Iterator

from study.analysis.extrapolation import TIMES, extrapolate
from study.analysis.study_data import StudyData
from study.answers.imbalance import is_imbalanced
from study.answers.tuning import few_steps, hardly_tuned
from study.config.defaults import DEFAULTS, TRIALS_PER_CELL
from study.config.validate import command_of
from study.reporting.page import NextStep

_OTHER_BACKBONES = ("resnet50", "timm:vit_small_patch16_224")
"""A larger network of the usual kind, and one of another kind."""


def next_steps(data: StudyData) -> Iterator[NextStep]:
    """Yield the steps that fit the study."""
    settings = data.settings
    best = data.winning_cell
    more_labels = extrapolate(data.confirmed, best.mode) if best else None
    if more_labels and not more_labels.flat:
        gain = 100 * more_labels.gains[TIMES[0]].mean
        text = f"Twice the labels, for about {gain:+.1f} points: add photos to the folder, and run"
        yield NextStep(
            f"{text} a new study:", command_of(settings.model_copy(update={"name": None}))
        )
    if few := hardly_tuned(settings, data.records):
        more = TRIALS_PER_CELL * len(few) - sum(few.values())
        extend = f"python study/run.py --extend {settings.name} --trials {more}"
        yield NextStep("More trials for cells that are hardly tuned:", extend)
    if few_steps(data.records):
        enough = {"min_steps": DEFAULTS["min_steps"], "name": None}
        text = f"The same with at least {enough['min_steps']} steps for each network, as with fewer"
        yield NextStep(
            f"{text} it may not have converged:", command_of(settings.model_copy(update=enough))
        )
    if is_imbalanced(data.classes.values()) and settings.class_weights == "none":
        alike = {"class_weights": "balanced", "metric": "val_balanced_accuracy", "name": None}
        yield NextStep(
            "The same with all classes counting alike:",
            command_of(settings.model_copy(update=alike)),
        )
    other = next(name for name in _OTHER_BACKBONES if name != settings.backbone)
    changed = settings.model_copy(update={"backbone": other, "weights": "default", "name": None})
    if settings.weights != "none":
        yield NextStep("The same with another pretrained network:", command_of(changed))
