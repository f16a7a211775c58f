"""Transfer-learning trials in plain PyTorch: data, backbones, heads and one training function."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tl_core.config import EpochMetrics, TrialConfig
    from tl_core.data.datasets import ImageSet, load_images
    from tl_core.data.given.request import DataRequest, find_data
    from tl_core.data.sources import Source
    from tl_core.data.splits import Split
    from tl_core.errors import DivergedError, GpuMemoryError, InputError, OutOfTimeError
    from tl_core.files import LocalFile
    from tl_core.inference.model import Model, Prediction
    from tl_core.inference.serialization import load_model, save_model
    from tl_core.inference.winner import trained_model
    from tl_core.inputs.features import load_features
    from tl_core.models.backbones import Backbone, load_backbone
    from tl_core.models.weights import BackboneError
    from tl_core.training.train import TrialResult, run_trial

__version__ = "0.1.0"
__all__ = [
    "Backbone", "BackboneError", "DataRequest", "DivergedError", "EpochMetrics", "GpuMemoryError",
    "ImageSet", "InputError", "LocalFile", "Model", "OutOfTimeError", "Prediction", "Source",
    "Split", "TrialConfig", "TrialResult", "find_data", "load_backbone", "load_features",
    "load_images", "load_model", "run_trial", "save_model", "trained_model",
]  # fmt: skip

_MODULES = {
    "config": ("EpochMetrics", "TrialConfig"),
    "data.datasets": ("ImageSet", "load_images"),
    "data.given.request": ("DataRequest", "find_data"),
    "data.sources": ("Source",),
    "data.splits": ("Split",),
    "errors": ("DivergedError", "GpuMemoryError", "InputError", "OutOfTimeError"),
    "files": ("LocalFile",),
    "inference.model": ("Model", "Prediction"),
    "inference.serialization": ("load_model", "save_model"),
    "inference.winner": ("trained_model",),
    "models.backbones": ("Backbone", "load_backbone"),
    "models.weights": ("BackboneError",),
    "inputs.features": ("load_features",),
    "training.train": ("TrialResult", "run_trial"),
}


def __getattr__(name: str) -> Any:
    # Imported on first use: most of them need torch, which `--help` must not wait for.
    for module, names in _MODULES.items():
        if name in names:
            return getattr(import_module(f"tl_core.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
