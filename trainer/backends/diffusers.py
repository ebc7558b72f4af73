"""Backbone over a diffusers pipeline: the sandbox, a diffusers folder, or a single SD1.5 / SDXL checkpoint file."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, nn

from ..captions.tags import unescape_brackets
from ..common.errors import UserError
from ..common.versions import library_versions
from ..lora.difference import is_difference
from ..lora.file import LoraWeights, load_lora
from ..lora.layers import read_header
from ..lora.names import LORA
from ..models.backbone import (
    AppliedLora,
    Conditioning,
    Controls,
    LoadedLora,
    NetworkInputs,
    OwnWeights,
    Rows,
    dtypes_of,
)
from ..models.blocks_in_ram import BlocksInRam
from ..models.devices import to_device
from ..models.edit_forms import choose_form
from ..models.families import Family, get_family
from ..models.noise import DiscreteSchedule, mix
from ..models.out_of_memory import is_out_of_memory, release_memory
from ..models.own_weights import Keep, own_weights
from ..models.prompt_memory import PromptMemory
from ..models.recompute import Recomputation, recomputed
from ..training.adapters import use_lora
from ..training.trained.difference import NetworkDifference
from ..training.tuners.injection import adapted_modules, remove_adapters
from .given_base import AS_LOADED, SANDBOX, find_given_base
from .held import HeldWeights, check_precision
from .known_hashes import known_hash
from .places import CPU, NETWORK, Places

log = logging.getLogger(__name__)

_LOADED = "lora_bootstrap_loaded"
"""Name of the adapter that diffusers' own loader makes of a LoRA file."""

TOKEN_LIMIT = 75
"""Tokens that one chunk of a CLIP text encoder reads, without its start and end marks."""


class DiffusersBackbone:
    """`backbone.Backbone` over StableDiffusionPipeline or StableDiffusionXLPipeline. See there for the methods."""

    network_prefix = "unet"
    key_style = "kohya"
    frees_base = True

    def __init__(self, pipeline: Any, family: Family, fingerprint: str, held: HeldWeights | None = None,
                 home: torch.device | None = None) -> None:
        """
        Args:
            held: the network's weights, if they are packed; then the network is on its device already.
            home: the device, for a pipeline in RAM whose parts move there when they are first needed; None: the
                pipeline's own.
        """
        objective = _objective(pipeline.scheduler)
        self.pipeline, self.family, self.fingerprint = pipeline, replace(family, objective=objective), fingerprint
        self.network: nn.Module = pipeline.unet
        names = ("text_encoder", "text_encoder_2")
        encoders = {name: getattr(pipeline, name, None) for name in names}
        self.text_network = nn.ModuleDict({name: encoder for name, encoder in encoders.items() if encoder is not None})
        self.schedule = DiscreteSchedule(pipeline.scheduler.alphas_cumprod)
        self.pipeline.set_progress_bar_config(disable=True)
        for module in (self.network, self.text_network, pipeline.vae):
            module.requires_grad_(False).eval()
        parts = {NETWORK: self.network, **self.text_network, "vae": pipeline.vae}
        self.places = Places(parts, home or pipeline.unet.device, in_ram=home is not None)
        _compute_on(pipeline, self.places.home)
        self._caching = False
        self._held = held or HeldWeights(self.network)
        self.precision = self._held.precision
        self._recomputations: list[Recomputation] = []
        self._blocks: BlocksInRam | None = None  # while the network trains weights of its own
        self._prompts: PromptMemory[dict[str, Tensor]] = PromptMemory()
        self._text_parameters = _parameter_names(self.text_network)

    @property
    def device(self) -> torch.device:
        return self.places.home

    @property
    def text_device(self) -> torch.device:
        return self.places.home

    @property
    def half_precision(self) -> str:
        return _half_precision(self.device)

    @property
    def encoding(self) -> Mapping[str, str]:
        return {**library_versions(("torch", "diffusers", "transformers")), "device": self.device.type,
                "vae": dtypes_of(self.pipeline.vae), "text": dtypes_of(self.text_network)}

    @property
    def latent_scale(self) -> int:
        """Pixels of the image's side per pixel of the latent's."""
        return 2 ** (len(self.pipeline.vae.config.block_out_channels) - 1)

    @contextlib.contextmanager
    def training(self, recompute: float = 0.0, offload: float = 0.0) -> Iterator[None]:
        networks = (self.network, *self.text_network.values())
        with contextlib.ExitStack() as stack:
            self._recomputations = [stack.enter_context(recomputed(network, recompute)) for network in networks]
            stack.callback(self._end_training)
            self._held.offload(offload, self.device)
            self._caching = True
            yield

    def _end_training(self) -> None:
        """Give the blocks their weights back. Where memory does not suffice, which is often so after an error, they
        stay in RAM, from where each is brought when it is used. The other parts are brought by whatever needs them."""
        self._caching = False
        try:
            self._held.offload(0.0, self.device)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            log.warning("weights of the network stay in RAM: the device has no room for them")

    @property
    def recompute(self) -> float:
        return max((part.share for part in self._recomputations), default=0.0)

    def set_recompute(self, share: float) -> None:
        for part in self._recomputations:
            part.set_share(share)
        release_memory()

    @property
    def offload(self) -> float:
        return self._blocks.share if self._blocks else 1.0

    def set_offload(self, share: float) -> None:
        if self._blocks:
            self._blocks.set_share(share)
        release_memory()

    @contextlib.contextmanager
    def own_weights(self, dtype: torch.dtype, offload: float = 0.0, keep: Keep | None = None) -> Iterator[OwnWeights]:
        if self.precision != AS_LOADED:
            raise UserError(f"the base's weights are held in {self.precision}, in which they cannot be trained. Leave "
                            "--base-precision at auto, or train a LoRA.")
        self.places.rest(NETWORK)
        cast = self.network.register_forward_pre_hook(_cast_inputs, with_kwargs=True)
        try:
            with own_weights(self.network, CPU if offload else self.device, dtype, keep) as before:
                self._blocks = BlocksInRam(self.network, self.device)
                try:
                    self._blocks.set_share(offload)
                    self.places.bring(NETWORK)
                    yield OwnWeights(before, self._blocks)
                finally:
                    self._blocks.close()
                    self._blocks = None
        finally:
            cast.remove()
            self.places.rest(NETWORK)

    def step(self) -> contextlib.AbstractContextManager[None]:
        self._caching = False
        self.places.rest_untrained()
        return contextlib.nullcontext()

    def _encode_on(self, *names: str) -> None:
        """Bring what encodes to the card. Before a training's first step, it is alone there, but for weights of the
        network that are packed."""
        if self._caching:
            self.places.rest(NETWORK)
        self.places.bring(*names)

    def _bring_network(self) -> None:
        """Bring the network to the card, after what encoded for a training has left it. Raises UserError if the card
        cannot hold it."""
        if self._caching:
            self.places.rest_untrained()
        self._caching = False
        if self.places.is_away(NETWORK):
            with _room_for_network():
                self.places.bring(NETWORK)

    def _bring_all(self) -> None:
        """Bring what a LoRA is put into: it is made where its layers are."""
        self._bring_network()
        self.places.bring(*self.text_network)

    def encode_images(self, pixels: Tensor) -> Tensor:
        self._encode_on("vae")
        vae = self.pipeline.vae
        latents = vae.encode((pixels * 2 - 1).to(vae.device, vae.dtype)).latent_dist.mode().float()
        return (latents - (vae.config.shift_factor or 0.0)) * vae.config.scaling_factor

    def edit_form(self, wanted: str) -> str:
        return choose_form(wanted, type(self.pipeline).__name__, f"{self.family.title} outside ComfyUI")

    def encode_text(self, captions: Sequence[str], controls: Controls | None = None) -> Conditioning:
        self._encode_on(*self.text_network)
        texts = [unescape_brackets(caption) for caption in captions]
        encoded = self.pipeline.encode_prompt(texts, device=self.device, num_images_per_prompt=1,
                                              do_classifier_free_guidance=False)
        tensors = {"prompt_embeds": encoded[0]}
        if len(encoded) == 4:  # SDXL: (embeds, negative embeds, pooled, negative pooled)
            tensors["pooled_prompt_embeds"] = encoded[2]
        return Conditioning(tensors)

    def noised(self, latents: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        return mix(self.schedule, latents, noise, t)

    def predict(self, noisy: Tensor, t: Tensor, conditioning: Conditioning) -> Tensor:
        self._bring_network()
        dtype = _first_weight(self.network).dtype
        tensors = {name: to_device(_one_tensor(rows), noisy.device) for name, rows in conditioning.tensors.items()}
        extra = {}
        if "pooled_prompt_embeds" in tensors:
            height, width = (side * self.latent_scale for side in noisy.shape[-2:])
            sizes = to_device(torch.tensor([[height, width, 0, 0, height, width]], dtype=dtype), noisy.device)
            extra["added_cond_kwargs"] = {
                "text_embeds": tensors["pooled_prompt_embeds"].to(dtype), "time_ids": sizes.expand(len(noisy), -1),
            }
        return self.network(
            noisy.to(dtype), to_device(self.schedule.timesteps(t), noisy.device),
            encoder_hidden_states=tensors["prompt_embeds"].to(dtype), return_dict=False, **extra,
        )[0].float()

    def sampling_prediction(self, noisy: Tensor, t: Tensor, caption: str | Sequence[str],
                            controls: Controls | None = None) -> Tensor:
        captions = [caption] * len(noisy) if isinstance(caption, str) else caption
        steps = self.schedule.timesteps(t).tolist()
        if any(map(self.places.is_away, self.text_network)):
            self.places.rest(NETWORK)  # or the proof would need more of the card than a step
        for text in dict.fromkeys(captions):
            self._encode_prompts([text], 1.0, "")  # they are remembered
        return torch.cat([self._sampled(noisy[row : row + 1], steps[row], captions[row]).output.float()
                          for row in range(len(noisy))])

    def sampling_inputs(self, noisy: Tensor, caption: str, controls: Controls | None = None) -> NetworkInputs:
        return _network_inputs(self._sampled(noisy, 0, caption).inputs)

    @torch.no_grad()
    def training_inputs(self, noisy: Tensor, conditioning: Conditioning) -> NetworkInputs:
        with _spied(self.network) as calls:
            self.predict(noisy, torch.zeros(1, device=noisy.device), conditioning.rows([0]).to(noisy.device))
        return _network_inputs(calls[0].inputs)

    def _sampled(self, noisy: Tensor, step: int, caption: str) -> _Call:
        """The network's forward pass in one step of the pipeline's own call, for latents [1, ...].

        The scheduler of that step hands on the latents as they are; the base's own may scale them. As in a step of the
        training, text encoders and VAE are in RAM.
        """
        from diffusers import DDPMScheduler

        self._caching = False
        encoded = self._encode_prompts([caption], 1.0, "")
        self.places.rest_untrained()
        self._bring_network()
        height, width = (side * self.latent_scale for side in noisy.shape[-2:])
        own = self.pipeline.scheduler
        try:
            self.pipeline.scheduler = DDPMScheduler.from_config(own.config)
            with _spied(self.network) as calls:
                self.pipeline(
                    **encoded, latents=noisy.to(self.device, _first_weight(self.network).dtype), timesteps=[step],
                    height=height, width=width, guidance_scale=1.0, output_type="latent")
        finally:
            self.pipeline.scheduler = own
        return calls[0]

    @contextlib.contextmanager
    def sampling_lora(self, path: str | Path) -> Iterator[LoadedLora]:
        if is_difference(path):
            with self.lora(path) as difference:
                assert isinstance(difference, NetworkDifference)
                yield difference
            return
        parts = {self.network_prefix: self.network, **self.text_network}
        if not is_read_by_diffusers(path):
            with self.lora(path) as applied:
                yield PipelineLora.of_applied(path, applied)
            return
        folder, name = Path(path).resolve().parent, Path(path).name
        self._bring_all()
        try:
            with _without_advice():
                self.pipeline.load_lora_weights(str(folder), weight_name=name, adapter_name=_LOADED,
                                                local_files_only=True)
            yield PipelineLora.read(path, parts)
        finally:
            for part in parts.values():
                remove_adapters(part, {_LOADED})
                part.__dict__.pop("_hf_peft_config_loaded", None)

    def decode(self, latents: Tensor) -> Tensor:
        self.places.bring("vae")
        vae = self.pipeline.vae
        latents = latents / vae.config.scaling_factor + (vae.config.shift_factor or 0.0)
        return (vae.decode(latents.to(vae.device, vae.dtype)).sample.float() / 2 + 0.5).clamp(0, 1)

    @torch.no_grad()
    def generate(self, prompts: Sequence[str], *, seeds: Sequence[int], width: int, height: int,
                 steps: int, cfg: float, negative: str = "", controls: Controls | None = None,
                 at_step: Callable[[float], None] | None = None) -> Tensor:
        if len(prompts) != len(seeds):
            raise ValueError(f"{len(prompts)} prompts but {len(seeds)} seeds; each prompt needs its own")
        self._bring_network()
        self.places.bring("vae")  # text encoders are not needed for prompts that are remembered

        def draw() -> Tensor:
            if at_step:
                at_step(0.0)
            generators = [torch.Generator().manual_seed(seed) for seed in seeds]
            pictures: Tensor = self.pipeline(
                **self._encode_prompts(prompts, cfg, negative), generator=generators, width=width, height=height,
                num_inference_steps=steps, guidance_scale=cfg, output_type="pt",
                callback_on_step_end=_after_step(at_step, steps) if at_step else None,
            ).images
            return pictures.float().cpu()

        try:
            return draw()
        except Exception as error:
            if len(prompts) == 1 or not is_out_of_memory(error):
                raise
        release_memory()  # only here, where the error is gone, is the memory free that its traceback held
        with _sliced(self.pipeline.vae):
            return draw()

    @torch.no_grad()
    def remember_prompts(self, prompts: Sequence[str], *, cfg: float, negative: str = "",
                         controls: Controls | None = None) -> None:
        self._encode_prompts(prompts, cfg, negative)

    def _encode_prompts(self, prompts: Sequence[str], cfg: float, negative: str) -> dict[str, Tensor]:
        """What the pipeline's own call would make of the prompts, by the names of its arguments."""
        def encode() -> dict[str, Tensor]:
            self._encode_on(*self.text_network)
            encoded = self.pipeline.encode_prompt(
                prompt=[unescape_brackets(prompt) for prompt in prompts], device=self.device, num_images_per_prompt=1,
                do_classifier_free_guidance=cfg > 1, negative_prompt=[unescape_brackets(negative)] * len(prompts))
            return {name: tensor.cpu() for name, tensor in zip(_PROMPT_EMBEDS, encoded, strict=False)
                    if tensor is not None}

        adapted = self._text_parameters != _parameter_names(self.text_network)
        key = (tuple(prompts), negative, cfg > 1)
        encoded = encode() if adapted else self._prompts.recall(key, encode)
        return {name: tensor.to(self.device) for name, tensor in encoded.items()}

    def token_count(self, caption: str) -> tuple[int, int]:
        tokens = self.pipeline.tokenizer(unescape_brackets(caption), add_special_tokens=False, verbose=False).input_ids
        return len(tokens), min(len(tokens), TOKEN_LIMIT)

    @contextlib.contextmanager
    def lora(self, source: str | Path | LoraWeights, strength: float = 1.0) -> Iterator[AppliedLora]:
        """Apply the LoRA, or the difference that a fine-tune saved, at this strength while the block lasts;
        `set_strength` of what is yielded changes it.

        Raises UserError if no key of the file fits this base.
        """
        if not isinstance(source, LoraWeights) and is_difference(source):
            self._bring_network()
            with NetworkDifference.applied(self.network, self.network_prefix, self.key_style, source) as difference:
                difference.set_strength(strength)
                yield difference
            return
        parts = {self.network_prefix: self.network, **self.text_network}
        weights = source if isinstance(source, LoraWeights) else load_lora(source, module_names=_module_names(parts))
        self._bring_all()
        if weights.ignored:
            log.warning("%d tensors of the LoRA were not read, such as %s", len(weights.ignored), weights.ignored[0])
        applied = use_lora(parts, weights, strength)
        if applied.unmatched:
            log.warning("%d modules of the LoRA are not in this model, such as %s", len(applied.unmatched),
                        applied.unmatched[0])
        try:
            yield applied
        finally:
            applied.detach()


def _after_step(at_step: Callable[[float], None], steps: int) -> Callable[..., dict[str, Any]]:
    """A pipeline's callback, which it calls after each step, not before."""
    def call(_pipeline: Any, step: int, _time: Any, values: dict[str, Any]) -> dict[str, Any]:
        if step + 1 < steps:
            at_step((step + 1) / steps)
        return values

    return call


def _compute_on(pipeline: Any, device: torch.device) -> None:
    """Have the pipeline's own call compute on this device. It would take that of its first part by name, before
    diffusers 0.42 a text encoder, which may be in RAM."""
    kind = type(pipeline)
    members = {"__module__": kind.__module__, "__doc__": kind.__doc__, "_execution_device": device}
    pipeline.__class__ = type(kind.__name__, (kind,), members)


def _cast_inputs(network: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
    """Latents and what the text encoders made, in the type of weights that are trained in fewer bits than theirs."""
    dtype = _first_weight(network).dtype
    given = {name: value.to(dtype) if name in ("sample", "encoder_hidden_states") else value
             for name, value in kwargs.items()}
    if added := kwargs.get("added_cond_kwargs"):
        given["added_cond_kwargs"] = {name: value.to(dtype) for name, value in added.items()}
    return (args[0].to(dtype), *args[1:]) if args else args, given


@contextlib.contextmanager
def _room_for_network() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        traceback.clear_frames(error.__traceback__)
        raise UserError("the base does not fit this card. Give --base-precision fp8, which halves it, or train with "
                        "--set offload_blocks=1, which holds the weights of its blocks in RAM.") from error


@contextlib.contextmanager
def _sliced(vae: Any) -> Iterator[None]:
    """Decode one image after another, where the VAE can, which takes less memory and rounds otherwise."""
    before = getattr(vae, "use_slicing", None)
    if before is None:
        yield
        return
    vae.use_slicing = True
    try:
        yield
    finally:
        vae.use_slicing = before


_PROMPT_EMBEDS = ("prompt_embeds", "negative_prompt_embeds", "pooled_prompt_embeds", "negative_pooled_prompt_embeds")
"""What a pipeline's encode_prompt returns, in order; the pooled ones are SDXL's."""


def _parameter_names(network: nn.Module) -> frozenset[str]:
    """Adapters, those of a LoRA file included, are parameters of their own."""
    return frozenset(name for name, _ in network.named_parameters())


@dataclass(frozen=True)
class PipelineLora:
    """A LoRA file in a pipeline, by diffusers' own loader; see `backbone.LoadedLora`."""

    layers: int
    unmatched: tuple[str, ...]

    @classmethod
    def read(cls, path: str | Path, parts: Mapping[str, nn.Module]) -> PipelineLora:
        changed = {f"{prefix}.{name}" for prefix, part in parts.items() for name in adapted_modules(part, _LOADED)}
        file = read_header(Path(path), _module_names(parts))
        file.tensors.close()
        wanted = [entry.name.key for entry in file.entries]
        return cls(len(changed), tuple(name for name in wanted if name not in changed))

    @classmethod
    def of_applied(cls, path: str | Path, applied: AppliedLora) -> PipelineLora:
        """A LoRA of a kind that without a host only this project's own loader applies."""
        file = read_header(Path(path))
        file.tensors.close()
        return cls(len(file.entries) - len(applied.unmatched), tuple(applied.unmatched))


def is_read_by_diffusers(path: str | Path) -> bool:
    """Whether diffusers' loader applies all of the file. Its 0.42 leaves out a DoRA's magnitudes, and reads no LoHa and
    only for few models LoKr."""
    file = read_header(Path(path))
    file.tensors.close()
    return set(file.kinds) == {LORA} and not file.dora


@contextlib.contextmanager
def _without_advice() -> Iterator[None]:
    """Diffusers warns of every text encoder for which a LoRA file holds nothing."""
    from diffusers.utils import logging as advice

    before = advice.get_verbosity()
    advice.set_verbosity_error()
    try:
        yield
    finally:
        advice.set_verbosity(before)


@dataclass(frozen=True)
class _Call:
    """One forward pass of a network: what it was conditioned on, by name, and its output."""

    inputs: Mapping[str, Tensor]
    output: Tensor


@contextlib.contextmanager
def _spied(network: nn.Module) -> Iterator[list[_Call]]:
    """Every forward pass of the network while the block lasts."""
    calls: list[_Call] = []

    def keep(module: nn.Module, args: Any, kwargs: dict[str, Any], output: Any) -> None:
        named = {**kwargs, **(kwargs.get("added_cond_kwargs") or {})}
        calls.append(_Call({name: value for name, value in named.items() if isinstance(value, Tensor)}, output[0]))

    hook = network.register_forward_hook(keep, with_kwargs=True)
    try:
        yield calls
    finally:
        hook.remove()


_ENCODED = {"encoder_hidden_states": "prompt_embeds", "text_embeds": "pooled_prompt_embeds"}
"""The network's inputs that are what the text encoders made, and their names in a pipeline."""


def _network_inputs(inputs: Mapping[str, Tensor]) -> NetworkInputs:
    return NetworkInputs({_ENCODED[name]: value for name, value in inputs.items() if name in _ENCODED},
                         {name: value for name, value in inputs.items() if name not in _ENCODED})


def _first_weight(network: nn.Module) -> Tensor:
    """Tells where a network is and in which type: diffusers' own `device` and `dtype` look for hooks in every module
    first, which with adapters are thousands."""
    return next(weight for weight in network.parameters() if weight.is_floating_point())


def _one_tensor(rows: Rows) -> Tensor:
    return rows if isinstance(rows, Tensor) else torch.cat([row for row in rows if row is not None])


def load_backbone(base: str | Path, device: str | None = None, dtype: torch.dtype | None = None,
                  precision: str = AS_LOADED) -> DiffusersBackbone:
    """The base model named "sandbox", in a diffusers folder, or in a single .safetensors checkpoint.

    `device` and `dtype` default to the GPU in bfloat16 (float16 where it has none), or the CPU in float32. `precision`
    is that in which the weights of the network's blocks are held, a key of `held.PRECISIONS`.
    Raises UserError if it is not a base model that this pack can train, or a library for the precision is missing.
    """
    check_precision(precision)
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    if dtype is None:
        half = torch.bfloat16 if _half_precision(torch.device(device)) == "bf16" else torch.float16
        dtype = torch.float32 if device == "cpu" else half
    path = find_given_base(base)
    if path is None:
        from ...sandbox import BASE_DIR

        return _load_folder(BASE_DIR, get_family(SANDBOX), device, torch.float32, precision)
    if path.is_dir():
        return _load_folder(path, _folder_family(path), device, dtype, precision)
    return _load_file(path, device, dtype, precision)


def base_fingerprint(base: str | Path, precision: str = AS_LOADED) -> str:
    """The fingerprint that a base has once it is loaded, from its files alone. Raises UserError as `load_backbone`."""
    from ...sandbox import BASE_DIR

    return _held_fingerprint(_fingerprint(_weight_files(find_given_base(base) or BASE_DIR)), precision)


def base_family(base: str | Path) -> Family:
    """The family of a base, from its files alone. Raises UserError as `load_backbone`."""
    path = find_given_base(base)
    if path is None:
        return get_family(SANDBOX)
    return _folder_family(path) if path.is_dir() else _file_family(path)


def base_precision(base: str | Path) -> str:
    """The precision of arithmetic that "auto" stands for with a base on this machine; see `choose_precision`."""
    if find_given_base(base) is None or not torch.cuda.is_available():
        return "fp32"
    return _half_precision(torch.device("cuda"))


def _half_precision(device: torch.device) -> str:
    return "bf16" if device.type != "cuda" or torch.cuda.is_bf16_supported() else "fp16"


def _load_folder(path: Path, family: Family, device: str, dtype: torch.dtype, precision: str) -> DiffusersBackbone:
    try:
        pipeline = _pipeline_class(family).from_pretrained(path, torch_dtype=dtype, use_safetensors=True,
                                                           **_no_checker(family))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"base folder {str(path)!r} could not be loaded as {family.title}: "
                        f"{_first_line(error)}{_pickle_remedy(path)}") from error
    return _on_device(pipeline, family, _fingerprint(_weight_files(path)), device, precision)


def _pickle_remedy(folder: Path) -> str:
    pickle = next((file for ending in ("bin", "ckpt", "pt") for file in sorted(folder.rglob(f"*.{ending}"))), None)
    return "" if pickle is None else (
        f" Only .safetensors weights are read: convert {pickle.relative_to(folder)} to that format.")


def _load_file(path: Path, device: str, dtype: torch.dtype, precision: str) -> DiffusersBackbone:
    family = _file_family(path)
    try:
        pipeline = _pipeline_class(family).from_single_file(str(path), torch_dtype=dtype, **_no_checker(family))
    except Exception as error:  # an absent network raises a different type in each version of its libraries
        raise UserError(
            f"base {str(path)!r} is a {family.title} checkpoint, but diffusers could not load it: {_first_line(error)} "
            "The first time, it downloads the family's configuration and tokenizer from the Hugging Face hub; without "
            "a network, give a diffusers folder instead."
        ) from error
    return _on_device(pipeline, family, _fingerprint(_weight_files(path)), device, precision)


def _on_device(pipeline: Any, family: Family, fingerprint: str, device: str, precision: str) -> DiffusersBackbone:
    """The backbone on the device. Its parts move there when they are needed, so that those that are never used together
    need not fit beside each other; weights are packed one by one on their way there, at once."""
    held, home = HeldWeights(pipeline.unet), torch.device(device)
    if home.type == "cuda" and home.index is None:
        home = torch.device("cuda", torch.cuda.current_device())
    if precision != AS_LOADED:
        with _room_for_network():
            held.pack(precision, home)
    return DiffusersBackbone(pipeline, family, _held_fingerprint(fingerprint, precision), held, home)


def _pipeline_class(family: Family) -> Any:
    import diffusers

    return diffusers.StableDiffusionXLPipeline if family.name == "sdxl" else diffusers.StableDiffusionPipeline


def _no_checker(family: Family) -> dict[str, Any]:
    return {} if family.name == "sdxl" else {"safety_checker": None, "requires_safety_checker": False}


def _folder_family(path: Path) -> Family:
    return get_family("sdxl" if (path / "text_encoder_2").is_dir() else "sd15")


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0]


_PREDICTIONS = {"epsilon": "eps", "v_prediction": "v"}


def _objective(scheduler: Any) -> str:
    """What the network predicts, according to the model's own scheduler: SD and SDXL models come in both kinds."""
    prediction = scheduler.config.prediction_type
    if prediction not in _PREDICTIONS:
        raise UserError(f"the base predicts {prediction!r}, which is not supported; valid: {', '.join(_PREDICTIONS)}.")
    return _PREDICTIONS[prediction]


_MARKS = {
    # a key that only this family's single-file checkpoints have
    "sdxl": "conditioner.embedders.1.model.ln_final.weight",
    "sd15": "cond_stage_model.transformer.text_model.final_layer_norm.weight",
}


def _file_family(path: Path) -> Family:
    try:
        with safe_open(path, framework="pt") as file:
            keys = set(file.keys())
    except Exception as error:  # safetensors raises its own, unexported error type
        raise UserError(f"base {str(path)!r} is not a readable .safetensors file: {error}") from error
    for name, mark in _MARKS.items():
        if mark in keys:
            return get_family(name)
    raise UserError(
        f"base {str(path)!r} is not an SD1.5 or SDXL checkpoint: none of its {len(keys)} tensors belongs to their "
        "text encoders. Train other families inside ComfyUI, or give a diffusers folder."
    )


def _module_names(parts: Mapping[str, nn.Module]) -> list[str]:
    return [f"{prefix}.{name}" for prefix, part in parts.items() for name, _ in part.named_modules() if name]


def _held_fingerprint(fingerprint: str, precision: str) -> str:
    """That of a base whose weights are packed: another network, as they are rounded."""
    return fingerprint if precision == AS_LOADED else hashlib.sha256(f"{fingerprint} {precision}".encode()).hexdigest()


def _weight_files(path: Path) -> list[Path]:
    return sorted(path.rglob("*.safetensors")) if path.is_dir() else [path]


def _fingerprint(files: Sequence[Path]) -> str:
    """A hash of the base's weights, which distinguishes runs and cells. It is of every byte: a hash of samples would be
    another one, so that finished runs would be trained again. Raises UserError if there are none."""
    if not files:
        raise UserError("the base has no .safetensors file by which it could be told from other bases. Convert its "
                        "weights to .safetensors.")
    digest = hashlib.sha256()
    for file in files:
        digest.update(known_hash(file).encode())
    return digest.hexdigest()
