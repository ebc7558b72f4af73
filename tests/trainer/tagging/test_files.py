"""Where taggers lie, that changed files are refused, and downloads on request."""

import dataclasses
import hashlib
import json
import os
from pathlib import Path

import pytest

from lora_bootstrap.trainer.common.errors import UserError
from lora_bootstrap.trainer.common.events import Progress
from lora_bootstrap.trainer.tagging import files as tagger_files
from lora_bootstrap.trainer.tagging.files import (
    PUBLISHED,
    PublishedFile,
    PublishedTagger,
    download_tagger,
    find_tagger,
    installed_taggers,
    model_file,
    verify,
)

MODEL, LABELS = b"a model", b"its labels"


def sha256(data):
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def published(monkeypatch):
    """One small tagger that is published."""
    tagger = PublishedTagger("tiny", "someone/tiny", "0" * 40, (
        PublishedFile("v1/tags.csv", len(LABELS), sha256(LABELS)), PublishedFile("v1/model.onnx", 7, sha256(MODEL))))
    monkeypatch.setattr(tagger_files, "PUBLISHED", {"tiny": tagger})
    return tagger


def fetcher(asked, contents):
    def fetch(repository, revision, remote, folder):
        asked.append((repository, revision, remote))
        path = folder / remote
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(contents[Path(remote).name])
        return path
    return fetch


def folder_with(root, name, **files):
    folder = root / name
    folder.mkdir(parents=True)
    for stem, data in files.items():
        (folder / f"{stem}.onnx").write_bytes(data)
    return folder


def test_every_published_tagger_is_pinned_whole_with_its_labels_first():
    assert len(PUBLISHED) == 7
    for tagger in PUBLISHED.values():
        assert len(tagger.revision) == 40 and tagger.files[-1].name == "model.onnx" and len(tagger.files) == 2
        assert all(len(file.sha256) == 64 and int(file.sha256, 16) and file.size > 100_000 for file in tagger.files)


def test_a_download_is_checked_moved_into_place_and_not_repeated(tmp_path, published):
    asked = []
    fetch = fetcher(asked, {"model.onnx": MODEL, "tags.csv": LABELS})
    events = list(download_tagger("tiny", tmp_path, fetch))
    assert events == [Progress("downloading tiny", done, 2) for done in (0, 1, 2)]
    assert asked == [("someone/tiny", "0" * 40, "v1/tags.csv"), ("someone/tiny", "0" * 40, "v1/model.onnx")]
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["model.onnx", "tags.csv", "tiny"]
    assert list(download_tagger("tiny", tmp_path, fetch))[-1].done == 2 and len(asked) == 2
    assert installed_taggers(tmp_path) == ("tiny",)


def test_a_download_that_is_not_the_published_file_is_thrown_away(tmp_path, published):
    with pytest.raises(UserError, match="v1/model.onnx of someone/tiny arrived with sha256"):
        list(download_tagger("tiny", tmp_path, fetcher([], {"model.onnx": b"evil", "tags.csv": LABELS})))
    assert not list(tmp_path.rglob("model.onnx")) and installed_taggers(tmp_path) == ()


def test_a_failed_fetch_and_a_full_disk_are_told(tmp_path, published, monkeypatch):
    def hub(*_, **__):
        raise OSError("We couldn't connect to the hub\nsecond line")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", hub)
    with pytest.raises(UserError, match="couldn't connect to the hub\\). Check the network") as caught:
        list(download_tagger("tiny", tmp_path))
    assert "\n" not in str(caught.value)
    big = dataclasses.replace(published, files=(PublishedFile("model.onnx", 10**18, "0" * 64),))
    monkeypatch.setattr(tagger_files, "PUBLISHED", {"tiny": big})
    with pytest.raises(UserError, match="needs 931322574.6 GB"):
        list(download_tagger("tiny", tmp_path, fetcher([], {})))
    with pytest.raises(UserError, match="Did you mean 'tiny'"):
        list(download_tagger("tinny", tmp_path))


def test_a_published_model_that_is_another_file_is_refused(tmp_path, published):
    folder = folder_with(tmp_path, "tiny", model=b"other")
    with pytest.raises(UserError, match="model.onnx is not the published file"):
        verify(folder, [folder / "model.onnx"])
    assert not (folder / "hashes.json").exists()


def test_any_other_models_hash_is_recorded_at_first_use_and_a_later_change_refused(tmp_path):
    folder = folder_with(tmp_path, "mine", model=b"first")
    verify(folder, [folder / "model.onnx"])
    assert json.loads((folder / "hashes.json").read_text())["model.onnx"]["sha256"] == sha256(b"first")
    (folder / "model.onnx").write_bytes(b"second")
    with pytest.raises(UserError, match="has changed since it was first used.*delete hashes.json"):
        verify(folder, [folder / "model.onnx"])
    (folder / "hashes.json").unlink()
    verify(folder, [folder / "model.onnx"])
    os.utime(folder / "model.onnx", ns=(1, 1))
    verify(folder, [folder / "model.onnx"])
    assert json.loads((folder / "hashes.json").read_text())["model.onnx"]["modified_ns"] == 1


def test_a_file_that_is_as_recorded_is_not_read_again(tmp_path, monkeypatch):
    folder = folder_with(tmp_path, "mine", model=b"first")
    verify(folder, [folder / "model.onnx"])
    monkeypatch.setattr(tagger_files, "file_hash", lambda path: pytest.fail("read again"))
    verify(folder, [folder / "model.onnx"])


def test_weights_beside_the_model_are_checked_too(tmp_path):
    folder = folder_with(tmp_path, "mine", model=b"first")
    (folder / "model.onnx.data").write_bytes(b"weights")
    verify(folder, [folder / "model.onnx"])
    (folder / "model.onnx.data").write_bytes(b"damaged")
    os.utime(folder / "model.onnx.data", ns=(2, 2))
    with pytest.raises(UserError, match="model.onnx.data has changed"):
        verify(folder, [folder / "model.onnx"])


def test_a_damaged_record_is_told(tmp_path):
    folder = folder_with(tmp_path, "mine", model=b"first")
    for text, words in (("{", "not valid JSON"), ("[]", "is damaged"), ('{"a": 1}', "is damaged")):
        (folder / "hashes.json").write_text(text)
        with pytest.raises(UserError, match=words):
            verify(folder, [folder / "model.onnx"])


def test_a_tagger_is_found_by_its_name_or_its_path(tmp_path, monkeypatch):
    folder = folder_with(tmp_path / "root", "mine", model=b"x")
    folder_with(tmp_path / "root", ".hidden", model=b"x")
    (tmp_path / "root" / "empty").mkdir()
    assert find_tagger("mine", tmp_path / "root") == find_tagger(folder) == folder
    assert installed_taggers(tmp_path / "root") == ("mine",) and installed_taggers(tmp_path / "none") == ()
    monkeypatch.chdir(tmp_path / "root")
    with pytest.raises(UserError, match="Did you mean 'mine'"):
        find_tagger("mien", tmp_path / "root")
    with pytest.raises(UserError, match="unknown tagger"):  # a name is never looked for in the current folder
        find_tagger("mine", tmp_path)
    with pytest.raises(UserError, match="is not a folder"):
        find_tagger(tmp_path / "none")


@pytest.mark.parametrize("name", ["..", ".", "", "mine/../../x", "/", "mine/"])
def test_a_name_does_not_lead_out_of_the_folder_of_taggers(tmp_path, name):
    with pytest.raises(UserError):
        find_tagger(name, folder_with(tmp_path / "root", "mine", model=b"x").parent)


def test_a_published_tagger_that_is_not_there_is_offered_for_download(tmp_path):
    with pytest.raises(UserError, match="'wd-vit-tagger-v3' is not in .*turn on the download \\(0.4 GB\\).*sandbox"):
        find_tagger("wd-vit-tagger-v3", tmp_path)


def test_the_model_is_model_onnx_or_the_only_one(tmp_path):
    assert model_file(folder_with(tmp_path, "a", model=b"", other=b"")).name == "model.onnx"
    assert model_file(folder_with(tmp_path, "b", wd14=b"")).name == "wd14.onnx"
    with pytest.raises(UserError, match="has 2 .onnx files"):
        model_file(folder_with(tmp_path, "c", x=b"", y=b""))
    with pytest.raises(UserError, match="has no .onnx file"):
        model_file(folder_with(tmp_path, "d"))
    with pytest.raises(UserError, match="is not a folder"):
        model_file(tmp_path / "e")
