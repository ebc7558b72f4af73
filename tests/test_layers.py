"""Which room may import which. The order is that of CONTRIBUTING.md, and holds for lazy imports too."""

import ast
import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).parents[1]
ORDER = (("common",), ("captions", "pictures", "lora", "models"),
         ("datasets", "stacks", "extraction", "proofs", "views", "statements"), ("training", "tagging", "audits"),
         ("backends", "measures", "memory", "imports"), ("sweeps",), ("bootstrap",), ("records", "release"),
         ("jobs", "cast"),
         ("cli",))
"""Rooms of trainer/. A file imports from its own room and from rooms further left; rooms of one floor are strangers."""
FLOOR = {room: floor for floor, rooms in enumerate(ORDER) for room in rooms}
MAY_USE = {"trainer": {"trainer", "sandbox", ""}, "sandbox": {"sandbox"}, "host": {"host", "trainer", "sandbox"},
           "nodes": {"host", "trainer", "sandbox"}, "": {"nodes", "host"}}
"""What each folder at the top imports from; "" is the package's own `__init__`."""
SHARED_BY_NODES = ("sockets", "inputs", "schema", "extension")
HOST = {"comfy", "comfy_api", "comfy_execution", "comfy_extras", "comfyui_version", "execution", "folder_paths",
        "nodes", "server"}
MOST_FILES = {"trainer": 16, "host": 16, "nodes": 30}
FILES = [path for room in ("trainer", "sandbox", "host", "nodes") for path in sorted((ROOT / room).rglob("*.py"))]


def name_of(path):
    """trainer.lora.names, relative to the package."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imports(path):
    """(module relative to the package, the name taken from it) of every import of ours, wherever it stands."""
    package = list(path.relative_to(ROOT).parts[:-1])
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            module = [*package[:len(package) - node.level + 1], *(node.module or "").split(".")]
            for alias in node.names:
                target = ".".join(filter(None, module))
                inner = ROOT.joinpath(*target.split("."), alias.name)
                is_module = inner.with_suffix(".py").is_file() or (inner / "__init__.py").is_file()
                yield (f"{target}.{alias.name}".strip("."), "") if is_module else (target, alias.name)


def allowed(path, module):
    """Whether this file may import that module of the package."""
    mine, theirs = name_of(path).split("."), module.split(".")
    if theirs[0] not in MAY_USE[mine[0]]:
        return False
    if mine[0] == theirs[0] == "trainer":
        return _allowed_in_trainer(mine, theirs)
    if mine[0] == theirs[0] == "host":
        return mine[1] == "routes" or theirs[1] != "routes"
    if mine[0] == "nodes":
        return theirs[:2] != ["host", "routes"] or mine[1] == "extension"
    return True


def _allowed_in_trainer(mine, theirs):
    if len(mine) < 3:  # trainer/__init__.py, trainer/__main__.py
        return theirs[1] == "cli"
    return theirs[1] == mine[1] or FLOOR[theirs[1]] < FLOOR[mine[1]]


def test_every_room_of_the_trainer_has_a_floor():
    rooms = {path.parent.name for path in (ROOT / "trainer").glob("*/__init__.py")}
    assert rooms == set(FLOOR)


def test_no_file_imports_from_a_room_above_or_beside_its_own():
    guilty = [f"{name_of(path)} imports {module}" for path in FILES if path.relative_to(ROOT).parts[0] != "nodes"
              for module, _ in imports(path) if not allowed(path, module)]
    assert guilty == []


def test_nodes_import_no_other_file_of_nodes():
    guilty = [f"{path.stem} imports {module}" for path in sorted((ROOT / "nodes").rglob("*.py"))
              if path.stem not in SHARED_BY_NODES for module, _ in imports(path)
              if module.split(".")[0] == "nodes" and module.split(".")[-1] not in SHARED_BY_NODES
              or not module.startswith("nodes") and not allowed(path, module)]
    assert guilty == []


def test_only_host_and_nodes_import_the_host():
    def of_the_host(path):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else (
                [node.module] if isinstance(node, ast.ImportFrom) and node.level == 0 else [])
            yield from (name for name in names if name.split(".")[0] in HOST)

    guilty = [name_of(path) for path in FILES if path.relative_to(ROOT).parts[0] in ("trainer", "sandbox")
              and any(of_the_host(path))]
    assert guilty == []


def test_nothing_private_crosses_a_file():
    guilty = [f"{name_of(path)} takes {module}.{name}" for path in FILES for module, name in imports(path)
              if re.match(r"_(?!_)", name)]
    assert guilty == []


def test_files_do_not_import_each_other_in_a_circle():
    graph = {name_of(path): {module for module, _ in imports(path)} for path in FILES
             if path.name != "__init__.py" and path.relative_to(ROOT).parts[0] != "sandbox"}
    done, walking = set(), []

    def walk(name):
        if name in walking:
            return [*walking[walking.index(name):], name]
        if name in done or name not in graph:
            return []
        walking.append(name)
        circle = next(filter(None, map(walk, sorted(graph[name]))), [])
        walking.pop()
        done.add(name)
        return circle

    assert [circle for name in graph if (circle := walk(name))] == []


@pytest.mark.parametrize("top", MOST_FILES)
def test_no_folder_is_a_pile(top):
    folders = [ROOT / top, *(path for path in (ROOT / top).rglob("*") if path.is_dir())]
    counts = {str(folder.relative_to(ROOT)): len([path for path in folder.glob("*.py") if path.stem != "__init__"])
              for folder in folders}
    assert {folder: count for folder, count in counts.items() if count > MOST_FILES[top]} == {}


@pytest.mark.parametrize("top", ["trainer", "host", "nodes"])
def test_every_room_says_in_one_sentence_what_it_is(top):
    for path in sorted((ROOT / top).rglob("__init__.py")):
        body = ast.parse(path.read_text("utf-8")).body
        text = ast.get_docstring(ast.Module(body, []))
        assert len(body) == 1 and text and text.endswith(".") and ". " not in text and "\n" not in text, path


def test_every_room_is_in_the_wheel():
    project = (ROOT / "pyproject.toml").read_text("utf-8")
    listed = re.findall(r'"lora_bootstrap\.([\w.]+)"', project.partition("package-dir")[0])
    rooms = [name_of(path) for path in FILES if path.name == "__init__.py"]
    assert sorted(listed) == sorted(rooms)
