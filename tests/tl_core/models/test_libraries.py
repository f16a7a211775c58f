import importlib
import subprocess
import sys
from types import ModuleType, SimpleNamespace

import pytest

from tests.support.study_fixtures import Patch
from tl_core.models.libraries import timm_library, without_compiler

NAME, UTILS = "torch._dynamo", "torch._dynamo.utils"


@pytest.fixture
def no_compiler(monkeypatch: Patch) -> Patch:
    for name in (NAME, UTILS):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return monkeypatch


def test_what_stands_in_is_gone_afterwards(no_compiler: Patch) -> None:
    with without_compiler():
        assert {NAME, UTILS} <= sys.modules.keys()
        assert not hasattr(sys.modules[NAME], "__file__")
    assert {NAME, UTILS}.isdisjoint(sys.modules)


def test_its_functions_import_the_compiler_when_they_are_called(no_compiler: Patch) -> None:
    with without_compiler():
        disable = sys.modules[NAME].disable
        is_supported = sys.modules[UTILS].is_compile_supported

    def disabled(function: object, recursive: bool, wrapping: bool = True) -> object:
        return lambda x: (x, recursive)

    compiler = ModuleType(NAME)
    vars(compiler).update(disable=disabled)
    utils = SimpleNamespace(is_compile_supported=lambda kind: f"{kind} is")
    no_compiler.setitem(sys.modules, NAME, compiler)
    no_compiler.setattr("torch._dynamo", compiler, raising=False)
    no_compiler.setitem(sys.modules, UTILS, utils)
    assert disable(lambda x: x, recursive=False, reason="it has loops")(3) == (3, False)
    assert is_supported("cpu") == "cpu is"


def test_a_name_that_nothing_stands_in_for_is_the_compilers(no_compiler: Patch) -> None:
    real = SimpleNamespace(config="real")
    with without_compiler():
        module = sys.modules[NAME]
        no_compiler.setattr(importlib, "import_module", {NAME: real}.__getitem__)
        assert module.config == "real"
        assert NAME not in sys.modules


def test_a_compiler_that_is_imported_stays(no_compiler: Patch) -> None:
    there = ModuleType(NAME)
    no_compiler.setitem(sys.modules, NAME, there)
    with without_compiler():
        assert sys.modules[NAME] is there
    assert sys.modules[NAME] is there


def test_timm_is_whole() -> None:
    assert timm_library().models.is_model("tf_efficientnet_lite0")
    assert timm_library().data.resolve_data_config


@pytest.mark.integration
def test_loading_a_network_imports_no_compiler() -> None:
    code = (
        "import sys; from tl_core.models.backbones import empty_network as net; "
        "[net(name, 64, pretrained=False) for name in ('resnet18', 'efficientnet_lite0')]; "
        "print('torch._dynamo' in sys.modules)"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "False\n"
