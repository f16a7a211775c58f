import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight

from tl_core.objectives.losses import balanced_weights


def test_weights_by_hand() -> None:
    # 8 / (2 * 6) and 8 / (2 * 2).
    found = balanced_weights(torch.tensor([0, 0, 0, 1, 0, 0, 1, 0]), 2)
    assert found.tolist() == pytest.approx([2 / 3, 2])
    assert found.dtype == torch.float32


def test_weights_are_those_of_scikit_learn_and_their_mean_is_one() -> None:
    labels = np.random.default_rng(0).choice(4, 100, p=[0.6, 0.3, 0.07, 0.03])
    found = balanced_weights(torch.from_numpy(labels), 4)
    expected = compute_class_weight("balanced", classes=np.arange(4), y=labels)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert found[torch.from_numpy(labels)].mean().item() == pytest.approx(1)


def test_a_class_without_an_image_is_refused() -> None:
    fault = r"^each of the 3 classes must have a training image, but \[1\] have none; use a larger"
    with pytest.raises(ValueError, match=fault):
        balanced_weights(torch.tensor([0, 2, 2]), 3)
