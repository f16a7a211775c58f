"""What a confirming trial keeps of each image, and what is true of the images."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from study.cluster.stores import Folder
from study.records.outputs import keep_outputs, read_outputs, read_targets, write_targets
from tl_core.aux_task import AuxTask
from tl_core.data.datasets import ImageSet
from tl_core.data.given.aux_labels import AuxLabels
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
    sha256 = write_targets(tmp_path, images, split, "labelled")
    assert write_targets(tmp_path, images, split, "labelled") == sha256
    found = read_targets(tmp_path, sha256)
    assert found
    for name, rows in (("val", split.val), ("test", split.test)):
        np.testing.assert_array_equal(found[name].labels, images.labels[rows])
        np.testing.assert_array_equal(found[name].aux, images.brightness[rows])
        mean = images.brightness[split.train].mean()
        assert found[name].constant == pytest.approx(mean)
    (tmp_path / "outputs" / "targets.npz").write_bytes(b"PK no archive")
    assert read_targets(tmp_path, sha256) is None


@pytest.mark.parametrize(
    ("task", "unknown", "constant"),
    [(AuxTask("age", "regression"), np.nan, 3.25), (AuxTask("kind", "classification"), -1, 5.0)],
)
def test_the_constant_is_that_of_the_images_that_teach(
    images: ImageSet, tmp_path: Path, task: AuxTask, unknown: float, constant: float
) -> None:
    split = make_split(images.labels, 0.4, 0, 3)
    held_out = [*split.val, *split.test]
    others = np.setdiff1d(np.arange(len(images.labels)), [*split.train, *held_out])
    values = np.full(len(images.labels), unknown)
    values[others[:4]] = [0, 3, 5, 5]
    values[held_out] = 9
    values = values.astype(np.float32 if task.kind == "regression" else np.int64)
    known = replace(images, own_aux=AuxLabels(task, values))
    found = read_targets(tmp_path, write_targets(tmp_path, known, split, "all"), task)
    assert found
    assert found["test"].constant == constant, "no image of the training subset has a label"
