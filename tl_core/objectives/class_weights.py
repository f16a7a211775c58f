"""Class weights: all classes count alike in training, however few images they have."""

import torch
from torch import Tensor


def balanced(labels: Tensor, n_classes: int) -> Tensor:
    """Return the weight of each class, N / (K n_c), float32 [K].

    Each class then has the same share of the loss, and the mean weight of the N images is 1, so a
    learning rate and a penalty mean what they mean without weights. The definition is that of
    scikit-learn's `compute_class_weight("balanced")`.

    Args:
        labels: of the N training images, int64 [N].
        n_classes: K.

    Raises `ValueError` if a class has no image: no weight would make it count.
    """
    counts = labels.bincount(minlength=n_classes)
    if missing := (counts == 0).nonzero().flatten().tolist():
        raise ValueError(
            f"each of the {n_classes} classes must have a training image, but {missing} have none; "
            "use a larger training ratio"
        )
    return (len(labels) / (n_classes * counts.double())).to(torch.float32)
