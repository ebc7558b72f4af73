"""What the system refuses: each errno at each call that writes a file ends in one line, and nothing is lost."""

import errno
import os
import stat

import pytest

from lora_bootstrap.trainer.common import files
from lora_bootstrap.trainer.common.errors import UserError
from lora_bootstrap.trainer.common.files import atomic_path, atomic_write, make_folder, remove_file, write_json

ERRORS = [errno.EIO, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.ENAMETOOLONG,
          errno.EINVAL, errno.ENOTSUP, errno.EBADF, errno.EMFILE, errno.ESTALE, errno.EBUSY, errno.ETIMEDOUT,
          errno.ELOOP]
CALLS = {
    "mkdir": lambda path, *_: True, "open": lambda path, flags, *_: bool(flags & os.O_CREAT),
    "replace": lambda *_: True, "fsync": lambda handle: not stat.S_ISDIR(os.fstat(handle).st_mode),
    "open a folder": lambda path, *_: os.path.isdir(path),
    "fsync a folder": lambda handle: stat.S_ISDIR(os.fstat(handle).st_mode),
}
HARMLESS = {("fsync", number) for number in (errno.EINVAL, errno.ENOTSUP)} | {
    (call, number) for call in ("fsync a folder", "open a folder")
    for number in (errno.EINVAL, errno.ENOTSUP, errno.EACCES, errno.EPERM, errno.EBADF)}
"""Some mounts cannot flush (CIFS, 9p, vboxsf, FUSE). The file is in place all the same."""


def fail(patch, call, number):
    """Have the system answer every such call with an error."""
    name = call.split()[0]
    real = getattr(os, name)

    def answer(*args, **kwargs):
        if CALLS[call](*args):
            raise OSError(number, os.strerror(number), args[0])
        return real(*args, **kwargs)

    patch.setattr(os, name, answer)


@pytest.mark.skipif(os.name != "posix", reason="the calls of posix systems")
@pytest.mark.parametrize("number", ERRORS, ids=errno.errorcode.get)
@pytest.mark.parametrize("call", CALLS)
def test_each_error_of_the_system_is_one_line_and_the_old_file_stays(call, number, tmp_path):
    path = tmp_path / "new folder" / "run.json" if call == "mkdir" else tmp_path / "run.json"
    if call != "mkdir":
        atomic_write(path, b"old")
    with pytest.MonkeyPatch.context() as patch:
        fail(patch, call, number)
        if (call, number) in HARMLESS:
            atomic_write(path, b"new")
        else:
            with pytest.raises(UserError) as caught:
                atomic_write(path, b"new")
            told = str(caught.value)
            assert "\n" not in told and str(path.parent) in told
            assert os.strerror(number) in told or "the disk is full" in told
    if call != "mkdir":
        in_place = (call, number) in HARMLESS or call.endswith("folder")
        assert path.read_bytes() == (b"new" if in_place else b"old")
        assert os.listdir(tmp_path) == ["run.json"]


@pytest.mark.parametrize("number", ERRORS, ids=errno.errorcode.get)
@pytest.mark.parametrize("error", [lambda number: OSError(number, os.strerror(number)),
                                   lambda number: RuntimeError(f"I/O error: it failed (os error {number})")])
def test_an_error_while_the_content_is_written_is_one_line_too(error, number, tmp_path):
    atomic_write(tmp_path / "a.png", b"old")
    with pytest.raises(UserError) as caught, atomic_path(tmp_path / "a.png"):
        raise error(number)
    assert "a.png" in str(caught.value) and "\n" not in str(caught.value)
    assert (tmp_path / "a.png").read_bytes() == b"old" and os.listdir(tmp_path) == ["a.png"]


def test_the_line_says_what_is_kept_and_what_to_do(tmp_path, monkeypatch):
    atomic_write(tmp_path / "run.json", b"old")
    fail(monkeypatch, "replace", errno.EROFS)
    with pytest.raises(UserError, match=r"^cannot write .*run\.json: Read-only file system; it is as it was before\. "
                                        r"Choose a folder you can write to\.$"):
        atomic_write(tmp_path / "run.json", b"new")
    with pytest.raises(UserError, match=r"Read-only file system; nothing was written\. "):
        atomic_write(tmp_path / "other.json", b"new")


def test_what_is_not_the_systems_passes_through(tmp_path):
    with pytest.raises(OSError, match="cannot write mode F as PNG"), atomic_path(tmp_path / "a.png"):
        raise OSError("cannot write mode F as PNG")


@pytest.mark.parametrize("text", ["\ud800", b"caf\xe9.png".decode(errors="surrogateescape")])
def test_text_that_is_not_unicode_is_one_line(tmp_path, text):
    with pytest.raises(UserError, match="a letter that is not Unicode.*Retype it, or rename") as caught:
        write_json(tmp_path / "a.json", {"note": text})
    assert str(caught.value).encode() and not os.listdir(tmp_path)


def test_a_file_that_cannot_be_removed_is_one_line(tmp_path, monkeypatch):
    (tmp_path / "a").write_text("a")
    monkeypatch.setitem(CALLS, "unlink", lambda *_: True)
    fail(monkeypatch, "unlink", errno.EROFS)
    with pytest.raises(UserError, match="cannot remove .*a: Read-only file system; it is as it was before"):
        remove_file(tmp_path / "a")
    monkeypatch.undo()
    remove_file(tmp_path / "a")
    remove_file(tmp_path / "a")
    assert not os.listdir(tmp_path)


@pytest.mark.skipif(os.name != "posix", reason="other systems cannot flush a folder")
def test_the_names_of_new_folders_reach_the_disk(tmp_path, monkeypatch):
    flushed = []
    monkeypatch.setattr(files, "_sync", lambda path, *_: flushed.append(path))
    make_folder(tmp_path / "a" / "b")
    assert flushed == [tmp_path / "a", tmp_path]
    make_folder(tmp_path / "a" / "b")
    assert len(flushed) == 2
