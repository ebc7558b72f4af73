"""The candidates of a bootstrap round are shared among several ComfyUI servers and gathered at the desk. The servers
here are stand-ins that plan and draw as Save Candidates does, with the library's own functions, and in no time."""

import json
import threading
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from lora_bootstrap.sandbox import BASE_DIR
from lora_bootstrap.trainer.bootstrap.planning.shares import PLAN_REPORT, Share
from lora_bootstrap.trainer.bootstrap.planning.view_plan import (
    Source,
    is_kept,
    keep_candidates,
    lineage_of,
    plan_views,
)
from lora_bootstrap.trainer.bootstrap.repairs import Wish, change_wishes, list_wished
from lora_bootstrap.trainer.bootstrap.rounds import Project
from lora_bootstrap.trainer.cast import comfy_host, farm_candidates
from lora_bootstrap.trainer.cast.comfy_host import HostFailed
from lora_bootstrap.trainer.cast.farm import read_workflow, run_farm
from lora_bootstrap.trainer.cast.farm_candidates import CandidateWork, RoundGathered
from lora_bootstrap.trainer.cast.farm_graph import DeskRuns, cut_graph, list_saves
from lora_bootstrap.trainer.cast.farm_plan import RoundPlan
from lora_bootstrap.trainer.cast.farm_project import needed_for
from lora_bootstrap.trainer.common.errors import UserError
from lora_bootstrap.trainer.common.events import Warned
from lora_bootstrap.trainer.common.files import read_json, write_json
from lora_bootstrap.trainer.records.read_archive import import_project
from lora_bootstrap.trainer.training.runs import read_run

from ...helpers.archived_project import write_whole_run
from ...helpers.command_line import run
from ...helpers.drawn_project import draw_project
from ...helpers.farm_hosts import StandInHost

API = BASE_DIR.parents[1] / "workflows" / "api"
NAMED = "LoraBootstrap_"
VIEWS = 12


def workflow(template="8 Bootstrap in parts - 1 pick 16", /, **train):
    """A template for the project that `draw_project` writes."""
    graph = read_workflow(API / f"{template}.json")
    for node in graph.values():
        if node["class_type"] == NAMED + "Project":
            node["inputs"] |= {"trigger": "zqx", "targets": "3, 8, 12", "candidates": "12, 16"}
        elif node["class_type"] == NAMED + "TrainLora":
            node["inputs"] |= train
    return graph


def inputs_of(graph, kind):
    return [node["inputs"] for node in graph.values() if node["class_type"] == NAMED + kind]


class DrawingHost(StandInHost):
    """A server that plans and draws a round as Save Candidates does."""

    def __init__(self, folder, *, recipe="same", **options):
        super().__init__(folder, **options)
        self.recipe, self.drawn = recipe, []

    def draw(self, graph):
        [save], [project], [load] = (inputs_of(graph, kind) for kind in ("SaveCandidates", "Project", "LoadRun"))
        one = Project.load(self.folder / "bootstrap" / project["name"]).round(
            graph[save["views"][0]]["inputs"]["round"])
        share = Share.read(save["share"])
        self.prompts.append(share.text)
        source = Source(read_run(self.folder / "loras" / load["run"]).final_path, 0.6, self.recipe)
        plan = [lineage_of(one, view, source) for view in plan_views(one.project, one.number).views]
        again = [wished.lineage(lineage_of(one, wished.view, source)) for wished in list_wished(one)]
        if share.only_plan:
            return {"23:11.0.0.draw": {PLAN_REPORT: [{"plan": [lineage.to_dict() for lineage in plan], "unsure": [],
                                                      "again": [lineage.to_dict() for lineage in again]}]}}
        for lineage in (*share.choose(plan), *(again if share.draws_wishes else ())):
            if not is_kept(one, lineage):
                self.drawn.append(lineage.name)
                keep_candidates(one, lineage, [Image.new("RGB", (16, 8), (lineage.seed % 256, len(lineage.tags), 0))])
        return None

    def receive(self, query, data):
        file = self.folder / f"{self.server.server_port}.zip"
        file.write_bytes(data)
        self.received.append(query["wanted"])
        return {"name": import_project(self.folder, file, query["wanted"]).name}


@pytest.fixture
def make_host(tmp_path):
    hosts = []

    def make(folder=None, **options):
        place = folder or tmp_path / f"host{len(hosts)}"
        place.mkdir(exist_ok=True)
        hosts.append(DrawingHost(place, **options))
        return hosts[-1]

    yield make
    for host in hosts:
        host.close()


@pytest.fixture
def desk(tmp_path):
    """A project whose first style LoRA is trained, in the desk's output folder."""
    project = draw_project(tmp_path / "output" / "bootstrap")
    Image.new("RGB", (8, 8)).save(project.folder / "picture.png")
    write_whole_run(tmp_path / "output", "zqx-style-1", project="zqx")
    return project


def farm(tmp_path, *hosts, graph=None, number=1):
    with CandidateWork(graph or workflow(), number, tmp_path / "output", len(hosts)) as work:
        return list(run_farm(work, [host.client for host in hosts], poll=0.01))


def drawn_files(round_):
    return {path.name: path.read_bytes() for path in round_.candidates_folder.iterdir() if path.is_file()}


def test_the_candidates_of_several_servers_are_those_of_one(tmp_path, desk, make_host):
    first = make_host()
    hosts = first, make_host(after=first)
    before = (desk.folder / "project.json").read_bytes()
    last = farm(tmp_path, *hosts)[-1]
    assert isinstance(last, RoundGathered) and (last.planned, last.fetched) == (VIEWS, VIEWS)
    assert all(host.drawn for host in hosts) and len({*hosts[0].drawn, *hosts[1].drawn}) == VIEWS
    assert all(len(host.received) == 1 and host.received[0].startswith("zqx-farm-") for host in hosts)
    gathered = drawn_files(desk.round(1))
    alone = make_host(tmp_path / "output")
    for path in desk.round(1).candidates_folder.iterdir():
        path.unlink() if path.is_file() else None
    farm(tmp_path, alone)
    assert len(alone.drawn) == VIEWS and drawn_files(desk.round(1)) == gathered and len(gathered) == 2 * VIEWS
    assert (desk.folder / "project.json").read_bytes() == before, "what a server says is recorded by the desk's own Run"


def test_servers_that_share_the_desks_folder_are_sent_nothing_and_nothing_is_fetched(tmp_path, desk, make_host):
    first = make_host(tmp_path / "output")
    hosts = first, make_host(tmp_path / "output", after=first)
    last = farm(tmp_path, *hosts)[-1]
    assert (last.planned, last.fetched) == (VIEWS, 0) and len(desk.round(1).list_candidates()) == VIEWS
    assert not hosts[0].received and not hosts[1].received
    assert not [name for host in hosts for name in host.views if name.endswith(".png")]
    assert [path for path in desk.folder.iterdir() if path.name.endswith(".tmp")] == []


def test_a_server_that_dies_gives_its_share_to_the_others_and_what_it_drew_is_not_drawn_again(
        tmp_path, desk, make_host):
    dying = make_host(dies_after=3)
    living = make_host(after=dying)
    *events, last = farm(tmp_path, living, dying)
    assert isinstance(last, RoundGathered) and len(desk.round(1).list_candidates()) == VIEWS
    [warned] = [event.message for event in events if isinstance(event, Warned)]
    assert warned.startswith(f"{dying.address} is left out: it does not answer")
    assert len(living.drawn) < VIEWS


def test_the_same_command_draws_and_fetches_only_what_is_missing(tmp_path, desk, make_host):
    host = make_host()
    farm(tmp_path, host)
    assert farm(tmp_path, host)[-1].fetched == 0 and host.prompts.count("plan") == 2 and len(host.drawn) == VIEWS
    asked = len(host.prompts)
    gone = desk.round(1).list_candidates()[0]
    gone.unlink()
    assert farm(tmp_path, host)[-1].fetched == 1 and host.prompts[asked:] == ["plan"], "the server has it still"
    gone.unlink()
    other = make_host()
    assert farm(tmp_path, other)[-1].fetched == 1 and other.prompts == ["plan", "1/4"] and len(host.received) == 1


def test_what_the_gallery_asks_to_draw_again_is_drawn_by_one_share(tmp_path, desk, make_host):
    host = make_host()
    farm(tmp_path, host)
    old = desk.round(1).list_candidates()[3].stem
    change_wishes(desk.round(1), [Wish("0123abcd", old, 7)])
    first = make_host()
    hosts = first, make_host(after=first)
    assert farm(tmp_path, *hosts)[-1].fetched == 1
    assert not list_wished(desk.round(1)) and len(desk.round(1).list_candidates()) == VIEWS + 1
    assert sum(name.endswith("-0123abcd") for host in hosts for name in host.drawn) == 1


def test_servers_that_would_draw_other_candidates_are_refused_before_anything_is_drawn(tmp_path, desk, make_host):
    first, slow = hosts = make_host(), make_host(recipe="another")
    plan, drew = slow.draw, threading.Event()
    first.draw = lambda graph: DrawingHost.draw(first, graph) or drew.set()
    slow.draw = lambda graph: drew.wait(0.5) and None or plan(graph)
    with pytest.raises(UserError, match="do not draw the same candidates: the model's weights, .* differ"):
        farm(tmp_path, *hosts)
    assert not hosts[0].drawn and not hosts[1].drawn and not desk.round(1).list_candidates()


def test_a_project_of_the_same_name_on_a_server_is_left_as_it_is(tmp_path, desk, make_host):
    host = make_host()
    theirs = draw_project(host.folder / "bootstrap")
    before = (theirs.folder / "project.json").read_bytes()
    farm(tmp_path, host)
    assert (theirs.folder / "project.json").read_bytes() == before and not theirs.round(1).list_candidates()
    assert len(desk.round(1).list_candidates()) == VIEWS


def test_two_servers_that_share_another_folder_are_sent_one_copy(tmp_path, desk, make_host):
    first, second = make_host(), make_host(tmp_path / "host0")
    receive, met = DrawingHost.receive, threading.Barrier(2)

    def together(host):
        def take(query, data):
            met.wait(10)  # both have seen that the copy is not there yet
            return receive(host, query, data)
        return take

    first.receive, second.receive = together(first), together(second)
    *events, last = farm(tmp_path, first, second)
    assert isinstance(last, RoundGathered) and not [event for event in events if isinstance(event, Warned)]
    assert [path.name for path in (first.folder / "bootstrap").glob("zqx*")] == [first.received[0]]
    assert len(first.drawn) + len(second.drawn) >= VIEWS and len(desk.round(1).list_candidates()) == VIEWS


@pytest.mark.parametrize(("ending", "data", "says"), [
    (".png", b"<html>", "the image of a candidate cannot be read"),
    (".json", b"[1]", "the lineage of a candidate cannot be read"),
    (".json", b"{}", "the lineage of a candidate cannot be read"),
])
def test_what_a_server_sends_is_checked_before_it_is_written(tmp_path, desk, make_host, ending, data, says):
    host = make_host()
    answer = host.answer
    host.answer = lambda path: (200, data) if f"{ending}&" in path and "candidates" in path else answer(path)
    with pytest.raises(UserError, match=says):
        farm(tmp_path, host)
    assert not desk.round(1).candidates_folder.exists() or not list(desk.round(1).candidates_folder.iterdir())


def plan_rows(desk, **changes):
    view = plan_views(desk, 1).views[0]
    lineage = lineage_of(desk.round(1), view, Source(None, 0.0, "x"))
    return [{"plan": [lineage.to_dict() | changes], "again": [], "unsure": []}]


@pytest.mark.parametrize("changes", [
    {"name": "../../../evil"}, {"name": "r1-000-abcdef/x"}, {"name": "r2-000-abcdef"}, {"round": 2}, {"seed": "1"},
    {"name": None}, {"name": f"r1-{'0' * 300}-abcdef"}, {"repaired_from": "r1-000-abcdef"},
    {"again_of": "r1-000-abcdef"}])
def test_a_plan_that_is_not_of_the_round_is_refused(desk, changes):
    assert RoundPlan.read(plan_rows(desk), 1).all
    with pytest.raises(HostFailed, match="cannot be read|is not a plan of round 1"):
        RoundPlan.read(plan_rows(desk, **changes), 1)


def test_a_plan_with_a_node_that_gives_something_else_each_time_is_refused(desk):
    with pytest.raises(UserError, match="WebNode may give something else each time"):
        RoundPlan.read([{**plan_rows(desk)[0], "unsure": ["WebNode"]}], 1)


def test_two_plans_differ_in_what_decides_the_images_but_not_in_what_a_file_is_called(desk):
    one, named = (RoundPlan.read(plan_rows(desk, **more), 1) for more in ({}, {"generator": "base.safetensors"}))
    assert one.difference(named) == ""
    [lineage] = one.all
    assert RoundPlan(((replace(lineage, base="sdxl", prompt="a cat"),),)).difference(one) == "the base model differs"
    assert RoundPlan(((replace(lineage, prompt="a cat"),),)).difference(one) == "the prompts differ"
    assert RoundPlan(((lineage, lineage),)).difference(one) == "one plans 2 candidates, another 1"


def test_a_share_is_of_each_generator_of_the_round(desk):
    plans = [[lineage_of(desk.round(1), view, Source(None, 0.0, recipe)) for view in plan_views(desk, 1).views]
             for recipe in ("edit model", "style LoRA")]
    rows = [{"plan": [lineage.to_dict() for lineage in plan], "again": [], "unsure": []} for plan in plans]
    assert RoundPlan.read(rows, 1).of_share(Share(2, 4)) == [*plans[0][1::4], *plans[1][1::4]]


def test_the_farm_ends_when_all_is_gathered_though_a_server_is_still_busy_with_other_work(
        tmp_path, desk, make_host, monkeypatch):
    monkeypatch.setattr(farm_candidates, "PATIENCE", 0.05)
    free, busy = make_host(), make_host()
    answer = busy.answer
    busy.answer = lambda path: {"/history": (200, b"{}"), "/queue": (200, b'{"queue_pending": [["id-1"]]}')}.get(
        "/" + path.split("/")[1]) or answer(path)
    with CandidateWork(workflow(), 1, tmp_path / "output", 2) as work:
        stop_at = time.monotonic() + 10
        last = list(run_farm(work, [free.client, busy.client], lambda: time.monotonic() > stop_at, poll=0.01))[-1]
    assert isinstance(last, RoundGathered) and len(free.drawn) == VIEWS


def test_a_server_whose_pack_knows_no_shares_is_not_asked_to_draw(tmp_path, desk, make_host):
    old = make_host()
    old.inputs = {}
    with pytest.raises(UserError, match="its Save Candidates has no input share. Install or update LoRA Bootstrap"):
        farm(tmp_path, old)
    assert not old.prompts and not old.received


def test_a_wish_that_two_generators_may_draw_is_fetched_from_the_one_that_drew_it(tmp_path, desk, make_host):
    planned = lineage_of(desk.round(1), plan_views(desk, 1).views[3], Source(None, 0.0, "an earlier model"))
    keep_candidates(desk.round(1), planned, [Image.new("RGB", (16, 8))])
    change_wishes(desk.round(1), [Wish("0123abcd", planned.name, 7)])
    host = make_host(tmp_path / "host0")
    draw = host.draw

    def draw_as_first(graph):
        shown = draw(graph)
        for row in [row for node in (shown or {}).values() for row in node[PLAN_REPORT]]:
            row["again"].append({**row["again"][0], "recipe": "of another Save Candidates"})
        return shown

    host.draw = draw_as_first
    last = farm(tmp_path, host)[-1]
    assert (last.planned, last.fetched) == (VIEWS + 1, VIEWS + 1) and not list_wished(desk.round(1))


def test_a_server_that_says_what_would_steer_a_terminal_is_shown_as_one_short_line(tmp_path, desk, make_host):
    host = make_host(fails="\x1b[2JCUDA\nout of memory\r" + "x" * 10_000)
    with pytest.raises(UserError) as refused:
        farm(tmp_path, host)
    assert "the workflow failed there:  [2JCUDA out of memory xxx".replace("  ", " ") in str(refused.value)
    assert str(refused.value).isprintable() and len(str(refused.value)) < 1500


def test_an_answer_that_comes_a_byte_at_a_time_is_given_up(make_host, monkeypatch):
    host = make_host()
    monkeypatch.setattr(comfy_host, "MOST_SECONDS", 0.2)
    ended = threading.Event()

    def drip(handler, *_):
        handler.send_response(200)
        handler.send_header("Content-Length", "1000")
        handler.end_headers()
        with suppress(OSError):
            for _ in range(100):
                handler.wfile.write(b" ")
                if ended.wait(0.05):
                    return

    host.server.RequestHandlerClass.reply = drip
    with pytest.raises(HostFailed, match="it does not answer .its answer took more than 0.2 s"):
        host.client.file("bootstrap", "x.png")
    ended.set()


def test_an_answer_that_ends_too_early_is_not_taken_for_the_whole(make_host):
    host = make_host()

    def cut_short(handler, *_):
        handler.send_response(200)
        handler.send_header("Content-Length", "1000")
        handler.end_headers()
        handler.wfile.write(b"half")
        handler.close_connection = True

    host.server.RequestHandlerClass.reply = cut_short
    with pytest.raises(HostFailed, match="its answer ended 996 bytes too early"):
        host.client.file("bootstrap", "x.png")


def test_a_project_folder_that_cannot_be_written_to_is_refused_in_one_line(tmp_path, desk, make_host, monkeypatch):
    write = Path.write_bytes

    def refuse(path, data):
        if path.parent == desk.folder:
            raise PermissionError(13, "Permission denied")
        return write(path, data)

    monkeypatch.setattr(Path, "write_bytes", refuse)
    with pytest.raises(UserError, match="cannot write .*: Permission denied; nothing was written"):
        farm(tmp_path, make_host())


# -- the part of a workflow --------------------------------------------------------------------------------------------


def cut(desk, template, number, tmp_path, **train):
    return cut_graph(workflow(template, **train), number, desk, DeskRuns.of(desk, tmp_path / "output" / "loras"))


@pytest.mark.parametrize(("name", "number", "run_name"), [
    ("8 Bootstrap in parts - 1 pick 16", 1, "zqx-style-1"), ("8 Bootstrap in parts - 2 pick 40", 2, "zqx-style-2"),
    ("4 Bootstrap a character", 1, "zqx-style-1"), ("4 Bootstrap a character", 2, "zqx-style-2"),
    ("4 Bootstrap a character", 0, None)])
def test_a_part_draws_one_round_without_training_picking_or_drawing_another(tmp_path, desk, name, number, run_name):
    write_whole_run(tmp_path / "output", "zqx-style-2", project="zqx")
    part = cut(desk, name, number, tmp_path)
    kinds = [node["class_type"].removeprefix(NAMED) for node in part.nodes.values()]
    assert kinds.count("SaveCandidates") == kinds.count("KSampler") == kinds.count("ViewPrompts") == 1
    assert not {"TrainLora", "CurateImages", "StrengthGrid", "PreviewDataset"} & set(kinds)
    assert part.runs == ((run_name,) if run_name else ())
    graph = part.for_server("other", Share(2, 8))
    assert inputs_of(graph, "SaveCandidates")[0]["share"] == "2/8"
    [project] = inputs_of(graph, "Project")
    assert project["name"] == "other" and graph[project["picture"][0]]["inputs"] == {
        "image": "bootstrap/other/picture.png [output]"}
    assert [inputs["run"] for inputs in inputs_of(graph, "LoadRun")] == (
        [run_name.replace("zqx", "other")] if run_name else [])
    links = [value[0] for node in graph.values() for value in node["inputs"].values() if isinstance(value, list)]
    assert set(links) <= set(graph)
    assert [inputs["round"] for inputs in inputs_of(graph, "RoundDataset")] == ([number - 1] if number else [])


def test_a_run_of_the_project_that_the_workflow_loads_goes_with_it_under_its_new_name(tmp_path, desk):
    graph = workflow()
    [train] = [id for id, node in graph.items() if node["class_type"] == NAMED + "TrainLora"]
    graph[train] = {"class_type": NAMED + "LoadRun", "inputs": {"run": "zqx-style-1"}}
    inputs_of(graph, "PickCheckpoint")[0]["run"] = [train, 0]
    part = cut_graph(graph, 1, desk, DeskRuns.of(desk, tmp_path / "output" / "loras"))
    assert part.runs == ("zqx-style-1",)
    assert inputs_of(part.for_server("other", Share()), "LoadRun") == [{"run": "other-style-1"}]


def test_a_training_that_each_server_would_repeat_is_refused(tmp_path, desk):
    with pytest.raises(UserError, match="the LoRA zqx-style-2 is not trained here yet: each server would"):
        cut(desk, "8 Bootstrap in parts - 2 pick 40", 2, tmp_path)
    write_whole_run(tmp_path / "output", "zqx-style-1-2", project="zqx")
    record = tmp_path / "output" / "loras" / "zqx-style-1-2" / "run.json"
    values = read_json(record)
    values["config"]["name"] = "zqx-style-1"
    write_json(record, values)
    with pytest.raises(UserError, match="zqx-style-1, zqx-style-1-2 are all finished runs of zqx-style-1"):
        cut(desk, "8 Bootstrap in parts - 1 pick 16", 1, tmp_path)
    with pytest.raises(UserError, match="Train LoRA's name is 'mine'; the project's are zqx, zqx-style-1, zqx-style-2"):
        cut(desk, "8 Bootstrap in parts - 1 pick 16", 1, tmp_path, name="mine")
    graph = workflow()
    [train] = [id for id, node in graph.items() if node["class_type"] == NAMED + "TrainLora"]
    graph["24:17"]["inputs"]["model"] = [train, 0]
    with pytest.raises(UserError, match=f"node {train} .Train LoRA. gives its model or its LoRA straight"):
        cut_graph(graph, 1, desk, DeskRuns.of(desk, tmp_path / "output" / "loras"))


def test_what_a_server_would_choose_again_is_refused(tmp_path, desk):
    write_whole_run(tmp_path / "output", "zqx-style-2", project="zqx")
    runs = DeskRuns.of(desk, tmp_path / "output" / "loras")
    graph = workflow("4 Bootstrap a character")
    [views] = [node["inputs"] for node in graph.values() if node["class_type"] == NAMED + "ViewPrompts"
               and node["inputs"]["round"] == 2]
    [curate] = [id for id, node in graph.items() if node["class_type"] == NAMED + "CurateImages"
                and node["inputs"]["round"] == 1]
    views["before"] = [curate, 2]
    with pytest.raises(UserError, match=f"node {curate} .Curate Images. gives its images or its report to what draws"):
        cut_graph(graph, 2, desk, runs)
    views["before"], graph[curate]["inputs"]["round"] = [curate, 5], ["1", 0]
    with pytest.raises(UserError, match=f"the round of node {curate} .Curate Images. comes over a link"):
        cut_graph(graph, 2, desk, runs)


def test_a_load_run_whose_run_comes_over_a_link_is_left_as_it_is(tmp_path, desk):
    graph = workflow()
    [train] = [id for id, node in graph.items() if node["class_type"] == NAMED + "TrainLora"]
    graph |= {train: {"class_type": NAMED + "LoadRun", "inputs": {"run": ["text", 0]}},
              "text": {"class_type": "PrimitiveString", "inputs": {"value": "theirs"}}}
    inputs_of(graph, "PickCheckpoint")[0]["run"] = [train, 0]
    part = cut_graph(graph, 1, desk, DeskRuns.of(desk, tmp_path / "output" / "loras"))
    assert part.runs == () and inputs_of(part.for_server("other", Share()), "LoadRun") == [{"run": ["text", 0]}]


def test_what_cannot_be_shared_is_refused_before_a_server_is_asked(tmp_path, desk, capsys):
    def refused(graph, *words):
        file = tmp_path / "graph.json"
        file.write_text(json.dumps(graph))
        assert run("farm", file, "--hosts", "http://127.0.0.1:9", "--output", tmp_path / "output", *words) == 2
        return capsys.readouterr().err

    assert "draws candidates of the rounds 0, 1; choose one with --round" in refused(workflow())
    assert "--round is 2; the workflow draws candidates of round 0, 1" in refused(workflow(), "--round", "2")
    assert "a sweep and candidates of round 0, 1, 2; choose a round" in refused(workflow("4 Bootstrap a character"))
    assert "--name is 'x', but a round is drawn" in refused(workflow(), "--round", "1", "--name", "x")
    other = workflow()
    inputs_of(other, "Project")[0]["trigger"] = "nobody"
    assert "project 'nobody' is not in" in refused(other, "--round", "1")
    inputs_of(other, "Project")[0]["name"] = "../x"
    assert "project '../x' cannot be a folder's" in refused(other, "--round", "1")
    inputs_of(other, "Project")[0]["name"] = ["1", 0]
    assert "(Bootstrap Project) comes over a link; write it into name" in refused(other, "--round", "1")
    inputs_of(other, "ViewPrompts")[0]["round"] = ["1", 0]
    assert "(Save Candidates) is not known" in refused(other, "--round", "1")
    assert list_saves(workflow()) == {0: ["23:11"], 1: ["24:19"]}


def test_a_server_is_sent_what_was_kept_and_the_run_but_no_other_candidate_or_checkpoint(tmp_path, desk, make_host):
    farm(tmp_path, make_host())
    one = desk.round(1)
    kept, left, *_ = (path.stem for path in one.list_candidates())
    one.picks.changed("by hand", [(kept, {"state": "keep"})], one.collect_facts()).save(one.picks_file)
    write_whole_run(tmp_path / "output", "zqx-style-2", project="zqx")
    needed = needed_for(desk, 2, cut(desk, "8 Bootstrap in parts - 2 pick 40", 2, tmp_path))
    wanted = ("project/picture.png", "project/crops/0-full.png", "project/round_1/picks.json",
              f"project/round_1/candidates/{kept}.png", f"project/round_1/candidates/{kept}.json",
              "project/round_1/dataset/a.txt", "project/round_2/again.json", "runs/zqx-style-2/run.json",
              "runs/zqx-style-2/zqx-style-2.safetensors")
    others = (f"project/round_1/candidates/{left}.png", "project/round_2/candidates/r2-000-abcdef.png",
              "project/reference/r0-000-abcdef.png", "project/grid/a.png", "project/notes.json",
              "runs/zqx-style-1/run.json", "runs/zqx-style-2/zqx-style-2-step000100.safetensors",
              "runs/zqx-style-2/state/state.safetensors", "runs/zqx-style-2/samples/a.png")
    assert [name for name in wanted if not needed(name)] == [] and [name for name in others if needed(name)] == []
