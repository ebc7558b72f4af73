"""Training steps on a card: steps a second beside plain peft and the bare step, the real peak beside the predicted one,
and whole runs with their proofs.

The networks are of the host's own classes at their true size, with random weights. It takes at most 8 minutes, and
needs this folder, a ComfyUI, and nothing from the network. Run it in that ComfyUI's Python:

    COMFYUI_PATH=~/comfy/ComfyUI python bench/gpu.py [--tiny] [--seconds 420] [--only sdxl] [--output FOLDER]
"""

from __future__ import annotations

import argparse
import gc
import itertools
import os
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

PACK = Path(__file__).resolve().parents[1]
STEPS = 8
UNET = {"image_size": 32, "in_channels": 4, "out_channels": 4, "model_channels": 320, "transformer_depth_middle": 1,
        "use_spatial_transformer": True, "legacy": False, "use_temporal_attention": False}


@dataclass(frozen=True)
class Size:
    """A network at its true size, by the host's own class; `text` are arguments of tiny_models.Tiny."""

    config: str
    settings: dict[str, Any]
    text: dict[str, Any]


SIZES = {
    "sd15": Size("SD15", {
        **UNET, "num_res_blocks": [2, 2, 2, 2], "channel_mult": [1, 2, 4, 4], "context_dim": 768,
        "transformer_depth": [1, 1, 1, 1, 1, 1, 0, 0], "transformer_depth_output": [1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0],
        "use_linear_in_transformer": False, "adm_in_channels": None, "num_heads": 8, "num_head_channels": -1,
    }, {"width": 768, "tokens": 77}),
    "sdxl": Size("SDXL", {
        **UNET, "num_res_blocks": [2, 2, 2], "channel_mult": [1, 2, 4], "context_dim": 2048,
        "transformer_depth": [0, 0, 2, 2, 10, 10], "transformer_depth_output": [0, 0, 0, 2, 2, 2, 10, 10, 10],
        "transformer_depth_middle": 10, "use_linear_in_transformer": True, "adm_in_channels": 2816,
        "num_classes": "sequential", "num_heads": -1, "num_head_channels": 64,
    }, {"width": 2048, "pooled": 1280, "tokens": 77}),
    "z_image": Size("ZImage", {
        "image_model": "lumina2", "patch_size": 2, "in_channels": 16, "n_layers": 30, "n_refiner_layers": 2,
        "qk_norm": True, "dim": 3840, "n_heads": 30, "n_kv_heads": 30, "axes_dims": [32, 48, 48],
        "axes_lens": [1536, 512, 512], "rope_theta": 256.0, "ffn_dim_multiplier": 8 / 3, "cap_feat_dim": 2560,
        "z_image_modulation": True, "time_scale": 1000.0, "pad_tokens_multiple": 32,
    }, {"width": 2560, "tokens": 128, "mask": True}),
    "flux": Size("Flux", {
        "image_model": "flux", "in_channels": 16, "patch_size": 2, "out_channels": 16, "vec_in_dim": 768,
        "context_in_dim": 4096, "hidden_size": 3072, "mlp_ratio": 4.0, "num_heads": 24, "depth": 19,
        "depth_single_blocks": 38, "axes_dim": [16, 56, 56], "theta": 10000, "qkv_bias": True, "guidance_embed": True,
        "txt_ids_dims": [],
    }, {"width": 4096, "pooled": 768, "tokens": 256}),
}


CHECKPOINTING = {"off": 0.0, "half": 0.5, "on": 1.0}
"""Share of the blocks that are recomputed in the rows of each kind. CASES go by this table."""


@dataclass(frozen=True)
class Case:
    """One row: a network, a side in pixels, and the settings that differ from the defaults."""

    name: str
    side: int
    batch: int = 1
    checkpointing: str = "off"
    compile: bool = False
    settings: dict[str, Any] = field(default_factory=dict)


def _cases_of(name: str, side: int) -> list[Case]:
    """Rows of one network: all kinds of checkpointing at batch 1 and 4, then compiled."""
    plain = [Case(name, side, batch, kind) for batch in (1, 4) for kind in CHECKPOINTING]
    return [*plain, *(replace(case, compile=True) for case in plain if case.batch == 1)]


CASES = (*_cases_of("sd15", 512), *_cases_of("sdxl", 1024), *_cases_of("z_image", 1024),
         Case("flux", 1024, checkpointing="on"))
"""In order: the time may be over before the last. Rows of one network are together, so that it is made once."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tiny", action="store_true", help="tiny networks on any device, to try the script itself")
    parser.add_argument("--seconds", type=float, default=420, help="no row is begun after this time")
    parser.add_argument("--only", choices=SIZES, help="one network")
    parser.add_argument("--output", type=Path, default=None, help="folder of the table; default: bench/results")
    options = parser.parse_args()
    _start_host(os.environ.get("COMFYUI_PATH", str(Path.home() / "comfy" / "ComfyUI")))
    import torch

    if not torch.cuda.is_available() and not options.tiny:
        sys.exit("no CUDA card here: use --tiny to try the script, or run it on a machine with a card.")
    ends_at = time.monotonic() + options.seconds
    rows, made = [], _Made(options.tiny)
    for case in CASES:
        if options.only in (None, case.name):
            rows.append(_row(case, made, ends_at))
    print(_write(rows, options).read_text(encoding="utf-8"))


def _start_host(folder: str) -> None:
    """Start as ComfyUI does, but without its server; on the CPU if there is no card."""
    import torch

    sys.path[:0] = [folder, str(PACK / "tests" / "comfyui" / "inside")]
    ours, sys.argv = sys.argv, ["main.py", *([] if torch.cuda.is_available() else ["--cpu"])]
    try:
        import comfy.options

        comfy.options.enable_args_parsing()
        import comfy.cli_args  # noqa: F401
    finally:
        sys.argv = ours
    from start import load_pack

    load_pack()


class _Made:
    """The network of the rows that are being measured."""

    def __init__(self, tiny: bool) -> None:
        self.tiny, self._name, self._backbone = tiny, "", None

    def backbone(self, name: str) -> Any:
        if name != self._name:
            self._backbone = None
            _free()
            import tiny_models

            self._backbone, self._name = (tiny_models.make_backbone if self.tiny else _make_backbone)(name), name
        return self._backbone


def _row(case: Case, made: _Made, ends_at: float) -> dict[str, Any]:
    if time.monotonic() > ends_at:
        return _cells(case, remark="not reached in time")
    try:
        return _cells(case, **_measure(case, made.backbone(case.name), made.tiny))
    except Exception as error:  # one network that fails must not cost the others' rows
        return _cells(case, remark=f"{type(error).__name__}: {str(error).splitlines()[0][:120] if str(error) else ''}")
    finally:
        _free()


def _cells(case: Case, **measured: Any) -> dict[str, Any]:
    columns = ("predicted GiB", "real GiB", "error", "steps a second", "images a second", "ours / bare",
               "plain peft / bare", "warm-up s", "loss", "proofs", "remark")
    return {"network": case.name, "px": case.side, "batch": case.batch, "checkpointing": case.checkpointing,
            "compile": "on" if case.compile else "off", **dict.fromkeys(columns, "-"), **measured}


def _measure(case: Case, backbone: Any, tiny: bool) -> dict[str, Any]:
    """A whole run of a few steps: its peak, and its seconds beside those of plain peft and of the bare step, which are
    taken just before on the same weights; its proofs, its losses."""
    import tiny_models
    import torch

    from lora_bootstrap.host.backbone.memory_plan import WORKSPACE, count_training, measured_peak
    from lora_bootstrap.trainer.training.config import TrainConfig
    from lora_bootstrap.trainer.training.events import Proved, RunStarted, StepDone
    from lora_bootstrap.trainer.training.loop import train

    side, share = 64 if tiny else case.side, CHECKPOINTING[case.checkpointing]
    config = TrainConfig(name="gpu", steps=STEPS, state_every=10**6).replace(**{
        "precision": "fp32" if tiny else "bf16", "gradient_checkpointing": share == 1, "compile": case.compile,
        "fit_memory": False,  # each row is what it says
        "data.resolution": side, "data.batch_size": case.batch, **case.settings})
    caption = " ".join(["word"] * 20)
    with backbone.training(share):
        predicted = count_training(backbone, config, caption, 120, recompute=share).peak + WORKSPACE
        others = _time_others(backbone, config, caption)
    ended, losses, proofs, peak = [], [], [], None
    with tempfile.TemporaryDirectory() as folder:
        data = tiny_models.make_dataset(Path(folder) / "data", [caption] * case.batch, (side, side))
        for event in train(backbone, data, config, Path(folder) / "runs"):
            if isinstance(event, RunStarted):
                backbone.set_recompute(share)
            elif isinstance(event, StepDone):
                ended.append(time.perf_counter())  # figures come a step late, but at the pace of the steps
                reading = measured_peak(backbone)
                losses.append(event.loss)
                peak = reading if event.step == STEPS // 2 else peak
            elif isinstance(event, Proved):
                proofs.append(event.proof)
    gib = 2**30
    real = {} if peak is None else {"real GiB": f"{peak / gib:.2f}", "error": f"{100 * (predicted / peak - 1):+.1f} %"}
    finite = "finite" if torch.tensor(losses).isfinite().all() else "not finite"
    gaps = [after - before for before, after in itertools.pairwise(ended)]
    ours = statistics.median(gaps[STEPS // 2 - 1 :])
    return {"predicted GiB": f"{predicted / gib:.2f}", **real, "steps a second": f"{1 / ours:.2f}",
            "images a second": f"{case.batch / ours:.2f}", "ours / bare": f"{ours / others['bare']:.2f}",
            "plain peft / bare": f"{others['plain'] / others['bare']:.2f}",
            "warm-up s": f"{max(gaps[:STEPS // 2 - 1]):.1f}" if case.compile else "-", "loss": finite,
            "proofs": ", ".join(f"{proof.name}: {'passed' if proof.passed else 'FAILED'}" for proof in proofs) or "-"}


def _time_others(backbone: Any, config: Any, caption: str) -> dict[str, float]:
    """Median seconds, uncompiled, of a `bare` step (inputs that do not change, no clipping, nothing read) with the
    pack's own adapters, and of a `plain` one (noise, clipping, its loss is read) with those that peft makes by itself.
    """
    import torch
    from peft import LoraConfig, inject_adapter_in_model

    from lora_bootstrap.trainer.training import adapters

    network, adapter, inputs = backbone.network, config.adapter, _inputs(backbone, config, caption)
    handle = adapters.attach(network, adapter, backbone.family.blocks, 0, backbone.device, backbone.family.excluded)
    names = handle.module_names
    try:
        bare = _seconds(_bare_step(backbone, config, inputs, handle.parameters()), backbone.device)
    finally:
        handle.detach()
    peft = LoraConfig(r=adapter.rank, lora_alpha=adapter.alpha, target_modules=list(names))
    inject_adapter_in_model(peft, network, "plain")
    try:
        trained = [parameter for name, parameter in network.named_parameters() if ".plain." in name]
        for parameter in trained:
            parameter.data = torch.empty_like(parameter, dtype=torch.float32, device=backbone.device).normal_(0, 0.01)
        plain = _seconds(_plain_step(backbone, config, inputs, trained), backbone.device)
    finally:
        adapters.remove_adapters(network, {"plain"})
    return {"bare": bare, "plain": plain}


def _inputs(backbone: Any, config: Any, caption: str) -> tuple[Any, Any]:
    """(latents, conditioning) of a batch."""
    import torch

    side, batch = config.data.resolution, config.data.batch_size
    with torch.no_grad():
        latents = backbone.encode_images(torch.zeros(batch, 3, side, side)).to(backbone.device)
        return latents, backbone.encode_text([caption] * batch).to("cpu")


def _learn(backbone: Any, config: Any, inputs: tuple[Any, Any], noise: Any, t: Any) -> Any:
    """The loss of a batch, after its backward pass."""
    import torch

    from lora_bootstrap.trainer.models.precision import autocast

    latents, text = inputs
    with backbone.step():
        noisy = backbone.noised(latents, noise, t)
        with autocast(backbone.device, config.precision):
            prediction = backbone.predict(noisy, t, text)
        loss = torch.nn.functional.mse_loss(prediction.float(), noise)
        loss.backward()
    return loss


def _bare_step(backbone: Any, config: Any, inputs: tuple[Any, Any], trained: list[Any]) -> Any:
    import torch

    from lora_bootstrap.trainer.training.optimizers import build_optimizer

    optimizer = build_optimizer(config.optimizer.name, [(trained, 1e-6)], 0.0)
    noise, t = torch.randn_like(inputs[0]), torch.full((config.data.batch_size,), 0.5)

    def step() -> None:
        _learn(backbone, config, inputs, noise, t)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def _plain_step(backbone: Any, config: Any, inputs: tuple[Any, Any], trained: list[Any]) -> Any:
    """As the examples of diffusers train."""
    import torch

    optimizer = torch.optim.AdamW(trained, lr=1e-6)

    def step() -> None:
        loss = _learn(backbone, config, inputs, torch.randn_like(inputs[0]), torch.rand(config.data.batch_size))
        loss.detach().item()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return step


def _seconds(step: Any, device: Any) -> float:
    """Median of a few steps after two to warm up."""
    import torch

    seconds = []
    for _ in range(2 + STEPS // 2):
        started = time.perf_counter()
        step()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds[2:])


def _make_backbone(name: str) -> Any:
    """The network on the card in bf16, its weights drawn there; a text encoder and a VAE that only look like ones."""
    import comfy.model_management as management
    import comfy.model_patcher
    import comfy.supported_models as supported
    import tiny_models
    import torch

    from lora_bootstrap.host.backbone.model import HostBackbone

    size, device = SIZES[name], management.get_torch_device()
    text = tiny_models.Tiny(size.config, size.settings, **size.text)
    with torch.inference_mode():  # as a loader node of the host leaves it
        settings = {**size.settings, "dtype": torch.bfloat16}
        config = getattr(supported, size.config)(settings)
        config.unet_config = settings
        config.set_inference_dtype(torch.bfloat16, None)
        model = config.get_model({}, "", device=device)
        for parameter in model.diffusion_model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(0, 0.02)
            else:
                parameter.fill_(0.5)
    made = model.latent_format
    return HostBackbone(comfy.model_patcher.ModelPatcher(model, device, device), tiny_models.TinyClip(text),
                        tiny_models.TinyVae(made.latent_channels, made.latent_dimensions == 3))


def _free() -> None:
    import torch

    from lora_bootstrap.host.backbone.model import release_memory

    release_memory()
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _write(rows: list[dict[str, Any]], options: argparse.Namespace) -> Path:
    from lora_bootstrap.bench import report

    if options.output is not None:
        options.output.mkdir(parents=True, exist_ok=True)
        report.RESULTS = options.output
    kind = "tiny networks, which only show that the script works" if options.tiny else "networks at their true size"
    return report.write_result("gpu", "Training steps on a card", rows, (
        f"Random weights, {kind}; {STEPS} steps each through the pack's own loop in ComfyUI's own classes. *Predicted* "
        "is counted before the first step; *real* is torch.cuda.max_memory_allocated of a step in the middle. *Bare* "
        "is forward, loss, backward and optimizer on the same weights with inputs that do not change; *plain peft* "
        "also draws noise, clips and reads its loss in every step. Both are uncompiled, and timed just before. Aims: "
        "ours at most 1.05 of bare, not above plain peft, predicted memory within 10 %."))


if __name__ == "__main__":
    main()
