"""Thousands of requests that no browser sends: each is answered, none reaches a file outside the pack's folders, and
none leaves a traceback."""

import asyncio
import json
import logging
from collections import Counter
from dataclasses import replace

import folder_paths
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from PIL import Image
from server import PromptServer
from yarl import URL

import nodes as host_nodes
from lora_bootstrap.host import paths
from lora_bootstrap.host.folders.uploads import MARK
from lora_bootstrap.host.routes import (  # noqa: F401 (register themselves)
    checks,
    folders,
    gallery,
    plans,
    projects,
    runs,
    stacks,
    sweeps,
    tabs,
    tags,
)
from lora_bootstrap.host.session import current_session
from lora_bootstrap.nodes.audit import AuditDataset
from lora_bootstrap.nodes.prepare import PrepareDataset
from lora_bootstrap.nodes.sampling import SamplingByModel
from lora_bootstrap.nodes.settings import TrainSettingsNode
from lora_bootstrap.nodes.sweep import CheckpointSweep, StrengthGrid
from lora_bootstrap.nodes.train import TrainLora
from lora_bootstrap.trainer.datasets.dataset import load_folder, save_samples

from ...helpers.asking import ask, sent_as_json
from ...helpers.hostile_requests import HostileRequests, write_canaries, wrong_with

COUNT = 2500
PLANNED = (AuditDataset, PrepareDataset, SamplingByModel, TrainSettingsNode, CheckpointSweep, StrengthGrid, TrainLora)


@pytest.fixture
def known(host, monkeypatch):
    """What there is to ask for."""
    loras = host.base / "models/loras"
    loras.mkdir(parents=True)
    for node in PLANNED:
        monkeypatch.setitem(host_nodes.NODE_CLASS_MAPPINGS, node.object_info()["name"], node)
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "loras",
                        ([str(loras), str(host.output / "loras")], {".safetensors"}))
    save_samples(host.input / "girl", [(Image.new("RGB", (32, 32), "red"), "a", {"name": "a"})])
    edited = current_session().editors.show(load_folder(host.input / "girl"), paths.edits_file("mine"))
    return replace(write_canaries(host.base), dataset=edited.id, picture=next(iter(edited.pictures)))


def files_outside(host):
    """All files but those that the routes may write, with their sizes and times."""
    ours = [str(root) for root in (host.output, paths.edits_root(), paths.temp_root(), host.base / "models/loras")]
    ours += [str(mark.parent) for mark in host.input.glob(f"*/{MARK}")]
    return {path: (path.stat().st_size, path.stat().st_mtime_ns) for path in host.base.rglob("*")
            if path.is_file() and not str(path).startswith(tuple(ours))}


def test_every_route_answers_whatever_it_is_asked(host, known, caplog):
    requests, before = HostileRequests(known, seed=1), files_outside(host)
    registered = {(route.method, route.path) for route in PromptServer.instance.routes}
    assert set(requests.routes) == registered and len(registered) == 34

    async def send() -> tuple[Counter, list]:
        app, told, bad = web.Application(), Counter(), []
        app.add_routes(PromptServer.instance.routes)
        async with TestClient(TestServer(app)) as client:
            for number in range(COUNT):
                request = requests.make(number)
                url = URL(str(client.make_url("/")) + request.path[1:], encoded=True)
                async with client.session.request(request.method, url, data=request.body or None,
                                                  headers=request.headers) as answer:
                    content = await answer.read()
                told[answer.status] += 1
                if answer.content_type == "application/json":
                    known.learn(request, json.loads(content))
                if wrong := wrong_with(answer.status, content):
                    bad.append((wrong, request, content[:200]))
        return told, bad

    told, bad = asyncio.run(send())
    assert bad == []
    assert told[200] > COUNT / 10 and told[403] > 5 and told[415] > 50, told
    noted = [record for record in caplog.records if record.levelno >= logging.ERROR or record.exc_info]
    assert [record.getMessage() for record in noted] == []
    assert files_outside(host) == before and list(host.base.rglob("*.tmp")) == []
    made = {name: sorted(path.name for path in (host.output / name).glob("[!.]*")) for name in ("sweeps", "bootstrap")}
    assert {path.name for path in host.input.iterdir() if path.name != "girl"} == {
        mark.parent.name for mark in host.input.glob(f"*/{MARK}")} != set()
    assert made == {"sweeps": ["linked", "s1"], "bootstrap": ["linked", "zqx"]}


STOP = "/lora_bootstrap/stop"


@pytest.mark.parametrize(("text", "status"), [
    ("[" * 10**6, 400), ('{"run":' * 10**5, 400), ('{"run": "\\ud800"}', 400), ('{"\\udfff": 1}', 400),
    ('{"run": NaN}', 400), ('{"run": 1e999}', 400), ('{"run": 999999999999999999999}', 400),
    (f'{{"run": {"9" * 9999}}}', 400), ("[]", 400), ("null", 400), ("", 400), ("\ufeff{}", 400),
    (b"\xff\xfe{\x00}\x00", 400),
    ('{"run": ' + "[" * 15 + "]" * 15 + "}", 400), ('{"run": ' + "[" * 17 + "]" * 17 + "}", 400),
    (" " * (16 * 2**20 + 1), 413), ('{"run": "nobody", "more": {"a": [18446744073709551615, 2.5, null, true]}}', 404)])
def test_a_body_that_no_route_can_use_is_refused_before_any_route_sees_it(host, text, status):
    ((answered, told),) = ask(("POST", STOP, sent_as_json(text)))
    assert answered == status and list(told) == ["error"] and "\n" not in told["error"]


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "text/json",
                                  "application/json; charset=utf-16", "application/json; charset=nonsense", ""])
def test_a_page_must_ask_leave_because_only_json_is_taken(host, kind):
    """What a page of any origin may send unasked is text/plain and forms
    (https://fetch.spec.whatwg.org/#simple-header)."""
    ((status, told),) = ask(("POST", STOP, {"data": b'{"run": "x"}', "headers": {"Content-Type": kind}}))
    assert status == 415 and "application/json" in told["error"]


@pytest.mark.parametrize(("headers", "status"), [
    ({"Origin": "http://evil.example"}, 403), ({"Origin": "null"}, 403), ({"Origin": "http://["}, 403),
    ({"Origin": ""}, 403), ({"Origin": "http://192.168.1.5:1"}, 403),
    ({"Origin": "http://192.168.1.5:8188.evil.example"}, 403),
    ({"Origin": "http://evil.example", "Sec-Fetch-Site": "cross-site"}, 403),
    ({}, 404), ({"Origin": "http://192.168.1.5:8188"}, 404), ({"Origin": "http://192.168.1.5"}, 404),
    ({"Origin": "https://draw.example", "Sec-Fetch-Site": "same-origin"}, 404),
    ({"Origin": "https://draw.example", "X-Forwarded-Host": "draw.example"}, 404)])
def test_a_page_of_another_origin_changes_nothing(host, headers, status):
    ((answered, _),) = ask(("POST", STOP, {
        "json": {"run": "nobody"}, "headers": {"Host": "192.168.1.5:8188", **headers}}))
    assert answered == status


def test_a_server_that_was_opened_to_other_origins_answers_them(host, monkeypatch):
    from comfy.cli_args import args

    monkeypatch.setattr(args, "enable_cors_header", "*")
    assert ask(("POST", STOP, {"json": {"run": "nobody"}, "headers": {"Origin": "http://a.example"}}))[0][0] == 404


def test_a_route_that_fails_says_so_in_one_line_here_and_in_the_log(host, monkeypatch, caplog):
    monkeypatch.setattr(runs, "run_status", lambda root, name: {}["a\nb"])
    ((status, told),) = ask(("GET", "/lora_bootstrap/run", {"params": {"name": "x"}}))
    assert status == 500 and told["error"].startswith(r"this failed: KeyError: 'a\nb'. Please report it")
    (line,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert line.getMessage() == r"LoRA Bootstrap: GET /lora_bootstrap/run failed: KeyError: 'a\nb'"
    assert line.exc_info is None
