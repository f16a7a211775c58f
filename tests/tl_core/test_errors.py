import math
import pickle

import pytest

from tl_core.errors import DivergedError, Fault, GpuMemoryError, InputError
from tl_core.models.weights import BackboneError


def test_all_faults_are_told_one_a_line() -> None:
    error = InputError(["first", Fault("--lr", "0: must be greater than 0")])
    assert error.faults == (Fault(None, "first"), Fault("--lr", "0: must be greater than 0"))
    assert str(error) == "first\n--lr 0: must be greater than 0"


@pytest.mark.parametrize(("error", "message"), [
    (InputError(["one", "two"]), "one\ntwo"),
    (BackboneError("three\nfour"), "three\nfour"),
    (DivergedError("val_loss", math.inf, 2), "val_loss is inf in epoch 2"),
    (GpuMemoryError("8 fits"), "8 fits"),
])  # fmt: skip
def test_errors_travel_between_processes(error: Exception, message: str) -> None:
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert str(again) == str(error) == message
    assert vars(again) == vars(error)
