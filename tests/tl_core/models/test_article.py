import pytest

from tl_core.models.article import default_image_size


@pytest.mark.parametrize(
    ("name", "side"), [("mlp", 128), ("shared_mlp", 128), ("resnet18", 224), ("timm:dla34", 224)]
)
def test_default_image_size(name: str, side: int) -> None:
    assert default_image_size(name) == side
