"""The folder that all runs share: what is removed from it, and what is not."""

import errno
import os
import shutil
import time
from types import SimpleNamespace

import pytest
import torch

from lora_bootstrap.trainer.common import cache_folder, files, locks
from lora_bootstrap.trainer.common.cache_folder import SharedCache, folder_beside

ENTRY = {"x": torch.rand(4096)}
LIMIT = 3 * 16_384 + 8_000
"""Room for three entries and their headers."""


def entries(folder):
    return {path.name for path in folder.glob("*.safetensors")}


def fill(cache, *names, ago=0.0):
    """Store an entry for each name, last used that many seconds ago; returns the names of their files."""
    before = entries(cache.folder)
    for name in names:
        cache.put({"name": name}, ENTRY)
    made = entries(cache.folder) - before
    for name in made:
        os.utime(cache.folder / name, (time.time() - ago,) * 2)
    return made


def test_what_was_used_longest_ago_is_removed_until_the_limit_is_kept(tmp_path):
    oldest = fill(SharedCache(tmp_path / "cache"), "a", "b", ago=300)
    older = fill(SharedCache(tmp_path / "cache"), "c", "d", ago=200)
    cache = SharedCache(tmp_path / "cache", most=LIMIT)
    assert SharedCache(tmp_path / "cache").find({"name": "a"})["x"].shape == (4096,)  # reading is using
    assert cache.trim()
    left = entries(cache.folder)
    assert len(left) == 3 and older < left and len(oldest & left) == 1
    assert cache.find({"name": "a"}) is not None and cache.find({"name": "b"}) is None
    assert not cache.trim()


def test_what_another_user_has_used_since_it_came_stays_until_it_is_gone(tmp_path):
    other = SharedCache(tmp_path / "cache")
    used = fill(other, *"abcdef")
    cache = SharedCache(tmp_path / "cache", most=LIMIT)
    assert not cache.trim() and entries(cache.folder) == used
    other.close()
    cache.close()
    late = SharedCache(tmp_path / "cache", most=LIMIT)
    for name in used:
        os.utime(late.folder / name, (time.time() - 5,) * 2)
    assert late.trim() and len(entries(late.folder)) == 3


def test_a_user_that_died_keeps_nothing(tmp_path):
    fill(SharedCache(tmp_path / "cache"), *"abcd", ago=100)
    cache = SharedCache(tmp_path / "cache", most=LIMIT)
    left = cache.folder / ".users" / "dead.lock"
    left.touch()
    os.utime(left, (time.time() - 1000,) * 2)
    assert cache.trim() and not left.exists() and len(entries(cache.folder)) == 3


def test_a_closed_cache_leaves_nothing_but_its_entries(tmp_path):
    cache = SharedCache(tmp_path / "cache")
    made = fill(cache, "a")
    cache.close()
    cache.close()
    assert {path.name for path in cache.folder.rglob("*") if path.is_file()} == made


def test_a_folder_that_cannot_be_made_only_costs_the_next_run_its_time(tmp_path):
    (tmp_path / "cache").write_text("a file")
    cache = SharedCache(tmp_path / "cache", held=0)
    assert torch.equal(cache.put({"name": "a"}, ENTRY)["x"], cache.find({"name": "a"})["x"])
    assert "cache" in cache.trouble
    cache.trim()
    cache.close()


def refuse(monkeypatch, number, when):
    """Have the system refuse what is written, by the number of an error, as long as `when()`."""
    write = files.Path.write_bytes

    def refused(path, data):
        if when():
            raise OSError(number, os.strerror(number))
        return write(path, data)

    monkeypatch.setattr(files.Path, "write_bytes", refused)


def test_a_full_disk_takes_the_place_of_what_is_not_in_use(tmp_path, monkeypatch):
    cache = SharedCache(tmp_path / "cache", held=0)
    fill(cache, *"abcd", ago=100)
    refuse(monkeypatch, errno.ENOSPC, lambda: len(entries(cache.folder)) > 2)
    new = fill(cache, "e")
    assert len(new) == 1 and new < entries(cache.folder) and cache.trouble == ""
    fill(cache, "f", "g")
    assert cache.trouble == ""
    fill(cache, "h")  # all that is left is in use
    assert "the disk is full" in cache.trouble and cache.find({"name": "h"}) is not None


def test_another_refusal_removes_nothing_and_only_several_in_a_row_are_trouble(tmp_path, monkeypatch):
    cache, refusing = SharedCache(tmp_path / "cache", held=0), True
    before = fill(cache, *"abcd", ago=100)
    refuse(monkeypatch, errno.EACCES, lambda: refusing)
    assert fill(cache, "e", "f") == set() and entries(cache.folder) == before
    assert cache.trouble == "" and cache.find({"name": "e"}) is not None
    refusing = False
    assert len(fill(cache, "g")) == 1
    refusing = True
    assert fill(cache, "h", "i") == set() and cache.trouble == ""
    assert fill(cache, "j") == set() and os.strerror(errno.EACCES) in cache.trouble and before < entries(cache.folder)


def test_a_run_that_uses_more_than_the_limit_holds_the_rest_in_memory(tmp_path):
    fill(SharedCache(tmp_path / "cache"), *"xyz", ago=100)
    cache = SharedCache(tmp_path / "cache", held=0, most=LIMIT)
    assert len(fill(cache, *"abc")) == 3 and len(entries(cache.folder)) == 3 and cache.trouble == ""  # xyz made room
    assert fill(cache, "d") == set() and cache.find({"name": "d"}) is not None
    assert "all of it in use" in cache.trouble


def test_a_nearly_full_disk_keeps_its_reserve(tmp_path, monkeypatch):
    cache = SharedCache(tmp_path / "cache", held=0)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=cache_folder.RESERVE + 20_000))
    assert len(fill(cache, "a")) == 1
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=cache_folder.RESERVE + 3_000))
    assert fill(cache, "b") == set() and cache.find({"name": "b"}) is not None
    assert "2.0 GB are free" in cache.trouble and "leaves 2 GB" in cache.trouble


def test_others_can_come_while_entries_are_removed(tmp_path, monkeypatch):
    fill(SharedCache(tmp_path / "cache"), *"abcd", ago=100)
    cache, unlink, troubles = SharedCache(tmp_path / "cache", most=LIMIT), os.unlink, []
    monkeypatch.setattr(locks, "PATIENCE", 0.05)

    def come(path):
        if str(path).endswith(".safetensors"):
            troubles.append(SharedCache(tmp_path / "cache").trouble)
        unlink(path)

    monkeypatch.setattr(cache_folder.os, "unlink", come)
    assert cache.trim() and set(troubles) == {""}


@pytest.mark.parametrize(("root", "folder"), [("output/loras", "output/.loras-cache"), ("/", "/.cache")])
def test_the_folder_lies_beside_that_of_the_runs_which_hosts_search_for_loras(root, folder, tmp_path):
    assert folder_beside(tmp_path / root) == tmp_path / folder
