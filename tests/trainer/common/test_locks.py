"""Locks: between threads and processes, and nothing stops where there are none."""

import errno
import multiprocessing
import os
import threading

import pytest

from lora_bootstrap.trainer.common import locks
from lora_bootstrap.trainer.common.errors import UserError
from lora_bootstrap.trainer.common.locks import locked, try_lock, unlock


def add_up(path, times):
    for _ in range(times):
        with locked(path):
            path.write_text(str(int(path.read_text()) + 1))


@pytest.mark.parametrize("worker", [threading.Thread, multiprocessing.get_context("spawn").Process])
def test_every_change_of_several_writers_counts(tmp_path, worker):
    path = tmp_path / "count.json"
    path.write_text("0")
    workers = [worker(target=add_up, args=(path, 100)) for _ in range(3)]
    for each in workers:
        each.start()
    for each in workers:
        each.join()
    assert path.read_text() == "300"
    assert os.listdir(tmp_path) == ["count.json"]


def test_a_file_that_is_held_for_ever_ends_in_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(locks, "PATIENCE", 0.05)
    with open(tmp_path / ".a.json.lock", "w") as other:
        assert try_lock(other)
        with pytest.raises(UserError, match=r"a\.json is being changed by another program .*nothing was saved"), \
                locked(tmp_path / "a.json"):
            pass
        unlock(other)
    with locked(tmp_path / "a.json"):
        pass


def test_several_may_share_a_lock_and_keep_out_who_wants_it_alone(tmp_path):
    path = tmp_path / "lock"
    with open(path, "w") as one, open(path, "r+") as two, open(path, "r+") as three:
        assert try_lock(one, shared=True) and try_lock(two, shared=True)
        assert not try_lock(three)
        unlock(one)
        unlock(two)
        assert try_lock(three) and not try_lock(one, shared=True)


@pytest.mark.skipif(os.name != "posix", reason="the lock of posix systems")
@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL, errno.EBADF, errno.EIO])
def test_a_file_system_without_locks_stops_nothing_and_threads_still_wait(tmp_path, monkeypatch, number):
    def refuse(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(locks.fcntl, "flock", refuse)
    test_every_change_of_several_writers_counts(tmp_path, threading.Thread)


def test_a_folder_that_cannot_be_written_to_stops_nothing_by_its_lock(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with locked(tmp_path / "file" / "a.json"):
        pass


def test_a_mount_that_shows_what_is_written_only_later_is_not_waited_for_without_end(tmp_path, monkeypatch):
    monkeypatch.setattr(locks, "PATIENCE", 0.2)
    monkeypatch.setattr(locks, "_leads_to", lambda lock, file: False)
    with locked(tmp_path / "picks.json"):
        pass
