"""The pack in a real ComfyUI server: its nodes, its templates, and what it tells while it trains.

On every host it must load, offer its nodes, and train; the rest, here and in other files, is tried on the newest.
"""

from __future__ import annotations

import io
import json
import statistics
import threading
import time

import numpy as np
import pytest
from PIL import Image

from ..helpers.hosts import ALL_HOSTS, find_hosts
from ..helpers.server import PACK, Refused
from ..helpers.serving import EVENT, FEW_STEPS, loras, pixels, run_folder, status, steps_done
from ..helpers.templates import api, without_previews

TEMPLATES = ["2 Train a style LoRA", "3 Train a character LoRA"]
"""Those that train on the sandbox; the first on every host. With ALL_HOSTS=1 they take all the steps that they ship
with."""


@pytest.fixture(scope="module", params=find_hosts() or [None], ids=lambda host: host.name if host else "no host")
def server(request, servers):
    """Each host's server, in which nothing has run."""
    return servers.untouched(request.param)


def test_the_pack_loads_without_a_warning(server):
    log = server.startup_log
    lines = [line for line in log.splitlines() if "lora-bootstrap" in line.lower() or "lora_bootstrap" in line]
    assert lines and not [line for line in lines if any(word in line for word in ("FAILED", "WARN", "ERROR", "Cannot"))]
    assert "Traceback" not in log


def test_every_node_is_offered_as_recorded(server):
    info = server.get("/object_info")
    recorded = json.loads(_record(server).read_text("utf-8"))
    ours = {name for name in info if name.startswith("LoraBootstrap_")}
    assert ours == {name for name in recorded if name.startswith("LoraBootstrap_")} and len(ours) >= 10
    for told in (info, recorded):  # which runs there are is no fact of the pack
        told["LoraBootstrap_LoadRun"] = {**told["LoraBootstrap_LoadRun"], "input": None}
    assert {name: info.get(name) for name in recorded} == recorded


def _record(server):
    version = server.get("/system_stats")["system"]["comfyui_version"]
    return PACK / "tests" / "nodes" / f"object_info_{version}.json"


def test_the_server_offers_the_texts_of_every_node_in_four_languages(server):
    told, info = server.get("/i18n"), server.get("/object_info")
    ours = {name for name in info if name.startswith("LoraBootstrap_")}
    for language, trains in {"en": "Train LoRA (Bootstrap)", "zh": "训练LoRA (Bootstrap)", "ja": "LoRA学習 (Bootstrap)",
                             "ko": "LoRA 학습 (Bootstrap)"}.items():
        nodes = told[language]["nodeDefs"]
        assert ours <= set(nodes) and nodes["LoraBootstrap_TrainLora"]["display_name"] == trains
        for name in ours:  # a text of an input that is not there would never be shown
            inputs = {key for group in info[name]["input"].values() for key in group} | {"control_after_generate"}
            assert set(nodes[name].get("inputs", {})) <= inputs


@pytest.mark.usefixtures("once")
def test_the_templates_are_offered_with_a_thumbnail(server):
    offered = server.get("/workflow_templates")["lora-bootstrap"]
    assert {"2 Train a style LoRA", "3 Train a character LoRA"} <= set(offered)
    for name in offered:
        path = f"/api/workflow_templates/lora-bootstrap/{name}".replace(" ", "%20")
        assert server.get(path + ".json")["nodes"]
        thumbnail = Image.open(io.BytesIO(server.fetch(path + ".jpg")))
        assert thumbnail.format == "JPEG" and min(thumbnail.size) >= 200


# -- templates -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("template", TEMPLATES)
def test_a_template_trains_and_draws_with_what_it_trained(server, tab, template, request):
    if template != TEMPLATES[0]:
        request.getfixturevalue("once")
    prompt = api(template) if template == TEMPLATES[0] or ALL_HOSTS else without_previews(api(template))
    (train,) = [id for id, node in prompt.items() if node["class_type"] == "LoraBootstrap_TrainLora"]
    inputs = prompt[train]["inputs"]
    if not ALL_HOSTS:
        inputs |= {"steps": FEW_STEPS, "batch_size": 2}
    with server.client() as other_tab, Waiting(server, inputs["name"]) as answers:
        result = tab.run(prompt)
        assert result.status == "success", result.error
        other_tab.wait_for(lambda m: m.type == EVENT and m.data["status"] == "finished", "the end, in another tab", 5)
    check_events(tab, inputs["name"], train)
    told = status(server, inputs["name"])
    check_status(server, told)
    assert told["status"] == "finished" and told["node_id"] == train
    assert told["step"] == told["steps"] == len(told["losses"]) == len(steps_done(server, told["run"]))
    run = told["run"]
    assert f"{run}/{run}.safetensors" in loras(server)
    shown = [place for node in result.outputs for place in result.images(node)]
    assert shown and all(min(pixels(server, place).shape[:2]) >= 64 for place in shown)
    cells = [path.read_bytes() for path in (server.base / "output" / "sweeps" / f"{run}-strengths").glob("cells/*.png")]
    assert len(cells) > 3 and len({np.asarray(Image.open(io.BytesIO(cell))).tobytes() for cell in cells}) == len(
        cells), "the trained model draws as the untrained"
    # The page stays usable: what it asks for while the processor is busy comes at once.
    assert len(answers) > 10 and statistics.quantiles(answers, n=100)[-1] < 1.0 and statistics.median(answers) < 0.2


class Waiting:
    """Asks the server what a page asks while it trains; the list of seconds that each answer took."""

    def __init__(self, server, name):
        self.server, self.name, self.seconds = server, name, []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._ask)

    def __enter__(self):
        self._thread.start()
        return self.seconds

    def __exit__(self, *_):
        self._over.set()
        self._thread.join()

    def _ask(self):
        while not self._over.wait(0.2):
            for path in (f"/lora_bootstrap/run?name={self.name}", "/queue", "/prompt"):
                started = time.monotonic()
                try:
                    self.server.get(path)
                except Refused as refusal:  # there is no run yet
                    assert refusal.status == 404 and "error" in refusal.body
                self.seconds.append(time.monotonic() - started)


PROGRESS = {
    "name": str, "run": str, "node_id": str, "status": str, "message": str, "step": int, "steps": int,
    "seconds_left": (float, int, type(None)), "seconds_per_step": (float, int, type(None)),
    "memory": (int, type(None)), "loss": (float, type(None)), "smoothed": (float, type(None)),
    "learning_rate": (float, type(None)), "validation": (list, type(None)), "sample": (dict, type(None)),
    "proofs": list, "notes": list,
}
STATUSES = ("preparing", "training", "finished", "stopped", "cancelled", "failed", "interrupted")


def check_events(tab, name, node):
    """The progress events of one run: their shape, their order, and that there are not too many."""
    sent = [message for message in tab.messages if message.type == EVENT and message.data["name"] == name]
    events = [message.data for message in sent]
    for event in events:
        assert set(event) == set(PROGRESS)
        assert all(isinstance(event[key], kind) for key, kind in PROGRESS.items()), event
        assert event["node_id"] == node and event["status"] in STATUSES
    order = [event["status"] for event in events]
    assert list(dict.fromkeys(order)) == ["preparing", "training", "finished"]
    steps = [event["step"] for event in events if event["status"] == "training"]
    assert steps == sorted(steps) and steps[0] == 1
    assert events[-1]["step"] == events[-1]["steps"]
    changes = sum(a != b for a, b in zip(order, order[1:], strict=False))
    extra = sum(event["sample"] is not None or event["validation"] is not None for event in events)
    proved = len(events[-1]["proofs"])  # each is told at once
    assert len(events) <= 2 * (sent[-1].at - sent[0].at) + changes + extra + proved + 2
    samples = [event["sample"] for event in events if event["sample"]]
    assert all(pixels(tab.server, sample).size for sample in samples)
    # text and pictures in the node go by the host's own ways
    assert any(f"/{events[-1]['steps']}" in data["text"] for data in tab.of_type("progress_text"))
    assert any(data["value"] == data["max"] for data in tab.of_type("progress")
               if data.get("node") == node) or tab.of_type("progress_state")


def check_status(server, told):
    """The run route's answer: its shape, and that what it names is there."""
    kinds = {"name": str, "run": str, "status": str, "message": str, "step": int, "steps": int,
             "losses": list, "smoothed": list, "validation": list, "samples": list, "checkpoints": list,
             "rank": int, "alpha": (int, float), "learning_rate": (int, float), "proofs": list,
             "notes": list, "outliers": list, "figures": str}
    assert all(isinstance(told[key], kind) for key, kind in kinds.items())
    assert set(told) == set(kinds) | {"node_id", "seconds_left", "seconds_per_step", "memory", "resumes_from"}
    assert told["status"] in STATUSES and len(told["losses"]) == len(told["smoothed"]) <= 2000
    for sample in told["samples"]:
        assert sample["type"] == "output" and pixels(server, sample).size
    for saved in told["checkpoints"]:
        assert (run_folder(server, told["run"]) / saved["filename"]).is_file()
