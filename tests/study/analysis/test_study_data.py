from pathlib import Path

from study.analysis.study_data import confirmed_of, read_study_data
from tests.support.studies.builders import make_record
from tests.support.studies.synthetic import tiny_study


def test_confirming_trial_knows_its_source(tmp_path: Path) -> None:
    other = make_record(1, train_ratio=0.1, seed=5)
    other.kind, other.source, other.test = "confirm", 0, {"test_accuracy": 0.9}
    kept = make_record(3, seed=7)
    kept.kind, kept.source = "winner", 0
    (found,) = confirmed_of([other, kept], [make_record(0, train_ratio=0.2)])
    assert (found.source, found.trial, found.seed, found.borrowed_from) == (0, 1, 5, 0.2)
    assert (found.arm, found.scores) == ("cell", {"test_accuracy": 0.9})
    data = read_study_data(tiny_study().write(tmp_path / "tiny"))
    assert data.test_scores == ("test_accuracy", "test_log_loss")
    assert data.classification == "val_log_loss"
    assert data.model == tmp_path / "tiny" / "winner"
