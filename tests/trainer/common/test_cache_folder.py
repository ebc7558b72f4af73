"""The folder that all runs share: what is removed from it, and what is not."""

import os
import time

import pytest
import torch

from lora_bootstrap.trainer.common import tensor_cache
from lora_bootstrap.trainer.common.cache_folder import SharedCache, folder_beside
from lora_bootstrap.trainer.common.errors import UserError

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
    cache = SharedCache(tmp_path / "cache", most=LIMIT)
    oldest, older = fill(cache, "a", "b", ago=300), fill(cache, "c", "d", ago=200)
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
    cache = SharedCache(tmp_path / "cache", most=LIMIT)
    fill(cache, *"abcd", ago=100)
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


def test_a_full_disk_takes_the_place_of_what_is_not_in_use(tmp_path, monkeypatch):
    cache, write = SharedCache(tmp_path / "cache", held=0), tensor_cache.atomic_write
    fill(cache, *"abcd", ago=100)

    def full(path, data, **options):
        if len(entries(cache.folder)) > 2:
            raise UserError("the disk is full")
        write(path, data, **options)

    monkeypatch.setattr(tensor_cache, "atomic_write", full)
    new = fill(cache, "e")
    assert len(new) == 1 and new < entries(cache.folder) and cache.trouble == ""
    fill(cache, "f", "g")
    assert cache.trouble == ""
    fill(cache, "h")  # all that is left is in use
    assert cache.trouble == "the disk is full" and cache.find({"name": "h"}) is not None


@pytest.mark.parametrize(("root", "folder"), [("output/loras", "output/.loras-cache"), ("/", "/.cache")])
def test_the_folder_lies_beside_that_of_the_runs_which_hosts_search_for_loras(root, folder, tmp_path):
    assert folder_beside(tmp_path / root) == tmp_path / folder
