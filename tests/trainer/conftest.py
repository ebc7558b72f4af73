"""Fixtures of a tiny model and a tiny dataset."""

from __future__ import annotations

import pytest
import torch

from ..helpers.tiny import make_dataset, make_tiny_backbone


@pytest.fixture(scope="session")
def tiny_backbone():
    return make_tiny_backbone()


@pytest.fixture
def dataset(tmp_path):
    return make_dataset(tmp_path / "data")


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
