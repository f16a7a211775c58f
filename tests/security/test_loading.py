"""Nothing in the project runs code that lies in a file of data: the calls that would are not made.

What is read are JSON, CSV, arrays without objects, and tensors.
"""

import ast
from collections.abc import Iterable

import pytest

from tests.support.sources import files_of, nodes_of

UNPICKLERS = "pickle cPickle cloudpickle dill joblib shelve marshal jsonpickle"
LOADS = {"load", "loads", "open", "Unpickler"}
FORBIDDEN = {
    *(f"{module}.{call}" for module in UNPICKLERS.split() for call in LOADS),
    *("eval", "exec", "compile", "__import__", "os.system", "os.popen"),
    *("pandas.read_pickle", "pandas.read_hdf", "pandas.io.pickle.read_pickle"),
    *("yaml.load", "yaml.load_all", "yaml.unsafe_load", "yaml.full_load"),
    *("torch.hub.load", "torch.hub.load_state_dict_from_url", "torch.jit.load", "torch.package"),
    *("torch.export.load", "torch.serialization.add_safe_globals", "timm.models.load_checkpoint"),
}
CODE_BY_DESIGN = {"mlflow.pyfunc.load_model", "mlflow.pytorch.load_model"}
"""A model of MLflow brings code with it, which loading it runs; tests load their own."""


def faults(nodes: Iterable[ast.AST], tests: bool = False) -> list[str]:
    """What the calls in some code may run, by line."""
    nodes, names = [*nodes], dict[str, str]()
    for node in nodes:
        if isinstance(node, ast.Import):
            # `import a.b` makes the name a.
            names |= {a.asname: a.name for a in node.names if a.asname}
        elif isinstance(node, ast.ImportFrom):
            names |= {a.asname or a.name: f"{node.module}.{a.name}" for a in node.names}
    calls = [node for node in nodes if isinstance(node, ast.Call)]
    named = ((call, _name(call.func, names)) for call in calls)
    return [f"{c.lineno}: {name}" for c, name in named if _runs(c, name, names, tests)]


def _name(node: ast.expr, names: dict[str, str]) -> str:
    """The dotted name of what is called, by the names that it was imported by."""
    if isinstance(node, ast.Name):
        return names.get(node.id, node.id)
    return f"{_name(node.value, names)}.{node.attr}" if isinstance(node, ast.Attribute) else ""


def _runs(call: ast.Call, name: str, names: dict[str, str], tests: bool) -> bool:
    given = {word.arg: ast.unparse(word.value) for word in call.keywords}
    if name == "torch.load":
        return given.get("weights_only") != "True"
    if "allow_pickle" in given or (name == "numpy.load" and (None in given or len(call.args) > 2)):
        return given.get("allow_pickle") != "False"
    if name == "pickle.loads" and isinstance(call.args[0], ast.Call):
        return _name(call.args[0].func, names) != "pickle.dumps"  # What goes to and fro is our own.
    return name in FORBIDDEN or (name in CODE_BY_DESIGN and not tests)


def test_no_call_runs_what_it_reads() -> None:
    tests = {*files_of("tests")}
    files = files_of("tl_core", "study", "benchmarks", "tests")
    assert len(files) > 150
    found = {str(file): faults(nodes_of(file), file in tests) for file in files}
    assert {file: calls for file, calls in found.items() if calls} == {}


@pytest.mark.parametrize("source", [
    "import torch\ntorch.load(f)",
    "import torch as t\nt.load(f, weights_only=False)",
    "from torch import load as get\nget(f, weights_only=safe)",
    "import pickle\npickle.load(f)",
    "import pickle\npickle.loads(f.read())",
    "from pickle import Unpickler\nUnpickler(f).load()",
    "import numpy as np\nnp.load(f, allow_pickle=True)",
    "import numpy as np\nnp.load(f, 'r', True)",
    "import numpy as np\nnp.load(f, **options)",
    "import numpy.lib.npyio as npy\nnpy.NpzFile(f, allow_pickle=bold)",
    "import yaml\nyaml.load(f, Loader=yaml.FullLoader)",
    "import joblib\njoblib.load(f)", "import pandas as pd\npd.read_pickle(f)",
    "eval(text)", "exec(text)", "import mlflow\nmlflow.pyfunc.load_model(uri)",
])  # fmt: skip
def test_calls_that_may_run_something_are_found(source: str) -> None:
    assert len(faults(ast.walk(ast.parse(source)))) == 1


@pytest.mark.parametrize("source", [
    "import torch\ntorch.load(f, weights_only=True)",
    "import pickle\npickle.loads(pickle.dumps(x))",
    "import numpy as np\nnp.load(f, mmap_mode='r')\nnp.load(f, 'r', allow_pickle=False)",
    "import yaml\nyaml.safe_load(f)", "import json\njson.load(f)", "network.eval()",
    "import torch\ntorch.compile(network)", "import re\nre.compile(text)",
])  # fmt: skip
def test_calls_that_run_nothing_are_left_alone(source: str) -> None:
    assert faults(ast.walk(ast.parse(source))) == []
