"""What a text encoder of the host returns goes through the caches and comes back as it was."""

import pytest
import torch

from lora_bootstrap.host.backbone.encoded import pack, unpack
from lora_bootstrap.trainer.common.errors import UserError
from lora_bootstrap.trainer.common.tensor_cache import TensorCache
from lora_bootstrap.trainer.models.backbone import Conditioning


def same(one, other):
    if isinstance(one, torch.Tensor):
        return one.dtype == other.dtype and one.shape == other.shape and torch.equal(one, other)
    if isinstance(one, (list, tuple)):
        return type(one) is type(other) and len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    return type(one) is type(other) and one == other


def anima(tokens):
    """As the host's encoder for Anima gives it: token ids and weights without a batch dimension."""
    return {"cross_attn": torch.rand(1, tokens + 2, 4), "pooled_output": None,
            "t5xxl_ids": torch.arange(tokens, dtype=torch.int), "t5xxl_weights": torch.ones(tokens)}


OTHERS = (
    {"cross_attn": torch.rand(1, 3, 4), "pooled_output": torch.rand(1, 5), "attention_mask": torch.ones(1, 3).long()},
    {"cross_attn": torch.rand(1, 3, 4), "num_layers_stacked": 3, "guidance": 3.5, "unprocessed": True, "name": "x"},
    {"cross_attn": torch.rand(1, 3, 4), "conditioning_llama3": torch.rand(2, 5, 4), "scale": torch.tensor(2.0)},
    {"cross_attn": torch.rand(1, 3, 4), "reference_latents": [torch.rand(1, 4, 2, 2), torch.rand(1, 4, 4, 2)],
     "sizes": (1, [2.5, None]), "of": {"mask": torch.ones(3, dtype=torch.bool), "none": {}}, "empty": []},
)


@pytest.mark.parametrize("made", [anima(5), anima(1), *OTHERS])
@pytest.mark.parametrize("on_disk", [False, True])
def test_all_that_sampling_hears_comes_back_from_the_cache_as_it_was(made, on_disk, tmp_path):
    cache = TensorCache(tmp_path if on_disk else None)
    for _ in range(2):
        kept = cache.get({"caption": "x"}, lambda: pack(made))
    assert cache.hits == 1
    wanted = {name: value for name, value in made.items() if value is not None}
    assert same(unpack(Conditioning(kept).row(0)), wanted)


def test_captions_with_different_values_stand_in_one_batch():
    rows = [anima(5), anima(1), OTHERS[3], anima(5)]
    batch = Conditioning.cat([Conditioning(pack(made)) for made in rows])
    assert len(batch) == 4
    for index, made in enumerate(rows):
        assert same(unpack(batch.row(index)), {name: value for name, value in made.items() if value is not None})


def test_gradients_reach_what_was_packed():
    ids = torch.rand(3, requires_grad=True)
    unpack(pack({"cross_attn": torch.rand(1, 2, 2), "ids": ids}))["ids"].sum().backward()
    assert torch.equal(ids.grad, torch.ones(3))


def test_what_cannot_be_handed_on_is_refused_by_name():
    with pytest.raises(UserError, match=r"'hooks' is of type object, .* Link CLIP directly"):
        pack({"cross_attn": torch.rand(1, 2, 2), "hooks": object()})
