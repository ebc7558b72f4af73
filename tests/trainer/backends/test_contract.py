"""The Backbone contract over a diffusers pipeline."""

import pytest

from ...helpers.backbone_contract import *  # noqa: F403
from ...helpers.tiny import make_dataset


@pytest.fixture(scope="module")
def backbone(tiny_backbone):
    return tiny_backbone


@pytest.fixture
def dataset(tmp_path):
    return make_dataset(tmp_path / "pictures", count=3, size=64)
