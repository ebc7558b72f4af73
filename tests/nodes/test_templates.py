"""The templates fit the nodes: types, links, widgets by position, and their twins in the API format."""

import json
from pathlib import Path

import pytest
from PIL import Image

WORKFLOWS = Path(__file__).parents[2] / "workflows"
RECORDS = sorted(Path(__file__).parent.glob("object_info_*.json"))
NAMES = sorted(path.stem for path in WORKFLOWS.glob("*.json"))
NOTES = ("MarkdownNote", "Note")
ANY = "*"
WIDGETS = ("INT", "FLOAT", "STRING", "BOOLEAN", "COMBO")
TRAINING = ["Train a character LoRA", "Train a style LoRA"]
BOOTSTRAP = ["Bootstrap 1 - pick 16", "Bootstrap 2 - pick 40", "Bootstrap 3 - character LoRA", "Bootstrap a character",
             "Bootstrap seed sweep"]
SWEEPS = ["Checkpoint sweep", "Score and pick", "Seed sweep", "Strength grid"]
STACKS = ["Check and mend a conflict", "Stack LoRAs"]
GROUPS = {"Bootstrap a character": 4, "Bootstrap 3 - character LoRA": 2, "Bootstrap seed sweep": 2,
          "Score and pick": 5, "Seed sweep": 4, "Stack LoRAs": 4, "Check and mend a conflict": 5}
"""Of templates that have not three."""
each_template = pytest.mark.parametrize("name", NAMES)
each_bootstrap_template = pytest.mark.parametrize("name", BOOTSTRAP)
each_sweep_template = pytest.mark.parametrize("name", SWEEPS)
each_stack_template = pytest.mark.parametrize("name", STACKS)
each_training_template = pytest.mark.parametrize("name", TRAINING)
each_host = pytest.mark.parametrize("info", [json.loads(path.read_text("utf-8")) for path in RECORDS],
                                    ids=[path.stem for path in RECORDS])


def ui(name):
    return json.loads((WORKFLOWS / f"{name}.json").read_text("utf-8"))


def api(name):
    return json.loads((WORKFLOWS / "api" / f"{name}.json").read_text("utf-8"))


def inputs_of(facts):
    return {**facts["input"]["required"], **facts["input"].get("optional", {})}


def is_widget(spec):
    return (isinstance(spec[0], list) or spec[0] in WIDGETS) and not (len(spec) > 1 and spec[1].get("forceInput"))


def widget_names(facts):
    """Names of a node's widgets, in the order in which their values are saved."""
    names = []
    for name, spec in inputs_of(facts).items():
        if is_widget(spec):
            names.append(name)
            options = spec[1] if len(spec) > 1 else {}
            if options.get("control_after_generate"):
                names.append("control_after_generate")
    return names


def test_there_are_the_templates_each_with_a_twin():
    assert NAMES == sorted([*BOOTSTRAP, *STACKS, *SWEEPS, "Prepare and tag a dataset", *TRAINING])
    assert sorted(path.stem for path in (WORKFLOWS / "api").glob("*.json")) == NAMES


@each_template
def test_a_thumbnail_of_the_same_name_is_small_and_of_a_plain_shape(name):
    path = WORKFLOWS / f"{name}.jpg"
    image = Image.open(path)
    assert image.format == "JPEG" and path.stat().st_size < 100_000
    assert image.width / image.height in (1.0, 1.5) and image.width >= 400


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
            if choices is not None and not isinstance(value, list):
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
    """They are saved by position: an input put anywhere but last would shift them in every saved workflow."""
    twin = api(name)
    for node in ui(name)["nodes"]:
        if node["type"] in NOTES:
            continue
        names = widget_names(info[node["type"]])
        values = dict(zip(names, node.get("widgets_values") or [], strict=True))
        given = twin[str(node["id"])]["inputs"]
        assert {key: values[key] for key in names if key in given and not isinstance(given[key], list)} == {
            key: value for key, value in given.items() if not isinstance(value, list)}


@each_template
def test_nothing_is_null_that_older_front_ends_will_not_have_so(name):
    graph = ui(name)
    assert {key for key, value in graph.items() if value is None} == set()
    outputs = [output for node in graph["nodes"] for output in node.get("outputs") or []]
    assert not any(output.get(key, "") is None for output in outputs for key in ("slot_index", "label", "shape"))


@each_template
def test_both_forms_hold_the_same_nodes_and_links(name):
    graph, twin = ui(name), api(name)
    nodes = {node["id"]: node for node in graph["nodes"] if node["type"] not in NOTES}
    assert {str(key): node["type"] for key, node in nodes.items()} == {
        key: node["class_type"] for key, node in twin.items()}
    drawn = {(str(source), slot, str(target), nodes[target]["inputs"][place]["name"])
             for _, source, slot, target, place, _ in graph["links"]}
    assert drawn == {(value[0], value[1], key, field) for key, node in twin.items()
                     for field, value in node["inputs"].items() if isinstance(value, list)}


@each_template
def test_no_two_nodes_overlap_and_each_is_in_a_titled_group(name):
    graph = ui(name)
    boxes = {node["id"]: (node["pos"][0], node["pos"][1] - 30, node["pos"][0] + node["size"][0],
                          node["pos"][1] + node["size"][1]) for node in graph["nodes"]}
    ids = sorted(boxes)
    assert [(a, b) for a in ids for b in ids if a < b and _meet(boxes[a], boxes[b])] == []
    groups = [(group["bounding"], group["title"]) for group in graph["groups"]]
    assert len(groups) == GROUPS.get(name, 3) and all(title for _, title in groups)
    for node in graph["nodes"]:
        inside = [title for (x, y, w, h), title in groups if x <= boxes[node["id"]][0] and y <= boxes[node["id"]][1]
                  and boxes[node["id"]][2] <= x + w and boxes[node["id"]][3] <= y + h]
        assert len(inside) == (0 if node["type"] in NOTES else 1), node["type"]


def _meet(a, b):
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def note(name):
    (found,) = [node for node in ui(name)["nodes"] if node["type"] in NOTES and node.get("title") == "Read me"]
    return found["widgets_values"][0]


@each_training_template
def test_the_note_says_how_to_use_a_model_of_ones_own(name):
    text = note(name)
    assert "With a model of your own" in text and "Load Checkpoint" in text and "128 px gives 64" in text


@each_bootstrap_template
def test_the_note_says_how_to_pick_and_to_use_a_model_of_ones_own(name):
    text = note(name)
    assert "With a model of your own" in text and "Load CLIP Vision" in text and "3 to 5" in text
    assert ("**K** keeps" in text) == ("CurateImages" in json.dumps(api(name)))


@each_bootstrap_template
def test_every_sampler_of_the_loop_has_a_low_cfg_and_takes_its_seed_from_the_views(name):
    graph = api(name)
    kinds = {key: node["class_type"] for key, node in graph.items()}
    for node in graph.values():
        if node["class_type"] == "KSampler":
            assert node["inputs"]["cfg"] <= 5
        if node["class_type"] == "LoraBootstrap_SaveCandidates":
            decode = graph[node["inputs"]["images"][0]]
            sampler = graph[decode["inputs"]["samples"][0]]["inputs"]
            assert sampler["seed"] == [node["inputs"]["views"][0], 1]
            assert graph[sampler["positive"][0]]["inputs"]["text"] == [node["inputs"]["views"][0], 0]
            drawn_by = kinds[sampler["model"][0]]
            assert drawn_by == ("LoraBootstrap_PickCheckpoint" if "LORA_STACK" in node["inputs"] else
                                "LoraBootstrap_LoadSandbox")


def test_the_whole_loop_is_one_chain_of_the_project_and_the_rounds_count_up():
    graph = api("Bootstrap a character")
    trainings = [node for node in graph.values() if node["class_type"] == "LoraBootstrap_RoundDataset"]
    assert [(node["inputs"]["round"], node["inputs"]["purpose"]) for node in trainings] == [
        (0, "style"), (1, "style"), (2, "character")]
    chain, at = [], trainings[-1]["inputs"]["project"][0]
    while at:
        chain.append(graph[at]["class_type"].removeprefix("LoraBootstrap_"))
        at = graph[at]["inputs"].get("project", [None])[0]
    assert chain == ["CurateImages", "SaveCandidates"] * 2 + ["SaveCandidates", "Project"]


def test_the_note_says_how_to_use_images_of_ones_own():
    text = note("Prepare and tag a dataset")
    assert "With images of your own" in text and "models/taggers" in text and "leave_out" in text


@each_training_template
def test_the_twin_compares_the_trained_model_with_the_base_at_one_seed(name):
    graph = api(name)
    samplers = [node["inputs"] for node in graph.values() if node["class_type"] == "KSampler"]
    sources = {graph[inputs["model"][0]]["class_type"] for inputs in samplers}
    assert sources == {"LoraBootstrap_TrainLora", "LoraBootstrap_LoadSandbox"}
    assert len({(inputs["seed"], str(inputs["latent_image"])) for inputs in samplers}) == 1


@each_sweep_template
def test_the_note_says_what_to_look_at_and_how_to_sweep_a_lora_of_ones_own(name):
    text = note(name)
    assert "Press **Run**" in text and "**Look**" in text and "With a model and a LoRA of your own" in text
    assert "**Load Run**" in text and "Load Checkpoint" in text and "128 px" in text
    assert "LORA_STACK" in text or name == "Score and pick"


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
    grid = only(api("Strength grid"), "StrengthGrid")
    assert (grid["strengths"], grid["checkpoints"], grid["without"]) == ("0.5, 0.7, 0.8, 0.9, 1.0", "last", True)
    assert len(grid["prompts"].splitlines()) == 3 and grid["seeds"] == "1"


def test_scoring_takes_up_the_cells_of_the_checkpoint_sweep():
    sweep, scored = (only(api(name), "CheckpointSweep") for name in ("Checkpoint sweep", "Score and pick"))
    differ = {key for key in sweep if sweep[key] != scored[key]}
    assert differ == {"seeds"} and scored["seeds"].startswith(sweep["seeds"]) and scored["without"]


def test_what_the_score_recommends_is_picked():
    graph = api("Score and pick")
    score = next(key for key, node in graph.items() if node["class_type"] == "LoraBootstrap_ScoreSweep")
    assert "dataset" in graph[score]["inputs"]
    pick = only(graph, "PickCheckpoint")
    assert (pick["which"], pick["step"], pick["strength"]) == ("step", [score, 1], [score, 2])


def test_the_seed_sweep_draws_through_the_hosts_own_nodes():
    graph = api("Seed sweep")
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
    assert "**LORA_STACK**" in text and "Load Checkpoint" in text and "128 px" in text


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
    assert len({(inputs["seed"], inputs["steps"], str(inputs["latent_image"])) for inputs in samplers}) == 1
    assert len({str(graph[inputs["positive"][0]]["inputs"]["text"]) for inputs in samplers}) == 1
    assert len({str(inputs["model"]) for inputs in samplers}) == len(samplers) == (3 if "mend" in name else 2)


def test_what_is_split_in_time_has_the_bare_model_and_both_prompts_by_its_own_text_encoder():
    graph = api("Check and mend a conflict")
    (split,) = [key for key, node in graph.items() if node["class_type"] == "LoraBootstrap_TimeSplit"]
    (inputs,) = [node["inputs"] for node in all_of(graph, "KSampler")
                 if graph[node["inputs"]["positive"][0]]["inputs"]["clip"] == [split, 0]]
    assert graph[inputs["negative"][0]]["inputs"]["clip"] == [split, 0]
    assert graph[inputs["model"][0]]["class_type"] == "LoraBootstrap_LoadSandbox"


def test_a_note_below_each_picture_of_the_conflict_says_what_to_look_at():
    graph = ui("Check and mend a conflict")
    looks = {node["pos"][0]: node["widgets_values"][0] for node in graph["nodes"] if node.get("title") == "Look"}
    shown = {node["pos"][0]: node.get("title") for node in graph["nodes"] if node["type"] == "PreviewImage"}
    assert len(looks) == 3 and all(text.startswith(f"**{shown[x]}.**") for x, text in looks.items())
