"""The layers of web/, kept by tests: who imports whom, and what a module does by being imported."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WEB = ROOT / "web"
HOST = WEB / "common" / "host.js"
"""The one file that imports the front end's own modules, which are served at /scripts/."""
MODULES = sorted(WEB.glob("*/*.js"))
IMPORT = re.compile(
    r"""^(?:import|export)\s(?:[^;"'()=]*?\sfrom\s+)?["']([^"']+)["']|\bimport\(\s*["']([^"']+)["']""", re.MULTILINE)
LINKED = re.compile(r"linkStyles\(import\.meta\.url,([^)]*)\)")


def name_of(path: Path) -> str:
    return path.relative_to(WEB).as_posix()


def imports(path: Path) -> list[str]:
    """What a module imports, as it is written there."""
    return [static or dynamic for static, dynamic in IMPORT.findall(path.read_text("utf-8"))]


def stylesheets(path: Path) -> list[Path]:
    """What a module links, in order."""
    return [(path.parent / file).resolve() for given in LINKED.findall(path.read_text("utf-8"))
            for file in re.findall(r'"([^"]+)"', given)]


def test_all_of_web_is_in_the_folder_of_a_feature_in_common_or_in_one_of_texts():
    assert sorted(path.name for path in WEB.iterdir()) == [
        "common", "dataset", "docs", "errors", "gallery", "guides", "locales", "page", "project", "reader", "release",
        "stack", "sweep", "tags", "templates", "train"]
    assert {path.suffix for path in WEB.glob("docs/*")} == {".md"}
    assert {path.suffix for path in WEB.glob("guides/*") if path.name != "index.html"} == {".md"}
    assert [name_of(path) for path in WEB.rglob("*.js") if path not in MODULES] == []


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_feature_imports_itself_and_common_and_common_only_itself(path):
    allowed = {path.parent.name, "common"}
    for given in imports(path):
        if path == HOST and "/scripts/" in given:
            continue
        assert given.startswith("."), f"{given}: addresses are relative, whatever folder the pack is served from"
        target = (path.parent / given).resolve()
        assert target.is_file() and target.suffix == ".js", given
        assert target.parent.parent == WEB and target.parent.name in allowed, given


def test_only_one_file_imports_the_front_end_and_from_where_it_is_served():
    scripts = {name_of(path): [given for given in imports(path) if "scripts/" in given] for path in MODULES}
    # web/common/host.js is served at /extensions/<pack>/common/host.js
    assert {name: given for name, given in scripts.items() if given} == {
        "common/host.js": ["../../../scripts/api.js", "../../../scripts/app.js"]}


def test_importing_what_features_share_does_nothing():
    """The front end imports every file by itself. In these a line without indentation only declares something."""
    declares = re.compile(r"(import|export|const|let|function|async function|class|[})\]/*]| \*|$)")
    calls = re.compile(r"(export )?(const|let) .* = [\w.]*(fetch|listen|add\w+)\(")
    for path in MODULES:
        if path.name == "extension.js":
            continue
        lines = path.read_text("utf-8").splitlines()
        assert [line for line in lines if not line.startswith(" ") and not declares.match(line)] == [], path
        assert [line for line in lines if calls.match(line)] == [], path
        assert "registerExtension(" not in "\n".join(lines), path


def test_no_module_takes_text_for_markup():
    """Captions, names and errors come from strangers; they are put into a page as text."""
    markup = re.compile(r"\b(innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|createContextualFragment|"
                        r"setHTML\w*|srcdoc|eval|new Function)\b")
    assert {name_of(path): markup.findall(path.read_text("utf-8")) for path in MODULES} == {
        name_of(path): [] for path in MODULES}


TRANSLATED = ("dataset", "errors", "gallery", "page", "project", "reader", "release", "stack", "sweep", "tags",
              "templates", "train")
"""Features whose texts all go through `t` of common/words.js."""
BEFORE = r"""(?:\b(?:textContent|title|placeholder)\b ?[:=]|"aria-label",|\bbutton\(|\bfield\("\w+", "[^"]*",)"""
SHOWN = re.compile(rf"""{BEFORE} ?["`](?!:)([^"`$]*[A-Za-z]{{3}})""")
"""A text where one is shown. A stylesheet begins with a colon."""
COMMENT = re.compile(r"/\*.*?\*/|(?<![\S])//[^\n]*", re.DOTALL)
SENTENCE = re.compile(r"""(?<!\bt\()(?<!\bword\()["`]([A-Z][a-z]* [a-z$][^"`]*)["`]""")
"""A sentence that neither `t` nor `word` takes, wherever it is."""
TITLES = WEB / "reader" / "titles.js"
"""English in every language."""
SAVED = {"templates/view.js": ["Read me"]}
"""What is compared with a saved workflow, not shown."""


@pytest.mark.parametrize("path", [path for path in MODULES if path.parent.name in TRANSLATED and path != TITLES],
                         ids=name_of)
def test_a_translated_feature_shows_no_text_as_it_is_written(path):
    code = COMMENT.sub("", path.read_text("utf-8"))
    assert SHOWN.findall(code) == []
    assert SENTENCE.findall(re.sub(r"\(\s+", "(", code)) == SAVED.get(name_of(path), [])


def test_every_feature_registers_itself_in_one_file():
    registered = {path.parent.name: re.findall(r'^  name: "(lora_bootstrap\.\w+)"', path.read_text("utf-8"), re.M)
                  for path in MODULES if "registerExtension(" in path.read_text("utf-8")}
    assert registered == {
        "dataset": ["lora_bootstrap.dataset"],
        "errors": ["lora_bootstrap.errors"], "gallery": ["lora_bootstrap.gallery"],
        "page": ["lora_bootstrap.page"],
        "project": ["lora_bootstrap.project"], "reader": ["lora_bootstrap.reader"],
        "release": ["lora_bootstrap.release"],
        "stack": ["lora_bootstrap.lora_stack"], "sweep": ["lora_bootstrap.sweep"],
        "tags": ["lora_bootstrap.tag_editor"], "templates": ["lora_bootstrap.templates"],
        "train": ["lora_bootstrap.train"]}


def test_every_stylesheet_that_is_linked_is_there_and_every_one_that_is_there_is_linked():
    linked = {path.parent.name: stylesheets(path) for path in MODULES if stylesheets(path)}
    base = WEB / "common" / "base.css"
    # the shared rules come first, so that a feature's own override them
    assert linked == {name: [base, WEB / name / f"{name}.css"] for name in linked}
    assert sorted(WEB.rglob("*.css")) == sorted({file for files in linked.values() for file in files})


def test_no_feature_is_dressed_by_another_ones_stylesheet():
    """Classes are named after their feature, `lb-ui` in common: each is used where its feature is."""
    owners = {"lb-ui": "common", **{f"lb-{path.name}": path.name for path in WEB.iterdir() if path.name != "docs"}}
    for path in [*MODULES, *WEB.glob("*/*.css")]:
        for prefix in re.findall(r"(?<![\w-])lb-[a-z]+", path.read_text("utf-8")):
            assert owners.get(prefix) in (path.parent.name, "common"), f"{prefix} in {name_of(path)}"
