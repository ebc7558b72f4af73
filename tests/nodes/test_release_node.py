"""ReleaseLora: what it takes, and what it writes and shows."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from lora_bootstrap.nodes.sharing.release import LINKED_RUN, ReleaseLora
from lora_bootstrap.trainer.common.errors import UserError
from lora_bootstrap.trainer.common.files import write_json
from lora_bootstrap.trainer.datasets.dataset import load_folder
from lora_bootstrap.trainer.statements.feedback import read_feedback

from ..helpers.trained_run import draw_scored, write_trained
from ..helpers.written_project import write_project

WIDGETS = {"lora": LINKED_RUN, "name": "", "title": "", "author": "", "version": "1.0", "changes": "",
           "description": "", "licence": "", "tags": "", "base_model": "", "civitai_base": "", "trigger": "",
           "negative": "", "person": "not stated", "consent_by": "", "consent_written": "not stated",
           "consent_images": False, "consent_training": False, "consent_generating": False, "rights_holder": "",
           "strength": 0.0, "step": 0, "previews": 6, "strip": False, "captions": False, "workflow": False}


@pytest.fixture(autouse=True)
def _hidden(monkeypatch):
    monkeypatch.setattr(ReleaseLora, "hidden", SimpleNamespace(unique_id="1"), raising=False)


def release(**values):
    return ReleaseLora.execute(**WIDGETS | values).args


def test_a_linked_run_is_released_among_the_hosts_loras(host):
    run = write_trained(host.output)
    folder, packed, report = release(run=run, sweep=draw_scored(host.output, run), person="real", consent_by="Jo",
                                     consent_images=True, tags="a, b")
    assert Path(folder) == host.output / "loras" / "releases" / "akane" and Path(packed).is_file()
    assert "whose consent is not stated for: training, generating." in report.splitlines()[0]
    assert "Strength: 0.8, by Score Sweep" in report and host.server.texts[-1][0].startswith("⚠")
    by_name = release(lora="releases/akane/akane.safetensors", name="again", strength=0.6)[2]
    assert "Strength: 0.6, stated by the author." in by_name and "It has no previews" in by_name


def test_its_panel_gets_the_card_with_previews_where_the_host_serves_them(host):
    run = write_trained(host.output)
    told, = ReleaseLora.execute(**WIDGETS | {
        "run": run, "sweep": draw_scored(host.output, run), "person": "real", "title": "Akane"}).ui["lora_bootstrap"]
    card = told["release"]
    assert card["title"] == "Akane" and card["folder"] == "loras/releases/akane" and len(card["previews"]) == 5
    assert all((host.output / card["folder"] / preview["place"]).is_file() for preview in card["previews"])
    assert ("strength", "0.8, by Score Sweep.") in card["rows"] and ("licence", "not stated") in card["rows"]
    assert "consent is not stated" in card["warnings"][0] and "It was tested with one seed only." in card["limits"]
    assert card["lines"][-1].startswith("To upload it to Civitai")


def test_a_tester_s_form_is_saved_with_the_runs_project_and_anything_else_is_refused_before_the_release(host):
    form = "[release]\nakane\n[worked]\nall of it"
    run = write_trained(host.output)
    assert "not saved: the run belongs to no bootstrap project." in release(run=run, feedback=form)[2]
    folder = write_project(host.output, "akane", candidates=1)
    rows = [{"content": crop.content_hash, "name": "x"} for crop in load_folder(folder / "crops")]
    write_json(run.folder / "images.json", {"images": rows})
    assert "1 new feedback form saved with project 'akane'." in release(run=run, feedback=form)[2]
    assert read_feedback(folder).answers[0].worked == "all of it"
    with pytest.raises(UserError, match="not a feedback form"):
        release(run=run, name="never", feedback="Nice!")
    assert not (host.output / "loras" / "releases" / "never").exists()


def test_a_run_and_a_lora_at_once_and_neither_are_refused(host):
    run = write_trained(host.output)
    with pytest.raises(UserError, match="no run is linked"):
        release()
    with pytest.raises(UserError, match="both a run and the LoRA"):
        release(run=run, lora="akane/akane.safetensors")


def test_a_name_that_no_folder_can_have_is_refused_before_the_run():
    assert ReleaseLora.validate_inputs("", "1.0") is True
    assert ReleaseLora.validate_inputs(None, "1.0") is True, "a linked text is not known yet"
    assert "'../x'" in ReleaseLora.validate_inputs("../x", "1.0")
    assert "version" in ReleaseLora.validate_inputs("x", "")


def test_new_scores_or_marks_of_a_sweep_release_again(host):
    before = ReleaseLora.fingerprint_inputs(LINKED_RUN)
    draw_scored(host.output, write_trained(host.output))
    scored = ReleaseLora.fingerprint_inputs(LINKED_RUN)
    assert scored != before
    (host.output / "lora_strengths.json").write_text("{}")
    assert ReleaseLora.fingerprint_inputs(LINKED_RUN) != scored, "strengths with other LoRAs are in the card"
