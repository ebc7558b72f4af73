"""A farm of two real servers draws a round of a desk's project as the desk's own server would have."""

from __future__ import annotations

import json
import shutil

import pytest

from lora_bootstrap.trainer.bootstrap.rounds import Project
from lora_bootstrap.trainer.cast.comfy_host import ComfyHost
from lora_bootstrap.trainer.cast.farm import run_farm
from lora_bootstrap.trainer.cast.farm_candidates import CandidateWork

from ..helpers.bootstrap_graphs import ids, template
from ..helpers.server import Server

NAME, VIEWS = "farmgirl", 6


@pytest.fixture(scope="module")
def other(server, tmp_path_factory):
    """A second server of the same host that shares the first one's output folder, as on a machine with two GPUs."""
    shared = ("--output-directory", str(server.base / "output"))
    with Server(server.host, server.python, tmp_path_factory.mktemp("other"),
                arguments=(*server.arguments, *shared)) as second:
        yield second


def small_graph():
    graph = template("8 Bootstrap in parts - 1 pick 16", NAME)
    for id in ids(graph, "ViewPrompts"):
        graph[id]["inputs"]["count"] = 2 if graph[id]["inputs"]["round"] == 0 else 0
    graph[ids(graph, "SamplingByModel")[0]]["inputs"]["steps"] = 1
    return graph


def farm(graph, output, *servers):
    with CandidateWork(graph, 1, output, len(servers)) as work:
        *_, last = run_farm(work, [ComfyHost(server.url) for server in servers], poll=0.1)
    return last


def drawn_files(project):
    return {path.name: path.read_bytes() for path in project.round(1).candidates_folder.iterdir() if path.is_file()}


def count_drawn(server):
    """How many candidates a server has drawn, by its history."""
    return sum(".keep_" in node for run in server.get("/history").values() for node in run["outputs"])


def test_two_servers_draw_a_round_bit_for_bit_as_one_would_and_the_desk_draws_nothing_then(
        server, other, tab, tmp_path):
    graph, output = small_graph(), server.base / "output"
    run = tab.run(graph)
    assert run.status == "success", run.error
    project = Project.load(output / "bootstrap" / NAME)
    alone = drawn_files(project)
    assert len(alone) == 2 * VIEWS
    server.rest()

    # a desk elsewhere, which has everything but the candidates: the project is sent, and the images are fetched
    desk = tmp_path / "output"
    for folder in (f"bootstrap/{NAME}", f"loras/{NAME}-style-1"):
        shutil.copytree(output / folder, desk / folder)
    here = Project.load(desk / "bootstrap" / NAME)
    shutil.rmtree(here.round(1).candidates_folder)
    last = farm(graph, desk, server, other)
    assert (last.planned, last.fetched) == (VIEWS, VIEWS) and drawn_files(here) == alone
    drawn = [count_drawn(each) for each in (server, other)]
    assert all(drawn) and sum(drawn) == VIEWS
    [copy] = (output / "bootstrap").glob(f"{NAME}-farm-*")
    assert sorted(path.name for path in (output / "loras").glob(f"{NAME}*")) == [
        f"{copy.name}-style-1", f"{NAME}-style-1"], "nothing was trained again"
    assert drawn_files(project) == alone, "the project of that name on a server is left as it was"

    # the desk's folder is the servers' own: they draw straight into it
    shutil.rmtree(project.round(1).candidates_folder)
    last = farm(graph, output, server, other)
    assert (last.planned, last.fetched) == (VIEWS, 0) and drawn_files(project) == alone
    assert [count_drawn(each) > before for each, before in zip((server, other), drawn, strict=True)] == [True, True]
    with server.client() as again:
        run = again.run(graph)
    assert run.status == "success", run.error
    assert drawn_files(project) == alone and not [id for id in run.outputs if ".keep_" in id]
    assert json.loads((project.folder / "project.json").read_text())["stages"]["candidates-1"]["summary"] == "6 images"
    assert ids(graph, "CurateImages")[0] in run.outputs
