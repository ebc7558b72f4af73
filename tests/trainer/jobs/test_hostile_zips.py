"""The zip of a job or of a result that comes from a stranger brings nothing but what belongs there."""

import json
import os
import stat
import zipfile
from dataclasses import replace

import pytest

from lora_bootstrap.trainer.common.errors import UserError
from lora_bootstrap.trainer.common.files import read_json, write_json
from lora_bootstrap.trainer.jobs.forms import Result
from lora_bootstrap.trainer.jobs.import_result import import_result
from lora_bootstrap.trainer.jobs.job import Job, PackedSets
from lora_bootstrap.trainer.jobs.result import pack_result
from lora_bootstrap.trainer.jobs.work import open_work
from lora_bootstrap.trainer.records import zips
from lora_bootstrap.trainer.sweeps.cells import Sweep

from ...helpers.archived_project import rewrite
from ...helpers.packed_job import SWEEP, run_to_end, write_job

PICKLE = b"\x80\x04}q\x00."


@pytest.fixture(scope="module")
def job(tiny_backbone, tmp_path_factory):
    from ...helpers.tiny import make_dataset

    folder = tmp_path_factory.mktemp("job")
    return write_job(folder, tiny_backbone, make_dataset(folder / "data", count=2), sweep=SWEEP, steps=1)


@pytest.fixture(scope="module")
def result(tiny_backbone, job):
    return pack_result(run_to_end(tiny_backbone, job), job.with_name("result.zip")).file


HOSTILE = {
    "a path that leads out": ({f"files/{'0' * 64}/../../../x.png": b"x"}, "not a name that every machine"),
    "an absolute path": ({"/files/x.png": b"x"}, "not a name that every machine"),
    "a hidden file": ({"sweeps/tiny-checkpoints/.x.png": b"x"}, "not a name that every machine"),
    "a program": ({"setup.py": b"import os"}, "does not belong to a .*Update the pack if a newer version"),
    "a page": ({"sweeps/tiny-checkpoints/grid.html": b"<script>"}, "does not belong to a"),
    "a pickle": ({"runs/tiny/tiny.safetensors": PICKLE}, "not a complete safetensors file"),
    "a pickle among what was computed": ({f"cache/{'0' * 64}.safetensors": PICKLE}, "not a complete safetensors file"),
    "a text that unpacks to a thousand times its size": ({"log.txt": b"0" * (3 * 2**20)}, "unpacks to more"),
    "settings that nobody has": ({"job.json": {"config": {"stepz": 1}}}, "stepz.*Update the pack"),
    "a job of a later version": ({"job.json": {"format": 2}}, "has format 2"),
    "a base whose name is a path": ({"job.json": {"base": {"name": "../x", "family": "sd15", "fingerprint": "0"}}},
                                    "base '../x' cannot be"),
    "a sweep whose name is a path": ({"job.json": {"sweep": {"name": "../x"}}}, "sweep '../x' cannot be"),
    "a LoRA whose name is a path": ({"job.json": {"beside": [{"name": "../x", "tensors": "0", "strength": 1}]}},
                                    "LoRA '../x' cannot be"),
    "a strength that is not a number": ({"job.json": {"beside": [{"name": "x", "tensors": "0", "strength": 1e9}]}},
                                        "the strength of x"),
}
"""Files in the zip: bytes, or changes to a JSON record."""
OF_RESULTS = {
    "a run of another job": ({"runs/tiny/run.json": {"key": "0" * 64}}, "is not of the job that it came with"),
    "a run that is not there": ({"result.json": {"run": "other"}}, "should hold the run 'other'"),
    "a sweep that is not there": ({"result.json": {"sweep": "other"}}, "should hold the sweep other"),
    "the result of another job": ({"result.json": {"job": "0" * 16}}, "of different jobs"),
    "a result of a later version": ({"result.json": {"format": 2}}, "has format 2"),
    "a sweep that cannot be read": ({"sweeps/tiny-checkpoints/manifest.json": b"[]"}, "is not a sweep"),
    "no job": ({"job.json": None}, "holds no job.json"),
    "no result": ({"result.json": None}, "holds no result.json"),
}


def changed(source, target, changes):
    """A copy of a zip with these changes."""
    with zipfile.ZipFile(source) as opened:
        records = {name: json.dumps({**json.loads(opened.read(name)), **value}).encode()
                   for name, value in changes.items() if isinstance(value, dict)}
    rest = {name: value for name, value in changes.items() if not isinstance(value, dict)}
    rewrite(source, target, **{name: None for name in rest}, **records)
    with zipfile.ZipFile(target, "a", zipfile.ZIP_DEFLATED) as opened:
        for name, data in rest.items():
            if data is not None:
                opened.writestr(name, data)
    return target


def refuse(read, there, words):
    with pytest.raises(UserError, match=words) as error:
        read()
    assert "\n" not in str(error.value) and str(there) not in str(error.value)
    assert [path for path in there.rglob("*") if path.name not in ("loras", "sweeps")] == []


@pytest.mark.parametrize("what", HOSTILE)
def test_a_job_is_refused_as_a_whole_for(what, job, tmp_path):
    changes, words = HOSTILE[what]
    file = changed(job, tmp_path / "b.zip", changes)
    refuse(lambda: open_work(file, tmp_path / "there" / "work"), tmp_path / "there", words)


@pytest.mark.parametrize("what", {**HOSTILE, **OF_RESULTS})
def test_a_result_is_refused_as_a_whole_for(what, result, tmp_path):
    changes, words = {**HOSTILE, **OF_RESULTS}[what]
    file = changed(result, tmp_path / "b.zip", changes)
    refuse(lambda: import_result(tmp_path / "there", file), tmp_path / "there", words)


def test_links_and_names_that_differ_only_in_case_are_refused(job, result, tmp_path):
    link = zipfile.ZipInfo("log.txt")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    for name, source, read in (("a", job, lambda file: open_work(file, tmp_path / "there" / "work")),
                               ("b", result, lambda file: import_result(tmp_path / "there", file))):
        linked, twice = (rewrite(source, tmp_path / f"{name}{number}.zip", **{"log.txt": None}) for number in (1, 2))
        with zipfile.ZipFile(linked, "a") as opened:
            opened.writestr(link, "/etc/passwd")
        with zipfile.ZipFile(twice, "a") as opened:
            opened.writestr("runs/x/A.safetensors", PICKLE)
            opened.writestr("runs/X/a.safetensors", PICKLE)
        refuse(lambda read=read, file=linked: read(file), tmp_path / "there", "a link or a device")
        refuse(lambda read=read, file=twice: read(file), tmp_path / "there", "twice")


def test_counts_and_sizes_have_an_end(job, result, tmp_path, monkeypatch):
    monkeypatch.setattr(zips, "MOST_BYTES", 2000)
    refuse(lambda: import_result(tmp_path / "there", result), tmp_path / "there", "unpacks to more")
    monkeypatch.setattr(zips, "MOST_FILES", 2)
    refuse(lambda: open_work(job, tmp_path / "there" / "work"), tmp_path / "there", "2 are the most")


def test_an_image_outside_of_the_jobs_files_is_not_read(job, tmp_path):
    folder = open_work(job, tmp_path / "work").folder
    listed = read_json(folder / "images.json")
    for name in ("/etc/hostname", "files/../job.json", f"files/{'0' * 64}/../../job.json", f"files/{'0' * 64}/..",
                 f"files/{'0' * 64}/..\\..\\photo.png"):
        listed["train"][0]["file"] = name
        write_json(folder / "images.json", listed)
        with pytest.raises(UserError, match="is not in files/ of the job|image .* cannot be"):
            PackedSets.load(folder / "images.json")


def test_what_is_not_of_a_result_stays_out_of_it(tiny_backbone, job, tmp_path):
    work = run_to_end(tiny_backbone, job, tmp_path / "work")
    run, sweep = work.find_run().folder, work.sweep_folder
    (run / "notes.docx").write_bytes(b"mine")
    (sweep / "cells" / f"{'0' * 16}.png").write_bytes(b"a cell of an earlier plan")
    os.symlink("/etc/hostname", run / "link.json")
    done = pack_result(work, tmp_path / "result.zip")
    assert done.left_out == ("runs/tiny/notes.docx",) and done.finished
    names = zipfile.ZipFile(done.file).namelist()
    assert not [name for name in names if "link" in name or "0000000000000000" in name]
    assert not Sweep.load(import_result(tmp_path / "desk", done.file).sweep).missing()


def test_what_a_strangers_job_and_result_say_is_shown_as_one_plain_line(job):
    first = Job.load(open_work(job, job.with_name("plain")).folder / "job.json")
    base = replace(first.base, source="a page\n\x1b[2J")
    assert base.source == "a page [2J"
    assert Result(format=1, job=first.id, finished=False, step=1, steps=2, missing="\x1b[2J all\n").missing == "[2J all"


def test_equal_jobs_have_equal_ids_whatever_packed_them(job, tmp_path):
    first = Job.load(open_work(job, tmp_path / "work").folder / "job.json")
    values = first.to_dict()
    assert Job(**{**vars(first), "versions": {"torch": "0"}}).id == first.id
    assert Job(**{**vars(first), "images": 99}).id != first.id and values["format"] == 1
