"""The routes of a browser tab: it says that it has panels, and asks what nodes of its workflow last showed."""

from types import SimpleNamespace

import pytest

from lora_bootstrap.host.events import CLEARED, tell_sweep
from lora_bootstrap.host.routes import tabs as tab_routes  # noqa: F401 (registers itself)
from lora_bootstrap.host.session import current_session
from lora_bootstrap.host.shown_text import has_panels, show_beside_panel, show_text

from ...helpers.asking import ask


def last_runs(workflow, tab="the tab that queued"):
    return ("GET", "/lora_bootstrap/last_runs", {"params": {"workflow": workflow, "tab": tab}})


@pytest.fixture
def run(host, monkeypatch):
    """Let the host run a prompt of a workflow: (its id, the folder that node 7 audits)."""
    def begin(workflow, folder="akane"):
        prompt = {"7": {"class_type": "LoraBootstrap_AuditDataset", "inputs": {"folder": folder, "dataset": ["6", 0]}}}
        extra = {"extra_pnginfo": {"workflow": {"id": workflow}}} if workflow else {}
        monkeypatch.setattr(host.server, "last_prompt_id", "p", raising=False)
        monkeypatch.setattr(host.server, "prompt_queue", SimpleNamespace(
            currently_running={0: (0, "p", prompt, extra, ["7"])}), raising=False)
    return begin


def test_a_tab_that_was_loaded_again_gets_what_its_nodes_last_showed(run):
    run("mine")
    show_text("3 of 20", "7")
    show_text("20 images <b>", "7")
    tell_sweep("grid", "7", 1, 0, 2)
    ((status, told), (_, other)) = ask(last_runs("mine"), last_runs("another"))
    assert status == 200 and other == {"nodes": []}
    assert told == {"nodes": [{"node": "7", "kind": "LoraBootstrap_AuditDataset", "values": {"folder": "akane"},
                               "text": "20 images <\ufeffb>", "told": {"sweep": "grid"}}]}


def test_who_opens_the_same_template_does_not_see_what_another_tab_ran(run, host, monkeypatch):
    run("a template's")
    show_text("20 images", "7")
    assert ask(last_runs("a template's", "another"), last_runs("a template's", "")) == [(200, {"nodes": []})] * 2
    monkeypatch.setattr(host.server, "client_id", None)
    show_text("28 images", "7")
    ((_, told),) = ask(last_runs("a template's", "another"))
    assert [node["text"] for node in told["nodes"]] == ["28 images"], "nobody knows whose it is"


def test_what_a_node_showed_with_other_values_is_forgotten(run):
    run("mine")
    tell_sweep("grid", "7", 2, 0, 2)
    run("mine", folder="photos")
    show_text("28 images", "7")
    ((_, told),) = ask(last_runs("mine"))
    assert [(node["values"], node.get("text"), node.get("told")) for node in told["nodes"]] == [
        ({"folder": "photos"}, "28 images", None)]


def test_what_is_no_longer_true_beside_a_panel_is_taken_away(run, host):
    run("mine")
    current_session().tabs.add(host.server.client_id)
    for beyond in ("", "Alarm: drift.", ""):
        show_beside_panel("16 of 16 kept", "7", beyond)
    assert host.server.texts == [("Alarm: drift.", "7"), ("\u200b", "7")]
    assert ask(last_runs("mine"))[0][1]["nodes"][0]["text"] == ""


@pytest.mark.parametrize("workflow", ["mine", CLEARED])
def test_what_was_said_about_other_values_is_taken_away_when_a_sweep_begins(run, host, workflow):
    run(workflow)
    current_session().tabs.add(host.server.client_id)
    show_beside_panel("9 of 9 cells", "7", "Alarm: drift.")
    run(workflow, folder="photos")
    tell_sweep("grid", "7", 0, 0, 9)
    show_beside_panel("0 of 9 cells", "7")
    assert host.server.texts == [("Alarm: drift.", "7"), ("\u200b", "7")]


def test_what_was_said_to_a_tab_is_taken_away_when_it_has_another_id(run, host, monkeypatch):
    run("mine")
    current_session().tabs.add(host.server.client_id)
    show_beside_panel("9 of 9 cells", "7", "Alarm: drift.")
    monkeypatch.setattr(host.server, "client_id", "loaded again")
    current_session().tabs.add("loaded again")
    show_beside_panel("0 of 9 cells", "7")
    assert host.server.texts[1:] == [("\u200b", "7")]


@pytest.mark.parametrize("sent", [[], "x", {"workflow": []}, {"workflow": '{"id": "mine"}'}, {"workflow": {"id": 0}}])
def test_a_workflow_of_another_form_is_no_workflow(host, monkeypatch, sent):
    prompt = {"7": {"class_type": "LoraBootstrap_AuditDataset", "inputs": {}}}
    monkeypatch.setattr(host.server, "last_prompt_id", "p", raising=False)
    monkeypatch.setattr(host.server, "prompt_queue", SimpleNamespace(
        currently_running={0: (0, "p", prompt, {"extra_pnginfo": sent}, ["7"])}), raising=False)
    show_text("20 images", "7")
    assert host.server.texts == [("20 images", "7")] and ask(last_runs(""))[0][1] == {"nodes": []}


def test_nothing_is_remembered_of_a_prompt_without_a_workflow(run):
    for workflow in (None, CLEARED):
        run(workflow)
        show_text("20 images", "7")
    assert [told for _, told in ask(last_runs(""), last_runs(CLEARED))] == [{"nodes": []}] * 2


def test_a_tab_says_that_it_has_panels(host):
    answers = ask(*(("POST", "/lora_bootstrap/panels", {"json": body}) for body in (
        {"tab": host.server.client_id}, {"tab": 3}, {"tab": ""}, {})))
    assert [status for status, _ in answers] == [200, 400, 400, 400] and has_panels()
    assert host.server.client_id in current_session().tabs and "another" not in current_session().tabs
