"""What is made of the confirming trials, each part once."""

from study.analysis.findings import Findings
from study.search.cells import Cell
from tests.study.analysis.test_extrapolation import ON_CURVE, curve
from tests.support.studies.builders import make_confirmed

A, B = Cell("freeze", 0.1), Cell("finetune", 0.1)


def test_a_difference_is_computed_once_and_found_either_way_round() -> None:
    findings = Findings(make_confirmed(*A, [0.5, 0.6]) + make_confirmed(*B, [0.4, 0.55]))
    found = findings.differences()
    assert findings.difference(A, B) is found[0]
    back = findings.difference(B, A)
    assert back is not None
    assert (back.a, back.b, back.p_holm) == (B, A, found[0].p_holm)
    assert back.estimate.mean == -found[0].estimate.mean
    assert findings.difference(A, A) is None


def test_all_else_is_computed_once() -> None:
    trials = curve(ON_CURVE)
    trials += make_confirmed("freeze", 0.64, [0.9, 0.91, 0.92], "control")
    findings = Findings(iter(trials))
    assert findings.confirmed == trials
    assert [s.cell for s in findings.cells] == [Cell("freeze", r) for r in (0.01, 0.04, 0.16, 0.64)]
    assert findings.beyond("freeze") is findings.beyond("freeze") is not None
    assert findings.beyond("scratch") is None
    assert findings.labels_saved() is findings.labels_saved() != []
    assert findings.crossovers() is findings.crossovers() == []
    (effect,) = findings.effects("val_log_loss")
    assert findings.effects("val_log_loss")[0] is effect
