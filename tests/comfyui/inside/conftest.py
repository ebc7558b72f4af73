"""For the host's own Python, with COMFYUI_PATH naming the host."""

import os

import pytest
from start import PACK, load, load_pack, start_host

start_host(os.environ["COMFYUI_PATH"])
load_pack()
load("backbone_contract", PACK / "tests" / "helpers" / "backbone_contract.py")


@pytest.fixture(autouse=True)
def _reproducible():
    import torch

    torch.manual_seed(0)
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
