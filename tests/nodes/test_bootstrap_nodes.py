"""The nodes of the loop: a project from a picture, what is asked for and drawn, what waits, and what is trained on."""

import json
import math
from collections import Counter
from types import SimpleNamespace

import folder_paths
import pytest
import torch
from comfy_execution.graph_utils import ExecutionBlocker

from lora_bootstrap.host import paths
from lora_bootstrap.host.drawing.node_facts import FACTS
from lora_bootstrap.host.drawing.pictures import to_batch
from lora_bootstrap.host.drawing.repeat import part_between
from lora_bootstrap.host.eyes import ClipVisionEye, choose_eye
from lora_bootstrap.host.routes.views.gallery_view import project_view, round_view, save_wishes
from lora_bootstrap.nodes import curate
from lora_bootstrap.nodes.candidates import (
    CandidateView,
    DrawCandidates,
    DrawRequest,
    KeepCandidate,
    SaveCandidates,
    drawn_part,
    parent_of,
)
from lora_bootstrap.nodes.curate import CurateImages, RoundDataset
from lora_bootstrap.nodes.project import ProjectNode, ViewPrompts, base_family
from lora_bootstrap.nodes.repair import LoadCandidate, SaveRepaired
from lora_bootstrap.sandbox import world
from lora_bootstrap.trainer.bootstrap.candidates import Lineage
from lora_bootstrap.trainer.bootstrap.planning.shares import PLAN_REPORT, Share
from lora_bootstrap.trainer.bootstrap.planning.view_plan import keep_candidates
from lora_bootstrap.trainer.bootstrap.project import ProjectRecord
from lora_bootstrap.trainer.bootstrap.repairs import list_wished
from lora_bootstrap.trainer.bootstrap.rounds import Project
from lora_bootstrap.trainer.cast.farm_plan import RoundPlan
from lora_bootstrap.trainer.common.errors import UserError
from lora_bootstrap.trainer.common.files import read_json, write_json
from lora_bootstrap.trainer.measures.eyes import SandboxEye
from lora_bootstrap.trainer.models.sampler import save_picture
from lora_bootstrap.trainer.pictures.images import open_image
from lora_bootstrap.trainer.statements.consent import Statement, read_statement
from lora_bootstrap.trainer.statements.rights import Rights

from ..helpers.drawing_graph import drawing_graph
from ..helpers.drawings import draw_once
from ..helpers.drawn_project import AKANE, TAGS, draw_project, draw_round
from ..helpers.drawn_sweep import write_lora

WIDGETS = {"tags": ", ".join(TAGS), "trigger": "zqx", "name": "", "targets": "3, 8, 12", "candidates": "12, 16"}


@pytest.fixture
def drawn(host):
    project = draw_project(paths.projects_root())
    draw_round(project, 1)
    return project


def keep(project, number, count, state="keep"):
    one = project.round(number)
    names = [path.stem for path in one.list_candidates()[:count]]
    one.picks.changed("by hand", [(name, {"state": state}) for name in names], one.collect_facts()).save(one.picks_file)


def start(picture=None, model=None, originals=None, proposed=None, **widgets):
    picture = picture if picture is not None else to_batch(draw_once(world.Scene(AKANE), 128))
    return ProjectNode.execute(picture, **{**WIDGETS, **widgets}, seed=0, model=model, originals=originals,
                               proposed=proposed)


def curated(project, mode="manual", number=1, stop_on_alarm=True, **more):
    return CurateImages.execute(project, number, mode, 0, stop_on_alarm, "none", **more)


# -- project -----------------------------------------------------------------------------------------------------------


def test_a_picture_becomes_a_project_the_command_line_can_go_on_with(host):
    project, crops, trigger, pictures = start().args
    assert trigger == "zqx" and len(crops) == len(pictures) == 3 and pictures[0].shape[0] == 1
    values = read_json(host.output / "bootstrap" / "zqx" / "project.json")
    assert values["settings"]["targets"] == [3, 8, 12] and values["stages"]["crops"]["summary"] == "3 crops"
    assert Project.load(project.folder).config == project.config
    assert (project.folder / "picture.png").is_file()


def test_a_batch_of_pictures_says_that_the_first_is_used(host):
    one = to_batch(draw_once(world.Scene(AKANE), 128))
    start(one)
    assert "batch" not in host.server.texts[-1][0]
    start(one.repeat(3, 1, 1, 1))
    assert "picture is a batch of 3 images; only the first is used." in host.server.texts[-1][0]


def test_what_is_stated_about_consent_is_saved_with_the_project_and_what_is_open_is_said(host):
    project = start()[0]
    assert not (project.folder / "rights.json").exists() and "Stated" not in host.server.texts[-1][0]
    start(person="real", consent_by=" Jo ", consent_written="yes", consent_images=True, licence="mit")
    said = host.server.texts[-1][0]
    assert "⚠ This project shows a real person, whose consent is not stated for: training, generating." in said
    assert read_statement(project.folder)[0] == Statement(Rights(
        person="real", consent_by="Jo", consent_written="yes", consent_uses=("images",)), "mit")
    start()
    assert "consent by Jo" in host.server.texts[-1][0], "what was stated stays until something else is"


def test_a_second_run_changes_nothing_on_disk_but_the_record(host):
    first = start()
    made = {path: path.stat().st_mtime_ns for path in first[0].folder.rglob("*.png")}
    assert start()[0] == first[0]
    assert {path: path.stat().st_mtime_ns for path in first[0].folder.rglob("*.png")} == made


def test_a_name_belongs_to_one_picture(host):
    start()
    with pytest.raises(UserError, match="belongs to another image"):
        start(picture=torch.zeros(1, 64, 64, 3))


def test_a_project_that_is_gone_is_made_anew_and_one_that_is_there_is_cached(host):
    assert ProjectNode.fingerprint_inputs("zqx", "") == 0
    project = start()[0]
    assert ProjectNode.fingerprint_inputs("zqx", "") == 0
    (project.folder / "project.json").unlink()
    assert ProjectNode.fingerprint_inputs("zqx", "") != ProjectNode.fingerprint_inputs("zqx", "")


@pytest.mark.parametrize(("changed", "says"), [
    ({"trigger": ""}, "trigger is ''"), ({"tags": " "}, "tags are empty"), ({"targets": "4, x"}, "targets are '4, x'"),
    ({"targets": "16, 4"}, "increasing"), ({"candidates": "12"}, "need 2 numbers"), ({"name": "../up"}, "name")])
def test_what_cannot_be_is_told_before_anything_runs(changed, says):
    assert says in ProjectNode.validate_inputs(**{**WIDGETS, **changed})
    assert ProjectNode.validate_inputs(**WIDGETS) is True


def test_a_project_cannot_take_the_name_of_the_datasets_folder(host):
    with pytest.raises(UserError, match="cannot be named 'datasets'"):
        start(name="datasets")


def test_pictures_of_ones_own_are_the_crops_whatever_their_number(host):
    own = start()[1]
    project = start(originals=own.with_captions(lambda caption: caption + ", odd"), name="other")[0]
    assert project.config.targets == (3, 8, 12) and all("odd" in sample.caption for sample in project.crops())


def test_tags_of_a_tagger_are_proposed_with_their_roles_and_wait_for_a_second_run(host):
    without = {**WIDGETS, "tags": " "}
    assert "tags are empty" in ProjectNode.validate_inputs(**without)
    assert ProjectNode.validate_inputs(**without, proposed=None) is True  # linked
    assert "trigger is ''" in ProjectNode.validate_inputs(**{**without, "trigger": ""}, proposed=None)
    held = start(tags="", proposed="1girl, fox ears, white dress, from side, masterpiece")
    assert all(isinstance(value, ExecutionBlocker) for value in held.args)
    (told,) = held.ui["lora_bootstrap"]
    assert told["roles"] == {"identity": ["fox ears", "white dress"], "view": ["from side"], "dropped": ["masterpiece"]}
    assert not (host.output / "bootstrap" / "zqx").exists()
    project = start(tags="1girl, blue hair", proposed=told["proposed"])[0]
    assert project.config.tags == ("1girl", "blue hair")
    with pytest.raises(UserError, match="found no tag"):
        start(tags="", proposed=" ")


def test_without_a_model_the_base_is_unknown():
    assert base_family(None) == "other"


# -- views and candidates ----------------------------------------------------------------------------------------------


def test_view_prompts_give_the_first_view_and_the_whole_plan(drawn):
    prompt, seed, plan, prompts, table, reference, _ = ViewPrompts.execute(drawn, 1, 0, "", "", "", 0).args
    assert isinstance(reference, ExecutionBlocker) and "run its Bootstrap Project" in reference.message
    assert len(plan.views) == len(prompts) == 12 and (prompt, seed) == (plan.views[0].text, plan.views[0].seed)
    assert ViewPrompts.validate_inputs(table) is True and "cannot be read" in ViewPrompts.validate_inputs("nonsense")


def prompt_of(nodes):
    return SimpleNamespace(get_node=nodes.__getitem__)


def as_lists(inputs):
    """Inputs as the host gives them to a node that takes lists."""
    return {name: [value] for name, value in inputs.items()}


@pytest.fixture
def drawing(drawn, monkeypatch):
    """(nodes of a graph with Save Candidates as node 7, a call of it)."""
    nodes = drawing_graph() | {"7": {"class_type": "LoraBootstrap_SaveCandidates", "inputs": {
        "project": ["p", 0], "views": ["views", 2], "images": ["decode", 0]}}}
    for kind in (SaveCandidates, DrawCandidates):
        monkeypatch.setattr(kind, "hidden", SimpleNamespace(unique_id="7", dynprompt=prompt_of(nodes)))
    plan = ViewPrompts.execute(drawn, 1, 0, "", "", "", 0)[2]

    def save(contents="what is linked", stack=None, share=""):
        draw = SaveCandidates.execute(drawn, plan, ["decode", 0], stack, share).expand["x.draw"]["inputs"]
        assert (draw["project"], draw["views"]) == (["p", 0], ["views", 2])
        return DrawCandidates.execute(**as_lists({**draw, "project": drawn, "views": plan, "contents": contents,
                                                  "LORA_STACK": stack}))

    return nodes, save


def test_each_view_is_drawn_to_its_end_and_waits_for_the_one_before(drawn, drawing):
    _, save = drawing
    done = save()
    views = [id for id, node in done.expand.items() if node["class_type"] == "LoraBootstrap_CandidateView"]
    keeps = [id for id, node in done.expand.items() if node["class_type"] == "LoraBootstrap_KeepCandidate"]
    assert len(views) == len(keeps) == 12 and len(done.expand) == 12 * 5
    assert done[0] == [keeps[-1], 0]
    assert "after" not in done.expand[views[0]]["inputs"]
    assert [done.expand[view]["inputs"]["after"] for view in views[1:]] == [[keep, 0] for keep in keeps[:-1]]
    assert done.expand["x.0_encode"]["inputs"]["text"] == ["x.view_0", 0]
    assert done.expand["x.0_sample"]["inputs"]["seed"] == ["x.view_0", 1]


def kept(project, inputs, *batches):
    """Keep Candidate run as the host runs it: every input is a list."""
    return KeepCandidate.execute([project], list(batches or [torch.rand(1, 64, 64, 3)]), [inputs["lineage"]],
                                 [inputs["total"]])


def test_what_is_kept_is_not_drawn_again(drawn, drawing, host):
    _, save = drawing
    expanded = save().expand
    for id, node in expanded.items():
        if node["class_type"] == "LoraBootstrap_KeepCandidate" and id != "x.keep_5":
            kept(drawn, node["inputs"])
    again = save()
    assert [id for id in again.expand if "keep" in id] == ["x.keep_5"]
    kept(drawn, again.expand["x.keep_5"]["inputs"])
    done = save()
    assert done.expand is None and done[0] is drawn
    assert ProjectRecord.load(drawn.folder).stages["candidates-1"].summary == "12 images"


def keep_all(project, expanded):
    for node in expanded.values():
        if node["class_type"] == "LoraBootstrap_KeepCandidate":
            kept(project, node["inputs"])


def test_shares_draw_each_view_of_the_plan_once_and_a_whole_run_then_draws_nothing(
        drawn, drawing, host, monkeypatch):
    _, save = drawing
    whole = {id: node["inputs"]["lineage"] for id, node in save().expand.items() if "keep" in id}
    there = len(drawn.round(1).list_candidates())  # of another generator
    parts = []
    for number in (2, 1, 3):
        monkeypatch.setattr(host.server, "last_prompt_id", f"Run {number}", raising=False)
        done = save(share=f"{number}/3").expand
        parts.append({id: node["inputs"]["lineage"] for id, node in done.items() if "keep" in id})
        assert {node["inputs"]["total"] for id, node in done.items() if "keep" in id} == {there + 12}
        keep_all(drawn, done)
    assert [list(part) for part in parts] == [[f"x.keep_{view}" for view in range(start, 12, 3)] for start in (1, 0, 2)]
    assert parts[0] | parts[1] | parts[2] == whole
    assert {values["total"] for name, values, *_ in host.server.sent if name == "lora_bootstrap.candidates"} == {
        there + 12}
    assert "share 3/3, 4 images to draw, 8 of 12 already saved" in "\n".join(text for text, *_ in host.server.texts)
    assert save().expand is None and save(share="2/3").expand is None


def test_a_share_draws_no_wish_but_the_first_and_a_plan_draws_nothing(drawn, drawing, host, monkeypatch):
    _, save = drawing
    monkeypatch.setattr(host.server, "last_prompt_id", "one Run", raising=False)
    old = drawn.round(1).list_candidates()[0].stem
    save_wishes(drawn.round(1), [{"candidate": old, "seed": 5}], [])
    (wished,) = list_wished(drawn.round(1))
    keep = f"x.keep_0_{wished.wish.id}"
    assert keep not in save(share="2/3").expand and keep in save(share="1/3").expand
    monkeypatch.setattr(host.server, "last_prompt_id", "another Run", raising=False)
    before = drawn.folder.joinpath("project.json").read_bytes()
    planned = save(share="plan")
    assert planned.expand is None and planned[0] is drawn
    (report,) = planned.ui[PLAN_REPORT]
    assert [row["name"] for row in report["again"]] == [wished.name] and len(report["plan"]) == 12
    assert drawn.folder.joinpath("project.json").read_bytes() == before
    plan = RoundPlan.read(json.loads(json.dumps([report])), 1)
    expanded = save(share="2/3").expand
    assert [lineage.to_dict() for lineage in plan.of_share(Share(2, 3))] == [
        json.loads(node["inputs"]["lineage"]) for id, node in expanded.items() if "keep" in id]


def test_a_share_of_the_base_images_removes_none_that_another_share_drew(drawn, drawing):
    nodes, _ = drawing
    plan = ViewPrompts.execute(drawn, 0, 0, "", "", "", 0)[2]

    def request(share):
        return DrawRequest.of(drawn, plan, drawn_part(nodes.__getitem__, "7"), "x", None, {}, nodes.__getitem__,
                              share=Share.read(share))

    for drawing_ in request("1/2").missing:
        keep_candidates(drawn.round(0), drawing_.lineage, [draw_once(world.Scene(AKANE), 64)])
    first = {path.name for path in drawn.round(0).list_candidates()}
    request("2/2").begin()
    assert {path.name for path in drawn.round(0).list_candidates()} == first and len(first) == 8


def test_a_share_that_cannot_be_read_is_refused_before_anything_runs():
    assert SaveCandidates.validate_inputs("") is True and SaveCandidates.validate_inputs("2/3") is True
    assert SaveCandidates.validate_inputs(None) is True, "it comes over a link"
    assert "share is '3/2'; it must be such as 2/3" in SaveCandidates.validate_inputs("3/2")
    assert math.isnan(SaveCandidates.fingerprint_inputs(share="2/3"))


def test_candidates_that_are_gone_are_drawn_again_once(drawn, drawing):
    drawing[1]()
    before = SaveCandidates.fingerprint_inputs(images=None)
    assert SaveCandidates.fingerprint_inputs(images=None) == before
    draw_round(drawn, 1, seed=9)  # more are no loss
    assert SaveCandidates.fingerprint_inputs(images=None) == before
    for path in drawn.round(1).list_candidates()[:2]:
        path.with_suffix(".json").unlink()
    after = SaveCandidates.fingerprint_inputs(images=None)
    assert after != before and SaveCandidates.fingerprint_inputs(images=None) == after


def test_a_kept_candidate_is_shown_and_told_of(drawn, drawing, host):
    node = drawing[1]().expand["x.keep_0"]["inputs"]
    shown = kept(drawn, node, torch.rand(2, 64, 64, 3))
    assert [image["subfolder"] for image in shown.ui["images"]] == ["bootstrap/zqx/round_1/candidates"] * 2
    assert ("lora_bootstrap.candidates", {"project": "zqx", "round": 1, "made": 14, "total": 25}) in [
        tuple(sent[:2]) for sent in host.server.sent]
    lineage = json.loads(node["lineage"])
    assert (lineage["steps"], lineage["cfg"], lineage["parent_lora"]) == (16, 3.0, "")


def test_a_view_drawn_as_a_list_of_images_is_kept_whole(drawn, drawing):
    """One node between the two that gives a list, such as a list of reference images, makes several of each view."""
    node = drawing[1]().expand["x.keep_0"]["inputs"]
    before = set(drawn.round(1).list_candidates())
    shown = kept(drawn, node, torch.rand(1, 64, 64, 3), torch.rand(2, 32, 64, 3))
    name = json.loads(node["lineage"])["name"]
    assert [image["filename"] for image in shown.ui["images"]] == [f"{name}{end}.png" for end in ("", "-1", "-2")]
    assert len(set(drawn.round(1).list_candidates()) - before) == 3 and shown[0].name == drawn.name


def test_a_wish_is_drawn_beside_the_plan_at_its_own_strength(drawn, drawing, host):
    write_lora(host.output / "loras" / "style.safetensors", 1, "style")
    nodes, save = drawing
    nodes["7"]["inputs"]["LORA_STACK"] = ["lora", 1]
    nodes["shift"] = {"class_type": "ModelSamplingSD3", "inputs": {"model": ["lora", 0]}}
    nodes["sample"]["inputs"]["model"] = ["shift", 0]
    old = drawn.round(1).list_candidates()[0].stem
    before = SaveCandidates.fingerprint_inputs(images=None)
    save_wishes(drawn.round(1), [{"candidate": old, "seed": 5, "strength": 0.9, "prompt": "a cat"},
                                 {"candidate": old, "seed": 6}], [])
    assert SaveCandidates.fingerprint_inputs(images=None) != before
    strong, plain = (wished.wish.id for wished in list_wished(drawn.round(1)))
    done = save(stack=[("style", 0.6, 0.6)]).expand
    assert done[f"x.0_{strong}_lora"]["inputs"] == {"model": ["base", 0], "strength": 0.9}
    assert done[f"x.0_{strong}_shift"]["inputs"]["model"] == [f"x.0_{strong}_lora", 0]
    assert done[f"x.0_{strong}_sample"]["inputs"]["model"] == [f"x.0_{strong}_shift", 0]
    assert done[f"x.0_{plain}_sample"]["inputs"]["model"] == ["shift", 0]
    assert done[f"x.view_0_{strong}"]["inputs"]["prompt"] == "a cat"
    told = [json.loads(done[f"x.keep_0_{id}"]["inputs"]["lineage"]) for id in (strong, plain)]
    assert [(one["again_of"], one["seed"], one["strength"]) for one in told] == [(old, 5, 0.9), (old, 6, 0.6)]
    kept(drawn, done[f"x.keep_0_{strong}"]["inputs"])
    again = save(stack=[("style", 0.6, 0.6)]).expand
    assert f"x.keep_0_{plain}" in again and f"x.keep_0_{strong}" not in again


def test_a_wish_for_an_image_that_another_model_drew_is_left_to_it(drawn, drawing):
    nodes, _ = drawing
    first, second = drawn.round(1).list_candidates()[:2]
    for path, generator in ((first, "a · style-1"), (second, "qwen edit")):
        write_json(path.with_suffix(".json"), {**Lineage.read(path).to_dict(), "generator": generator})
    save_wishes(drawn.round(1), [{"candidate": path.stem, "seed": 5} for path in (first, second)], [])
    plan = ViewPrompts.execute(drawn, 1, 0, "", "", "", 0)[2]
    job = DrawRequest.of(drawn, plan, drawn_part(nodes.__getitem__, "7"), "what is linked", None, {}, nodes.__getitem__)
    assert [drawing.lineage.again_of for drawing in job.again] == [first.stem]
    assert job.warnings[0].startswith(f"{second.stem} cannot be drawn again here")


def test_of_two_nodes_of_one_model_the_first_draws_a_wish_and_the_other_says_so(drawn, drawing, host):
    nodes, save = drawing
    old = drawn.round(1).list_candidates()[0].stem
    save_wishes(drawn.round(1), [{"candidate": old, "seed": 5}], [])
    (wished,) = list_wished(drawn.round(1))
    keep = f"x.keep_0_{wished.wish.id}"
    host.server.last_prompt_id = "one Run"
    assert keep in save().expand and "another Save Candidates" not in host.server.texts[-1][0]
    assert keep not in save().expand
    assert f"{old} is drawn again by another Save Candidates of this Run." in host.server.texts[-1][0]
    host.server.last_prompt_id = "the next Run, because the first was cancelled"
    assert keep in save().expand


def test_a_strength_that_the_graph_cannot_change_is_told(drawn, drawing):
    nodes, _ = drawing
    old = drawn.round(1).list_candidates()[0].stem
    save_wishes(drawn.round(1), [{"candidate": old, "seed": 5, "strength": 0.9}], [])
    plan = ViewPrompts.execute(drawn, 1, 0, "", "", "", 0)[2]
    job = DrawRequest.of(drawn, plan, drawn_part(nodes.__getitem__, "7"), "what is linked", None, {}, nodes.__getitem__)
    assert "cannot be drawn at the strength that was asked for" in job.warnings[0]
    assert job.headline == "13 images to draw, 1 of them again, as the gallery asks, 0 of 13 already saved"
    assert job.again[0].lineage.strength == 0.0


def test_a_candidate_is_loaded_repaired_and_saved_beside_the_old_one(drawn, host):
    keep(drawn, 1, 1)
    old = drawn.round(1).list_candidates()[0]
    place = f"zqx/1/{old.stem}"
    assert LoadCandidate.validate_inputs(place) is True
    image, prompt, seed, candidate = LoadCandidate.execute(place).args
    assert image.shape == (1, 64, 64, 3) and candidate == place
    assert (prompt, seed) == (Lineage.read(old).prompt, Lineage.read(old).seed)
    saved = SaveRepaired.execute(1 - image, candidate)
    (new,) = [kept.path for kept in drawn.round(1).list_kept()]
    assert saved[0].name == "zqx" and Lineage.read(new).repaired_from == old.stem and old.is_file()
    assert saved.ui["images"][0]["filename"] == new.name
    assert ("lora_bootstrap.candidates", {"project": "zqx", "round": 1, "made": 13, "total": 13}) in [
        tuple(sent[:2]) for sent in host.server.sent]
    with pytest.raises(UserError, match="without a change"):
        SaveRepaired.execute(image, candidate)


@pytest.mark.parametrize(("place", "says"), [
    ("", "must name project, round and candidate"), ("zqx/x/r1-000", "must name project"), ("zqx/0/r0-000", "round 0"),
    ("zqx/1/r1-999", "has no candidate 'r1-999'"), ("../up/1/r1-000", "candidate is"), ("gone/1/r1-0", "no project")])
def test_a_candidate_that_cannot_be_loaded_is_told_before_the_run(drawn, place, says):
    assert says in LoadCandidate.validate_inputs(place)


def test_a_high_cfg_and_a_missing_lora_are_told(drawn, drawing):
    nodes, _ = drawing
    nodes["sample"]["inputs"]["cfg"] = 9.0
    plan = ViewPrompts.execute(drawn, 1, 0, "", "", "", 0)[2]
    job = DrawRequest.of(drawn, plan, drawn_part(nodes.__getitem__, "7"), "what is linked", None, {}, nodes.__getitem__)
    assert [warning.split(";")[0].split(":")[0] for warning in job.warnings] == [
        "cfg is 9", "no LORA_STACK is linked, so the lineage cannot record which LoRA drew these images."]


def test_figures_that_all_rounds_get_from_one_place_are_in_the_lineage(drawn, drawing):
    nodes, save = drawing
    nodes["sample"]["inputs"] |= {"steps": ["figures", 2], "cfg": ["figures", 3]}
    nodes["figures"] = {"class_type": "LoraBootstrap_SamplingByModel", "inputs": {"model": ["base", 0]}}
    plan = ViewPrompts.execute(drawn, 1, 0, "", "", "", 0)[2]
    draw = SaveCandidates.execute(drawn, plan, ["decode", 0]).expand["x.draw"]["inputs"]
    assert (draw["steps"], draw["cfg"]) == (["figures", 2], ["figures", 3])
    given = as_lists({**draw, "project": drawn, "views": plan, "contents": "x"})

    def recorded(**figures):
        lineage = json.loads(DrawCandidates.execute(**given | figures).expand["x.keep_0"]["inputs"]["lineage"])
        return lineage["steps"], lineage["cfg"]

    assert recorded(steps=[20], cfg=[6.5]) == recorded(steps=[20.0], cfg=[6.5, 6.5]) == (20, 6.5)
    for unknown in ([20, 30], ["20"], [True], [math.nan], [None], [object()]):
        assert recorded(steps=unknown, cfg=[6]) == (None, 6.0)
    job = DrawRequest.of(drawn, plan, drawn_part(nodes.__getitem__, "7"), "x", None, {"steps": 20, "cfg": 6.5},
                         nodes.__getitem__)
    assert job.warnings[0].startswith("cfg is 6.5; above 5")


def test_the_lora_that_draws_is_the_projects_own_in_a_stack(drawn, host, monkeypatch):
    imported = "zqx-style-1/akane-style-1.safetensors"  # files of an imported project keep their names
    files = {name: host.output / "loras" / name for name in ("style.safetensors", "zqx-style-1.safetensors", imported)}
    monkeypatch.setattr(folder_paths, "get_full_path", lambda kind, name: str(files[name]) if name in files else None,
                        raising=False)
    stack = [("style.safetensors", 1.0, 1.0), ("zqx-style-1.safetensors", 0.6, 0.6)]
    assert parent_of(stack, drawn) == (files["zqx-style-1.safetensors"], 0.6)
    assert parent_of([*stack[:1], (imported, 0.5, 0.5)], drawn) == (files[imported], 0.5)
    assert parent_of(stack[:1], drawn) == (files["style.safetensors"], 1.0)
    assert parent_of(None, drawn) == (None, 0.0)
    with pytest.raises(UserError, match="there is no LoRA 'gone'"):
        parent_of([("gone", 1.0, 1.0)], drawn)


@pytest.mark.parametrize("stack", [None, [None], [("None", 1, 1)], [("style", "0.6", 1)],
                                   [("", 1, 1), ["style", 0.6, 1]]])
def test_a_stack_of_another_pack_is_read_for_the_lineage(drawn, drawing, host, stack):
    write_lora(host.output / "loras" / "style.safetensors", 1, "style")
    keep = drawing[1](stack=stack).expand["x.keep_0"]["inputs"]
    lineage = json.loads(keep["lineage"])
    assert (lineage["parent_lora"], lineage["strength"]) == (("style", 0.6) if "style" in str(stack) else ("", 0.0))


def test_a_time_split_above_the_sampler_is_in_the_lineage(drawn, drawing, host):
    nodes, save = drawing
    write_lora(host.output / "loras" / "style.safetensors", 1, "style")
    nodes["split"] = {"class_type": "LoraBootstrap_TimeSplit", "inputs": {
        "clip": ["base", 1], "LORA_STACK": ["lora", 1], "preset": "weak early, strong late", "character_start": 1.0,
        "character_end": 0.7, "style_start": 0.4, "style_end": 1.0, "until": 0.5, "schedule_clip": False}}

    def recorded():
        keep = save(stack=[("style", 0.6, 0.6)]).expand["x.keep_0"]["inputs"]
        return json.loads(keep["lineage"]).get("curve", "")

    assert recorded() == ""
    nodes["encode"]["inputs"]["clip"] = ["split", 0]
    assert recorded() == "x 0.7 until 0.4, x 2.3 from 0.4 of the steps"
    nodes["split"]["inputs"]["preset"] = ["elsewhere", 0]
    nodes["elsewhere"] = {"class_type": "PrimitiveString", "inputs": {"value": "custom"}}
    assert recorded() == ""


def test_a_view_gives_what_it_was_given():
    assert CandidateView.execute("a prompt", 5).args == ("a prompt", 5, None)


# -- edit models ------------------------------------------------------------------------------------------------------


@pytest.fixture
def editing(drawn, drawing, host, monkeypatch):
    """The graph of `drawing` with an edit model: the reference of View Prompts is linked to its text encoder."""
    nodes, save = drawing
    save_picture(drawn.folder / "picture.png", draw_once(world.Scene(AKANE), 128))
    for kind in ("UNETLoader", "LoraLoaderModelOnly", "TextEncodeQwenImageEditPlus"):
        monkeypatch.setitem(host.nodes.NODE_CLASS_MAPPINGS, kind, type(kind, (), {}))
    nodes["base"] = {"class_type": "UNETLoader", "inputs": {"unet_name": "qwen_edit_2511.safetensors"}}
    nodes["lora"] = {"class_type": "LoraLoaderModelOnly", "inputs": {
        "model": ["base", 0], "lora_name": "lightning.safetensors", "strength_model": 1.0}}
    nodes["encode"] = {"class_type": "TextEncodeQwenImageEditPlus", "inputs": {
        "prompt": ["views", 0], "clip": ["base", 1], "image1": ["views", 5], "image2": ["views", 6]}}
    return nodes, save


def test_each_view_is_edited_from_its_own_reference_which_its_lineage_names(drawn, editing, host):
    expanded = editing[1]().expand
    lineage = [json.loads(expanded[f"x.keep_{index}"]["inputs"]["lineage"]) for index in range(12)]
    closeups = [one["view"]["framing"] == "close-up" and one["view"]["angle"] != "from behind" for one in lineage]
    assert [one["reference"] == "2-face" for one in lineage] == closeups and any(closeups)
    assert {one["generator"] for one in lineage} == {"qwen_edit_2511 · lightning"}
    assert expanded["x.0_encode"]["inputs"]["image1"] == ["x.view_0", 2]
    assert expanded["x.0_encode"]["inputs"]["image2"] == ["views", 6]
    assert "no LORA_STACK" not in str(host.server.texts)
    given = expanded[f"x.view_{closeups.index(True)}"]["inputs"]
    image = CandidateView.execute(**{**given, "project": drawn, "after": None}).args[2]
    (face,) = drawn.crops_folder.glob("*-face.png")
    assert torch.equal(image, to_batch(open_image(face)))


def test_an_image_drawn_from_the_linked_original_is_recorded_as_an_edit(editing):
    nodes, save = editing
    nodes["encode"]["inputs"].pop("image1")
    told = json.loads(save().expand["x.keep_0"]["inputs"]["lineage"])
    assert told["edits"] and "reference" not in told


def test_a_changed_reference_is_another_image_and_a_plan_of_the_old_one_is_refused(drawn, editing):
    before = editing[1]().expand
    save_picture(drawn.folder / "picture.png", draw_once(world.Scene(AKANE, angle="from behind"), 128))
    after = editing[1]().expand
    names = [[json.loads(each[f"x.keep_{index}"]["inputs"]["lineage"])["name"] for index in range(12)]
             for each in (before, after)]
    whole = [json.loads(before[f"x.keep_{index}"]["inputs"]["lineage"])["reference"] == "original"
             for index in range(12)]
    assert [one != other for one, other in zip(*names, strict=True)] == whole and any(whole)
    given = before[f"x.view_{whole.index(True)}"]["inputs"]
    with pytest.raises(UserError, match="reference 'original' was changed since this Run began"):
        CandidateView.execute(**{**given, "project": drawn, "after": None})


def test_a_graph_without_a_reference_has_the_recipe_that_it_had(drawing):
    nodes, _ = drawing
    mine = drawn_part(nodes.__getitem__, "7")
    earlier = part_between(nodes.__getitem__, "views", ["decode", 0], "", FACTS, (0, 1))
    assert (mine.recipe, mine.outside) == (earlier.recipe, earlier.outside)


def test_before_a_run_the_reference_is_the_whole_original(drawn, editing):
    *_, reference, original = ViewPrompts.execute(drawn, 1, 0, "", "", "", 0, wording="edit instruction").args
    assert torch.equal(reference, original) and original.shape == (1, 128, 128, 3)


def test_two_nodes_that_draw_for_one_round_keep_both_and_count_both(drawn, editing, host):
    nodes, save = editing
    edited = save().expand
    nodes["encode"] = drawing_graph()["encode"]  # the base draws the same views beside it
    nodes["base"], nodes["lora"] = drawing_graph()["base"], drawing_graph()["lora"]
    painted = save().expand
    for expanded in (edited, painted):
        for index in range(12):
            kept(drawn, expanded[f"x.keep_{index}"]["inputs"])
    told = [sent[1] for sent in host.server.sent if sent[0] == "lora_bootstrap.candidates"]
    assert (told[0]["made"], told[0]["total"]) == (13, 36) and (told[-1]["made"], told[-1]["total"]) == (36, 36)
    found = round_view(drawn.round(1))["candidates"]
    assert Counter(one["generator"] for one in found) == {"": 12, "qwen_edit_2511 · lightning": 12, "a": 12}
    assert len(drawn.round(1).pictures()) == 36 and save().expand is None


# -- curation ----------------------------------------------------------------------------------------------------------


def test_what_comes_after_waits_until_enough_are_kept(drawn):
    held = curated(drawn)
    assert all(isinstance(value, ExecutionBlocker) and value.message is None for value in held.args)
    told = held.ui["lora_bootstrap"][0]
    assert (told["kept"], told["target"], told["held"]) == (3, 8, True)
    assert told["message"] == "3 of 8 kept: pick 5 more in the gallery, then press Run."
    record = ProjectRecord.load(drawn.folder)
    assert record.stopped_because == "", "nobody has picked yet: that is no alarm"
    assert record.stages["curate-1"].summary.startswith("proposed 5 of 12")
    keep(drawn, 1, 5)
    done = curated(drawn)
    assert done[0] is drawn and len(done[1]) == 5 and not done.ui["lora_bootstrap"][0]["held"]
    assert "8 of 8 kept" in done[2] and "likeness 0." in done[2]


def test_by_itself_it_keeps_the_best_and_takes_down_its_figures(drawn):
    done = curated(drawn, "auto")
    assert len(done[1]) == 5
    record = ProjectRecord.load(drawn.folder)
    assert record.rounds[0].kept == 5 and record.stages["curate-1"].summary.startswith("kept 5 of 12")


def test_a_curated_round_gives_the_next_training_set_and_the_last_one_the_characters(drawn):
    keep(drawn, 1, 5)
    dataset, name, trigger = curated(drawn).args[3:]
    made = RoundDataset.execute(drawn, 1, "style").args
    assert (dataset.fingerprint, name, trigger) == (made[0].fingerprint, "zqx-style-2", "zqx")
    draw_round(drawn, 2)
    keep(drawn, 2, 9)
    dataset, name, trigger = curated(drawn, number=2).args[3:]
    made = RoundDataset.execute(drawn, 2, "character").args
    assert (dataset.fingerprint, name, trigger) == (made[0].fingerprint, "zqx", "zqx")


@pytest.fixture
def linking(host, monkeypatch):
    """Let the host run a prompt in which a node takes an output of Curate Images, which is node 7."""
    def link(slot):
        prompt = {"7": {"class_type": "LoraBootstrap_CurateImages", "inputs": {}},
                  "8": {"class_type": "Any", "inputs": {"taken": ["7", slot]}}}
        monkeypatch.setattr(CurateImages, "hidden", SimpleNamespace(unique_id="7"))
        monkeypatch.setattr(host.server, "last_prompt_id", "p", raising=False)
        monkeypatch.setattr(host.server, "prompt_queue", SimpleNamespace(
            currently_running={0: (0, "p", prompt, {}, ["8"])}), raising=False)
        return CurateImages.fingerprint_inputs(2, "manual")
    return link


def test_a_training_set_that_no_node_takes_is_not_written(drawn, linking):
    keep(drawn, 1, 5)
    linking(2)
    assert [value.message for value in curated(drawn).args[3:]] == [None] * 3
    assert not drawn.round(1).dataset_folder.exists()
    linking(4)
    assert curated(drawn).args[4] == "zqx-style-2" and drawn.round(1).dataset_folder.is_dir()


def test_a_training_set_is_made_again_after_a_pick_in_an_earlier_round(drawn, linking):
    before, alone = linking(3), linking(0)
    assert before != alone, "a link that is added later makes it"
    keep(drawn, 1, 5)
    assert linking(3) != before and linking(0) == alone


def test_a_round_that_keeps_no_image_blocks_the_training_and_says_why(drawn):
    keep(drawn, 1, 12, "reject")
    done = curated(drawn, "auto", stop_on_alarm=False)
    assert done[0] is drawn and [value.message for value in done.args[3:]] == [
        "nothing is kept in round 1 of 'zqx'. Pick in the gallery of Curate Images first."] * 3


def test_a_round_without_candidates_is_told(drawn):
    with pytest.raises(UserError, match="round 2 of 'zqx' has no candidates"):
        curated(drawn, number=2)


def test_from_file_it_keeps_what_the_files_say(drawn):
    with pytest.raises(UserError, match="neither decisions.json nor picks.json"):
        curated(drawn, "from file")
    keep(drawn, 1, 2)
    assert len(curated(drawn, "from file")[1]) == 2
    curated(drawn, "auto")
    assert len(curated(drawn, "from file")[1]) == 5


def test_an_alarm_stops_the_loop_unless_it_is_not_to(drawn, monkeypatch):
    monkeypatch.setattr(curate, "alarm", lambda rounds, wanted: "the images are burnt")
    held = curated(drawn, "auto")
    assert held.ui["lora_bootstrap"][0]["message"].startswith("Stopped: the images are burnt.")
    assert ProjectRecord.load(drawn.folder).stopped_because == "the images are burnt"
    done = curated(drawn, "auto", stop_on_alarm=False)
    assert done[0] is drawn and "Alarm: the images are burnt." in done[2]
    assert ProjectRecord.load(drawn.folder).stopped_because == ""


def test_a_proposal_that_is_bad_is_an_alarm_before_anybody_picks(drawn, monkeypatch):
    monkeypatch.setattr(curate, "alarm", lambda rounds, wanted: "burnt" if rounds[-1].proposed else "")
    curated(drawn)
    assert ProjectRecord.load(drawn.folder).stopped_because == "burnt"
    keep(drawn, 1, 5)
    curated(drawn)
    assert ProjectRecord.load(drawn.folder).stopped_because == ""


def test_picking_runs_it_again_and_a_note_does_not(drawn):
    before = CurateImages.fingerprint_inputs(1, "manual")
    one = drawn.round(1)
    first = one.list_candidates()[0].stem
    one.picks.changed("note", [(first, {"note": "nice"})], one.collect_facts()).save(one.picks_file)
    assert CurateImages.fingerprint_inputs(1, "manual") == before
    keep(drawn, 1, 1)
    picked = CurateImages.fingerprint_inputs(1, "manual")
    assert picked != before
    curated(drawn)  # writes decisions.json
    assert CurateImages.fingerprint_inputs(1, "manual") == picked != CurateImages.fingerprint_inputs(1, "from file")


class Vision:
    """Of a CLIP_VISION what is asked: pictures in, [B, H, W, C], embeddings out."""

    config = {"model_type": "dinov2", "hidden_size": 3}

    def __init__(self, projected):
        self.projected = projected

    def encode_image(self, image, crop=True):
        assert image.shape[-1] == 3 and crop is False
        means = image.flatten(1, 2).mean(1)
        return {"image_embeds": means if self.projected else None, "last_hidden_state": means[:, None].repeat(1, 4, 1)}


@pytest.mark.parametrize("projected", [True, False])
def test_a_clip_vision_model_measures_likeness(projected):
    eye = ClipVisionEye(Vision(projected))
    pixels = torch.rand(20, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    expected = torch.nn.functional.normalize(pixels.flatten(2).mean(2), dim=1)
    torch.testing.assert_close(eye.embed(pixels), expected)
    assert eye.name == "CLIP Vision dinov2 3" and eye.read_tags(pixels, ["1girl"]) is None


def test_a_wired_model_is_preferred_and_without_any_likeness_is_not_measured(drawn, host):
    assert isinstance(choose_eye(True), SandboxEye)
    assert isinstance(choose_eye(True, Vision(True)), ClipVisionEye)
    other = draw_project(paths.projects_root(), base="other", name="other")
    assert choose_eye(False) is None
    draw_round(other, 1)
    done = curated(other, "auto")
    assert "likeness not measured" in done[2] and "Likeness and tags were not measured" in done[2]


# -- datasets ----------------------------------------------------------------------------------------------------------


def test_round_0_is_the_crops_and_a_later_one_what_was_kept(drawn):
    dataset, name, trigger, report = RoundDataset.execute(drawn, 0, "style").args
    assert (len(dataset), name, trigger, report) == (3, "zqx-style-1", "zqx", "3 crops")
    with pytest.raises(UserError, match="nothing is kept in round 1"):
        RoundDataset.execute(drawn, 1, "style")
    keep(drawn, 1, 5)
    dataset, name, *_ = RoundDataset.execute(drawn, 1, "style").args
    assert (len(dataset), name) == (8, "zqx-style-2")
    assert any("red hair" in sample.caption for sample in dataset)
    dataset, name, _, report = RoundDataset.execute(drawn, 1, "character").args
    assert name == "zqx" and not any("red hair" in sample.caption for sample in dataset) and "red hair" in report


def test_a_dataset_is_made_anew_when_other_pictures_are_kept(drawn):
    before = RoundDataset.fingerprint_inputs(1)
    keep(drawn, 1, 5)
    assert RoundDataset.fingerprint_inputs(1) != before == RoundDataset.fingerprint_inputs(1)[:0] + before
    assert RoundDataset.fingerprint_inputs(0) == []


def test_a_tag_that_is_no_known_trait_is_named_in_the_node_and_in_its_panel(host):
    start(tags="1girl, fox ears, glorbo, +holding cup, masterpiece", trigger="qrx")
    shown = host.server.texts[-1][0]
    assert "glorbo" in shown and "is not a known trait of hers: it is kept as this image's" in shown
    assert "left out: masterpiece" in shown and "marked as hers" in shown
    warnings = project_view("qrx")["warnings"]
    assert [line.split("`")[1] for line in warnings] == ["glorbo", "holding cup"]
