"""ExportJob and ImportResult: a workflow's training goes to another machine, and comes back as its own."""

import shutil
import zipfile

import pytest
import torch

from lora_bootstrap.host.training import job as jobs
from lora_bootstrap.nodes.sharing.jobs import ALL_CARDS, ExportJob, ImportResult, result_file, sweep_plan
from lora_bootstrap.nodes.sockets import TrainSettings
from lora_bootstrap.nodes.train import TrainLora
from lora_bootstrap.sandbox import PICTURES_DIR
from lora_bootstrap.trainer.common.errors import UserError
from lora_bootstrap.trainer.common.names import MOST_BYTES
from lora_bootstrap.trainer.datasets.dataset import load_folder
from lora_bootstrap.trainer.jobs import costs
from lora_bootstrap.trainer.jobs.job import Job
from lora_bootstrap.trainer.jobs.result import pack_result
from lora_bootstrap.trainer.models.families import get_family

from ..helpers.packed_job import count_at_once, run_to_end

SETTINGS = TrainSettings({"adapter.text_encoder": False, "data.shuffle_captions": False, "adapter.conv_rank": 0,
                          "preview_every": 0})
WIDGETS = {"name": "girl", "trigger": "akane", "kind": "character", "steps": 2, "rank": 2, "alpha": 0.0,
           "learning_rate": 0.0, "batch_size": 1, "resolution": 32, "seed": 0}
OWN = {"checkpoints": "last", "strengths": "1", "prompts": "akane, grass", "prompt_set": "as written", "seeds": "1",
       "score": False, "base_source": "", "pack_beside": False, "price": 0.5, "card": ALL_CARDS}
PARTS = ("MODEL", "CLIP", "VAE")
BASE = "fingerprint in ComfyUI"


def export(**changed):
    """As in a host: in inference mode."""
    with torch.inference_mode():
        return ExportJob.execute(*PARTS, load_folder(PICTURES_DIR), settings=SETTINGS,
                                 **{**WIDGETS, **OWN, **changed}).args


def test_the_sweep_of_the_longest_name_has_a_name_too():
    assert len(sweep_plan("n" * MOST_BYTES, True, "all", "1", "akane", "as written", "1").name) == MOST_BYTES


def read_job(file, tmp_path):
    with zipfile.ZipFile(file) as opened:
        opened.extract("job.json", tmp_path)
    return Job.load(tmp_path / "job.json")


@pytest.fixture(autouse=True)
def _counted(monkeypatch):
    monkeypatch.setattr(costs, "count_published", count_at_once)


def test_a_training_goes_away_and_train_lora_finds_it_when_it_is_back(adapter, host, sandbox, tmp_path, monkeypatch):
    with monkeypatch.context() as desk:
        desk.setattr(sandbox, "fingerprint", BASE)
        file, report = export()
    assert file == str(host.output / "jobs" / "girl-job.zip")
    assert "2 steps, sweep girl-checkpoints" in report and "RTX 4090: about" in report and "at 0.5 an hour" in report
    job = read_job(file, tmp_path)
    assert (job.base.fingerprint, job.desk.base, job.base.name) == (sandbox.fingerprint, BASE, "sandbox")
    away = run_to_end(sandbox, result_file("output/jobs/girl-job.zip"), tmp_path / "away")
    pack_result(away, host.input / "girl-result.zip")
    run, sweep, path, told = ImportResult.execute("input/girl-result.zip", "").args
    assert run.finished and not sweep.missing() and path == str(host.output / "loras" / "girl" / "girl.safetensors")
    assert "the desk takes it for its own" in told
    monkeypatch.setattr(sandbox, "fingerprint", BASE)
    with torch.inference_mode():
        again = TrainLora.execute(*PARTS, load_folder(PICTURES_DIR), settings=SETTINGS, retrain=False, **WIDGETS)
    assert again.ui["lora_bootstrap"][0]["reused"] is True and again.args[5] == path


def test_a_job_without_prompts_has_no_sweep_and_a_lora_is_imported_alone(adapter, host, tmp_path):
    file, report = export(prompts="# none", name="plain")
    assert read_job(file, tmp_path).sweep is None and "no sweep, as no prompt was given" in report
    lora = next((run_to_end(adapter.backbone, result_file("output/jobs/plain-job.zip"), tmp_path / "work").loras
                 / "plain").glob("*.safetensors"))
    shutil.copy(lora, host.input / "theirs.safetensors")
    run, sweep, path, _ = ImportResult.execute("input/theirs.safetensors", "mine").args
    assert path == str(host.output / "loras" / "mine.safetensors")
    assert "no run to give" in run.message and "no sweep to give" in sweep.message


def test_a_base_that_another_machine_cannot_have_is_refused(adapter, monkeypatch, tmp_path):
    with pytest.raises(UserError, match="the file of the MODEL is not known .gone.safetensors"):
        jobs.describe_base("sdxl", "gone.safetensors", "")
    (tmp_path / "old.ckpt").touch()
    with pytest.raises(UserError, match="old.ckpt is not a .safetensors file"):
        jobs.describe_base("sdxl", str(tmp_path / "old.ckpt"), "")
    monkeypatch.setattr(jobs, "loras_on_model", lambda model, place: ["ink at 0.8"])
    with pytest.raises(UserError, match="the MODEL carries ink at 0.8"):
        export()
    monkeypatch.setattr(jobs, "loras_on_model", lambda model, place: [])
    monkeypatch.setattr(adapter.backbone, "family", get_family("flux"))
    with pytest.raises(UserError, match="the base is Flux.1, which only ComfyUI trains"):
        export()


def test_a_mistake_is_told_before_the_run(host):
    texts = {"name": "girl", "trigger": "akane", "kind": "character"}
    assert ExportJob.validate_inputs(**texts, strengths="0.8", seeds="1") is True
    assert "strengths" in ExportJob.validate_inputs(**texts, strengths="high", seeds="1")
    assert "trigger is empty" in ExportJob.validate_inputs(**{**texts, "trigger": ""})
    assert "'input/../x.zip' is not in ComfyUI's input folder" in ImportResult.validate_inputs("input/../x.zip", "")
    (host.input / "r.zip").touch()
    assert ImportResult.validate_inputs("input/r.zip", "") is True
