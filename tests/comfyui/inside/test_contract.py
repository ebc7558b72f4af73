"""The Backbone contract over the host's models: a UNet, one with pooled text, and a transformer; and the sandbox."""

import pytest
import torch
from backbone_contract import *  # noqa: F403
from tiny_models import make_backbone, make_dataset

from lora_bootstrap.host.backbone.model import HostBackbone
from lora_bootstrap.host.backbone.sandbox import load_sandbox


@pytest.fixture(scope="module", params=["sandbox", "sdxl", "sd3"])
def backbone(request):
    with torch.inference_mode():
        parts = load_sandbox() if request.param == "sandbox" else None
    return HostBackbone(*parts) if parts else make_backbone(request.param)


@pytest.fixture
def dataset(tmp_path):
    return make_dataset(tmp_path / "pictures")
