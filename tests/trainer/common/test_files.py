"""Writing: all of a file or nothing of it."""

import errno
import os
from pathlib import Path

import numpy as np
import pytest

from lora_bootstrap.trainer.common.errors import UserError
from lora_bootstrap.trainer.common.files import atomic_path, atomic_write, read_json, write_json


def test_a_write_makes_its_folders_and_leaves_nothing_else(tmp_path):
    atomic_write(tmp_path / "a" / "b" / "c.bin", b"new")
    assert (tmp_path / "a" / "b" / "c.bin").read_bytes() == b"new"
    assert os.listdir(tmp_path / "a" / "b") == ["c.bin"]


def test_a_failed_write_keeps_the_old_file_and_removes_the_temporary_one(tmp_path):
    path = tmp_path / "weights.safetensors"
    atomic_write(path, b"old")
    with pytest.raises(RuntimeError), atomic_path(path) as temp:
        temp.write_bytes(b"half")
        raise RuntimeError("killed in the middle")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == [path.name]


def test_a_temporary_file_matches_no_search_for_the_final_suffix(tmp_path):
    with atomic_path(tmp_path / "weights.safetensors") as temp:
        assert temp.parent == tmp_path
        assert list(tmp_path.glob("*.safetensors")) == []


def test_a_name_as_long_as_a_file_can_have_is_written_whatever_its_letters(tmp_path):
    path = tmp_path / f"{'字' * 80}.safetensors"
    atomic_write(path, b"new")
    assert path.read_bytes() == b"new"


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"),
                                   RuntimeError("I/O error: No space left on device (os error 28)")])
def test_a_full_disk_is_told_in_one_line_with_the_free_space(tmp_path, error):
    with pytest.raises(UserError, match=r"disk is full: .*run\.json was not written; [\d.]+ MB are free") as caught, \
            atomic_path(tmp_path / "run.json"):
        raise error
    assert "\n" not in str(caught.value)
    assert os.listdir(tmp_path) == []


def test_a_device_that_is_really_full_gives_the_same_error(tmp_path):
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    with pytest.raises(UserError, match="disk is full"), atomic_path(tmp_path / "run.json"), \
            open("/dev/full", "wb", buffering=0) as full:
        full.write(b"x")


def test_a_folder_that_cannot_be_made_is_the_users_to_mend(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match="cannot make the folder .*Choose a folder"):
        atomic_write(tmp_path / "file" / "run.json", b"")


def test_json_keeps_values_and_non_ascii_text_readable(tmp_path):
    path = tmp_path / "run.json"
    write_json(path, {"trigger": "えいえい", "path": Path("a"), "loss": np.float32(0.5), "steps": np.arange(2)})
    assert "えいえい" in path.read_text(encoding="utf-8")
    assert read_json(path) == {"trigger": "えいえい", "path": "a", "loss": 0.5, "steps": [0, 1]}


def test_json_that_cannot_be_read_names_the_file(tmp_path):
    (tmp_path / "bad.json").write_text('{"a": ')
    for name, message in (("bad.json", "bad.json is not valid JSON"), ("none.json", "cannot read .*none.json")):
        with pytest.raises(UserError, match=message):
            read_json(tmp_path / name)
    with pytest.raises(TypeError):
        write_json(tmp_path / "bad.json", {"a": object()})
    assert (tmp_path / "bad.json").read_text() == '{"a": '
