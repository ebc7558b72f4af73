"""Which layers of a network can get a LoRA, and what each is part of: attention, feed-forward, or other.

Attention is known by structure (a module that holds query, key and value layers, or is called attention) as well as by
the names of its layers, because every family names them in its own way: to_q, wq, qkv, self_attn.output_proj.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from torch import nn
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear

from ..common.errors import UserError

PRESETS = {"attention": ("attention",), "attention+mlp": ("attention", "mlp"), "all": ("attention", "mlp", "other")}

_ATTENTION = re.compile(r"attn|attention", re.IGNORECASE)
_HOLDS_MORE = re.compile(r"block|layer|attentions|transformer", re.IGNORECASE)
"""In names of modules that hold attention and more."""
_SCALES = re.compile(r"(?i:modulation|ada(?!pt)|norm)|[Mm]od([A-Z]|\d|_|$)")
"""In names of modules that scale or shift what goes into a layer by the time."""
_QUERY_KEY_VALUE = re.compile(r"(.*_)?w?(q|k|v|qk|kv|qkv|query|key|value|c_?q|c_?kv)(_.*|\d)?", re.IGNORECASE)
_ATTENTION_LAYER = re.compile(
    # as diffusers, the original (LDM) and transformers name them
    r"to_[qkv]|to_qkv|to_out|to_add_out|add_[qkv]_proj|[qkvo]_proj|out_proj|query|key|value"
)
_MLP = re.compile(r"(.*_)?(ff|ffn|mlp|feed_?forward)([_A-Z\d].*)?|proj_mlp|fc[12]", re.IGNORECASE)
_FUSED = re.compile(r".*single_(transformer_)?blocks\.\d+\.linear[12]")
"""Flux's single blocks hold attention and feed-forward in one."""
_FUSED_OUT = re.compile(r".*single_transformer_blocks\.\d+\.proj_out")
_FIRST_CONVOLUTION = re.compile(r"(^|.*\.)input_blocks\.0\.0")
"""LDM networks count their input convolution among the blocks; it is an embedder."""
_EMBEDDER = re.compile(r"embed|adapter", re.IGNORECASE)
_BESIDE = re.compile(r"visual|vision|encoder|final|head", re.IGNORECASE)
"""In names of what stands beside the blocks (what reads text or images, the final layer), unless it is large."""
BESIDE_SHARE = 0.25
"""A list with such a name and at least this share of the weights is the blocks, as in Kandinsky 5."""
_LISTS = (nn.ModuleList, nn.ModuleDict, nn.Sequential)


@dataclass(frozen=True)
class Layer:
    """A layer that can get a LoRA.

    Attributes:
        kind: "linear" (nn.Linear, 1x1 nn.Conv2d) or "conv" (larger nn.Conv2d).
        part: "attention", "mlp" or "other".
    """

    name: str
    kind: str
    part: str


@dataclass(frozen=True)
class Coverage:
    """How much of a network's blocks got a LoRA.

    Attributes:
        adapted: linear layers in the blocks with a LoRA.
        linear: all linear layers in the blocks.
        bare_attention: names of the attention layers in the blocks without one.
    """

    adapted: int
    linear: int
    bare_attention: tuple[str, ...]


def select_modules(network: nn.Module, layers: str, blocks: Sequence[str], conv_rank: int,
                   excluded: Sequence[str] = ()) -> dict[str, str]:
    """The modules to adapt: dotted name → kind, as in `Layer`.

    Args:
        layers: a key of PRESETS.
        blocks: only modules whose path holds one of these names, so never embedders or the final layer.
        conv_rank: rank of larger convolutions; 0 leaves them out.
        excluded: no module whose path holds one of these names.

    Raises UserError if nothing matches, or no attention, naming some modules of the network.
    """
    inside = layers_inside(network, blocks, excluded)
    chosen = [layer for layer in inside
              if (conv_rank > 0 if layer.kind == "conv" else layer.part in PRESETS[layers])]
    if not chosen:
        seen = [name for name, module in base_modules(network) if kind_of(module)]
        raise UserError(
            f"layers {layers!r} with blocks {', '.join(blocks)} match no module of {type(network).__name__}; "
            f"it has {', '.join(seen[:3]) or 'no linear layer'}{', ...' if len(seen) > 3 else ''}. "
            f"Choose another of {', '.join(PRESETS)}, or the right model family."
        )
    if layers != "all" and not any(layer.part == "attention" for layer in chosen):
        raise UserError(f"layers {layers!r} would leave the attention of {type(network).__name__} without a LoRA: none "
                        f"of its layers, such as {inside[0].name}, is known as attention. Choose layers 'all'.")
    return {layer.name: layer.kind for layer in chosen}


def coverage(network: nn.Module, adapted: Collection[str], blocks: Sequence[str],
             excluded: Sequence[str] = ()) -> Coverage:
    """What the `adapted` modules are of all that could have a LoRA."""
    linear = [layer for layer in layers_inside(network, blocks, excluded) if layer.kind == "linear"]
    bare = [layer.name for layer in linear if layer.part == "attention" and layer.name not in adapted]
    return Coverage(sum(layer.name in adapted for layer in linear), len(linear),
                    (*bare, *_deaf_attention(network, blocks, excluded)))


def _deaf_attention(network: nn.Module, blocks: Sequence[str], excluded: Sequence[str]) -> list[str]:
    """Attention that can get no LoRA here: by its class, or its layers are convolutions over one or three sizes."""
    modules = dict(base_modules(network))
    return [name for name, module in modules.items() if _is_inside(name, blocks, excluded) and (
        isinstance(module, nn.MultiheadAttention)
        or (isinstance(module, (nn.Conv1d, nn.Conv3d)) and _part(name, modules) == "attention"))]


def layers_inside(network: nn.Module, blocks: Sequence[str], excluded: Sequence[str] = ()) -> list[Layer]:
    """The layers in the blocks that can get a LoRA, in the network's own order."""
    modules, found = dict(base_modules(network)), []
    for name, module in modules.items():
        kind = kind_of(module)
        if kind and _is_inside(name, blocks, excluded) and not _FIRST_CONVOLUTION.fullmatch(name):
            found.append(Layer(name, kind, _part(name, modules)))
    return found


def find_blocks(network: nn.Module) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(names of the lists that hold the network's blocks, names to exclude beside them) of a network without a row.

    Lists without attention (embedders), and modules beside the blocks with lists of the same name (an adapter for the
    text), are left out. Where the blocks are in no list, they are the network's own parts that have attention.
    """
    sizes = {path: sum(weight.numel() for weight in part.parameters())
             for path, part in _outermost_lists(network) if not _EMBEDDER.search(path)}
    least = BESIDE_SHARE * sum(sizes.values())
    lists = [path for path, size in sizes.items() if not _BESIDE.search(path) or size >= least]
    modules = dict(base_modules(network))
    chosen = [path for path in lists if _attends(path, modules)] or [
        name for name, _ in network.named_children()
        if not _EMBEDDER.search(name) and not _BESIDE.search(name) and _attends(name, modules)] or lists
    own = _outer_half(chosen, sizes)
    blocks = tuple(dict.fromkeys(path.rpartition(".")[2] for path in own))
    return blocks, _names_beside(network, blocks, own)


def _attends(path: str, modules: dict[str, nn.Module]) -> bool:
    return any(name.startswith(f"{path}.") and kind_of(module) and _part(name, modules) == "attention"
               for name, module in modules.items())


def _outer_half(paths: list[str], sizes: Mapping[str, int]) -> list[str]:
    """The lists of the network itself, if they hold at least half of the weights; else all."""
    shallow = [path for path in paths if "." not in path]
    weight = [sum(sizes.get(path, 1) for path in some) for some in (shallow, paths)]
    return shallow if 2 * weight[0] >= weight[1] else paths


def _names_beside(network: nn.Module, blocks: Collection[str], own: Sequence[str]) -> tuple[str, ...]:
    """Names that tell lists of the blocks' names, but elsewhere, from the blocks."""
    words = {word for path in own for word in path.split(".")}
    others = [path for path in _list_paths(network) if path.rpartition(".")[2] in blocks
              and not any(path == each or path.startswith(f"{each}.") for each in own)]
    telling = (next((word for word in path.split(".")[:-1] if word not in words and not word.isdigit()), "")
               for path in others)
    return tuple(dict.fromkeys(filter(None, telling)))


def kind_of(module: nn.Module) -> str | None:
    """"linear", "conv", or None for a module that gets no LoRA."""
    # nn.MultiheadAttention reads the weight of its out_proj directly, so an adapter there would have no effect.
    if isinstance(module, nn.Linear) and not isinstance(module, NonDynamicallyQuantizableLinear):
        return "linear"
    if isinstance(module, nn.Conv2d) and module.groups == 1:
        return "linear" if tuple(module.kernel_size) == (1, 1) else "conv"
    return None


def base_modules(network: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Like named_modules, but as if the network had no adapters."""
    adapted = ""
    for name, module in network.named_modules():
        if adapted and name.startswith(adapted):
            continue  # the parts of peft's layer
        wrapped = getattr(module, "get_base_layer", None)  # as peft's layers have it
        adapted = f"{name}." if wrapped else ""
        yield name, wrapped() if wrapped else module


def _is_inside(name: str, blocks: Iterable[str], excluded: Iterable[str]) -> bool:
    above = name.split(".")[:-1]
    return not set(blocks).isdisjoint(above) and set(excluded).isdisjoint(above)


def _part(name: str, modules: dict[str, nn.Module]) -> str:
    """By the innermost module around the layer, or the layer's own name, that says what it is."""
    if _FUSED.fullmatch(name):
        return "attention"
    if _FUSED_OUT.fullmatch(name):
        return "mlp"
    path = name
    while path:
        word = path.rpartition(".")[2]
        if _SCALES.search(word):
            return "other"
        if _MLP.fullmatch(word):
            return "mlp"
        if _ATTENTION_LAYER.fullmatch(word) or (path != name and _is_attention(word, path, modules)):
            return "attention"
        path = path.rpartition(".")[0]
    return "other"


def _is_attention(word: str, path: str, modules: dict[str, nn.Module]) -> bool:
    module = modules[path]
    if isinstance(module, _LISTS):
        return False
    for title in (word, type(module).__name__):
        if _ATTENTION.search(title) and not _HOLDS_MORE.search(title):
            return True
    held = {child for child, part in module.named_children()
            if kind_of(modules.get(f"{path}.{child}", part)) and _QUERY_KEY_VALUE.fullmatch(child)}
    return len(held) > 1 or any("qkv" in child.lower() for child in held)


def _list_paths(network: nn.Module) -> list[str]:
    return [name for name, module in network.named_modules() if isinstance(module, (nn.ModuleList, nn.ModuleDict))]


def _outermost_lists(network: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    found: list[str] = []
    for path in _list_paths(network):
        if not any(path.startswith(f"{outer}.") for outer in found):
            found.append(path)
            yield path, network.get_submodule(path)
