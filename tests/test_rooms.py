"""Promises of the layout, kept by tests."""

import ast
import fnmatch
import pathlib
import re
import subprocess
import sys

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # which pytest needs there

ROOT = pathlib.Path(__file__).parents[1]
SHIPPED = ("trainer", "sandbox", "host", "nodes")
HOSTS_NODES = "runner.py"
"""The one file that imports the host's module `nodes`."""
FLAGGED = ("subprocess", "os.system", "aiohttp.ClientSession", "eval(", "exec(", ".bind(", ".connect(",
           ".send(", ".sendall(")
"""What the registry's scanner is known to flag a version for, in code and prose alike."""
PARDONED = (".eval(",)


def python_files(*rooms):
    return [path for room in rooms for path in sorted((ROOT / room).rglob("*.py"))]


def pyproject():
    return tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))


def imported(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module


def test_the_package_imports_itself_relatively():
    """`nodes` is also the name of a module of the host, and in custom_nodes the package has another name."""
    ours = {"lora_bootstrap", *SHIPPED}
    guilty = [
        (path.name, name) for path in python_files(*SHIPPED) for name in imported(path) if name.split(".")[0] in ours
    ]
    assert guilty == [(HOSTS_NODES, "nodes")]


@pytest.mark.parametrize("module", ["lora_bootstrap", "lora_bootstrap.sandbox"])
def test_importing_the_package_needs_neither_torch_nor_a_host(module):
    code = f"import sys, {module}; sys.exit('torch' in sys.modules or 'comfy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT.parent, check=False).returncode == 0


def test_the_hosts_start_imports_no_library_that_only_a_run_needs():
    """peft alone takes a second, which every start of a ComfyUI took longer. bench/server.py measures the start."""
    late = ("accelerate", "diffusers", "kornia", "onnxruntime", "peft", "transformers", "torch._dynamo", "scipy.signal")
    stub = str(ROOT / "tests" / "helpers" / "comfy_stub")
    code = (f"import sys; sys.path.insert(0, {stub!r}); import lora_bootstrap.nodes.extension; "
            f"print([name for name in {late!r} if name in sys.modules])")
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT.parent, capture_output=True, text=True, check=False)
    assert done.stdout == "[]\n", done.stderr


def test_nothing_is_unpickled():
    """safetensors and JSON only: `torch.load`, `pickle` and their like are not in shipped code."""
    words = ("torch.load(", "import pickle", "pickle.load", "allow_pickle")
    shipped = [path for path in python_files(*SHIPPED) if not path.name.startswith("make_")]  # see .comfyignore
    guilty = [str(path) for path in shipped for word in words if word in path.read_text("utf-8")]
    assert guilty == []


def published():
    """Files that the registry's archive holds: what git does not ignore and .comfyignore does not name."""
    ignored = [line for name in (".gitignore", ".comfyignore") for line in (ROOT / name).read_text("utf-8").split()]
    for path in sorted(ROOT.rglob("*")):
        name = path.relative_to(ROOT).as_posix()
        if path.is_file() and not any(part.startswith(".") for part in name.split("/")[:-1]) and not any(
                _matches(name, pattern) for pattern in ignored):
            yield path


def _matches(name, pattern):
    """As gitignore does: a pattern with a slash before its end is of the root, any other of every folder."""
    parts = name.split("/")
    anchored = "/" in pattern[:-1]
    last = len(parts) - pattern.endswith("/")  # then only folders match
    paths = ["/".join(parts[:end]) if anchored else parts[end - 1] for end in range(1, last + 1)]
    return any(fnmatch.fnmatch(path, pattern.strip("/")) for path in paths)


def test_the_archive_holds_what_a_host_needs_and_no_tests():
    names = {path.relative_to(ROOT).as_posix() for path in published()}
    assert {"__init__.py", "requirements.txt", "pyproject.toml", "README.md", "nodes/train.py",
            "web/train/extension.js", "web/train/train.css", "web/docs/LoraBootstrap_TrainLora.md",
            "web/guides/index.html", "web/guides/one_image.md", "locales/zh/nodeDefs.json",
            "workflows/2 Train a style LoRA.json", "workflows/2 Train a style LoRA.jpg", "trainer/training/loop.py",
            "sandbox/base/model_index.json"} <= names
    assert [name for name in names if name.startswith(("tests/", "bench/", "output/")) or name.endswith(".pyc")] == []
    assert sum(path.stat().st_size for path in published()) < 40e6


def test_published_text_is_free_of_what_the_registry_flags():
    for path in published():
        if path.suffix in (".py", ".js", ".css", ".json", ".md", ".toml", ".txt"):
            text = path.read_text("utf-8")
            for pardoned in PARDONED:
                text = text.replace(pardoned, "")
            words = (*FLAGGED, "pip install -") if path.suffix == ".py" else FLAGGED
            assert [word for word in words if word in text] == [], path


def test_every_node_has_a_help_page_and_a_stable_id():
    ids = [name for path in python_files("nodes") for name in re.findall(r'node_id="(\w+)"', path.read_text("utf-8"))]
    pages = {path.stem for path in (ROOT / "web" / "docs").glob("*.md")}
    assert ids and sorted(ids) == sorted(pages) and all(name.startswith("LoraBootstrap_") for name in ids)


def test_pip_and_the_registry_are_told_the_same_libraries_as_comfyui_manager():
    lines = (ROOT / "requirements.txt").read_text("utf-8").splitlines()
    assert pyproject()["project"]["dependencies"] == [line for line in lines if line and line[0] != "#"]


def test_every_picture_of_the_readme_shows_wherever_it_is_read():
    text = (ROOT / "README.md").read_text("utf-8")
    pictures = re.findall(r"!\[[^\]]*\]\(([^)]*)\)", text)
    pictures += [pyproject()["tool"]["comfy"][name] for name in ("Icon", "Banner")]
    repository = pyproject()["project"]["urls"]["Repository"].replace("github.com", "raw.githubusercontent.com")
    for address in pictures:
        folder, name = address.removeprefix(f"{repository}/main/").split("/")
        assert (ROOT / folder / name).is_file(), address


def test_every_library_that_shipped_code_imports_is_required_or_the_hosts_own():
    required = {re.match(r"[\w-]+", line)[0].replace("pillow", "PIL") for line in
                (ROOT / "requirements.txt").read_text("utf-8").splitlines() if line and line[0] != "#"}
    hosts = {"comfy", "comfy_api", "comfy_execution", "comfyui_version", "folder_paths", "server", "aiohttp", "psutil",
             "comfy_kitchen", "comfy_extras"}
    # looked for at run time, with a clear error or another way
    optional = {"accelerate", "bitsandbytes", "huggingface_hub", "prodigyopt", "tensorboard", "onnxruntime", "psutil",
                "ray", "yaml"}
    known = required | optional | set(sys.stdlib_module_names)
    files = [*python_files(*SHIPPED), ROOT / "__init__.py"]
    for path in (path for path in files if not path.name.startswith("make_")):
        allowed = known | (hosts if path.relative_to(ROOT).parts[0] in ("host", "nodes") else set())
        allowed |= {"nodes"} if path.name == HOSTS_NODES else set()
        assert {name.split(".")[0] for name in imported(path)} <= allowed, path
