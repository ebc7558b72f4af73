"""Small LoRA files of every kind, what their layers are as whole matrices, and files that are none."""

import math
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from lora_bootstrap.trainer.lora.layers import LayerDelta

SANDBOX_UNET = Path(__file__).parents[2] / "sandbox" / "base" / "unet" / "diffusion_pytorch_model.safetensors"

BLOCK = "down_blocks.1.attentions.0.transformer_blocks.0"
LAYERS = tuple(f"{BLOCK}.attn1.{name}" for name in ("to_q", "to_k", "to_v"))
OUT, IN = 20, 24


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def change(rank=4, seed=0, outputs=OUT, inputs=IN):
    return LayerDelta(random(outputs, rank, seed=seed), random(rank, inputs, seed=seed + 1))


def plain(rank=4, seed=0, outputs=OUT, inputs=IN):
    """A LoRA layer's tensors by their endings."""
    one = change(rank, seed, outputs, inputs)
    return {"lora_up.weight": one.up.float(), "lora_down.weight": one.down.float(), "alpha": torch.tensor(rank / 2)}


def write(path, modules, metadata=None):
    """A LoRA file of {module: {ending: tensor}}."""
    save_file({f"{module}.{ending}": tensor.contiguous() for module, row in modules.items()
               for ending, tensor in row.items()}, path, metadata)
    return path


def kohya(name):
    return "lora_unet_" + name.replace(".", "_")


def lora(path, seed=0, layers=LAYERS, rank=4, metadata=None):
    return write(path, {kohya(name): plain(rank, seed + 10 * index) for index, name in enumerate(layers)}, metadata)


def rows_of(matrix, share=None):
    """An orthonormal basis of a whole matrix's row space [in, k]; of its larger directions if a share is given."""
    _, sizes, v = torch.linalg.svd(matrix, full_matrices=False)
    count = int((sizes > 1e-5 * sizes[0]).sum())
    if share:
        count = int((sizes.square().cumsum(0) < share * sizes.square().sum()).sum()) + 1
    return v[:count].T


def close(value, expected):
    return value == pytest.approx(expected, rel=1e-6, abs=1e-9)


def loha(seed=0, rank=3, outputs=OUT, inputs=IN, kernel=()):
    area = math.prod(kernel)
    rows = {f"hada_w{n}_a": random(outputs, rank, seed=seed + n).float() for n in (1, 2)}
    rows |= {f"hada_w{n}_b": random(rank, inputs * area, seed=seed + 4 + n).float() for n in (1, 2)}
    dense = (rows["hada_w1_a"] @ rows["hada_w1_b"]) * (rows["hada_w2_a"] @ rows["hada_w2_b"])
    return {**rows, "alpha": torch.tensor(1.5)}, dense * 1.5 / rank


def kinds():
    """kind: (tensors by ending, the whole change as the format's formula has it)."""
    w1, w2 = random(4, 3).float(), random(5, 8, seed=1).float()
    a1, b1, a2, b2 = (random(*shape, seed=i).float() for i, shape in enumerate(((4, 2), (2, 3), (5, 2), (2, 8))))
    tucker = {"lora_up.weight": random(OUT, 4).float()[:, :, None, None], "lora_mid.weight": random(4, 4, 3, 3).float(),
              "lora_down.weight": random(4, 6, seed=2).float()[:, :, None, None], "alpha": torch.tensor(2.0)}
    core, left, right = random(2, 2, 3, 3, seed=3).float(), random(2, 5).float(), random(2, 4, seed=4).float()
    hada = {"hada_w1_a": random(2, OUT).float(), "hada_w1_b": random(2, 6, seed=1).float(), "hada_t1": core,
            "hada_w2_a": random(2, OUT, seed=2).float(), "hada_w2_b": random(2, 6, seed=3).float(), "hada_t2": core + 1}

    def cp(t, a, b):
        return torch.einsum("ijkl,jr,ip->prkl", t, b, a)

    mid = torch.einsum("op,pqhw,qi->oihw", tucker["lora_up.weight"][:, :, 0, 0], tucker["lora_mid.weight"],
                       tucker["lora_down.weight"][:, :, 0, 0]) * 2 / 4
    whole = torch.kron(w1[:, :, None, None], cp(core, left, right).contiguous()) * 3 / 2
    alpha = {"alpha": torch.tensor(3.0)}
    square, wide = random(4, 4, seed=5).float(), random(5, 6, seed=6).float()
    return {
        "LoHa": loha(), "LoHa, full rank": loha(rank=6),
        "LoHa, Tucker": (hada, cp(core, hada["hada_w1_a"], hada["hada_w1_b"]) * cp(
            core + 1, hada["hada_w2_a"], hada["hada_w2_b"])),
        "LoKr, whole": ({"lokr_w1": w1, "lokr_w2": w2, **alpha}, torch.kron(w1, w2)),
        "LoKr, full rank": ({"lokr_w1": square, "lokr_w2": wide}, torch.kron(square, wide)),
        "LoKr, half": ({"lokr_w1": w1, "lokr_w2_a": a2, "lokr_w2_b": b2, **alpha}, torch.kron(w1, a2 @ b2) * 3 / 2),
        "LoKr": ({"lokr_w1_a": a1, "lokr_w1_b": b1, "lokr_w2_a": a2, "lokr_w2_b": b2, **alpha},
                 torch.kron(a1 @ b1, a2 @ b2) * 3 / 2),
        "LoKr, Tucker": ({"lokr_w1": w1, "lokr_t2": core, "lokr_w2_a": left, "lokr_w2_b": right, **alpha}, whole),
        "LoCon, Tucker": (tucker, mid),
        "full": ({"diff": random(OUT, IN).float()}, random(OUT, IN).float()),
    }


NAMES = {
    # the same layer of SDXL as files name it
    "kohya, diffusers": "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_q",
    "kohya, LDM": "lora_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_q",
    "peft": "base_model.model.down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q",
    "diffusers": "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q",
    "host": "diffusion_model.input_blocks.4.1.transformer_blocks.0.attn1.to_q",
    "checkpoint": "model.diffusion_model.input_blocks.4.1.transformer_blocks.0.attn1.to_q",
    "bare": "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q",
}


def nothing(path):
    pass


BAD = {
    "is not there": (nothing, "does not exist"),
    "is no safetensors": (lambda path: path.write_bytes(b"PK\x03\x04 and so on"), "not a complete safetensors file"),
    "is cut short": (lambda path: path.write_bytes(lora(path).read_bytes()[:-9]), "not a complete safetensors file"),
    "is a checkpoint": (lambda path: save_file({"model.diffusion_model.out.2.weight": torch.ones(2, 2)}, path),
                        "contains no LoRA"),
    "is OFT": (lambda path: write(path, {kohya(LAYERS[0]): {"oft_blocks": torch.ones(2, 3, 3)}}), "is OFT"),
    "lacks its up": (lambda path: write(path, {kohya(LAYERS[0]): {"lora_down.weight": torch.ones(2, IN)}}), "no up"),
    "has shapes that do not fit": (lambda path: write(path, {kohya(LAYERS[0]): {
        "lora_down.weight": torch.ones(3, IN), "lora_up.weight": torch.ones(OUT, 2)}}), "do not fit each other"),
    "has a layer twice": (lambda path: write(path, {NAMES["kohya, LDM"]: plain(), NAMES["diffusers"]: plain()}),
                          "twice"),
    "is for another family": (lambda path: write(path, {"lora_unet_double_blocks_0_img_attn_qkv": plain()}),
                              "no layer in common"),
    "has other shapes": (lambda path: write(path, {kohya(LAYERS[0]): plain(4, 0, OUT, 16)}), "16 to 20"),
    "holds NaN": (lambda path: write(path, {kohya(LAYERS[0]): {**plain(), "lora_up.weight": torch.full(
        (OUT, 4), math.nan)}}), "not numbers"),
    "holds infinity": (lambda path: write(path, {kohya(LAYERS[0]): {**plain(), "alpha": torch.tensor(math.inf)}}),
                       "not numbers"),
}


def sandbox_lora(path, seed, size=0.05):
    """A LoRA of random weights that visibly changes what the sandbox draws."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with safe_open(SANDBOX_UNET, "pt") as file:
        shapes = {name.removesuffix(".weight"): file.get_slice(name).get_shape() for name in file.keys()
                  if ".attn" in name and name.endswith("to_q.weight")}
    return write(path, {kohya(name): {
        "lora_up.weight": size * random(shape[0], 4, seed=seed).float(),
        "lora_down.weight": random(4, shape[1], seed=seed + 1).float()} for name, shape in shapes.items()})
