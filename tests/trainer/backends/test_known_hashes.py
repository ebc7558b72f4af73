"""A large file is hashed once by all processes, and again whenever it may have changed."""

import hashlib
import os

import pytest

from lora_bootstrap.trainer.backends import known_hashes
from lora_bootstrap.trainer.backends.known_hashes import known_hash
from lora_bootstrap.trainer.common import files
from lora_bootstrap.trainer.common.files import user_cache_file

LONG_AGO = 1_600_000_000


@pytest.fixture
def model(tmp_path, monkeypatch):
    """A file that counts as large, of long ago."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(known_hashes, "LARGE", 4)
    monkeypatch.setattr(known_hashes, "_SETTLED", -1.0)  # its ctime is that of this test
    return written(tmp_path / "model.safetensors", b"weights")


def written(path, data, time=LONG_AGO):
    path.write_bytes(data)
    os.utime(path, (time, time))
    return path


def sha(data):
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def read(monkeypatch):
    """The files that are read, each time as by a new process."""
    paths = []

    def counted(path):
        paths.append(path)
        files._file_hash.cache_clear()
        return files.file_hash(path)

    monkeypatch.setattr(known_hashes, "file_hash", counted)
    return paths


def test_a_large_file_is_read_by_the_first_process_only(model, read):
    assert [known_hash(model) for _ in range(3)] == [sha(b"weights")] * 3 and read == [model]


@pytest.mark.parametrize("time", [LONG_AGO, LONG_AGO + 1, LONG_AGO - 1])
def test_a_file_that_was_written_again_is_read_again(model, read, time):
    known_hash(model)
    assert known_hash(written(model, b"WEIGHTS", time)) == sha(b"WEIGHTS") and len(read) == 2


def test_a_file_that_just_changed_is_not_remembered(model, read, monkeypatch):
    monkeypatch.setattr(known_hashes, "_SETTLED", 60.0)
    assert known_hash(model) == known_hash(model) and len(read) == 2


@pytest.mark.parametrize("text", ["", "[]", "{", '{"a": 5}'])
def test_a_damaged_cache_is_written_again(model, read, text):
    cache = user_cache_file("hashes.json")
    cache.parent.mkdir(parents=True)
    cache.write_text(text)
    assert known_hash(model) == known_hash(model) == sha(b"weights") and len(read) == 1


def test_a_cache_that_cannot_be_written_does_not_matter(model, read):
    user_cache_file("").parent.mkdir(parents=True)
    user_cache_file("").write_text("a file where the folder should be")
    assert known_hash(model) == known_hash(model) == sha(b"weights") and len(read) == 2


def test_a_small_file_is_read_at_once(model, read, monkeypatch):
    monkeypatch.setattr(known_hashes, "LARGE", 2**20)
    known_hash(model)
    assert len(read) == 1 and not user_cache_file("hashes.json").exists()


def test_a_user_without_a_home_has_a_cache_too(tmp_path, monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(files.tempfile, "gettempdir", lambda: str(tmp_path))

    def refuse():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(files.Path, "home", refuse)
    assert user_cache_file("hashes.json") == tmp_path / ".cache" / "lora-bootstrap" / "hashes.json"
