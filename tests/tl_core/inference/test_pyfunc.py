import os
from io import BytesIO
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from tests.support.models import make_model
from tl_core.aux_task import AuxTask
from tl_core.errors import InputError
from tl_core.inference.pyfunc import _load_pyfunc
from tl_core.inference.serialization import save_model


def contents(n: int) -> pd.DataFrame:
    """Files of pictures of various sizes."""
    files = [BytesIO() for _ in range(n)]
    for i, file in enumerate(files):
        Image.new("RGB", (20 + i, 30), (40 * i, 100, 10)).save(file, "PNG")
    return pd.DataFrame({"image": [file.getvalue() for file in files]})


@pytest.mark.parametrize("n", [0, 1, 5])
def test_a_table_of_files_becomes_a_table_of_predictions(tmp_path: Path, n: int) -> None:
    model = make_model(resize="pad")
    save_model(tmp_path, model)
    table = _load_pyfunc(str(tmp_path)).predict(contents(n))
    assert list(table) == ["class", "probability", "probabilities", "brightness"]
    message = model.predict(BytesIO(content) for content in contents(n)["image"])
    expected = [(m.class_name, m.probability, [*m.probabilities], m.auxiliary) for m in message]
    assert table.to_numpy().tolist() == [list(row) for row in expected]


def test_names_of_classes_need_not_be_utf8(tmp_path: Path) -> None:
    odd = os.fsdecode(b"caf\xe9")
    task = AuxTask("bar", "classification", (odd, f"{odd}s"))
    model = make_model(classes=(odd, f"{odd}!"), aux=task, learned=("class", "bar"))
    save_model(tmp_path, model)
    table = _load_pyfunc(str(tmp_path)).predict(contents(2))
    assert {*table["class"]} <= {odd, f"{odd}!"}
    assert {*table["bar"]} <= {odd, f"{odd}s"}


def test_no_brightness_and_what_is_no_picture(tmp_path: Path) -> None:
    save_model(tmp_path, make_model(learned=("class",)))
    model = _load_pyfunc(str(tmp_path))
    assert list(model.predict(contents(2))) == ["class", "probability", "probabilities"]
    with pytest.raises(InputError, match="picture 1: a text file"):
        model.predict(pd.DataFrame({"image": [*contents(1)["image"], b"no"]}))
