"""What a confirming trial keeps of each image, and what is true of the images."""

from pathlib import Path

import numpy as np
import pytest
import torch

from study.cluster.stores import Folder
from study.records.outputs import keep_outputs, read_outputs, read_targets, write_targets
from tl_core.data.datasets import ImageSet
from tl_core.data.splits import make_split
from tl_core.objectives.outputs import Outputs


def test_outputs_are_read_only_if_they_are_those_written(tmp_path: Path) -> None:
    outputs = {"test": Outputs(torch.tensor([[0.5], [-1.0]]), torch.tensor([0.25, 0.75]))}
    sha256 = keep_outputs(Folder(tmp_path), 7, outputs)
    found = read_outputs(tmp_path, 7, sha256)
    assert found
    assert found["test"].logits.tolist() == [[0.5], [-1.0]]
    assert found["test"].auxiliary.tolist() == [0.25, 0.75]
    file = tmp_path / "outputs" / "7.npz"
    file.write_bytes(file.read_bytes() + b"x")
    assert read_outputs(tmp_path, 7, sha256) is None
    assert read_outputs(tmp_path, 8, sha256) is None, "there is none"


def test_targets_are_those_of_validation_and_test(images: ImageSet, tmp_path: Path) -> None:
    split = make_split(images.labels, 0.4, 0, 3)
    assert read_targets(tmp_path, "") is None
    sha256 = write_targets(tmp_path, images, split)
    assert write_targets(tmp_path, images, split) == sha256
    found = read_targets(tmp_path, sha256)
    assert found
    for name, rows in (("val", split.val), ("test", split.test)):
        np.testing.assert_array_equal(found[name].labels, images.labels[rows])
        np.testing.assert_array_equal(found[name].aux, images.brightness[rows])
        mean = images.brightness[split.train].mean()
        assert found[name].constant == pytest.approx(mean)
    (tmp_path / "outputs" / "targets.npz").write_bytes(b"PK no archive")
    assert read_targets(tmp_path, sha256) is None
