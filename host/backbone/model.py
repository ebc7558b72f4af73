"""Backbone over ComfyUI's MODEL, CLIP and VAE: any latent denoiser that the host can load, by one general step.

The host's `apply_model` returns the denoised estimate, and the raw prediction follows from it whatever the model is.
Adapters go into a shadow of the host's network (`shadow.py`), so the MODEL itself is never changed.
"""

from __future__ import annotations

import contextlib
import copy
import gc
import hashlib
import itertools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import comfy.model_management as management
import comfy.model_sampling
import comfy.samplers
import comfy.sd
import comfy.utils
import torch
from comfy.k_diffusion.sampling import sample_euler
from torch import Tensor, nn

from ...trainer.captions.tags import escape_brackets
from ...trainer.common.errors import UserError
from ...trainer.common.versions import library_versions
from ...trainer.models.backbone import Conditioning, Controls, NetworkInputs, OwnWeights, dtypes_of
from ...trainer.models.blocks_in_ram import BlocksInRam
from ...trainer.models.devices import to_device
from ...trainer.models.edit_forms import choose_form
from ...trainer.models.families import distilled_warning, named_row
from ...trainer.models.noise import per_row
from ...trainer.models.own_weights import Keep, own_weights
from ...trainer.models.prompt_memory import PromptMemory
from ...trainer.models.recompute import Recomputation, recomputed
from ..compat import host_version
from ..finetune.weights import PLAIN, patched_weights, size_of
from .contents import fingerprint
from .edit import encode_edit
from .encoded import pack, unpack
from .facts import family_of, said_of
from .gradients import GuardedStep, keeping_copies
from .kernels import as_linear, attention_options, casting, plain_kernels
from .loras import apply_lora, changed_layers, unmatched_modules
from .sampling import Sampled, encode_prompt, given_values, sample_once, tensors_of
from .schedule import HostSchedule
from .shadow import Shadow
from .text import encode_alone, encode_prompts

CPU = torch.device("cpu")


class HostBackbone:
    """`backbone.Backbone` over a MODEL (ModelPatcher), its CLIP and its VAE. The methods are described there."""

    network_prefix = "diffusion_model"
    key_style = "comfy"
    frees_base = False  # the memory is the host's

    def __init__(self, model: Any, clip: Any, vae: Any, base_file: str = "") -> None:
        """`base_file`: the file that the MODEL was loaded from, if that is known; it tells families of one architecture
        apart, and distilled bases.

        Raises UserError if a part is missing or the model cannot be trained.
        """
        for part, name in ((model, "MODEL"), (clip, "CLIP"), (vae, "VAE")):
            if part is None:
                raise UserError(f"{name} is missing: training needs MODEL, CLIP and VAE. Link all three, as a "
                                "checkpoint loader gives them.")
        self.model, self.clip, self.vae = model, clip, vae
        self.made_by = ""
        self.device: torch.device = model.load_device
        self.text_device: torch.device = clip.patcher.load_device
        with _outside():
            self._shadows = {part: Shadow(whole, casting, as_linear) for part, whole in (
                ("network", model.model), ("text", clip.cond_stage_model))}
        self._resident = frozenset(self._shadows)
        self._step = GuardedStep()
        self._prompts: PromptMemory[Conditioning] = PromptMemory()
        self.sampling = model.get_model_object("model_sampling")
        self.schedule = HostSchedule.of(self.sampling)
        family = family_of(model.model, self.schedule, self.latent_scale, self.network)
        self.family, self.base_file = named_row(family, base_file), base_file
        self._training = False
        self._own_type: torch.dtype | None = None  # of the network's weights while it trains its own
        self._recomputation: Recomputation | None = None
        self._blocks: BlocksInRam | None = None
        self.step_memory = 0  # bytes that a step takes beside the weights, once they are counted
        self._drop()

    @property
    def network(self) -> nn.Module:
        return self._shadows["network"].root.diffusion_model

    @property
    def text_network(self) -> nn.ModuleDict:
        return nn.ModuleDict({"text_encoders": self._shadows["text"].root})

    @property
    def half_precision(self) -> str:
        return "bf16" if management.should_use_bf16(self.device) else "fp16"

    @property
    def latent_scale(self) -> int:
        """Image pixels per latent pixel, along a side."""
        return int(self.vae.spacial_compression_encode())

    @cached_property
    def fingerprint(self) -> str:
        """See `fingerprint`; `made_by` counts too."""
        digest = fingerprint(self.model, self.clip, self.vae)
        return hashlib.sha256(f"{digest} {self.made_by}".encode()).hexdigest() if self.made_by else digest

    @property
    def encoding(self) -> Mapping[str, str]:
        return {"comfyui": host_version(), **library_versions(("torch", "transformers")),
                "vae": f"{getattr(self.vae, 'vae_dtype', '')} {getattr(self.vae, 'device', '')}".partition(":")[0],
                "text": f"{dtypes_of(self.clip.cond_stage_model)} {self.text_device.type}"}

    @property
    def caution(self) -> str:
        """One line if the base is distilled, or may be; else ""."""
        return distilled_warning(self.family, said_of(self.base_file), self.model.model.model_config.unet_config)

    # -- where the weights are -------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def training(self, recompute: float = 0.0, offload: float = 0.0) -> Iterator[None]:
        injected = [name for name, module in self.model.model.named_modules() if "forward" in module.__dict__]
        if injected:
            raise UserError(f"the MODEL carries layers that another node replaced (such as {injected[0]}); they cannot "
                            "be trained through. Link the MODEL directly from its loader.")
        with (_outside(), torch.enable_grad(), _in_training(), plain_kernels(),
              recomputed(self.network, recompute, overwrites=True) as self._recomputation):
            self._step.close()
            self._training = True  # the first step loads the network: it knows the memory
            try:
                yield
            finally:
                self._training, self.step_memory = False, 0
                self._step.close()
                self._drop()

    @property
    def recompute(self) -> float:
        return self._recomputation.share if self._recomputation else 0.0

    def set_recompute(self, share: float) -> None:
        if self._recomputation:
            self._recomputation.set_share(share)
        self._step.close()  # what is overwritten depends on what is recomputed
        self.unload()

    @property
    def offload(self) -> float:
        return self._blocks.share if self._blocks else 1.0

    def set_offload(self, share: float) -> None:
        self.unload()
        if self._blocks:
            self._blocks.set_share(share)

    @contextlib.contextmanager
    def own_weights(self, dtype: torch.dtype, offload: float = 0.0, keep: Keep | None = None) -> Iterator[OwnWeights]:
        shadow = self._shadows["network"]
        with _outside():
            self.unload()
            shadow.refresh()
            try:
                with own_weights(self.network, CPU, dtype) as before:
                    patched = patched_weights(self.model)
                    for name, weight in patched.items():
                        self.network.get_parameter(name).data.copy_(weight)
                    shadow.own(self.network, self.device, PLAIN)
                    self._own_type, self._resident = dtype, frozenset()
                    self._blocks = BlocksInRam(self.network, self.device)
                    self._blocks.set_share(offload)
                    yield OwnWeights({**before, **patched}, self._blocks)
            finally:
                if self._blocks:
                    self._blocks.close()
                self._own_type = self._blocks = None
                shadow.disown()
                self.unload()
                shadow.release()

    def step(self) -> contextlib.AbstractContextManager[None]:
        return self._step.open()

    def new_shadow(self) -> Shadow:
        """Another shadow of the whole MODEL, for work beside the training; it has no adapters."""
        with _outside():
            return Shadow(self.model.model, casting, as_linear)

    def _bring(self, *parts: str, memory: int = 0) -> None:
        """Have the host load these parts, and let the shadows follow. Both stay loaded while the text encoder is
        trained."""
        wanted = frozenset(parts)
        if wanted <= self._resident:
            return
        if self._trains_text:
            wanted |= {"network", "text"}
        self._drop()
        patchers = {"network": self.model, "text": self.clip.patcher}
        if self._own_type and "network" in wanted:
            management.free_memory(size_of(self.network) + memory, self.device)
            del patchers["network"]
        with self._as_host():
            management.load_models_gpu([patchers[part] for part in wanted & patchers.keys()], memory_required=memory)
        self._resident = wanted
        for part in wanted:
            self._shadows[part].refresh()
        if "network" in wanted:
            root = self._shadows["network"].root
            root.current_patcher = None  # nothing should be prefetched for the original
            if self._own_type:
                root.manual_cast_dtype, root.diffusion_model.dtype = None, self._own_type

    @property
    def _trains_text(self) -> bool:
        return any(p.requires_grad for p in self._shadows["text"].root.parameters())

    @contextlib.contextmanager
    def _as_host(self) -> Iterator[None]:
        """The mode in which the host itself loads and runs its models."""
        with torch.inference_mode(next(self.model.model.parameters()).is_inference()), torch.no_grad():
            yield

    def _drop(self) -> None:
        for part in self._resident:  # letting go of every parameter again takes ten milliseconds for SDXL
            self._shadows[part].release()
        self._resident = frozenset()

    def _use(self, model: Any, clip: Any) -> None:
        """Continue with other patches on the same networks."""
        self._drop()
        self.model, self.clip = model, clip

    # -- pictures --------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def encode_images(self, pixels: Tensor) -> Tensor:
        self._drop()
        with _outside():
            # one by one: some of the host's VAEs read a batch as the frames of a video
            latents = torch.cat([self.encode_pixels(row[None]) for row in pixels.movedim(1, -1).cpu()])
            latents = self._fitted(latents)
            return self.model.model.process_latent_in(latents).float()

    def encode_pixels(self, pixels: Tensor) -> Tensor:
        """[B, H, W, 3] in 0..1 → the VAE's own latents, as the host's VAE Encode gives them."""
        self._drop()
        with self._as_host():
            latents = self.vae.encode(pixels)
        return latents.clone()

    def _fitted(self, latents: Tensor) -> Tensor:
        wanted = self.model.model.latent_format
        if latents.shape[1] != wanted.latent_channels:
            raise UserError(f"the VAE makes latents with {latents.shape[1]} channels, but {self.family.title} needs "
                            f"{wanted.latent_channels}: it belongs to another model family. Load the model's own VAE.")
        if latents.ndim == 4 and wanted.latent_dimensions == 3:
            return latents.unsqueeze(2)
        return latents[:, :, 0] if latents.ndim == 5 and wanted.latent_dimensions == 2 else latents

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        self._drop()
        with _outside():
            with self._as_host():
                pixels = self.vae.decode(self.model.model.process_latent_out(latents)).float()
            if pixels.ndim == 5:
                pixels = pixels[:, 0]
            return pixels.clone().movedim(-1, 1).clamp(0, 1)

    # -- captions --------------------------------------------------------------------------------------------------

    def edit_form(self, wanted: str) -> str:
        sampling = self.model.model.model_config.unet_config.get("default_ref_method")
        return choose_form(wanted, type(self.model.model).__name__, self.family.title, os.path.basename(self.base_file),
                           zero_time=sampling == "index_timestep_zero")

    def encode_text(self, captions: Sequence[str], controls: Controls | None = None) -> Conditioning:
        return self._encode([escape_brackets(caption) for caption in captions], controls)

    def _encode(self, prompts: Sequence[str], controls: Controls | None = None) -> Conditioning:
        with _outside():
            clip = copy.copy(self.clip)
            clip.cond_stage_model, clip.use_clip_schedule = self._shadows["text"].root, False
            clip.load_model = lambda *args, **kwargs: self._bring("text")  # control images go through the VAE before
            if controls is None and not torch.is_grad_enabled():
                self._bring("text")
                distinct = list(dict.fromkeys(prompts))
                alone = dict(zip(distinct, encode_prompts(clip, distinct), strict=True))
                return Conditioning.cat([alone[prompt] for prompt in prompts])
            form, images = ("", [()] * len(prompts)) if controls is None else (controls.form, controls.rows)
            rows: dict[tuple[str, int], Conditioning] = {}
            with keeping_copies():
                for prompt, own in zip(prompts, images, strict=True):
                    if (prompt, id(own)) not in rows:
                        rows[prompt, id(own)] = self._encode_pair(clip, prompt, form, own)
            return Conditioning.cat([rows[prompt, id(own)] for prompt, own in zip(prompts, images, strict=True)])

    def _encode_pair(self, clip: Any, prompt: str, form: str, images: Sequence[Tensor]) -> Conditioning:
        if not images:
            self._bring("text")
            return encode_alone(clip, prompt)
        ((cond, made),) = encode_edit(form, clip, SimpleNamespace(encode=self.encode_pixels), prompt, images)
        return Conditioning(pack({**made, "cross_attn": cond}))

    def token_count(self, caption: str) -> tuple[int, int]:
        tokens = self.clip.tokenize(escape_brackets(caption), return_word_ids=True)
        count = max(sum(token[-1] != 0 for chunk in chunks for token in chunk) for chunks in tokens.values())
        return count, count  # the host encodes long captions chunk by chunk

    # -- the step --------------------------------------------------------------------------------------------------

    def noised(self, latents: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        return self.sampling.noise_scaling(per_row(self.schedule.sigmas(t), latents), noise, latents, False)

    def predict(self, noisy: Tensor, t: Tensor, conditioning: Conditioning) -> Tensor:
        with _outside():
            self._bring("network", memory=self._memory(noisy, conditioning))
            sigma = to_device(self.schedule.sigmas(t), noisy.device)

            def run(heard: Conditioning) -> Tensor:
                denoised = self._denoised(noisy, sigma, heard, self.family.guidance)
                return self.schedule.raw(noisy, denoised, sigma)

            self._step.prepare(self.network, lambda: run(conditioning.as_leaves()))
            return run(conditioning)

    def _denoised(self, noisy: Tensor, sigma: Tensor, conditioning: Conditioning, guidance: float | None) -> Tensor:
        """The model's estimate of x0, with row i conditioned on row i of `conditioning`.

        Rows that the host would not run together (captions of different lengths, where the model has no mask for them)
        are run in groups, one after another. `conditioning` may be on the CPU, where the host's own sampler has it too:
        what is read of it (sizes, masks) then waits for nothing.
        """
        rows = [self._heard(noisy[i : i + 1], conditioning.row(i), guidance) for i in range(len(noisy))]
        parts, order = [], []
        for group in _groups(rows):
            first, *others = (rows[i] for i in group)
            joined = {name: _moved(value.concat([other[name] for other in others]), noisy.device)
                      for name, value in first.items()}
            latents, levels = (_rows(value, group) for value in (noisy, sigma))
            options = {**(attention_options() if self._training else {}),
                       **self.model.model_options["transformer_options"], "cond_or_uncond": [0] * len(group),
                       "sigmas": levels}
            network = self._shadows["network"].root
            parts.append(network.apply_model(latents, levels, transformer_options=options, **joined))
            order += group
        if len(parts) == 1:
            return parts[0]
        return _rows(torch.cat(parts), torch.tensor(order).argsort().tolist())

    def _heard(self, noisy: Tensor, row: dict[str, Tensor], guidance: float | None) -> dict[str, Any]:
        height, width = (side * self.latent_scale for side in noisy.shape[-2:])
        extra = {} if guidance is None else {"guidance": guidance}
        made = self._shadows["network"].root.extra_conds(
            **{"pooled_output": None, "width": width, "height": height, **unpack(row), **extra}, device=self.device,
            noise=noisy, prompt_type="positive")
        return {name: value.process_cond(batch_size=1, area=None) for name, value in made.items()}

    # -- the host's own path ---------------------------------------------------------------------------------------

    def sampling_prediction(self, noisy: Tensor, t: Tensor, caption: str | Sequence[str],
                            controls: Controls | None = None) -> Tensor:
        captions = [caption] * len(noisy) if isinstance(caption, str) else list(caption)
        sigmas = self.schedule.sigmas(t)
        rows: dict[int, Tensor] = {}
        for prompt, positive in self._host_prompts(captions, controls).items():
            chosen = [row for row, other in enumerate(captions) if other == prompt]
            sampled = self._sampled(positive, noisy[chosen], sigmas[chosen])
            rows |= dict(zip(chosen, sampled.denoised, strict=True))
        denoised = torch.cat([rows[row] for row in range(len(noisy))])
        if self._training:  # the next step loads it again, and knows how much memory to leave
            self.unload()
        return self.schedule.raw(noisy, denoised.clone(), sigmas)

    def sampling_inputs(self, noisy: Tensor, caption: str, controls: Controls | None = None) -> NetworkInputs:
        positive = self._host_prompts([caption], controls)[caption]
        return self._sampled(positive, noisy, self.schedule.sigmas(torch.full((1,), 0.5, device=noisy.device))).inputs

    def training_inputs(self, noisy: Tensor, conditioning: Conditioning) -> NetworkInputs:
        with _outside(), torch.no_grad():
            self._bring("network")
            row = conditioning.to(self.device).row(0)
            given = self._heard(noisy, row, self.family.guidance)
            return NetworkInputs(tensors_of(unpack(row)), tensors_of(given_values(given)))

    def _host_prompts(self, captions: Sequence[str], controls: Controls | None) -> dict[str, list[Any]]:
        self._drop()
        with _in_training(False):
            return {caption: encode_prompt(self.clip, escape_brackets(caption), self.family.guidance, self.vae,
                                           controls) for caption in dict.fromkeys(captions)}

    def _sampled(self, positive: list[Any], noisy: Tensor, sigmas: Tensor) -> Sampled:
        self._bring("network")  # in the mode in which its weights are
        self._drop()
        if self._own_type:
            with self._as_host():
                management.load_models_gpu([self.model])
        model, options = self.model, attention_options()
        if options:  # its rounding is no difference between training and sampling
            model = model.clone()
            model.model_options["transformer_options"] |= options
        with _in_training(False):
            return sample_once(model, positive, noisy, sigmas)

    @contextlib.contextmanager
    def sampling_lora(self, path: str | Path) -> Iterator[HostLora]:
        try:
            with self.lora(path) as loaded:
                yield loaded
        finally:
            self.unload()  # or the weights would keep the file's changes until they are next used

    def unload(self) -> None:
        """Take all that the host has loaded off the card."""
        self._drop()
        with self._as_host():
            release_memory()

    def _memory(self, noisy: Tensor, conditioning: Conditioning) -> int:
        """Bytes to keep free for a step, in training, as counted or as the host guesses: control images take as much as
        the image itself."""
        if not self._training or "network" in self._resident:
            return 0
        if self.step_memory:
            return self.step_memory
        shapes: dict[str, list[Any]] = {}
        for row in range(len(noisy)):
            for name, shape in self.model.model.extra_conds_shapes(**unpack(conditioning.row(row))).items():
                shapes.setdefault(name, []).append(shape)
        return int(3 * self.model.model.memory_required([len(noisy), *noisy.shape[1:]], cond_shapes=shapes))

    # -- previews --------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def generate(self, prompts: Sequence[str], *, seeds: Sequence[int], width: int, height: int,
                 steps: int, cfg: float, negative: str = "", controls: Controls | None = None,
                 at_step: Callable[[float], None] | None = None) -> Tensor:
        """The host's Euler over the host's own sigmas. Prompts are read as the host reads them, weights included."""
        if len(prompts) != len(seeds):
            raise ValueError(f"{len(prompts)} prompts but {len(seeds)} seeds; each prompt needs its own")
        with _outside():
            both = self._encode_sides(prompts, cfg, negative, controls).to(self.device)
            self._bring("network")
            sigmas = comfy.samplers.calculate_sigmas(self.sampling, "simple", steps).to(self.device)
            noise = self._noise(seeds, width, height).to(self.device)
            x = self.sampling.noise_scaling(sigmas[0], noise, torch.zeros_like(noise), True)
            denoise: Callable[..., Tensor] = partial(self._guided, conditioning=both, cfg=cfg)
            if at_step:
                denoise = self._before_each(at_step, denoise, steps)
            x = sample_euler(denoise, x, sigmas, disable=True)
            return self.decode(self.sampling.inverse_noise_scaling(sigmas[-1], x)).cpu()

    @torch.no_grad()
    def remember_prompts(self, prompts: Sequence[str], *, cfg: float, negative: str = "",
                         controls: Controls | None = None) -> None:
        with _outside():
            self._encode_sides(prompts, cfg, negative, controls)

    def _encode_sides(self, prompts: Sequence[str], cfg: float, negative: str,
                      controls: Controls | None) -> Conditioning:
        """A row for each prompt and, unless CFG is off, then one for each negative prompt."""
        sides = 1 if cfg == 1 else 2
        texts = [*prompts, *[negative] * len(prompts)][:sides * len(prompts)]
        images = controls and Controls(controls.form, [*controls.rows] * sides)
        if self._trains_text:
            return self._encode(texts, images)
        key = (tuple(texts), self.clip.patcher.patches_uuid, controls and controls.digest)
        return self._prompts.recall(key, lambda: self._encode(texts, images).to("cpu"))

    def _before_each(self, at_step: Callable[[float], None], denoise: Callable[..., Tensor],
                     steps: int) -> Callable[..., Tensor]:
        """`denoise`, which Euler calls once a step, after `at_step`, which may continue with another model."""
        numbers = itertools.count()

        def step(x: Tensor, sigma: Tensor) -> Tensor:
            at_step(next(numbers) / steps)
            self._bring("network")
            return denoise(x, sigma)

        return step

    def _guided(self, x: Tensor, sigma: Tensor, conditioning: Conditioning, cfg: float) -> Tensor:
        """The estimate of x0 that CFG makes of those for the prompts and, in the second half of the conditioning, for
        the negative one; without the second half at 1."""
        guidance = self.family.drawing_guidance
        if cfg == 1:
            return self._denoised(x, sigma, conditioning, guidance)
        wanted, unwanted = self._denoised(torch.cat([x, x]), torch.cat([sigma, sigma]), conditioning, guidance).chunk(2)
        return unwanted + cfg * (wanted - unwanted)

    def _noise(self, seeds: Sequence[int], width: int, height: int) -> Tensor:
        latents = self.model.model.latent_format
        frames = [1] if latents.latent_dimensions == 3 else []
        shape = [latents.latent_channels, *frames, height // self.latent_scale, width // self.latent_scale]
        return torch.stack([torch.randn(shape, generator=torch.Generator().manual_seed(seed)) for seed in seeds])

    @contextlib.contextmanager
    def lora(self, source: str | Path, strength: float = 1.0) -> Iterator[HostLora]:
        """The LoRA file at this strength while the block lasts; `set_strength` of the yielded object changes it."""
        before = self.model, self.clip
        applied = HostLora(self, source)
        try:
            applied.set_strength(strength)
            yield applied
        finally:
            self._use(*before)


class HostLora:
    """A LoRA file on a HostBackbone, through the host's own loader.

    Attributes:
        unmatched: modules of the file that are not in the model.
    """

    def __init__(self, backbone: HostBackbone, path: str | Path) -> None:
        self._backbone, self._base, self._path = backbone, (backbone.model, backbone.clip), path
        self.unmatched = unmatched_modules(*self._base, path)

    @property
    def layers(self) -> int:
        """Number of the model's layers that the host's loader changes by the file."""
        return changed_layers(*self._base, self._path)

    def set_strength(self, strength: float) -> None:
        self._backbone._use(*apply_lora(*self._base, self._path, strength, strength))


def release_memory() -> None:
    """Unload all of the host's models, and return cached memory to the device."""
    management.unload_all_models()
    gc.collect()
    management.soft_empty_cache()


def memory_in_use(device: torch.device) -> int:
    """Bytes used by tensors on an accelerator; on the CPU, bytes used by this process."""
    if device.type == "cuda":
        return torch.cuda.memory_allocated(device)
    if device.type == "mps":
        return torch.mps.current_allocated_memory()
    import psutil  # one of the host's own requirements

    return psutil.Process().memory_info().rss


# -- parts -----------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _outside() -> Iterator[None]:
    """Outside inference mode, in which the host runs its nodes. Whether gradients are on does not change."""
    with torch.set_grad_enabled(torch.is_grad_enabled()):
        on = torch.is_grad_enabled()
        with torch.inference_mode(False), torch.set_grad_enabled(on):
            yield


@contextlib.contextmanager
def _in_training(on: bool = True) -> Iterator[None]:
    """Tell newer hosts whether to avoid fused kernels that have no backward."""
    before = getattr(management, "in_training", None)
    if before is not None:
        management.in_training = on
    try:
        yield
    finally:
        if before is not None:
            management.in_training = before


def _groups(rows: Sequence[dict[str, Any]]) -> list[list[int]]:
    """Indices of rows that the host would run in one batch."""
    groups: list[list[int]] = []
    for index, row in enumerate(rows):
        for group in groups:
            first = rows[group[0]]
            if first.keys() == row.keys() and all(first[name].can_concat(value) for name, value in row.items()):
                group.append(index)
                break
        else:
            groups.append([index])
    return groups


def _rows(values: Tensor, rows: Sequence[int]) -> Tensor:
    """values[rows], without waiting for the device. It is a copy: some networks write into their input."""
    if list(rows) == list(range(len(values))):
        return values.clone()
    return values[to_device(torch.tensor(rows), values.device)]


def _moved(value: Any, device: torch.device) -> Any:
    """What a condition object of the host holds, its tensors on the device. Of a list, the host moves the members."""
    return to_device(value, device) if isinstance(value, Tensor) else value
