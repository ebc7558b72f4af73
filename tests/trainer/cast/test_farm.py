"""A sweep is shared among several ComfyUI servers and gathered in one folder. The servers here are stand-ins that
answer as ComfyUI does, and draw a cell in no time."""

import json

import pytest
from PIL import Image

from lora_bootstrap.trainer.cast.comfy_host import HostFailed, check_address
from lora_bootstrap.trainer.cast.farm import read_workflow, run_farm
from lora_bootstrap.trainer.cast.farm_sweep import FarmFinished, SweepWork, find_sweeper, split_workflow
from lora_bootstrap.trainer.common.errors import UserError
from lora_bootstrap.trainer.common.events import Interrupted, Warned
from lora_bootstrap.trainer.sweeps.axis_text import lines, parse_numbers
from lora_bootstrap.trainer.sweeps.cells import NO_LORA, Sweep, prompt_axis, seed_axis, strength_axis

from ...helpers.farm_hosts import StandInHost

GRAPH = {"1": {"class_type": "LoraBootstrap_LoadSandbox", "inputs": {"picture": "akane"}},
         "2": {"class_type": "LoraBootstrap_StrengthGrid", "inputs": {
             "name": "", "strengths": "0.5, 1.0", "prompts": "red\ngreen\nblue", "prompt_set": "as written",
             "seeds": "1", "model": ["1", 0]}}}


class SweepHost(StandInHost):
    """A server that draws what the sweep node of a workflow asks for."""

    def __init__(self, folder, *, base="same", **options):
        super().__init__(folder, **options)
        self.base, self.drawn = base, 0

    def draw(self, graph):
        inputs = graph["2"]["inputs"]
        sweep = Sweep(self.folder / "sweeps" / inputs["name"], inputs["name"], (
            strength_axis(parse_numbers(inputs["strengths"], "strengths")), prompt_axis(lines(inputs["prompts"])),
            seed_axis(map(int, parse_numbers(inputs["seeds"], "seeds")))), {"base": self.base, **NO_LORA})
        sweep.write()
        for cell in sweep.missing():
            self.drawn += 1
            sweep.save(cell, Image.new("RGB", (8, 8), cell.facts["prompt"]))
        self.prompts.append(inputs["prompts"])


@pytest.fixture
def make_host(tmp_path):
    hosts = []

    def make(**options):
        hosts.append(SweepHost(tmp_path / f"host{len(hosts)}", **options))
        return hosts[-1]

    yield make
    for host in hosts:
        host.close()


def farm(tmp_path, *hosts, graph=GRAPH, **options):
    axis, parts = split_workflow(graph, "shared", len(hosts))
    work = SweepWork(parts, axis, tmp_path / "output/sweeps/shared")
    events = run_farm(work, [host.client for host in hosts], poll=0.01, **options)
    return list(events)


def alone(tmp_path):
    """The sweep as one server draws it."""
    host = SweepHost(tmp_path / "alone")
    host.queue({"2": {"inputs": {**GRAPH["2"]["inputs"], "name": "shared"}}})
    host.close()
    return Sweep.load(tmp_path / "alone/sweeps/shared")


def test_the_cells_of_several_servers_are_one_sweep(tmp_path, make_host):
    first = make_host()
    hosts = first, make_host(after=first)
    last = farm(tmp_path, *hosts)[-1]
    assert isinstance(last, FarmFinished) and last.sweep.counts() == {"done": 6, "failed": 0, "total": 6}
    one = alone(tmp_path)
    gathered = Sweep.load(tmp_path / "output/sweeps/shared")
    assert [cell.key for cell in gathered.cells] == [cell.key for cell in one.cells]
    assert {path.name for path in gathered.cells_folder.glob("*.png")} == {f"{cell.key}.png" for cell in one.cells}
    assert hosts[0].drawn + hosts[1].drawn == 6
    assert all(Image.open(gathered.picture(cell)).getpixel((0, 0)) == Image.open(one.picture(cell)).getpixel((0, 0))
               for cell in one.cells)


def test_a_server_that_dies_gives_its_part_to_the_others(tmp_path, make_host):
    dying = make_host(dies_after=1)
    living = make_host(after=dying)
    *events, last = farm(tmp_path, living, dying)
    assert isinstance(last, FarmFinished) and last.sweep.counts()["done"] == 6
    [warned] = [event.message for event in events if isinstance(event, Warned)]
    assert warned.startswith(f"{dying.address} is left out: it does not answer")


def test_what_was_gathered_is_not_drawn_or_fetched_again(tmp_path, make_host):
    farm(tmp_path, make_host())
    again = make_host()
    assert isinstance(farm(tmp_path, again)[-1], FarmFinished)
    assert again.prompts == [] and again.views == []
    next((tmp_path / "output/sweeps/shared/cells").glob("*.png")).unlink()
    farm(tmp_path, again)
    assert len(again.prompts) == 1


def test_if_every_server_fails_the_reasons_are_said(tmp_path, make_host):
    with pytest.raises(UserError, match="no server is left to draw 3 of 3 parts.*failed there: no such LoRA"):
        farm(tmp_path, make_host(fails="no such LoRA"), make_host(dies_after=0))


def test_servers_that_draw_another_sweep_are_found_out(tmp_path, make_host):
    with pytest.raises(UserError, match="do not draw the same sweep: base is '(same|other)' and '(same|other)'"):
        first = make_host(base="other")
        farm(tmp_path, first, make_host(after=first))


def test_a_farm_that_is_stopped_is_interrupted(tmp_path, make_host):
    assert isinstance(farm(tmp_path, make_host(), should_stop=lambda: True)[-1], Interrupted)


def test_what_a_server_sends_as_an_image_must_be_one(tmp_path, make_host):
    host = make_host()
    draw = host.answer
    host.answer = lambda path: (200, b"<html>") if ".png" in path else draw(path)
    with pytest.raises(UserError, match="the image of a cell cannot be read"):
        farm(tmp_path, host)
    assert list((tmp_path / "output/sweeps/shared/cells").glob("*.png")) == []


@pytest.mark.parametrize(("changed", "axis", "count"), [
    ({}, "prompt", 3), ({"prompts": "red", "seeds": "1-4"}, "seed", 4), ({"prompts": ["1", 0]}, "strength", 2),
    ({"prompt_set": "from captions"}, "strength", 2)])
def test_a_workflow_is_split_by_what_has_a_value_for_each_server(changed, axis, count):
    graph = {**GRAPH, "2": {**GRAPH["2"], "inputs": {**GRAPH["2"]["inputs"], **changed}}}
    split, parts = split_workflow(graph, "shared", 2)
    assert split == axis and len(parts) == count and parts[0].graph["2"]["inputs"]["name"] == "shared"
    assert graph["2"]["inputs"]["name"] == ""


def test_values_are_sent_as_exactly_as_they_were_written():
    graph = {**GRAPH, "2": {**GRAPH["2"], "inputs": {**GRAPH["2"]["inputs"], "prompts": "red",
                                                     "strengths": "0.8333333, 1.0"}}}
    assert [part.graph["2"]["inputs"]["strengths"] for part in split_workflow(graph, "shared", 2)[1]] == \
        ["0.8333333", "1"]


@pytest.mark.parametrize("line", [b"garbage\r\n\r\n", b"HTTP/1.0 200 OK\r\n\r\n" + b'{"id": {"status": ["error"]}}'])
def test_a_server_that_answers_anything_else_has_failed(make_host, line):
    host = make_host()
    host.server.RequestHandlerClass.do_GET = lambda handler: handler.wfile.write(line)
    with pytest.raises(HostFailed, match="does not answer|the workflow failed there"):
        host.client.state("id")


def test_what_cannot_be_shared_is_refused(tmp_path):
    inputs = {**GRAPH["2"]["inputs"], "prompts": "red", "strengths": "by the model"}
    with pytest.raises(UserError, match="nothing can be shared"):
        split_workflow({"2": {**GRAPH["2"], "inputs": inputs}}, "shared", 2)
    with pytest.raises(UserError, match="0 nodes that draw a sweep"):
        find_sweeper({"1": GRAPH["1"]})
    (tmp_path / "graph.json").write_text(json.dumps({"nodes": []}))
    with pytest.raises(UserError, match="not a workflow in API format"):
        read_workflow(tmp_path / "graph.json")
    for address in ("file:///etc/passwd", "http://[::1", "http://host:port"):
        with pytest.raises(UserError, match="' is not the address of a ComfyUI"):
            check_address(address)


def test_the_shipped_sweeps_can_be_shared():
    from lora_bootstrap.sandbox import BASE_DIR

    folder = BASE_DIR.parents[1] / "workflows" / "api"
    for name in ("6 Compare - checkpoint sweep", "6 Compare - strength grid"):
        axis, parts = split_workflow(read_workflow(folder / f"{name}.json"), "shared", 2)
        assert axis == "prompt" and len(parts) >= 3
