"""Promises of the layout, kept by tests."""

import ast
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]
SHIPPED = ("trainer", "sandbox", "nodes")


def python_files(*rooms):
    return [path for room in rooms for path in sorted((ROOT / room).rglob("*.py"))]


def imported(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module


def test_only_host_py_imports_the_host_in_the_trainer_and_the_sandbox():
    host = {"comfy", "comfy_api", "comfy_extras", "folder_paths", "server", "execution"}
    guilty = [
        str(path) for path in python_files("trainer", "sandbox")
        if path.name != "host.py" and any(name.split(".")[0] in host for name in imported(path))
    ]
    assert guilty == []


def test_the_package_imports_itself_relatively():
    """`nodes` is also the name of a module of the host, and in custom_nodes the package has another name."""
    ours = {"lora_bootstrap", *SHIPPED}
    guilty = [
        str(path) for path in python_files(*SHIPPED) if any(name.split(".")[0] in ours for name in imported(path))
    ]
    assert guilty == []


@pytest.mark.parametrize("module", ["lora_bootstrap", "lora_bootstrap.sandbox"])
def test_importing_the_package_needs_neither_torch_nor_a_host(module):
    code = f"import sys, {module}; sys.exit('torch' in sys.modules or 'comfy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT.parent, check=False).returncode == 0


def test_nothing_is_unpickled():
    """safetensors and JSON only: `torch.load`, `pickle` and their like are not in shipped code."""
    words = ("torch.load(", "import pickle", "pickle.load", "allow_pickle")
    shipped = [path for path in python_files(*SHIPPED) if not path.name.startswith("make_")]  # see .comfyignore
    guilty = [str(path) for path in shipped for word in words if word in path.read_text("utf-8")]
    assert guilty == []


def test_shipped_code_is_free_of_what_the_registry_flags():
    words = ("subprocess", "os.system", "aiohttp.ClientSession", "eval(", "exec(", "pip install -")
    allowed = {"model.eval(", ".eval("}
    for path in python_files("trainer", "nodes", "sandbox"):
        text = path.read_text("utf-8")
        for pardoned in allowed:
            text = text.replace(pardoned, "")
        assert [word for word in words if word in text] == [], path
