"""The stand-in for the host's modules, and a tiny model where the host's would be."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

sys.path.insert(0, str(Path(__file__).parent / "comfy_stub"))  # before the pack's own folder `nodes`

import comfy.model_management  # noqa: E402
import comfy.utils  # noqa: E402
import folder_paths  # noqa: E402
import torch  # noqa: E402
from server import PromptServer  # noqa: E402

import nodes as host_nodes  # noqa: E402
from lora_bootstrap.host.session import begin_session  # noqa: E402
from lora_bootstrap.trainer.backends.diffusers import load_backbone  # noqa: E402


@pytest.fixture(autouse=True)
def host(tmp_path, monkeypatch):
    """A host that was just started, with its folders in `tmp_path`; everything it is told is recorded."""
    monkeypatch.setattr(folder_paths, "base", tmp_path)
    monkeypatch.setattr(comfy.model_management, "interrupted", False)
    monkeypatch.setattr(comfy.utils, "bars", [])
    monkeypatch.setattr(host_nodes, "calls", [])
    monkeypatch.setattr(host_nodes, "failing", {})
    begin_session()
    server = PromptServer.instance
    monkeypatch.setattr(server, "sent", [])
    monkeypatch.setattr(server, "texts", [])
    for name in ("input", "output/loras"):
        (tmp_path / name).mkdir(parents=True)
    return SimpleNamespace(base=tmp_path, output=tmp_path / "output", input=tmp_path / "input", server=server,
                           bars=comfy.utils.bars, management=comfy.model_management, nodes=host_nodes)


@pytest.fixture(scope="session")
def sandbox():
    """The sandbox base, headless."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield load_backbone("sandbox")
    torch.set_num_threads(threads)


@pytest.fixture
def adapter(sandbox, monkeypatch):
    """host.backbone with the headless backbone; `calls` tells in which order it was used."""
    calls = []

    def apply_lora(model, clip, path, model_strength=1.0, clip_strength=1.0):
        calls.append(("apply", Path(path).name, model_strength, clip_strength))
        return (model and f"{model}+{Path(path).stem}"), (clip and f"{clip}+{Path(path).stem}")

    from lora_bootstrap.host.backbone import contents

    monkeypatch.setattr(sandbox, "caution", "", raising=False)
    monkeypatch.setattr(contents, "unreadable_parts", lambda model, clip, vae: ())
    stand_in(monkeypatch, "loras", apply_lora=apply_lora)
    model = stand_in(monkeypatch, "model", release_memory=lambda: calls.append("release"),
                     memory_in_use=lambda device: 3 * 2**30,
                     HostBackbone=lambda model, clip, vae, base_file="": sandbox)
    plan = stand_in(
        monkeypatch, "memory_plan", measured_peak=lambda base: None,
        forecast_memory=lambda base, config, caption, controls=None: SimpleNamespace(
            line="about 0.1 GiB", note="", share=0.0, offload=0.0, memory=0, refusal=""))
    return SimpleNamespace(calls=calls, backbone=sandbox, model=model, memory_plan=plan)


def stand_in(monkeypatch, name, **contents):
    """A module in the place of host.backbone.<name>, which needs a host."""
    import lora_bootstrap.host.backbone

    module = ModuleType(f"lora_bootstrap.host.backbone.{name}")
    module.__dict__.update(contents)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(lora_bootstrap.host.backbone, name, module, raising=False)
    return module
