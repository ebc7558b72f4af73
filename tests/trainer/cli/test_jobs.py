"""`lora-bootstrap pack`, `run` and `import-result`: there and back on the command line."""

import json
import signal

import pytest

from lora_bootstrap.trainer.backends import diffusers as pipeline
from lora_bootstrap.trainer.common.files import read_json, write_json
from lora_bootstrap.trainer.jobs import costs, run as running
from lora_bootstrap.trainer.training.events import StepDone
from lora_bootstrap.trainer.training.runs import read_run

from ...helpers.command_line import SMALL, run
from ...helpers.packed_job import count_at_once

SWEEP = ["--prompt", "zqx, grass", "--strengths", 1, "--width", 32, "--height", 32, "--sample-steps", 2]

PREVIEWS = ["--set", "preview_every=3", "--set", 'preview_prompts=["zqx"]']


@pytest.fixture
def told(tiny, tiny_backbone, tmp_path, dataset, capsys, monkeypatch):
    """What a command prints as JSON; every base is the tiny one."""
    monkeypatch.setattr(pipeline, "base_fingerprint", lambda base, precision="auto": tiny_backbone.fingerprint)
    monkeypatch.setattr(costs, "count_published", count_at_once)
    monkeypatch.chdir(tmp_path)

    def call(*argv, code=0):
        assert run(*argv, "--json") == code
        return json.loads(capsys.readouterr().out)
    return call


def test_a_folder_goes_away_as_a_job_and_comes_back_as_a_finished_run(told, tmp_path):
    packed = told("pack", "data", "--name", "discs", *SMALL, "--set", "save_every=1", *PREVIEWS, *SWEEP,
                  "--price", 2)
    assert (packed["job"], packed["images"], packed["steps"]) == ("discs-job.zip", 6, 3)
    card, seconds = next(iter(packed["seconds"].items()))
    assert seconds > 0 and packed["cost"][card] == pytest.approx(seconds / 3600 * 2)
    done = told("run", "discs-job.zip")
    assert done["finished"] and done["result"] == str(tmp_path / "discs-job-result.zip") and not done["left_out"]
    back = told("import-result", done["result"], "--output", "desk")
    again = told("train", "--dataset", "data", "--name", "discs", *SMALL, "--set", "save_every=1", *PREVIEWS,
                 "--output", "desk")
    assert again["reused"] and again["lora"] == back["lora"]
    drawn = told("sweep", "--run", back["run"], *SWEEP, "--output", "desk", "--name", "discs-checkpoints")
    assert drawn["cells"] == 3 and drawn["folder"] == "desk/sweeps/discs-checkpoints"
    log = (tmp_path / "discs-job" / "log.txt").read_text()
    assert "job discs" in log and "saved discs-step000001.safetensors" in log
    assert "previews in discs-job/output/loras/discs/samples" in log and str(tmp_path) not in log


def test_a_machine_that_is_taken_back_stops_the_job_and_packs_what_it_has(told, tmp_path, monkeypatch):
    told("pack", "data", "--name", "discs", *SMALL)
    real = running.run_job

    def interrupted(*values):
        for event in real(*values):
            if isinstance(event, StepDone) and event.step == 1:
                signal.raise_signal(signal.SIGTERM)
            yield event

    monkeypatch.setattr(running, "run_job", interrupted)
    part = told("run", "discs-job.zip", "--work", "first", code=130)
    assert not part["finished"] and part["missing"].startswith("the training, of which ")
    monkeypatch.setattr(running, "run_job", real)
    assert told("run", "first-result.zip", "--work", "second", "--out", "whole.zip")["finished"]
    assert told("run", "second", "--only-pack", "--out", "again.zip")["finished"]


def test_another_base_is_refused_or_trained_on_as_another_lora(told, tmp_path, capsys, monkeypatch, tiny_backbone):
    told("pack", "data", "--name", "discs", *SMALL)
    monkeypatch.setattr(pipeline, "base_fingerprint", lambda base, precision="auto": "another one")
    assert run("run", "discs-job.zip") == 2
    assert "is not the job's base: the hash of its weights is another one" in capsys.readouterr().err
    monkeypatch.setattr(tiny_backbone, "fingerprint", "another one")
    done = told("run", "discs-job.zip", "--any-base")
    back = told("import-result", done["result"], "--output", "desk")
    assert "another base than the job's" in back["notes"][0]
    assert read_run(back["run"]).lineage["base"] == "another one"


def test_a_run_is_packed_with_its_own_settings_and_says_if_the_images_changed(told, tmp_path, capsys):
    told("train", "--dataset", "data", "--name", "discs", *SMALL, "--output", "here")
    folder = tmp_path / "here" / "loras" / "discs"
    told("pack", folder, "--dataset", "data", "--out", "a.zip")
    assert told("run", "a.zip")["finished"]
    assert read_run(tmp_path / "a" / "output" / "loras" / "discs").key == read_run(folder).key
    (tmp_path / "data" / "disc0.txt").write_text("other")
    assert run("pack", folder, "--dataset", "data", "--out", "b.zip") == 0
    assert "are not those that discs was trained on" in capsys.readouterr().out
    lineage = {"regularisation": "0" * 64, "beside": [{"name": "hat", "tensors": "0" * 64, "strength": 1.0}]}
    facts = read_json(folder / "run.json")
    write_json(folder / "run.json", {**facts, "lineage": {**facts["lineage"], **lineage}})
    assert run("pack", folder, "--dataset", "data", "--out", "c.zip") == 0
    said = capsys.readouterr().out
    assert "the regularisation images are not those of discs, so this is another training" in said
    assert "the LoRAs beside the training are not those of discs" in said
    (tmp_path / "a" / "output" / "loras" / "discs" / "notes.docx").touch()
    assert run("run", "a", "--only-pack") == 0
    assert "left out, as a result has no place for them: runs/discs/notes.docx" in capsys.readouterr().out
