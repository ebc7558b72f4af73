"""For the host's own Python, with COMFYUI_PATH naming the host."""

import gc
import os

import pytest
from start import PACK, load, load_pack, start_host

start_host(os.environ["COMFYUI_PATH"])
load_pack()
load("backbone_contract", PACK / "tests" / "helpers" / "backbone_contract.py")


def pytest_collection_finish():
    _forget_lasting_objects()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item, nextitem):
    """A file may have imported more."""
    yield
    if nextitem is None or nextitem.path != item.path:
        _forget_lasting_objects()


def _forget_lasting_objects():
    """Leave the host's own objects out of each later collection of garbage: every training asks for several, and going
    through a million objects took a sixth of the time of all tests here."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True, scope="session")
def _no_power_cut():
    """As in tests/conftest.py: files are not flushed to the disk."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda handle: None)
        yield


@pytest.fixture(autouse=True)
def _reproducible():
    import torch

    torch.manual_seed(0)
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
