"""The templates fit the nodes: types, links, widgets by position, and their twins in the API format."""

import itertools
import json
import re
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ..helpers.templates import (
    BYPASSED,
    ENTERS,
    NAMES,
    NOTES,
    WORKFLOWS,
    api,
    area_of,
    boxes_of,
    extend,
    inputs_of,
    levels,
    links_of,
    nodes_of,
    overlaps,
    running,
    ui,
    widgets_of,
)

RECORDS = sorted(Path(__file__).parent.glob("object_info_*.json"))
GENERATORS = Path(__file__).parents[1] / "web"
ANY = "*"
LOADER = "*Load LoRA (Model and CLIP)* (ComfyUI 0.8: *Load LoRA*)"
TRAINING = ["3 Train a character LoRA", "2 Train a style LoRA"]
BOOTSTRAP = ["8 Bootstrap in parts - 1 pick 16", "8 Bootstrap in parts - 2 pick 40",
             "8 Bootstrap in parts - 3 character LoRA", "4 Bootstrap a character", "8 Bootstrap in parts - seed sweep"]
REPAIR = "8 Bootstrap in parts - repair one image"
SWEEPS = ["6 Compare - checkpoint sweep", "6 Compare - score and pick", "6 Compare - seed sweep",
          "6 Compare - strength grid"]
FINE_TUNE = "6 Fine-tune and extract"
STACKS = ["7 Stack LoRAs - check and mend a conflict", "7 Stack LoRAs"]
START = ["1 Start here", "1 Start here (your model)"]
XL, NETWORK = "(SDXL)", "(diffusion model)"
REAL = [f"{task} a character{what} {form}" for task, what in (("4 Bootstrap", ""), ("3 Train", " LoRA"))
        for form in (XL, NETWORK)]
EDIT = ["4 Bootstrap with an edit model (FLUX.2 Klein)", "4 Bootstrap with an edit model (Qwen-Image-Edit)"]
OF_FILES = {"CheckpointLoaderSimple": {"ckpt_name"}, "UNETLoader": {"unet_name"}, "CLIPLoader": {"clip_name"},
            "VAELoader": {"vae_name"}, "LoadImage": {"image"}}
"""Widgets that offer the user's own files."""
TEMPLATE = "4 Bootstrap a character"
PANEL_WIDGETS = {"LoraBootstrap_Project": "project", "LoraBootstrap_CurateImages": "gallery",
                 "LoraBootstrap_TrainLora": "training", "LoraBootstrap_StrengthGrid": "sweep_panel"}
"""What each panel is called among the widgets of its node."""
PANELS = {kind.removeprefix("LoraBootstrap_") for kind in PANEL_WIDGETS}
GROUPS = {**dict.fromkeys([*START, *REAL[:2], *EDIT, "4 Bootstrap a character"], 4),
          "8 Bootstrap in parts - 3 character LoRA": 2,
          "8 Bootstrap in parts - seed sweep": 2, "6 Compare - score and pick": 5, "6 Compare - seed sweep": 4,
          "7 Stack LoRAs": 4, "7 Stack LoRAs - check and mend a conflict": 5,
          FINE_TUNE: 5}
"""Of templates that have not three."""
each_template = pytest.mark.parametrize("name", NAMES)
each_bootstrap_template = pytest.mark.parametrize("name", BOOTSTRAP)
each_sweep_template = pytest.mark.parametrize("name", SWEEPS)
each_stack_template = pytest.mark.parametrize("name", STACKS)
each_start_template = pytest.mark.parametrize("name", START)
each_training_template = pytest.mark.parametrize("name", TRAINING)
each_real_template = pytest.mark.parametrize("name", REAL)
each_edit_template = pytest.mark.parametrize("name", EDIT)
each_host = pytest.mark.parametrize("info", [json.loads(path.read_text("utf-8")) for path in RECORDS],
                                    ids=[path.stem for path in RECORDS])


def widget_names(facts):
    """Names of a node's widgets, in the order in which their values are saved."""
    return [name for name, _ in widgets_of(facts)]


def test_there_are_the_templates_each_with_a_twin():
    assert NAMES == sorted([*START, *BOOTSTRAP, REPAIR, *REAL, *EDIT, *STACKS, *SWEEPS, FINE_TUNE,
                            "5 Prepare and tag a dataset", *TRAINING])
    assert sorted(path.stem for path in (WORKFLOWS / "api").glob("*.json")) == NAMES


def test_names_in_their_order_are_read_from_the_first_step_to_the_parts():
    """Browse Templates lists them by no order of its own: the number at the front is what makes one."""
    numbers = [int(re.match(r"(\d) \w", name)[1]) for name in NAMES]
    assert numbers == sorted(numbers) and set(numbers) == set(range(1, 9))
    assert all(name.isascii() for name in NAMES)


def test_the_readme_lists_every_template_in_that_order_and_no_other():
    text = (WORKFLOWS.parent / "README.md").read_text("utf-8")
    section = text[text.index("## In ComfyUI"):text.index("## On the command line")]
    named = [" ".join(name.split()) for name in re.findall(r"\*\*(\d [^*]+)\*\*", section)]
    assert list(dict.fromkeys(named)) == sorted(dict.fromkeys(named))
    assert set(named) == set(NAMES)


@each_template
def test_a_thumbnail_of_the_same_name_is_small_and_as_large_as_all_others(name):
    path = WORKFLOWS / f"{name}.jpg"
    with Image.open(path) as image:
        assert image.format == "JPEG" and image.size == (600, 400) and path.stat().st_size < 100_000


def test_any_two_thumbnails_are_told_apart_at_a_glance():
    """The mean difference of two, 30 x 20 pixels small, in steps of 0 to 255: the two that are most alike are 35 apart,
    and two that differ in one line of words alone are 1 apart."""
    small = {}
    for name in NAMES:
        with Image.open(WORKFLOWS / f"{name}.jpg") as image:
            small[name] = np.asarray(image.convert("RGB").resize((30, 20), Image.Resampling.BOX), float)
    alike = [(a, b) for a, b in itertools.combinations(NAMES, 2) if np.abs(small[a] - small[b]).mean() < 25]
    assert alike == []


@each_host
@each_template
def test_the_twin_names_nodes_inputs_and_choices_that_the_host_has(name, info):
    for node in api(name).values():
        known = inputs_of(info[node["class_type"]])
        assert set(node["inputs"]) <= set(known)
        assert set(info[node["class_type"]]["input"]["required"]) <= set(node["inputs"])
        for key, value in node["inputs"].items():
            kind = known[key][0]
            choices = kind if isinstance(kind, list) else known[key][1].get("options") if kind == "COMBO" else None
            if key in OF_FILES.get(node["class_type"], ()):
                assert isinstance(choices, list) and value.endswith((".safetensors", ".png"))
            elif choices is not None and not isinstance(value, list):
                assert value in choices, (node["class_type"], key)


@each_host
@each_template
def test_every_link_of_the_twin_joins_sockets_of_one_type(name, info):
    graph = api(name)
    for node in graph.values():
        known = inputs_of(info[node["class_type"]])
        for key, value in node["inputs"].items():
            if isinstance(value, list):
                source, slot = value
                given = info[graph[source]["class_type"]]["output"][slot]
                assert given in (known[key][0], ANY), (node["class_type"], key)


@each_host
@each_template
def test_widget_values_are_saved_in_the_order_of_the_schema(name, info):
    """They are saved by position: an input put anywhere but last would shift them in every saved workflow. A newer host
    may have appended one to a node of its own."""
    twin = api(name)
    for id, node in nodes_of(ui(name)).items():
        names, saved = widget_names(info[node["type"]]), node.get("widgets_values") or []
        newer = graphs().NEWER.get(node["type"], ())
        values = dict(zip([name for name in names if name not in newer], saved, strict=True))
        given = twin[id]["inputs"]
        assert {key: values[key] for key in values if key in given and not isinstance(given[key], list)} == {
            key: value for key, value in given.items() if not isinstance(value, list)}


def test_templates_made_before_a_widget_was_appended_get_its_default():
    name = "6 Compare - strength grid"
    graph, twin, info = ui(name), api(name), json.loads(RECORDS[0].read_text("utf-8"))
    before = {node["id"]: list(node.get("widgets_values") or []) for node in graph["nodes"]}
    (grid,) = [node for node in graph["nodes"] if node["type"] == "LoraBootstrap_StrengthGrid"]
    assert extend(graph, twin, info) == 0
    info["LoraBootstrap_StrengthGrid"]["input"]["optional"] |= {
        "shots": ["INT", {"default": 3, "control_after_generate": True}], "look": ["COMBO", {"options": ["a", "b"]}]}
    assert extend(graph, twin, info) == 3
    assert {node["id"]: node.get("widgets_values") or [] for node in graph["nodes"]} == {
        **before, grid["id"]: [*before[grid["id"]], 3, "fixed", "a"]}
    given = twin[str(grid["id"])]["inputs"]
    assert (given["shots"], given["look"]) == (3, "a") and "control_after_generate" not in given
    assert extend(graph, twin, info) == 0


@each_template
def test_changes_by_hand_are_of_whoever_opens_the_template(name):
    """A name in the template would be one for all who open it, and for its sibling."""
    assert {node["inputs"]["edits"] for node in all_of(api(name), "EditTags")} <= {""}


@each_template
def test_nothing_is_null_that_older_front_ends_will_not_have_so(name):
    graph = ui(name)
    assert {key for key, value in graph.items() if value is None} == set()
    outputs = [output for level in levels(graph) for node in level["nodes"] for output in node.get("outputs") or []]
    assert not any(output.get(key, "") is None for output in outputs for key in ("slot_index", "label", "shape"))


@each_template
def test_both_forms_hold_the_same_nodes_and_links(name):
    graph, twin = ui(name), api(name)
    assert {key: node["type"] for key, node in nodes_of(graph).items()} == {
        key: node["class_type"] for key, node in twin.items()}
    assert links_of(graph) == {(value[0], value[1], key, field) for key, node in twin.items()
                               for field, value in node["inputs"].items() if isinstance(value, list)}


@each_template
def test_a_widget_that_is_set_on_a_box_has_the_same_value_inside(name):
    """Newer front ends read the box's, older ones that of the node inside."""
    twin = api(name)
    for key, (box, inside) in boxes_of(ui(name)).items():
        if box.get("mode") == BYPASSED:
            continue
        shown = [slot["name"] for slot in box["inputs"] if "widget" in slot and slot["link"] is None]
        widgets = [slot["name"] for slot in box["inputs"] if "widget" in slot]
        held = dict(zip(widgets, box["widgets_values"], strict=True))
        places = [slot["name"] for slot in inside["inputs"]]
        targets = {places[link["origin_slot"]]: (link["target_id"], link["target_slot"]) for link in inside["links"]
                   if link["origin_id"] == ENTERS}
        for widget in shown:
            node, slot = targets[widget]
            (inner,) = [each for each in inside["nodes"] if each["id"] == node]
            assert twin[f"{key}:{node}"]["inputs"][inner["inputs"][slot]["name"]] == held[widget]


@each_template
def test_no_two_nodes_overlap_and_each_is_in_a_titled_group(name):
    graph = ui(name)
    assert [overlaps(level) for level in levels(graph)] == [[]] * len(levels(graph))
    boxes = {node["id"]: area_of(node) for node in graph["nodes"]}
    groups = [(group["bounding"], group["title"]) for group in graph["groups"]]
    assert len(groups) == GROUPS.get(name, 3) and all(title for _, title in groups)
    for node in graph["nodes"]:
        inside = [title for (x, y, w, h), title in groups if x <= boxes[node["id"]][0] and y <= boxes[node["id"]][1]
                  and boxes[node["id"]][2] <= x + w and boxes[node["id"]][3] <= y + h]
        assert len(inside) == (0 if node["type"] in NOTES else 1), node["type"]


def note(name):
    (found,) = [node for node in ui(name)["nodes"] if node["type"] in NOTES and node.get("title") == "Read me"]
    return found["widgets_values"][0]


def test_the_notes_of_the_templates_are_those_of_their_generators():
    """A note mended in a template alone is lost when it is made again."""
    assert {name: note(name) for name in NAMES} == generated_notes()


def generated_notes():
    real, bootstrap = map(generator, ("make_real_templates", "bootstrap_notes"))
    edit = generator("make_edit_templates").NOTES
    notes = {f"3 Train a character LoRA ({form.name})": real.train_note(form) for form in real.FORMS.values()}
    notes |= {name: bootstrap.note_of(name) for name in NAMES if name[0] in "48" and name not in edit} | edit
    notes |= {form.name: form.note for form in generator("make_start_templates").FORMS}
    for task in ("training", "sweep", "finetune", "stack"):
        notes |= generator(f"make_{task}_templates").NOTES
    return {name: graphs().readable(text) for name, text in notes.items()}


def generator(name):
    """A script that makes templates, as a module."""
    sys.path.insert(0, str(GENERATORS))
    try:
        return import_module(name)
    finally:
        sys.path.remove(str(GENERATORS))


def graphs():
    return generator("template_graph")


@each_template
def test_the_paragraphs_of_a_note_are_one_blank_line_apart(name):
    assert "\n\n\n" not in note(name)


@each_template
def test_the_note_is_short_and_begins_with_its_name_and_numbered_steps(name):
    text = note(name)
    assert text.startswith("# ") and len(text.split()) <= 420
    assert "`" not in text, "the front end draws a span of code blue on blue"
    assert "\n1. " in text or name.startswith("8 "), "a part of the loop is one Run"


@each_training_template
def test_the_note_says_how_to_use_a_model_of_ones_own(name):
    text = note(name)
    assert "## On your own model" in text and "Load Checkpoint" in text and LOADER in text


@each_bootstrap_template
def test_the_note_says_how_to_pick_and_to_use_a_model_of_ones_own(name):
    text = note(name)
    assert "With a model of your own" in text
    picks = "CurateImages" in json.dumps(api(name))
    assert ("Load CLIP Vision" in text) == ("galleries" in text) == picks, "both are for a gallery"
    assert ("**K** keeps" in text) == ("3 to 5" in text) == ("**How every round is drawn**" in text) == picks


@each_bootstrap_template
def test_every_sampler_of_the_loop_is_set_in_one_place_and_takes_its_seed_from_the_views(name):
    graph = api(name)
    kinds = {key: node["class_type"] for key, node in graph.items()}
    figures = [key for key, kind in kinds.items() if kind == "LoraBootstrap_SamplingByModel"]
    assert len(figures) == ("KSampler" in kinds.values())
    for node in graph.values():
        if node["class_type"] == "KSampler":
            assert [node["inputs"][key] for key in ("steps", "cfg", "sampler_name", "scheduler")] == [
                [figures[0], slot] for slot in (2, 3, 4, 5)]
        if node["class_type"] == "LoraBootstrap_SaveCandidates":
            decode = graph[node["inputs"]["images"][0]]
            sampler = graph[decode["inputs"]["samples"][0]]["inputs"]
            assert sampler["seed"] == [node["inputs"]["views"][0], 1]
            assert graph[sampler["positive"][0]]["inputs"]["text"] == [node["inputs"]["views"][0], 0]
            drawn_by = kinds[sampler["model"][0]]
            assert drawn_by == ("LoraBootstrap_PickCheckpoint" if "LORA_STACK" in node["inputs"] else
                                "LoraBootstrap_LoadSandbox")


@pytest.mark.parametrize("name", [*BOOTSTRAP, *REAL[:2], *EDIT])
def test_a_bootstrap_template_is_fifteen_boxes_in_two_rows_with_its_panels_in_sight(name):
    graph = ui(name)
    assert len(running(graph)) <= 15 and len({group["bounding"][1] for group in graph["groups"]}) == 2
    seen = {node["type"].removeprefix("LoraBootstrap_") for node in graph["nodes"]}
    kinds = {node["type"].removeprefix("LoraBootstrap_") for node in nodes_of(graph).values()}
    assert kinds & PANELS <= seen and "KSampler" not in seen
    assert all(box["title"] == inside["name"] != "New Subgraph" for box, inside in boxes_of(graph).values())


@each_template
def test_what_app_mode_shows_of_a_template_is_in_it(name):
    graph = ui(name)
    app, nodes = graph["extra"].get("linearData"), {node["id"]: node for node in graph["nodes"]}
    if name in (TEMPLATE, *REAL, *EDIT, *START, *TRAINING):
        assert app, "the whole loop, and each training, is an app"
        shown = {(id, widget) for id, widget, *_ in app["inputs"]}
        files = {(node["id"], widget) for node in graph["nodes"] for widget in OF_FILES.get(node["type"], ())}
        assert files <= shown, "a model is chosen in the app"
    for id, widget, *height in (app or {}).get("inputs", ()):
        named = {slot["name"] for slot in nodes[id]["inputs"] if "widget" in slot}
        assert widget in named | {PANEL_WIDGETS.get(nodes[id]["type"])}
        assert all(set(each) == {"height"} for each in height)
        assert [slot["link"] for slot in nodes[id]["inputs"] if slot["name"] == widget] in ([], [None]), "set elsewhere"
    assert all(id in nodes for id in (app or {}).get("outputs", ()))


@pytest.mark.parametrize("name", [*REAL[:2], *EDIT])
def test_the_original_is_tagged_if_wanted_and_the_tags_are_proposed_not_taken(name):
    graph = ui(name)
    (tagger,) = [node for node in graph["nodes"] if node["type"] == "LoraBootstrap_TagImages"]
    (project,) = [node for node in graph["nodes"] if node["type"] == "LoraBootstrap_Project"]
    assert tagger["mode"] == BYPASSED and False in tagger["widgets_values"], "nothing is fetched unasked"
    links = {id: (source, slot) for id, source, slot, *_ in graph["links"]}
    (proposed,) = [slot["link"] for slot in project["inputs"] if slot["name"] == "proposed"]
    assert links[proposed] == (tagger["id"], 1) and "proposed" not in only(api(name), "Project")


def test_one_candidate_goes_through_the_hosts_own_nodes_and_back_with_its_name():
    graph = api(REPAIR)
    saved, loaded = only(graph, "SaveRepaired"), only(graph, "LoadCandidate")
    assert loaded == {"candidate": ""} and graph[saved["image"][0]]["class_type"] == "VAEDecode"
    assert graph[saved["candidate"][0]]["class_type"] == "LoraBootstrap_LoadCandidate" and saved["candidate"][1] == 3
    between = {node["class_type"] for node in graph.values() if "LoraBootstrap" not in node["class_type"]}
    assert between == {"CLIPTextEncode", "VAEEncode", "KSampler", "VAEDecode"}


def test_the_whole_loop_is_one_chain_of_the_project_and_the_rounds_count_up():
    graph = api("4 Bootstrap a character")
    trained = [graph[node["inputs"]["dataset"][0]] for node in graph.values()
               if node["class_type"] == "LoraBootstrap_TrainLora"]
    assert [(node["class_type"].removeprefix("LoraBootstrap_"), node["inputs"]["round"]) for node in trained] == [
        ("RoundDataset", 0), ("CurateImages", 1), ("CurateImages", 2)]
    chain, at = ["CurateImages"], trained[-1]["inputs"]["project"][0]
    while at:
        chain.append(graph[at]["class_type"].removeprefix("LoraBootstrap_"))
        at = graph[at]["inputs"].get("project", [None])[0]
    assert chain == ["CurateImages", "SaveCandidates"] * 2 + ["SaveCandidates", "Project"]


def test_images_of_ones_own_are_prepared_and_saved_under_their_own_name():
    name = "5 Prepare and tag a dataset"
    text = note(name)
    assert "With images of your own" in text and "models/taggers" in text and "never replaced" in text
    assert {node["inputs"]["name"] for node in all_of(api(name), "PrepareDataset", "SaveDataset")} == {""}


@each_training_template
def test_the_twin_compares_the_trained_lora_with_none_on_the_base_at_one_seed(name):
    graph = api(name)
    grid, kinds = only(graph, "StrengthGrid"), {key: node["class_type"] for key, node in graph.items()}
    assert [kinds[grid[key][0]] for key in ("model", "clip", "vae", "run")] == [
        "LoraBootstrap_LoadSandbox"] * 3 + ["LoraBootstrap_TrainLora"]
    assert grid["without"] and grid["strengths"] and (grid["width"], grid["steps"], grid["cfg"]) == (0, 0, -1)


@each_sweep_template
def test_the_note_says_what_to_look_at_and_how_to_sweep_a_lora_of_ones_own(name):
    text = note(name)
    assert "Press **Run**" in text and "**Look**" in text and "With a model and a LoRA of your own" in text
    assert "**Load Run**" in text and "Load Checkpoint" in text
    assert "LORA_STACK" in text or name == "6 Compare - score and pick"


def only(graph, kind):
    (found,) = [node["inputs"] for node in graph.values() if node["class_type"] == f"LoraBootstrap_{kind}"]
    return found


@each_sweep_template
def test_the_templates_of_sweeps_share_one_run_that_has_checkpoints_and_a_validation_loss(name):
    graph = api(name)
    training = {kind: only(graph, kind) for kind in (
        "LoadSandbox", "LoadDataset", "AbsorbTags", "TrainSettings", "TrainLora")}
    shared = api(SWEEPS[0])
    assert training == {kind: only(shared, kind) for kind in training}, "it would be trained once for each"
    settings, steps = training["TrainSettings"], training["TrainLora"]["steps"]
    assert steps // settings["save_every"] == steps // settings["validate_every"] == 5
    assert settings["validation_fraction"] == 0.1
    trains = next(key for key, node in graph.items() if node["class_type"] == "LoraBootstrap_TrainLora")
    assert [trains, 2] in [node["inputs"].get("run") for node in graph.values()]


def test_the_strengths_are_those_of_the_guide_and_each_is_compared_with_no_lora():
    grid = only(api("6 Compare - strength grid"), "StrengthGrid")
    assert (grid["strengths"], grid["checkpoints"], grid["without"]) == ("0.5, 0.7, 0.8, 0.9, 1.0", "last", True)
    assert len(grid["prompts"].splitlines()) == 3 and grid["seeds"] == "1"


def test_scoring_takes_up_the_cells_of_the_checkpoint_sweep():
    sweep, scored = (only(api(f"6 Compare - {name}"), "CheckpointSweep")
                     for name in ("checkpoint sweep", "score and pick"))
    differ = {key for key in sweep if sweep[key] != scored[key]}
    assert differ == {"seeds"} and scored["seeds"].startswith(sweep["seeds"]) and scored["without"]


def test_what_the_score_recommends_is_picked():
    graph = api("6 Compare - score and pick")
    score = next(key for key, node in graph.items() if node["class_type"] == "LoraBootstrap_ScoreSweep")
    assert "dataset" in graph[score]["inputs"]
    pick = only(graph, "PickCheckpoint")
    assert (pick["which"], pick["step"], pick["strength"]) == ("step", [score, 1], [score, 2])


def test_the_seed_sweep_draws_through_the_hosts_own_nodes():
    graph = api("6 Compare - seed sweep")
    values = next(key for key, node in graph.items() if node["class_type"] == "LoraBootstrap_SweepValues")
    taken = {(node["class_type"], name): value[1] for node in graph.values() for name, value in node["inputs"].items()
             if isinstance(value, list) and value[0] == values}
    assert taken == {("LoraLoader", "lora_name"): 1, ("LoraLoader", "strength_model"): 2,
                     ("LoraLoader", "strength_clip"): 2, ("CLIPTextEncode", "text"): 3, ("KSampler", "seed"): 4,
                     ("LoraBootstrap_ComposeGrid", "sweep"): 0}
    assert graph[only(graph, "ComposeGrid")["images"][0]]["class_type"] == "VAEDecode"


@each_stack_template
def test_the_note_says_what_to_look_at_and_how_to_stack_loras_of_ones_own(name):
    text = note(name)
    assert "Press **Run**" in text and "**Look**" in text and "With a model and LoRAs of your own" in text
    assert "**LORA_STACK**" in text and "Load Checkpoint" in text


def all_of(graph, *kinds):
    """The nodes of some types, without their ids, in the order of the graph."""
    return [node for node in graph.values() if node["class_type"].removeprefix("LoraBootstrap_") in kinds]


@each_stack_template
def test_the_templates_of_stacks_train_the_same_two_loras_and_name_no_file(name):
    trains = ("LoadSandbox", "LoadDataset", "AbsorbTags", "PreviewDataset", "TrainLora")
    assert all_of(api(name), *trains) == all_of(api(STACKS[0]), *trains), "they would be trained once for each"
    assert [node["inputs"]["kind"] for node in all_of(api(name), "TrainLora")] == ["character", "style"]
    first, second = (node["inputs"] for node in all_of(api(name), "LoraStack"))
    assert first["entries"] == second["entries"] == "" and "LORA_STACK" not in first
    assert api(name)[second["LORA_STACK"][0]]["inputs"] == first
    assert first["run_strength"] > second["run_strength"], "the character is the strongest"


@each_stack_template
def test_all_pictures_of_a_stack_have_one_prompt_seed_and_size(name):
    graph = api(name)
    samplers = [node["inputs"] for node in all_of(graph, "KSampler")]
    same = ("seed", "steps", "cfg", "sampler_name", "scheduler", "latent_image")
    assert len({str([inputs[key] for key in same]) for inputs in samplers}) == 1
    assert len({str(graph[inputs["positive"][0]]["inputs"]["text"]) for inputs in samplers}) == 1
    assert len({str(inputs["model"]) for inputs in samplers}) == len(samplers) == (3 if "mend" in name else 2)


def test_what_is_split_in_time_has_the_bare_model_and_both_prompts_by_its_own_text_encoder():
    graph = api("7 Stack LoRAs - check and mend a conflict")
    (split,) = [key for key, node in graph.items() if node["class_type"] == "LoraBootstrap_TimeSplit"]
    (inputs,) = [node["inputs"] for node in all_of(graph, "KSampler")
                 if graph[node["inputs"]["positive"][0]]["inputs"]["clip"] == [split, 0]]
    assert graph[inputs["negative"][0]]["inputs"]["clip"] == [split, 0]
    assert graph[inputs["model"][0]]["class_type"] == "LoraBootstrap_LoadSandbox"


@each_stack_template
def test_what_is_compared_is_joined_in_the_order_that_the_title_says(name):
    """One image for each seed: the first row above, the last below."""
    graph, rows = api(name), []
    (shown,) = [node["inputs"]["images"][0] for node in all_of(graph, "PreviewImage")
                if graph[node["inputs"]["images"][0]]["class_type"] == "ImageScaleToTotalPixels"]
    at = graph[shown]["inputs"]["image"][0]
    while graph[at]["class_type"] == "ImageStitch":
        assert graph[at]["inputs"]["direction"] == "down"
        rows.insert(0, graph[at]["inputs"]["image2"][0])
        at = graph[at]["inputs"]["image1"][0]
    models = [graph[graph[graph[row]["inputs"]["samples"][0]]["inputs"]["model"][0]]["class_type"].removeprefix(
        "LoraBootstrap_") for row in (at, *rows)]
    assert models == ["ApplyLoraStack", *(["ApplyLoraStack"] if "mend" in name else []), "LoadSandbox"]
    (title,) = [node["title"] for node in ui(name)["nodes"] if node["type"] == "PreviewImage"
                and "heat map" not in node["title"]]
    assert title == ("Plain, merged, split in time" if "mend" in name else "Above with the stack, below without")


# -- to begin with -----------------------------------------------------------------------------------------------------


@each_start_template
def test_a_template_to_begin_with_goes_from_images_to_the_strength_in_at_most_ten_boxes(name):
    graph, (train,) = api(name), all_of(api(name), "TrainLora")
    chain, at = [], train["inputs"]["dataset"][0]
    while at:
        chain.append(graph[at]["class_type"].removeprefix("LoraBootstrap_"))
        at = graph[at]["inputs"].get("dataset", [None])[0]
    assert chain == ["EditTags", "TagImages", "AuditDataset", "LoadDataset"]
    assert graph[only(graph, "StrengthGrid")["run"][0]] == train
    assert len(ui(name)["nodes"]) <= 10


@each_start_template
def test_the_trigger_of_a_template_to_begin_with_is_written_in_one_place(name):
    graph = api(name)
    ((key, trigger),) = [(key, node["inputs"]["value"]) for key, node in graph.items()
                         if node["class_type"] == "PrimitiveString"]
    taken = {(node["class_type"].removeprefix("LoraBootstrap_"), field) for node in graph.values()
             for field, value in node["inputs"].items() if value == [key, 0]}
    assert taken == {("TrainLora", "name"), ("TrainLora", "trigger"), ("EditTags", "trigger"),
                     ("StrengthGrid", "prompts")}
    assert trigger not in str([node["inputs"] for node in graph.values() if node["class_type"] in (
        "LoraBootstrap_EditTags", "LoraBootstrap_StrengthGrid", "LoraBootstrap_TrainLora")])


@each_start_template
def test_captions_that_are_there_already_are_kept_and_nothing_is_fetched_unasked(name):
    tag = only(api(name), "TagImages")
    assert (tag["merge"], tag["download"]) == ("keep", False)
    assert (tag["tagger"] == "sandbox") == ("your model" not in name), "it knows drawings of its own world only"
    assert "Captions beside them" in note(name) or "drawings" in note(name)


@each_start_template
def test_the_note_of_a_template_to_begin_with_is_at_most_eight_numbered_steps(name):
    steps = re.findall(r"^(\d+)\. ", note(name), re.MULTILINE)
    assert steps == [str(number) for number in range(1, len(steps) + 1)] and len(steps) <= 8
    for word in ("Press **Run**", "*Load Dataset*", "*Trigger*", "**lowest** strength", "Press **R**", LOADER,
                 "the\n   LoRA that *Train LoRA* names"):
        assert word in note(name)


@each_start_template
def test_what_is_set_watched_and_looked_at_is_seen_at_full_size_in_a_window_of_1600_by_1000(name):
    """The bars of the front end leave 1517 x 894 of it. At full size all text is at least 10 pixels high."""
    graph = ui(name)
    upper = [node for node in graph["nodes"] if node["pos"][1] < 1000]
    assert {node.get("title") or node["type"].removeprefix("LoraBootstrap_") for node in upper} == {
        "Read me", "Trigger", "The sheet", "LoadDataset", "TrainLora",
        "CheckpointLoaderSimple" if "model" in name else "LoadSandbox"}
    left = min(node["pos"][0] for node in upper)
    top = min(group["bounding"][1] for group in graph["groups"])
    assert max(node["pos"][0] + node["size"][0] for node in upper) - left <= 1517
    assert max(node["pos"][1] + node["size"][1] for node in upper) - top <= 894


# -- on a real model ---------------------------------------------------------------------------------------------------


@each_real_template
def test_a_real_template_loads_named_files_that_the_front_end_offers_to_download(name):
    loaders = {node["type"]: node for node in nodes_of(ui(name)).values() if node["type"] in OF_FILES}
    loaders.pop("LoadImage", None)
    assert set(loaders) == ({"CheckpointLoaderSimple"} if XL in name else {"UNETLoader", "CLIPLoader", "VAELoader"})
    for node in loaders.values():
        (model,) = node["properties"]["models"]
        assert model["name"] == node["widgets_values"][0] and model["url"].endswith("/" + model["name"])
        assert model["directory"] in ("checkpoints", "diffusion_models", "text_encoders", "vae")


@each_real_template
def test_a_real_template_reads_its_base_in_one_place(name):
    graph = api(name)
    loaders = {node["class_type"]: key for key, node in graph.items() if node["class_type"] in OF_FILES}
    base = loaders.get("CheckpointLoaderSimple")
    parts = {"model": [base or loaders.get("UNETLoader"), 0], "clip": [base or loaders.get("CLIPLoader"), bool(base)],
             "vae": [base or loaders.get("VAELoader"), 2 * bool(base)]}
    for node in all_of(graph, "TrainLora", "StrengthGrid"):
        assert {part: node["inputs"][part] for part in parts} == parts
    assert parts["model"] in [node["inputs"].get("model") for node in all_of(graph, "Project", "TrainLora")]


@each_real_template
def test_what_a_real_template_draws_with_is_left_to_the_models_family(name):
    graph = api(name)
    assert only(graph, "StrengthGrid")["strengths"] == "by the model"
    for node in all_of(graph, "StrengthGrid", "SamplingByModel"):
        assert [node["inputs"][key] for key in ("width", "height", "steps", "cfg", "sampler_name", "scheduler")] == [
            0, 0, 0, -1, "by the model", "by the model"]
    (figures,) = [key for key, node in graph.items() if node["class_type"] == "LoraBootstrap_SamplingByModel"
                  ] or [None]
    samplers = all_of(graph, "KSampler")
    assert len(samplers) == (3 if "Bootstrap" in name else 0)
    for node in samplers:
        assert [node["inputs"][key] for key in ("steps", "cfg", "sampler_name", "scheduler")] == [
            [figures, slot] for slot in (2, 3, 4, 5)]
    for node in all_of(graph, "EmptyLatentImage"):
        assert [node["inputs"][key] for key in ("width", "height")] == [[figures, 0], [figures, 1]]


@pytest.mark.parametrize("name", [*REAL, *EDIT, *START, TEMPLATE, "3 Train a character LoRA",
                                  "8 Bootstrap in parts - 3 character LoRA"])
def test_the_prompts_of_the_sheet_call_the_character_by_whatever_trigger_was_written(name):
    """One box, or the project, gives the trigger to the training and to the prompts: one's own is called too."""
    graph, grid = api(name), only(api(name), "StrengthGrid")
    assert grid["prompts"] == graph[grid["run"][0]]["inputs"]["trigger"]
    source, slot = grid["prompts"]
    assert (graph[source]["class_type"].removeprefix("LoraBootstrap_"), slot) in (
        ("PrimitiveString", 0), ("CurateImages", 5), ("RoundDataset", 2))
    assert grid["prompt_set"] in ("poses", "settings"), "the sandbox has lines of its own world for both"
    (base,) = {graph[node["inputs"]["model"][0]]["class_type"] for node in all_of(graph, "StrengthGrid")}
    if base == "LoraBootstrap_LoadSandbox":
        assert (grid["width"], grid["height"], grid["steps"], grid["cfg"]) == (0, 0, 0, -1)


@pytest.mark.parametrize("name", [*REAL, *EDIT])
def test_a_real_template_names_nothing_that_is_anothers(name):
    """Two projects of one name would be two images in one folder."""
    projects = [node["inputs"] for other in NAMES for node in all_of(api(other), "Project")
                if other in (*REAL, *EDIT, TEMPLATE)]
    assert len({inputs["name"] or inputs["trigger"] for inputs in projects}) == len(projects) == 5
    for node in all_of(api(name), "TrainLora"):
        assert isinstance(node["inputs"]["name"], list) and node["inputs"]["steps"] == 0


@each_real_template
def test_the_note_of_a_real_template_says_which_files_and_which_type_of_text_encoder(name):
    text = note(name)
    assert "Press **Run**" in text and "trigger" in text.lower()
    newest = json.loads(max(RECORDS, key=lambda path: path.stat().st_size).read_text("utf-8"))
    if XL in name:
        assert "Illustrious" in text and f"{name.removesuffix(XL)}{NETWORK}" in text
        return
    rows = [line.split("|")[1:4] for line in text.splitlines() if line.startswith("|")][2:]
    types = {re.findall(r"\*(\w+)\*", encoder)[-1] for _, encoder, _ in rows}
    known = inputs_of(newest["CLIPLoader"])["type"][0]
    assert len(rows) == 6 and types - {"flux"} <= set(known)
    assert all(family in text for family in ("Krea 2 RAW", "klein", "Qwen", "Anima", "Z-Image", "Flux.1"))
    assert "**not** distilled" in text and "*bases*" in text


# -- with an edit model ------------------------------------------------------------------------------------------------


def above(graph, link, until):
    """The outputs of the node `until` that a link comes from, whatever is between."""
    source, slot = link
    if source == until:
        return {slot}
    links = [value for value in graph[source]["inputs"].values() if isinstance(value, list)]
    return set().union(*(above(graph, value, until) for value in links))


@each_edit_template
def test_an_edit_model_is_shown_the_views_own_reference_and_the_original_on_both_sides(name):
    graph = api(name)
    (views,) = [key for key, node in graph.items() if node["class_type"] == "LoraBootstrap_ViewPrompts"]
    (guided,) = [node["inputs"] for node in graph.values() if "positive" in node["inputs"]]
    prompt, seed, reference, original = 0, 1, 5, 6
    assert above(graph, guided["positive"], views) == {prompt, reference, original}
    assert above(graph, guided["negative"], views) == {reference, original}
    saved = only(graph, "SaveCandidates")
    assert above(graph, saved["images"], views) == {prompt, seed, reference, original} and saved["views"] == [views, 2]
    assert graph[views]["inputs"]["wording"] == "edit instruction" and "LORA_STACK" not in saved


@each_edit_template
def test_as_many_views_are_kept_as_the_note_says_beside_crops_that_close_ups_are_drawn_from(name):
    project = only(api(name), "Project")
    crops, images = map(int, project["targets"].split(", "))
    assert crops >= 3, "the third crop is the face"
    assert f"**Pick {images - crops}**" in note(name) and f"{project['candidates']} views are drawn" in note(name)
    assert f"{crops} crops" in note(name)


@each_edit_template
def test_the_files_of_an_edit_template_are_offered_and_its_base_is_no_distilled_one(name):
    loaders = [node for node in nodes_of(ui(name)).values() if node["type"] in OF_FILES and node["type"] != "LoadImage"]
    assert len(loaders) == (4 if "Qwen" in name else 3)
    for node in loaders:
        (model,) = node["properties"]["models"]
        assert model["name"] == node["widgets_values"][0] and model["url"].endswith(f"/{model['name']}")
    graph = api(name)
    base = graph[only(graph, "TrainLora")["model"][0]]["inputs"]
    assert base == ({"ckpt_name": "sd_xl_base_1.0.safetensors"} if "Qwen" in name else {
        "unet_name": "flux-2-klein-base-4b.safetensors", "weight_dtype": "default"})
    assert {node["inputs"]["model"][0] for node in all_of(graph, "Project", "TrainLora", "StrengthGrid")} == {
        only(graph, "TrainLora")["model"][0]}


@each_edit_template
def test_round_2_is_off_and_goes_on_from_the_first_with_the_lora_that_it_trained(name):
    graph = ui(name)
    off = [node for node in graph["nodes"] if node not in running(graph)
           and node["type"] != "LoraBootstrap_TagImages"]
    (group,) = [group["bounding"] for group in graph["groups"] if "Round 2" in group["title"]]
    assert len(off) == 4 and all(group[0] < area_of(node)[0] < group[0] + group[2] for node in off)
    first = set(nodes_of(graph))
    for node in off:
        node["mode"] = 0
    kinds = {id: node["type"].removeprefix("LoraBootstrap_") for id, node in nodes_of(graph).items()}
    links = {(source in first, kinds[source], slot, kinds[target], field)
             for source, slot, target, field in links_of(graph) if target not in first}
    assert {(True, "TrainLora", 2, "PickCheckpoint", "run"), (True, "CurateImages", 0, "ViewPrompts", "project"),
            (True, "CurateImages", 0, "SaveCandidates", "project"),
            (False, "SaveCandidates", 0, "CurateImages", "project"), (False, "PickCheckpoint", 3, "KSampler", "model"),
            (False, "CurateImages", 3, "TrainLora", "dataset")} <= links


@each_edit_template
def test_the_note_of_an_edit_template_says_how_to_use_a_service_and_which_model_to_train(name):
    text = " ".join(note(name).split())
    for word in ("API node", "*reference* of *View Prompts*", "Which model to train?", "12 to 24 GB", "Ctrl+B",
                 "4, 29, 53"):
        assert word in text


def test_the_lora_is_extracted_from_the_checkpoint_that_was_picked_and_drawn_beside_it():
    graph = api(FINE_TUNE)
    kinds = {node["class_type"].removeprefix("LoraBootstrap_"): key for key, node in graph.items()}
    extract, grid, pick = (only(graph, kind) for kind in ("ExtractLora", "StrengthGrid", "PickCheckpoint"))
    assert (extract["model"], extract["base"]) == ([kinds["PickCheckpoint"], 3], [kinds["LoadSandbox"], 0])
    assert (grid["LORA_STACK"], grid["compare"]) == ([kinds["PickCheckpoint"], 1], [kinds["ExtractLora"], 0])
    assert (pick["run"], pick["which"]) == ([kinds["FineTune"], 1], "final")
    assert "run" not in grid and grid["strengths"] == "1" and grid["without"], "the base is the first column"


@each_template
def test_at_most_fifteen_boxes_are_in_view(name):
    assert len(running(ui(name))) <= 15


@pytest.mark.parametrize("name", [*TRAINING, *REAL[2:], "5 Prepare and tag a dataset", *SWEEPS, FINE_TUNE,
                                  "7 Stack LoRAs"])
def test_a_template_is_read_without_zooming(name):
    """The front end fits a template into three quarters of its window; its text is 14 pixels high at full size."""
    graph = ui(name)
    boxes = [*((*node["pos"], *node["size"]) for node in graph["nodes"]),
             *(group["bounding"] for group in graph["groups"])]
    wide = max(x + w for x, _, w, _ in boxes) - min(x for x, *_ in boxes)
    high = max(y + h for _, y, _, h in boxes) - min(y for _, y, *_ in boxes)
    assert 14 * 0.75 * min(1600 / wide, 1000 / high) >= 10
