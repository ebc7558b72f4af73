"""A job is packed, run on another machine, and comes back to the desk as if it had been trained there."""

import itertools
import json
import shutil
import zipfile
from importlib.metadata import version

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from lora_bootstrap.trainer.common.errors import UserError
from lora_bootstrap.trainer.common.files import read_json
from lora_bootstrap.trainer.datasets.dataset import Sample, load_folder
from lora_bootstrap.trainer.jobs.import_result import desk_key, import_result
from lora_bootstrap.trainer.jobs.job import Desk, Job
from lora_bootstrap.trainer.jobs.pack import JobSets, find_desk_precision
from lora_bootstrap.trainer.jobs.result import pack_result
from lora_bootstrap.trainer.jobs.run import JobEnded, run_job
from lora_bootstrap.trainer.jobs.work import open_work
from lora_bootstrap.trainer.stacks.stack import StackEntry
from lora_bootstrap.trainer.sweeps.cells import Sweep
from lora_bootstrap.trainer.training.config import TrainConfig
from lora_bootstrap.trainer.training.events import Finished, StepDone
from lora_bootstrap.trainer.training.loop import train
from lora_bootstrap.trainer.training.runs import read_run

from ...helpers.packed_job import SWEEP, make_request, run_to_end, write_job
from ...helpers.short_runs import run as train_run, short_config

HOST = Desk("a fingerprint of ComfyUI", "sandbox", "bf16")


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    from ...helpers.tiny import make_dataset

    return make_dataset(tmp_path_factory.mktemp("images") / "data")


@pytest.fixture(scope="module")
def finished(tiny_backbone, shared, tmp_path_factory):
    """(work, result) of a job that was run to its end elsewhere."""
    folder = tmp_path_factory.mktemp("away")
    work = run_to_end(tiny_backbone, write_job(folder, tiny_backbone, shared, sweep=SWEEP, save_every=3))
    return work, pack_result(work, folder / "result.zip").file


def weights(folder):
    return load_file(read_run(folder).final_path)


def same(mine, theirs):
    return mine.keys() == theirs.keys() and all(torch.equal(mine[name], theirs[name]) for name in mine)


# -- packing -----------------------------------------------------------------------------------------------------------


def test_a_job_holds_every_image_as_it_is_given_and_no_path_of_the_machine(tiny_backbone, tmp_path):
    from ...helpers.tiny import make_dataset

    plain = make_dataset(tmp_path / "data", count=3)
    mask = tmp_path / "mask.png"
    Image.new("L", (32, 32), 255).save(mask)
    first, second, third = plain
    cropped = Sample(second.path, (16, 16), "half", 3, (0, 0, 16, 16), "whole", mask, "black")
    given = type(plain)((first, cropped, Sample(third.path, third.size, "alpha", mask=third.path)))
    request = make_request(tiny_backbone, given)
    sets = JobSets(given, validation=plain, regularisation=load_folder(tmp_path / "data"))
    job = type(request)(request.config, sets, request.base, request.desk).write(tmp_path / "job.zip").file
    work = open_work(job, tmp_path / "there")
    found = work.load_sets()
    assert found.train.fingerprint == given.fingerprint and found.train.samples[2].mask == found.train.samples[2].path
    assert [sample.path.name for sample in found.train] == [sample.path.name for sample in given]
    assert found.fingerprints(request.config) == sets.fingerprints(request.config)
    with zipfile.ZipFile(job) as opened:
        assert all(str(tmp_path) not in opened.read(name).decode() for name in ("job.json", "images.json"))
        assert len([name for name in opened.namelist() if name.startswith("files/")]) == 4, "each file once"


def test_a_job_with_a_changed_image_is_not_trained(tiny_backbone, shared, tmp_path):
    work = open_work(write_job(tmp_path, tiny_backbone, shared), tmp_path / "there")
    Image.new("RGB", (32, 32)).save(next((work.folder / "files").rglob("*.png")))
    with pytest.raises(UserError, match="not those that it was packed with .dataset"):
        work.load_sets()


def test_a_folder_of_another_job_is_left_as_it_is(tiny_backbone, shared, tmp_path):
    there = open_work(write_job(tmp_path, tiny_backbone, shared), tmp_path / "there")
    other = make_request(tiny_backbone, shared, steps=9).write(tmp_path / "other.zip").file
    with pytest.raises(UserError, match="holds another job"):
        open_work(other, there.folder)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").touch()
    with pytest.raises(UserError, match="is not empty, and holds no job"):
        open_work(other, tmp_path / "full")
    with pytest.raises(UserError, match="mine.txt is a file; give a folder"):
        open_work(other, tmp_path / "full" / "mine.txt")
    assert Job.load(there.folder / "job.json") == there.job


def test_a_lora_beside_the_training_is_packed_or_found_by_its_hash(tiny_backbone, shared, finished, tmp_path):
    lora = finished[0].find_run().final_path
    request = make_request(tiny_backbone, shared)
    entries = (StackEntry(path=lora, strength=0.5),)
    for inside in (True, False):
        job = type(request)(request.config, request.sets, request.base, request.desk, entries, inside)
        work = open_work(job.write(tmp_path / f"{inside}.zip").file)
        if not inside:
            with pytest.raises(UserError, match="Give it with --beside FILE"):
                work.find_beside()
        found = work.find_beside([] if inside else [lora])
        assert [entry.strength for entry in found] == [0.5] and (found[0].path == lora) is not inside


# -- running -----------------------------------------------------------------------------------------------------------


def test_a_job_gives_the_weights_of_the_same_training_at_the_desk(tiny_backbone, shared, finished, tmp_path):
    desk = train_run(tiny_backbone, shared, tmp_path, short_config(save_every=3))
    assert same(weights(desk[-1].path.parent), weights(finished[0].find_run().folder))
    assert read_run(desk[-1].path.parent).key == finished[0].find_run().key
    assert (finished[0].sweep_folder / "scores.json").is_file()


def test_a_stopped_job_goes_on_from_its_result_on_another_machine_to_the_same_bits(tiny_backbone, shared, finished,
                                                                                  tmp_path):
    job, steps = write_job(tmp_path, tiny_backbone, shared, sweep=SWEEP, save_every=3), itertools.count(1)
    work = open_work(job, tmp_path / "first")
    ended = list(run_job(work, tiny_backbone, should_stop=lambda: next(steps) == 3))[-1]
    assert isinstance(ended, JobEnded) and ended.stopped
    part = pack_result(work, tmp_path / "part.zip")
    assert not part.finished and "3 of 6 steps" in part.missing
    behind = open_work(job, tmp_path / "behind").folder
    with pytest.raises(UserError, match="at step 0 with 0 cells, and part.zip holds it at step 3 with 0 cells"):
        open_work(part.file, behind)
    assert open_work(job, work.folder).count_done() == (3, 0), "the job's own zip goes on in its folder"
    computed = {path.name for path in work.cache.glob("*.safetensors")}
    shutil.rmtree(work.folder)
    second = open_work(part.file, tmp_path / "second")
    assert computed and {path.name for path in second.cache.glob("*.safetensors")} == computed, "not encoded anew"
    events = list(run_job(second, tiny_backbone))
    assert [event.step for event in events if isinstance(event, StepDone)] == [4, 5, 6]
    assert same(weights(second.find_run().folder), weights(finished[0].find_run().folder))
    assert pack_result(second, tmp_path / "whole.zip").finished


def test_a_killed_job_is_packed_and_goes_on_elsewhere_to_the_same_bits(tiny_backbone, shared, finished, tmp_path):
    work = open_work(write_job(tmp_path, tiny_backbone, shared, sweep=SWEEP, save_every=3), tmp_path / "first")
    left = tmp_path / "left"
    for event in run_job(work, tiny_backbone):
        if isinstance(event, StepDone) and event.step == 5:  # what lies there now is all that a kill leaves
            shutil.copytree(work.folder, left)
    part = pack_result(open_work(left), tmp_path / "part.zip")
    for place in (open_work(part.file, tmp_path / "second"), open_work(left)):  # from the zip, and in the copy itself
        events = list(run_job(place, tiny_backbone))
        assert 4 <= next(event.step for event in events if isinstance(event, StepDone)) <= 5, "not from the beginning"
        assert same(weights(place.find_run().folder), weights(finished[0].find_run().folder))


def test_a_finished_job_does_nothing_again(tiny_backbone, finished):
    work, _ = finished
    before = {path: path.stat().st_mtime_ns for path in work.sweeps.rglob("cells/*.png")}
    events = list(run_job(work, tiny_backbone))
    assert not [event for event in events if isinstance(event, StepDone)]
    assert before == {path: path.stat().st_mtime_ns for path in before}


# -- back at the desk --------------------------------------------------------------------------------------------------


def test_the_desk_finds_the_run_and_does_not_train_it_again(tiny_backbone, shared, finished, tmp_path):
    work, result = finished
    done = import_result(tmp_path, result)
    assert done.lora.read_bytes() == work.find_run().final_path.read_bytes()
    events = train_run(tiny_backbone, shared, tmp_path / "loras", short_config(save_every=3))
    assert [type(event) for event in events] == [Finished] and events[-1].reused
    sweep = Sweep.load(done.sweep)
    assert not sweep.missing() and (done.sweep / "grid.html").is_file() and (done.sweep / "scores.csv").is_file()
    log = read_json(tmp_path / "sweeps" / "log" / "tiny" / "log.json")
    assert [entry["kind"] for entry in log] == ["sheet", "scores"]


def test_a_desk_in_comfyui_finds_it_too_though_its_base_has_another_fingerprint(tiny_backbone, shared, tmp_path):
    work = run_to_end(tiny_backbone, write_job(tmp_path, tiny_backbone, shared, desk=HOST))
    done = import_result(tmp_path / "desk", pack_result(work, tmp_path / "result.zip").file)
    run = read_run(done.run)
    assert run.key == desk_key(work.job, work.find_run()) != work.find_run().key
    away = run.lineage["trained_away"]
    assert away == {"base": tiny_backbone.fingerprint, "key": work.find_run().key, "precision": "fp32"}
    assert run.lineage["base"] == HOST.base and run.config == work.find_run().config

    class AsInTheHost:
        """The tiny model with the host's fingerprint, which trains in bf16 there."""

        fingerprint, family = HOST.base, tiny_backbone.family

    events = list(train(AsInTheHost(), shared, short_config(precision="bf16"), tmp_path / "desk" / "loras"))
    assert [type(event) for event in events] == [Finished] and events[-1].path == done.lora


def test_an_unfinished_run_of_another_kind_of_base_is_listed_under_its_own_key(tiny_backbone, shared, tmp_path):
    work, steps = open_work(write_job(tmp_path, tiny_backbone, shared, desk=HOST)), itertools.count(1)
    list(run_job(work, tiny_backbone, should_stop=lambda: next(steps) == 3))
    done = import_result(tmp_path / "desk", pack_result(work, tmp_path / "result.zip").file)
    run = read_run(done.run)
    assert run.key == work.find_run().key and not run.state_path.exists() and [at for at, _ in run.checkpoints()] == [3]
    assert "the job is not finished" in done.text() and "only lora-bootstrap run goes on" in done.text()


def test_a_taken_name_gets_a_number_and_the_sweep_follows_it(tiny_backbone, shared, finished, tmp_path):
    train_run(tiny_backbone, shared, tmp_path / "loras", short_config(steps=2))
    (tmp_path / "sweeps" / SWEEP.name).mkdir(parents=True)
    (tmp_path / "sweeps" / SWEEP.name / "manifest.json").write_text("{", "utf-8")  # damaged, and not ours to mend
    done = import_result(tmp_path, finished[1])
    assert (done.run.name, done.sweep.name) == ("tiny-2", f"{SWEEP.name}-2")
    facts = [choice.facts for choice in Sweep.load(done.sweep).choices("checkpoint")]
    assert [fact["lora"] for fact in facts] == ["tiny-2/tiny-step000003.safetensors", "tiny-2/tiny.safetensors"]
    assert not Sweep.load(done.sweep).missing()
    again = import_result(tmp_path, finished[1])
    assert (again.run, again.sweep) == (done.run, done.sweep) and "is here already" in again.text()


def test_a_run_that_was_stopped_here_is_not_hidden_behind_the_imported_one(tiny_backbone, shared, finished, tmp_path):
    steps = itertools.count(1)
    train_run(tiny_backbone, shared, tmp_path / "loras", short_config(save_every=3),
              should_stop=lambda: next(steps) == 2)
    before = sorted(path.name for path in (tmp_path / "loras").iterdir())
    with pytest.raises(UserError, match="'tiny' is the same training, which was stopped here"):
        import_result(tmp_path, finished[1])
    assert {path.name for path in (tmp_path / "loras").iterdir()} - set(before) <= {"import.lock", ".import.lock"}


def test_a_bare_lora_is_imported_under_a_free_name(finished, tmp_path):
    lora = finished[0].find_run().final_path
    (tmp_path / "loras").mkdir()
    (tmp_path / "loras" / "tiny.safetensors").write_bytes(b"another")
    assert import_result(tmp_path, lora).lora == tmp_path / "loras" / "tiny-2.safetensors"
    assert import_result(tmp_path, lora).lora == tmp_path / "loras" / "tiny-2.safetensors", "it is there already"
    with pytest.raises(UserError, match="another.safetensors is not a complete safetensors file|not a LoRA"):
        other = tmp_path / "another.safetensors"
        other.write_bytes(b"another")
        import_result(tmp_path, other)


def test_a_finished_result_says_that_nothing_is_left_to_train(finished, tmp_path):
    with pytest.raises(UserError, match="holds no images to train on, as the folder of a finished result"):
        open_work(finished[1], tmp_path / "again").load_sets()


@pytest.mark.parametrize(("settings", "chosen", "found"), [
    ({}, "fp16", "fp16"), ({"method": "full"}, "fp16", "fp32"), ({"method": "full"}, "bf16", "bf16"),
    ({"precision": "fp32"}, "bf16", "")])
def test_the_desks_precision_is_the_one_in_which_it_would_train(settings, chosen, found):
    assert find_desk_precision(TrainConfig(**settings), chosen) == found


def test_a_result_says_what_trained_it(finished):
    with zipfile.ZipFile(finished[1]) as opened:
        told, names = json.loads(opened.read("result.json")), opened.namelist()
    assert told["finished"] and told["versions"]["torch"] == version("torch")
    assert not [name for name in names if name.startswith(("files/", "cache/")) or name.endswith((".html", "lock"))]
