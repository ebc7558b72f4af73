"""Every node describes itself as the hosts do, and has its help."""

import asyncio
import dataclasses
import json
from pathlib import Path

import comfy.samplers
import pytest

import lora_bootstrap
from lora_bootstrap.host import compat
from lora_bootstrap.nodes.extension import NODES
from lora_bootstrap.nodes.schema import ALL, OFFERS, PREFIX, VALUES

HERE, ROOT = Path(__file__).parent, Path(__file__).parents[2]
RECORDS = sorted(HERE.glob("object_info_*.json"))
OURS = [node.object_info() for node in NODES]
by_id = pytest.mark.parametrize("info", OURS, ids=[info["name"] for info in OURS])


def recorded(path):
    return json.loads(path.read_text("utf-8"))


def test_the_entry_point_gives_the_host_every_node():
    extension = asyncio.run(lora_bootstrap.comfy_entrypoint())
    assert asyncio.run(extension.get_node_list()) == list(NODES)
    assert (ROOT / lora_bootstrap.WEB_DIRECTORY).is_dir()


def test_ids_are_unique_and_have_our_prefix():
    ids = [info["name"] for info in OURS]
    assert len(set(ids)) == len(ids) == 55
    assert all(name.startswith("LoraBootstrap_") and name.isidentifier() for name in ids)


@by_id
def test_a_node_is_in_one_of_our_categories_and_says_what_it_does(info):
    assert info["category"] in {f"LoRA Bootstrap/{task}" for task in (
        "dataset", "captions", "train", "bootstrap", "bootstrap/internal", "sweep", "sweep/internal", "stack",
        "sandbox")}
    assert info["display_name"] and info["description"].endswith(".")


@by_id
def test_every_widget_has_a_tooltip(info):
    widgets = {"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO"}
    inputs = {**info["input"]["required"], **info["input"].get("optional", {})}
    assert [name for name, (kind, options) in inputs.items() if kind in widgets and not options.get("tooltip")] == []


@by_id
def test_a_combo_has_choices_and_its_default_is_one_of_them(info):
    for name, (kind, options) in info["input"]["required"].items():
        if kind == "COMBO":
            assert options["default" if "default" in options else "options"], name
            assert options.get("default", options["options"][0]) in options["options"], name


# -- how a node is offered ---------------------------------------------------------------------------------------------

PUBLIC = [info for info in OURS if not info["category"].endswith("internal")]


def test_every_public_node_is_found_by_two_other_words_and_by_none_that_is_another_nodes_name():
    names = {info["display_name"].lower() for info in OURS}
    assert {PREFIX + name for name in OFFERS} == {info["name"] for info in PUBLIC}
    for info in PUBLIC:
        words = info["search_aliases"]
        assert len(set(words)) == len(words) >= 2, info["name"]
        assert not names & set(words) and words == [word.lower() for word in words], info["name"]


def widgets_of(info):
    inputs = {**info["input"]["required"], **info["input"].get("optional", {})}
    return {name: options for name, (kind, options) in inputs.items()
            if kind in VALUES and not options.get("forceInput")}


@pytest.mark.parametrize("info", PUBLIC, ids=[info["name"] for info in PUBLIC])
def test_a_node_shows_what_people_set_and_folds_its_other_widgets(info):
    widgets, in_sight = widgets_of(info), OFFERS[info["name"].removeprefix(PREFIX)].in_sight
    shown = [name for name, options in widgets.items() if not options.get("advanced")]
    assert shown == (list(widgets) if in_sight == ALL else [name for name in widgets if name in in_sight])
    assert in_sight == ALL or len(shown) == len(in_sight) < len(widgets), "a row names what is not there, or folds none"


def test_sockets_are_never_folded():
    assert [name for info in OURS for group in info["input"].values() for name, (kind, *options) in group.items()
            if kind not in VALUES and options and options[0].get("advanced")] == []


def test_a_host_without_aliases_is_given_none():
    @dataclasses.dataclass
    class OldSchema:
        node_id: str = "LoraBootstrap_TrainLora"

    compat.set_aliases(schema := OldSchema(), ("train",))
    assert vars(schema) == {"node_id": "LoraBootstrap_TrainLora"}


@pytest.mark.parametrize("node", NODES, ids=[node.__name__ for node in NODES])
def test_a_node_takes_what_its_schema_declares(node):
    """The host calls by keyword: a name that is missing or too many fails only when the node is run."""
    info = node.object_info()["input"]
    required, optional = set(info["required"]), set(info.get("optional", {}))
    takes = node.parameters("execute")
    assert takes == required | optional or ("**" in takes and takes - {"**"} <= required | optional)
    for method in ("validate_inputs", "fingerprint_inputs"):
        if hasattr(node, method):
            assert node.parameters(method) - {"**"} <= required | optional, method


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: path.stem)
@pytest.mark.parametrize("node", NODES, ids=[node.__name__ for node in NODES])
def test_a_real_host_describes_the_node_alike(node, path, monkeypatch):
    """So the stand-in is faithful, and the record up to date. Samplers and schedulers are each host's own."""
    record = recorded(path)
    sampler = record["KSampler"]["input"]["required"]
    monkeypatch.setattr(comfy.samplers.KSampler, "SAMPLERS", sampler["sampler_name"][0])
    monkeypatch.setattr(comfy.samplers.KSampler, "SCHEDULERS", sampler["scheduler"][0])
    info = node.object_info()
    theirs = record[info["name"]]
    told = json.loads(json.dumps({name: value for name, value in info.items() if name != "input"}))
    if "search_aliases" not in record["KSampler"]:  # an old host has no place for them
        del told["search_aliases"]
    assert {name: theirs[name] for name in told} == told
    assert theirs["input"] == json.loads(json.dumps(info["input"]))
    assert {group: list(names) for group, names in info["input"].items()} == theirs["input_order"]


def test_the_oldest_supported_host_and_a_new_one_are_recorded():
    assert {path.stem for path in RECORDS} == {"object_info_0.8.0", "object_info_0.33.0"}


@by_id
def test_a_node_has_a_help_page_that_names_every_input_and_output(info):
    page = (ROOT / "web" / "docs" / f"{info['name']}.md").read_text("utf-8")
    assert page.startswith(f"# {info['display_name']}\n") and "## Example" in page
    names = [*info["input"]["required"], *info["input"].get("optional", {}), *info["output_name"]]
    assert [name for name in names if f"`{name}`" not in page] == []


def test_no_help_page_is_left_over():
    pages = {path.stem for path in (ROOT / "web" / "docs").glob("*.md")}
    assert pages == {info["name"] for info in OURS}


@pytest.mark.parametrize(("version", "fits"), [("0.8.0", True), ("0.33.0", True), ("1.0", True), ("0.7.0", False),
                                               ("0.3.64", False), ("0", False)])
def test_a_host_that_is_too_old_is_told_in_one_line(version, fits, monkeypatch):
    monkeypatch.setattr(compat, "host_version", lambda: version)
    if fits:
        compat.require_host()
        return
    with pytest.raises(compat.Unsupported, match=f"needs ComfyUI 0.8.0 or newer, but this is {version}") as raised:
        asyncio.run(lora_bootstrap.comfy_entrypoint())
    assert "\n" not in str(raised.value)


def test_a_library_that_is_absent_is_named_in_one_line(monkeypatch):
    monkeypatch.setattr(compat, "LIBRARIES", ("peft", "no_such_library"))
    with pytest.raises(compat.Unsupported, match=r"needs no_such_library: install .*requirements\.txt"):
        compat.require_host()
