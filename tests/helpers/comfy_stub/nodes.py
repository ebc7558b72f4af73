"""Some of the host's own nodes, with its names and signatures. A MODEL, CLIP or VAE is a text that says what it is made
of, and a picture is noise by all that it is made from: what is drawn alike is alike to the bit, all else differs.
"""

from __future__ import annotations

import hashlib

import torch

calls = []
"""(class, inputs) of every node that ran, in order."""
failing = {}
"""By a node's class: an error, or a function of its inputs that gives one or None. A test puts them in."""


def noise(*of, shape):
    """The same numbers in 0..1 for the same values and shape."""
    told = repr([value.tolist() if isinstance(value, torch.Tensor) else value for value in of])
    seed = int.from_bytes(hashlib.sha256(told.encode()).digest()[:8], "big") >> 1
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


class _Node:
    FUNCTION = "run"

    def run(self, **inputs):
        name = type(self).__name__
        calls.append((name, inputs))
        fail = failing.get(name)
        error = fail(inputs) if callable(fail) else fail
        if error is not None:
            raise error
        return self.make(**inputs)


class CheckpointLoaderSimple(_Node):
    def make(self, ckpt_name):
        return f"model {ckpt_name}", f"clip {ckpt_name}", f"vae {ckpt_name}"


class UNETLoader(_Node):
    def make(self, unet_name, weight_dtype):
        return (f"model {unet_name}",)


class LoraLoader(_Node):
    def make(self, model, clip, lora_name, strength_model, strength_clip):
        if strength_model == strength_clip == 0:
            return model, clip
        return f"{model} + {lora_name} at {strength_model}", f"{clip} + {lora_name} at {strength_clip}"


class LoraLoaderModelOnly(_Node):
    def make(self, model, lora_name, strength_model):
        return (f"{model} + {lora_name} at {strength_model}" if strength_model else model,)


class CLIPSetLastLayer(_Node):
    def make(self, clip, stop_at_clip_layer):
        return (f"{clip} to {stop_at_clip_layer}",)


class CLIPTextEncode(_Node):
    def make(self, clip, text):
        return ([[noise(clip, text, shape=(1, 4, 8)), {"pooled_output": noise(text, clip, shape=(1, 8))}]],)


class EmptyLatentImage(_Node):
    def make(self, width, height, batch_size):
        return ({"samples": torch.zeros(batch_size, 4, height // 8, width // 8)},)


class KSampler(_Node):
    def make(self, model, seed, steps, cfg, sampler_name, scheduler, positive, negative, latent_image, denoise=1.0):
        """`model` may be a list, a text for each row of the latent, as with a LoRA of many strengths."""
        latents = latent_image["samples"]
        indices = latent_image.get("batch_index", range(len(latents)))
        models = model if isinstance(model, list) else [model] * len(latents)
        rows = []
        for row, (latent, index, of) in enumerate(zip(latents, indices, models, strict=True)):
            heard = [heard[min(row, len(heard) - 1)] for ((heard, _),) in (positive, negative)]
            rows.append(noise(of, seed, index, steps, cfg, sampler_name, scheduler, denoise, latent, *heard,
                              shape=latent.shape))
        return ({**latent_image, "samples": torch.stack(rows)},)


class VAEDecode(_Node):
    def make(self, samples, vae):
        latents = samples["samples"]
        shape = (latents.shape[2] * 8, latents.shape[3] * 8, 3)
        return (torch.stack([noise(vae, latent, shape=shape) for latent in latents]),)


class CreateHookLora(_Node):
    """HOOKS are a tuple of (lora name, model strength, clip strength, keyframes)."""

    def make(self, lora_name, strength_model, strength_clip, prev_hooks=()):
        return ((*prev_hooks, (lora_name, strength_model, strength_clip, ())),)


class CreateHookKeyframe(_Node):
    """HOOK_KEYFRAMES are a tuple of (start in percent, factor)."""

    def make(self, strength_mult, start_percent, prev_hook_kf=()):
        return ((*prev_hook_kf, (start_percent, strength_mult)),)


class CreateHookKeyframesInterpolated(_Node):
    def make(self, strength_start, strength_end, interpolation, start_percent, end_percent, keyframes_count,
             print_keyframes=False, prev_hook_kf=()):
        assert interpolation == "linear"
        shares, strengths = (torch.linspace(*ends, keyframes_count).tolist() for ends in (
            (start_percent, end_percent), (strength_start, strength_end)))
        return ((*prev_hook_kf, *zip(shares, strengths, strict=True)),)


class SetHookKeyframes(_Node):
    def make(self, hooks, hook_kf=()):
        return (tuple((*hook[:3], hook_kf) for hook in hooks),)


class CombineHooks2(_Node):
    def make(self, hooks_A=(), hooks_B=()):
        return ((*hooks_A, *hooks_B),)


class SetClipHooks(_Node):
    def make(self, clip, apply_to_conds, schedule_clip, hooks=()):
        return ((clip, apply_to_conds, schedule_clip, hooks),)


NODE_CLASS_MAPPINGS = {kind.__name__: kind for kind in (
    CheckpointLoaderSimple, UNETLoader, LoraLoader, LoraLoaderModelOnly, CLIPSetLastLayer, CLIPTextEncode,
    EmptyLatentImage, KSampler, VAEDecode, CreateHookLora, CreateHookKeyframe, CreateHookKeyframesInterpolated,
    SetHookKeyframes, CombineHooks2, SetClipHooks)}
NODE_DISPLAY_NAME_MAPPINGS = {"LoraLoader": "Load LoRA (Model and CLIP)", "LoraLoaderModelOnly": "Load LoRA",
                              "LoraModelLoader": "Load LoRA Model"}
