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
    """A second server of the same host, with folders of its own."""
    with Server(server.host, server.python, tmp_path_factory.mktemp("other"), arguments=server.arguments) as second:
        yield second


def farm(graph, output, *servers):
    with CandidateWork(graph, 1, output, len(servers)) as work:
        *_, last = run_farm(work, [ComfyHost(server.url) for server in servers], poll=0.1)
    return last


def drawn_files(project):
    return {path.name: path.read_bytes() for path in project.round(1).candidates_folder.iterdir() if path.is_file()}


def drawn_by(server):
    """Names of the copies of the desk's project on a server, and how many candidates it drew."""
    made = [project.round(1).list_candidates() for project in map(Project.load, (
        server.base / "output" / "bootstrap").glob(f"{NAME}-farm-*"))]
    return len(made), sum(map(len, made))


def test_two_servers_draw_a_round_bit_for_bit_as_the_desk_would_and_the_desk_draws_nothing_then(
        server, other, tab, tmp_path):
    graph = template("8 Bootstrap in parts - 1 pick 16", NAME)
    first, second = ids(graph, "SaveCandidates")
    run = tab.run(graph)
    assert run.status == "success", run.error
    project = Project.load(server.base / "output" / "bootstrap" / NAME)
    alone = drawn_files(project)
    assert len(alone) == 2 * VIEWS

    # the desk is another folder, where everything but the candidates is
    desk = tmp_path / "output"
    for folder in (f"bootstrap/{NAME}", f"loras/{NAME}-style-1"):
        shutil.copytree(server.base / "output" / folder, desk / folder)
    here = Project.load(desk / "bootstrap" / NAME)
    shutil.rmtree(here.round(1).candidates_folder)
    last = farm(graph, desk, server, other)
    assert (last.planned, last.fetched) == (VIEWS, VIEWS) and drawn_files(here) == alone
    counts = [drawn_by(each) for each in (server, other)]
    assert [copies for copies, _ in counts] == [1, 1] and sum(drawn for _, drawn in counts) == VIEWS
    assert all(drawn for _, drawn in counts), "each server drew some"
    assert not list((other.base / "output" / "loras").glob("*-2")), "nothing was trained there"
    assert drawn_files(project) == alone, "the project of that name on a server is left as it was"

    # two servers that share the desk's folder draw straight into it
    shutil.rmtree(project.round(1).candidates_folder)
    last = farm(graph, server.base / "output", server)
    assert (last.planned, last.fetched) == (VIEWS, 0) and drawn_files(project) == alone
    with server.client() as again:
        run = again.run(graph)
    assert run.status == "success", run.error
    assert drawn_files(project) == alone and not [id for id in run.executed if ".keep_" in id]
    assert json.loads((project.folder / "project.json").read_text())["stages"]["candidates-1"]["summary"] == "6 images"
    assert ids(graph, "CurateImages")[0] in run.outputs and first != second
