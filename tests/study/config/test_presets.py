import pytest

from study.config.defaults import PRESETS
from study.search.space import single_config
from tests.support.studies.builders import make_settings

ARTICLE = {
    # name: backbone, image size, mode, train_ratio, aux_weight, epochs
    "freeze-large": ("resnet18", 224, "freeze", 0.8, 0.0, 10),
    "freeze-small": ("resnet18", 224, "freeze", 0.1, 0.0, 10),
    "finetune": ("resnet18", 224, "finetune", 0.8, 0.0, 10),
    "mlp": ("mlp", 128, "scratch", 0.8, 0.0, 30),
    "multitask": ("shared_mlp", 128, "scratch", 0.8, 0.3, 10),
    "multitask-transfer": ("resnet18", 224, "freeze", 0.8, 0.3, 10),
    "resnet50": ("resnet50", 224, "freeze", 0.8, 0.0, 10),
}


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("data", [{}, {"data": "photos"}])
def test_preset_is_one_trial_of_the_article(name: str, data: dict[str, str]) -> None:
    c = single_config(make_settings(preset=name, **data))
    found = (c.backbone, c.image_size, c.mode, c.train_ratio, c.aux_weight, c.epochs)
    assert found == ARTICLE[name]
    assert (c.lr, c.batch_size, c.seed) == (1e-3, 32, 0)
    assert c.split_seed == (42 if name == "resnet50" else 0)
    assert set(PRESETS) == set(ARTICLE)
    assert PRESETS[name].about
