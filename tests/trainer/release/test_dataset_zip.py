"""A plain zip of images, captions and settings: what was trained, under numbers, and nothing else."""

import json
import zipfile

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from lora_bootstrap.trainer.common.errors import UserError
from lora_bootstrap.trainer.common.files import write_json
from lora_bootstrap.trainer.datasets.dataset import load_folder
from lora_bootstrap.trainer.release.hosted.contents import open_contents
from lora_bootstrap.trainer.release.hosted.pack import write_dataset_zip

from ...helpers.command_line import run
from ...helpers.trained_run import write_trained
from ...helpers.written_project import draw, write_project

CAPTIONS = ("1girl, red hair, front view", "1girl, from behind", "Aunt in a red coat, standing.")
SECRETS = ("holiday", "jane", "GPS", "workflow", "uncle Bob", "Aunt Mary")


@pytest.fixture
def folder(tmp_path):
    """Two images that count three times and one that counts once, with names and metadata that tell of their owner."""
    for number, (place, caption) in enumerate(zip(("3_jane", "3_jane", "1_jane"), CAPTIONS, strict=True)):
        home = tmp_path / "holiday of jane" / place
        home.mkdir(parents=True, exist_ok=True)
        texts = PngInfo()
        texts.add_text("workflow", '{"jane": 1}')
        draw(number).save(home / f"holiday {number}.png", pnginfo=texts)
        (home / f"holiday {number}.txt").write_text(caption, "utf-8")
    return home.parent


@pytest.fixture
def trained(tmp_path, folder):
    """A run on these images, of which the last was held back."""
    run = write_trained(tmp_path / "output", "uncle Bob")
    images = load_folder(folder).samples
    write_json(run.folder / "images.json", {"images": [
        {"content": image.content_hash, "name": image.path.name, "caption": image.caption, "repeats": image.repeats,
         "validation": image.repeats == 1} for image in images]})
    return run


def packed(tmp_path, contents, **more):
    done = write_dataset_zip(tmp_path / "data.zip", contents, **more)
    with zipfile.ZipFile(done.file) as archive:
        assert archive.testzip() is None
        archive.extractall(tmp_path / "unpacked")
        return done, {name: archive.read(name) for name in archive.namelist()}


def test_our_own_loader_reads_the_same_images_and_captions_back(tmp_path, folder, trained):
    done, files = packed(tmp_path, open_contents(trained.folder, dataset=folder))
    assert [*files] == ["001.png", "001.txt", "002.png", "002.txt", "settings.md", "dataset_config.toml"]
    back = load_folder(tmp_path / "unpacked")
    assert [sample.caption for sample in back] == [f"akane, {caption}" for caption in CAPTIONS[:2]]
    assert back.notes == () and done.images == 2
    for number, sample in enumerate(back):
        assert np.array_equal(np.asarray(sample.load()), np.asarray(draw(number)))
    assert "Left out, because the run held it back for validation: 1 image." in done.notes
    settings = files["settings.md"].decode()
    for words in ("| trigger | `akane` |", "| steps | 100 |", "| rank (network dim) | 16 |",
                  "| learning rate | 0.0001 |",
                  "| base model | Sandbox (drawn world, 64 px) |", "| what is trained | a character LoRA |",
                  "| repeats | 3 × 001.png to 002.png (2 images) |"):
        assert words in settings, words
    assert "stopped" not in settings
    trained.mark_finished(60, stopped=True)
    _, files = packed(tmp_path, open_contents(trained.folder, dataset=folder))
    assert "| stopped at step | 60 |" in files["settings.md"].decode()


@pytest.mark.parametrize("layout", ["flat", "kohya"])
def test_nothing_tells_a_name_of_a_file_a_folder_a_run_or_what_the_images_files_say(tmp_path, folder, trained, layout):
    _, files = packed(tmp_path, open_contents(trained.folder, dataset=folder), layout=layout)
    for name, data in files.items():
        assert [word for word in SECRETS if word.encode() in data or word in name] == [], name
    assert Image.open(tmp_path / "unpacked" / [*files][0]).info == {}


def test_folders_of_repeats_are_read_back_by_our_loader_and_named_in_the_toml(tmp_path, folder):
    done, files = packed(tmp_path, open_contents(folder, trigger="zqx"), layout="kohya")
    back = load_folder(tmp_path / "unpacked")
    assert sorted((sample.caption, sample.repeats) for sample in back) == sorted(
        (f"zqx, {caption}", count) for caption, count in zip(CAPTIONS, (3, 3, 1), strict=True))
    dataset, = pytest.importorskip("tomllib").loads(files["dataset_config.toml"].decode())["datasets"]
    assert {subset["image_dir"]: subset["num_repeats"] for subset in dataset["subsets"]} == {"1_zqx": 1, "3_zqx": 3}
    assert done.images == 3
    flat, _ = packed(tmp_path, open_contents(folder, trigger="zqx"))
    assert any("a flat zip cannot say" in note for note in flat.notes)
    twice, _ = packed(tmp_path, open_contents(folder, trigger="zqx"), form="jpg")
    once = twice.file.read_bytes()
    packed(tmp_path, open_contents(folder, trigger="zqx"), form="jpg")
    assert once == twice.file.read_bytes()


def test_a_project_gives_its_last_dataset_and_a_run_finds_its_images_in_its_project(tmp_path):
    project = write_project(tmp_path / "bootstrap", "akane", candidates=1)
    contents = open_contents(project)
    assert len(contents.samples) == 4 and contents.notes[-1] == "The project has its crops only."
    assert {sample.caption for sample in contents.samples} == {"akane, red hair"}
    trained = write_trained(tmp_path, "akane")
    crops = load_folder(project / "crops").samples
    rows = [{"content": crop.content_hash, "name": "x", "caption": f"crop {n}"} for n, crop in enumerate(crops)]
    write_json(trained.folder / "images.json", {"images": [*rows, {"content": "0" * 64, "name": "gone.png"}]})
    found = open_contents(trained.folder, projects=project.parent)
    assert [sample.caption for sample in found.samples] == [f"akane, crop {n}" for n in range(4)]
    assert found.notes[0].startswith("⚠ 1 of 5 images were not found")
    with pytest.raises(UserError, match="no image of run 'akane' was found.*--dataset"):
        open_contents(trained.folder)


def test_the_command_line_packs_a_folder_and_names_what_is_not_one(tmp_path, folder, capsys):
    assert run("dataset-zip", folder, tmp_path / "a.zip", "--trigger", "zqx", "--json") == 0
    assert json.loads(capsys.readouterr().out)["images"] == 3 and (tmp_path / "a.zip").is_file()
    assert run("dataset-zip", folder, tmp_path / "a.zip", "--trigger", "a, b") == 2
