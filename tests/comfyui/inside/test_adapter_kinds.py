"""Kinds of adapters in the host: its own loader makes of a file what was trained, at any strength."""

import comfy.lora
import comfy.utils
import pytest
import torch
from tiny_models import make_backbone, make_dataset
from torch import nn

from lora_bootstrap.trainer.lora.file import LoraWeights, save_lora
from lora_bootstrap.trainer.training.adapters import attach
from lora_bootstrap.trainer.training.config import AdapterConfig, TrainConfig
from lora_bootstrap.trainer.training.events import Proved
from lora_bootstrap.trainer.training.loop import train

KINDS = [{"kind": "lora", "rank_stabilized": True}, {"kind": "dora"}, {"kind": "loha"},
         {"kind": "lokr", "lokr_factor": 2}, {"kind": "lokr", "rank": 64, "conv_rank": 64}]
NAMES = [" ".join(map(str, row.values())) for row in KINDS]


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.blocks = nn.ModuleList([nn.ModuleDict({"attn_qkv": nn.Linear(16, 24), "conv": nn.Conv2d(6, 8, 3, 1, 1)})])

    def forward(self, x, image):
        return self.blocks[0]["attn_qkv"](x), self.blocks[0]["conv"](image)


@pytest.mark.parametrize("settings", KINDS, ids=NAMES)
def test_the_hosts_weights_compute_what_the_trained_layers_do_at_any_strength(tmp_path, settings):
    network, path = Block(), tmp_path / "a.safetensors"
    config = AdapterConfig(**{"rank": 3, "alpha": 2.0, "conv_rank": 1, "layers": "all", **settings})
    handle = attach(network, config, ("blocks",), 0)
    with torch.no_grad():
        network(torch.randn(1, 16), torch.randn(1, 6, 8, 8))  # fills in a DoRA's magnitudes
        for number, parameter in enumerate(handle.parameters()):
            generator = torch.Generator().manual_seed(number)
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.3)
    save_lora(path, LoraWeights.of_run({f"diffusion_model.{name}": value for name, value in handle.weights().items()},
                                       {}))
    names = {f"lora_unet_{name.replace('.', '_')}": f"{name}.weight" for name in handle.module_names}
    patches = comfy.lora.load_lora(comfy.utils.load_torch_file(str(path), safe_load=True), names, log_missing=False)
    assert set(patches) == set(names.values())
    x, image = torch.randn(5, 16), torch.randn(2, 6, 8, 8)
    for strength in (1.0, 0.7):
        handle.set_strength(strength)
        host, base = Block(), Block()
        for key, patch in patches.items():
            weight = host.get_parameter(key)
            weight.data = comfy.lora.calculate_weight([(strength, patch, 1.0, None, None)], weight.data.clone(), key)
        for trained, loaded, plain in zip(network(x, image), host(x, image), base(x, image), strict=True):
            assert (loaded - plain).norm() > 0.05 * plain.norm()
            torch.testing.assert_close(trained, loaded, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("settings", [row for row in KINDS if row["kind"] != "lora" and "rank" not in row],
                         ids=lambda row: row["kind"])
def test_a_run_of_each_kind_proves_that_the_host_loads_its_file_with_the_same_output(tmp_path, settings):
    config = TrainConfig(name="run", steps=2).replace(**{
        "adapter.rank": 2, "adapter.alpha": 2.0, "adapter.conv_rank": 1, "data.batch_size": 2, "data.resolution": 64,
        "optimizer.learning_rate": 1e-2, **{f"adapter.{name}": value for name, value in settings.items()}})
    events = train(make_backbone("sdxl"), make_dataset(tmp_path / "pictures"), config, tmp_path)
    found = [event.proof for event in events if isinstance(event, Proved)]
    assert len(found) == 3 and all(proof.passed for proof in found), found
    assert found[-1].figure < 1e-3
