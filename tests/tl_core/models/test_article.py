from tl_core.models.article import default_image_size, earlier_recipe


def test_the_articles_networks_have_small_images() -> None:
    names = ("mlp", "shared_mlp", "resnet18", "timm:dla34")
    assert [default_image_size(name) for name in names] == [128, 128, 224, 224]


def test_a_configuration_without_a_recipe_was_trained_with_the_articles() -> None:
    assert earlier_recipe("freeze")["batchnorm"] == "frozen"
    assert earlier_recipe("finetune") == {
        "batchnorm": "train", "head_lr_ratio": 1, "min_steps": 0, "schedule": "constant",
        "weight_decay": 0, "aux_target": "raw",
    }  # fmt: skip
