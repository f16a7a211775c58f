"""The network that a study begins with."""

from study.config.settings import Settings
from tl_core.errors import InputError
from tl_core.models.backbones import (
    Backbone,
    check_backbone_name,
    has_default_weights,
    load_backbone,
)
from tl_core.training.train import needs_pretrained, pretrained


def check_backbone(settings: Settings) -> Backbone:
    """Return the network that a study begins with; raise `InputError` if it can't be had."""
    check_backbone_name(settings.backbone)
    needing = [mode for mode in settings.mode if needs_pretrained(mode)]
    if not needing:
        return load_backbone(settings.backbone, "none", settings.image_size)
    if settings.weights == "default" and not has_default_weights(settings.backbone):
        raise InputError(
            [
                f"--mode {' '.join(needing)}: {settings.backbone} has no pretrained weights; "
                "use --mode scratch, --weights FILE, or --weights none for random ones"
            ]
        )
    return frozen_backbone(settings)


def frozen_backbone(settings: Settings) -> Backbone:
    """The pretrained network of a study that `prepare` has looked at."""
    if settings.precision == "auto":
        raise ValueError("the precision is not chosen yet")
    return pretrained(settings.backbone, settings.weights, settings.image_size, settings.precision)
