"""The bootstrap loop in a real ComfyUI server: the template as a client drives it, Cancel, a kill, and seeds."""

from __future__ import annotations

import time

import pytest

from lora_bootstrap.trainer.bootstrap.candidates import Lineage
from lora_bootstrap.trainer.bootstrap.rounds import Project
from lora_bootstrap.trainer.datasets.dataset import load_folder

from ..helpers.bootstrap_graphs import ids, template
from ..helpers.server import Refused, until


def project(server, name):
    return Project.load(server.base / "output" / "bootstrap" / name)


def keep(server, name, number, count):
    """Pick as the gallery does."""
    told = server.get("/lora_bootstrap/candidates", project=name, round=number)
    free = [row["name"] for row in told["candidates"] if not row["pick"]["state"] and not row["carried"]]
    server.post("/lora_bootstrap/candidates/picks", {
        "project": name, "round": number, "revision": told["revision"], "label": "test",
        "changes": [{"candidate": candidate, "pick": {"state": "keep"}} for candidate in free[:count]]})


def next_of(server, name):
    return server.get("/lora_bootstrap/project", name=name)["next"]


def test_the_loop_goes_on_run_by_run_and_over_a_restart(server, tab):
    graph, name = template("4 Bootstrap a character", "loopgirl"), "loopgirl"
    first, second = ids(graph, "CurateImages")
    trainings = ids(graph, "TrainLora")

    run = tab.run(graph)
    assert run.status == "success", run.error
    held = run.outputs[first]["lora_bootstrap"][0]
    assert held["held"] and held["message"] == "4 of 7 kept: pick 3 more in the gallery, then press Run."
    assert second not in run.outputs and trainings[1] not in run.outputs
    one = project(server, name).round(1)
    assert len(one.list_candidates()) == 6 and len(one.project.round(0).list_candidates()) == 16
    lineage = Lineage.read(one.list_candidates()[0])
    assert (lineage.parent_lora, lineage.strength, lineage.steps, lineage.cfg) == ("loopgirl-style-1", 0.6, 4, 3)
    assert lineage.prompt.startswith("loopgirl, 1girl, ") and len(lineage.parent_lora_sha256) == 64
    assert next_of(server, name) == "Pick 3 more in the gallery of round 1, then press Run."

    keep(server, name, 1, 3)
    with server.client() as again:
        run = again.run(graph)
    assert run.status == "success", run.error
    # what was before the picks is not done again
    assert not {trainings[0], *ids(graph, "Project"), ids(graph, "SaveCandidates")[1]} & set(run.executed)
    assert run.outputs[second]["lora_bootstrap"][0]["message"].startswith("7 of 9 kept: pick 2 more")
    assert trainings[2] not in run.outputs

    server.restart()
    keep(server, name, 2, 2)
    with server.client() as later:
        run = later.run(graph)
    assert run.status == "success", run.error
    told = [run.outputs[id]["lora_bootstrap"][0] for id in trainings]
    assert [row["run"] for row in told] == ["loopgirl-style-1", "loopgirl-style-2", "loopgirl"]
    assert [row["reused"] for row in told] == [True, True, False]
    dataset = load_folder(project(server, name).round(2).dataset_folder)
    real = sum(sample.repeats for sample in dataset if sample.parent == "picture")
    assert len(dataset) == 9 and real / sum(sample.repeats for sample in dataset) >= 1 / 3
    assert next_of(server, name) == "All done: prompt the LoRA with 'loopgirl'."
    stages = server.get("/lora_bootstrap/project", name=name)["stages"]
    assert {stage["state"] for stage in stages} == {"done"}


def test_cancel_and_a_kill_lose_no_candidate_and_the_next_run_draws_only_the_missing(server):
    graph, name = template("8 Bootstrap in parts - 1 pick 16", "cancelgirl", candidates="12, 8"), "cancelgirl"
    made = server.base / "output" / "bootstrap" / name / "round_1" / "candidates"

    def finished():
        return {path.name: path.stat().st_mtime_ns for path in made.glob("*.png") if path.with_suffix(".json").exists()}

    with server.client() as tab:
        queued = tab.queue(graph)
        tab.wait_for(lambda m: m.type == "lora_bootstrap.candidates" and m.data["project"] == name
                     and m.data["round"] == 1, "first candidate")
        until(lambda: len(finished()) >= 2, 60, "two candidates")
        tab.interrupt()
        assert tab.wait(queued).status == "interrupted"
        cancelled = finished()
        assert 2 <= len(cancelled) < 12
        tab.queue(graph)
        until(lambda: len(finished()) > len(cancelled), 120, "another candidate")
        server.kill()
    killed = finished()
    assert cancelled.items() <= killed.items()
    server.start()
    told = server.get("/lora_bootstrap/candidates", project=name, round=1)
    assert {f"{row['name']}.png" for row in told["candidates"]} == set(killed)
    with server.client() as tab:
        run = tab.run(graph)
        assert run.status == "success", run.error
        drawn = [m["node"] for m in tab.of_type("executing") if m.get("prompt_id") == run.prompt_id and m["node"]]
    after = finished()
    assert len(after) == 12 and killed.items() <= after.items()
    save = ids(graph, "SaveCandidates")[1]
    assert sum(id.startswith(f"{save}.") and ".keep_" in id for id in drawn) == 12 - len(killed)


def edit_graph(name):
    """Two generators for one round: an edit of each view's reference, and the base from noise."""
    def of(kind, **inputs):
        return {"class_type": kind, "inputs": inputs}

    figures = {"steps": 2, "cfg": 1.0, "sampler_name": "euler", "scheduler": "normal"}
    return {
        "base": of("LoraBootstrap_LoadSandbox", picture="akane"),
        "project": of("LoraBootstrap_Project", picture=["base", 3], tags=["base", 4], trigger=name, name="", seed=0,
                      targets="4, 7", candidates="4"),
        "views": of("LoraBootstrap_ViewPrompts", project=["project", 0], round=1, count=0, before="", after="", seed=0,
                    views="framing: close-up, full body", wording="edit instruction"),
        "text": of("CLIPTextEncode", text=["views", 0], clip=["base", 1]),
        "none": of("CLIPTextEncode", text="", clip=["base", 1]),
        "small": of("ImageScale", image=["views", 5], upscale_method="area", width=64, height=64, crop="center"),
        "latent": of("VAEEncode", pixels=["small", 0], vae=["base", 2]),
        "shown": of("ReferenceLatent", conditioning=["text", 0], latent=["latent", 0]),
        "edit": of("KSampler", model=["base", 0], positive=["shown", 0], negative=["none", 0],
                   latent_image=["latent", 0], seed=["views", 1], denoise=0.5, **figures),
        "edited": of("VAEDecode", samples=["edit", 0], vae=["base", 2]),
        "save": of("LoraBootstrap_SaveCandidates", project=["project", 0], views=["views", 2], images=["edited", 0]),
        "empty": of("EmptyLatentImage", width=64, height=64, batch_size=1),
        "draw": of("KSampler", model=["base", 0], positive=["text", 0], negative=["none", 0],
                   latent_image=["empty", 0], seed=["views", 1], denoise=1.0, **figures),
        "drawn": of("VAEDecode", samples=["draw", 0], vae=["base", 2]),
        "beside": of("LoraBootstrap_SaveCandidates", project=["save", 0], views=["views", 2], images=["drawn", 0]),
        "curate": of("LoraBootstrap_CurateImages", project=["beside", 0], round=1, mode="manual", keep=0,
                     stop_on_alarm=False, tagger="none"),
    }


def test_an_edit_starts_from_the_reference_of_its_view_and_another_generator_draws_beside_it(server, tab):
    graph, name = edit_graph("editgirl"), "editgirl"
    run = tab.run(graph)
    assert run.status == "success", run.error
    one = project(server, name).round(1)
    lineage = [Lineage.read(path) for path in one.list_candidates()]
    edited = [found for found in lineage if found.reference]
    assert len(lineage) == 8 and len(edited) == 4 and {found.generator for found in lineage} == {"Load Sandbox"}
    crop = {"close-up": "2-face", "full body": "original"}
    assert [found.reference for found in edited] == [
        "original" if found.view["angle"] == "from behind" else crop[found.view["framing"]] for found in edited]
    assert all(found.prompt.startswith("Show the same character ") and found.tags[0] == name for found in edited)
    assert run.outputs["curate"]["lora_bootstrap"][0]["message"].startswith("4 of 7 kept")
    assert "no LORA_STACK" not in str(run.outputs.get("save")) and len(tab.of_type("lora_bootstrap.candidates")) >= 2
    with server.client() as again:
        assert not [id for id in again.run(graph).executed if ".keep_" in id]
    assert sum(".keep_" in id for id in run.executed) == len(one.list_candidates()) == 8


def test_each_stage_by_itself_goes_on_with_what_the_one_before_left(server, tab):
    name = "stagegirl"
    stages = [template(f"8 Bootstrap in parts - {part}", name)
              for part in ("1 pick 16", "2 pick 40", "3 character LoRA")]
    early = tab.run(stages[1])
    assert early.status == "error" and "nothing is kept in round 1 of 'stagegirl'" in early.error
    for graph in stages[:2]:
        graph[ids(graph, "CurateImages")[0]]["inputs"]["mode"] = "auto"
    for graph, size in zip(stages, (7, 9, 9), strict=True):
        with server.client() as client:
            run = client.run(graph)
        assert run.status == "success", run.error
        sets = [load_folder(folder) for folder in (server.base / "output" / "bootstrap" / name).glob("round_*/dataset")]
        assert max(map(len, sets)) == size
    assert (server.base / "output" / "loras" / name / f"{name}.safetensors").is_file()
    assert next_of(server, name).startswith("All done")


def test_a_seed_sweep_draws_other_candidates_beside_those_that_are_there(server, tab):
    graph, name = template("8 Bootstrap in parts - seed sweep", "seedgirl"), "seedgirl"
    (seed,) = [id for id, node in graph.items() if node["class_type"] == "PrimitiveInt"]
    (views,) = ids(graph, "ViewPrompts")
    graph[views]["inputs"]["count"] = 3
    counts = []
    for value in (1, 2, 2):
        graph[seed]["inputs"]["value"] = value
        assert tab.run(graph).status == "success"
        counts.append(len(project(server, name).round(1).list_candidates()))
    assert counts == [3, 6, 6]
    seeds = [Lineage.read(path).seed for path in project(server, name).round(1).list_candidates()]
    assert len(set(seeds)) == 6
    old = project(server, name).round(1).list_candidates()[0].stem
    server.post("/lora_bootstrap/candidates/again", {"project": name, "round": 1, "remove": [], "add": [
        {"candidate": old, "seed": 5, "prompt": "", "strength": 0.9}]})
    for _ in range(2):  # the second draws nothing
        assert tab.run(graph).status == "success"
        assert len(project(server, name).round(1).list_candidates()) == 7
    (again,) = [told for told in map(Lineage.read, project(server, name).round(1).list_candidates()) if told.again_of]
    assert (again.again_of, again.seed, again.strength) == (old, 5, 0.9)


def test_a_part_that_does_not_come_from_the_views_is_told(server, tab):
    graph = template("8 Bootstrap in parts - 1 pick 16", "wronggirl")
    for node in graph.values():
        if node["class_type"] == "KSampler":
            node["inputs"]["seed"] = 1
        if node["class_type"] == "CLIPTextEncode":
            node["inputs"]["text"] = "1girl"
    run = tab.run(graph)
    assert run.status == "error" and "do not come from the node that gives the values" in run.error
    assert graph[run.node]["class_type"] == "LoraBootstrap_SaveCandidates"


@pytest.mark.parametrize(("widget", "value", "says"), [
    ("targets", "4", "2 or 3 increasing numbers"), ("candidates", "6", "need 2 numbers"), ("name", "../out", "name")])
def test_a_mistake_in_the_project_is_a_red_node_before_anything_runs(server, tab, widget, value, says):
    graph = template("8 Bootstrap in parts - 1 pick 16", "redgirl")
    for node in graph.values():
        if node["class_type"] == "LoraBootstrap_Project":
            # tags come by a link, so they are given here to be checked with the rest
            node["inputs"] |= {"tags": "1girl, red hair", widget: value}
    started = time.monotonic()
    with pytest.raises(Refused) as refused:
        tab.queue(graph)
    assert says in refused.value.text and time.monotonic() - started < 10
