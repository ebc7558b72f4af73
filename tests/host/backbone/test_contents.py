"""The content of values: equal if an image would be, whatever sampling left behind; other wherever one might differ."""

import collections
import decimal
import enum
import threading
from functools import partial
from types import MethodType, SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from lora_bootstrap.host.backbone.contents import content_of
from lora_bootstrap.host.backbone.facts import sampled_hash


def patcher(**changes):
    """A ModelPatcher's form, with a network of ones."""
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    for parameter in model.parameters():
        nn.init.ones_(parameter)
    return SimpleNamespace(**{"model": model, "patches": {}, "backup": {}, "hook_backup": {}, "object_patches": {},
                              "object_patches_backup": {}, "model_options": {"transformer_options": {}}} | changes)


def closure(factor, shape=(1, 2)):
    def patch(h):
        return h * factor + len(shape)

    return patch


def nested(factor):
    return lambda h: [closure(factor)(part) for part in h]


class Attention:
    def __init__(self, weight):
        self.weight = weight

    def __call__(self, q):
        return q * self.weight


class Slots:
    __slots__ = ("weight",)

    def __init__(self, weight):
        self.weight = weight


class Color(enum.Enum):
    RED = 1
    BLUE = 2


def options(**more):
    return patcher(model_options={"transformer_options": {}, **more})


def patched(function):
    return options(transformer_options={"patches": {"attn2_patch": [function]}})


LATENT = {"samples": torch.zeros(1, 4, 2, 2)}
DIFFERENT = {
    "the index of the noise": lambda at: {**LATENT, "batch_index": [at]},
    "a mask of the noise": lambda at: {**LATENT, "noise_mask": torch.full((1, 2, 2), float(at))},
    "an entry that nobody knows": lambda at: {**LATENT, "frames": at},
    "samples": lambda at: {"samples": torch.full((1, 4, 2, 2), float(at))},
    "the type of a tensor": lambda at: torch.zeros(2, dtype=(torch.float32, torch.int32)[at]),
    "the shape of a tensor": lambda at: torch.zeros(((2, 3), (3, 2))[at]),
    "half precision": lambda at: torch.full((2,), float(at), dtype=torch.bfloat16),
    "an array": lambda at: np.full(3, at),
    "a number of NumPy": lambda at: np.float32(0.5 + at),
    "a truth of NumPy": lambda at: np.bool_(at),
    "a type": lambda at: (1, 1.0)[at],
    "a member of an enumeration": lambda at: tuple(Color)[at],
    "the order of a list": lambda at: ([1, 2], [2, 1])[at],
    "how a list is divided": lambda at: ([[1], [2, 3]], [[1, 2], [3]])[at],
    "a set": lambda at: {1, 2 + at},
    "a conditioning": lambda at: [[torch.zeros(1, 2, 4), {"pooled_output": torch.full((1, 4), float(at))}]],
    "what a function encloses": lambda at: patched(closure(1.0 + at)),
    "what a function within a function encloses": lambda at: patched(nested(1.0 + at)),
    "what a function does": lambda at: patched((lambda h: h + 1, lambda h: h - 1)[at]),
    "a number in a function": lambda at: patched((lambda h: h * 2, lambda h: h * 3)[at]),
    "a default of a function": lambda at: patched((lambda h, by=2: h * by, lambda h, by=3: h * by)[at]),
    "what a partial gives": lambda at: patched(partial(max, at)),
    "an object with attributes": lambda at: patched(Attention(torch.full((2,), float(at)))),
    "an attribute that the host's own objects use otherwise": lambda at: patched(SimpleNamespace(size=at)),
    "a range of steps of somebody's own": lambda at: patched(SimpleNamespace(timestep_range=(0, at))),
    "an object with slots": lambda at: patched(Slots(at)),
    "a method's own object": lambda at: patched(Attention(at).__call__),
    "a function for the guidance": lambda at: options(sampler_cfg_function=closure(at)),
    "a wrapper": lambda at: options(model_function_wrapper=closure(at)),
    "a callback": lambda at: patcher(callbacks={"on_run": {"key": [closure(at)]}}),
    "a replaced part": lambda at: patcher(object_patches={"model_sampling": SimpleNamespace(shift=3.0 + at)}),
    "a patch of weights": lambda at: patcher(patches={"0.weight": [(0.5 + at, ("diff", (torch.ones(3, 3),)), 1.0)]}),
    "weights": lambda at: patcher(model=nn.Sequential(nn.Linear(1, 1, bias=False)).apply(
        lambda module: nn.init.constant_(module.weight, at) if isinstance(module, nn.Linear) else None)),
    "another model beside it": lambda at: patcher(additional_models={"control": [patched(closure(at))]}),
}


@pytest.mark.parametrize("make", DIFFERENT.values(), ids=DIFFERENT)
def test_whatever_may_change_an_image_is_other_content(make):
    assert content_of(make(0)).digest != content_of(make(1)).digest


@pytest.mark.parametrize("make", DIFFERENT.values(), ids=DIFFERENT)
def test_the_same_made_again_is_the_same_content(make):
    first, second = content_of(make(0)), content_of(make(0))
    assert first == second and first.opaque == ()


def test_a_mapping_has_no_order():
    assert content_of({"a": 1, "b": 2}) == content_of({"b": 2, "a": 1})


def test_only_weights_are_read_by_samples():
    assert content_of(patcher()).sampled and content_of(nn.Linear(2, 2)).sampled
    assert not content_of([LATENT, "text", closure(1)]).sampled


def recorder():
    """A patch that keeps what it saw for another, as self-attention guidance does."""
    seen = None

    def keep(h):
        nonlocal seen
        seen = h
        return h

    return options(one=keep, two=lambda h: h + seen), keep


def test_what_a_patch_left_behind_while_it_ran_does_not_count():
    model, keep = recorder()
    before = content_of(model)
    keep(torch.ones(2))
    assert content_of(model) == before


def test_what_cannot_be_looked_into_is_named():
    content = content_of({"lock": threading.Lock(), "number": 1})
    assert content.opaque == ("_thread.lock",)


@pytest.mark.parametrize("make", [
    lambda at: collections.deque([at]), lambda at: decimal.Decimal(at), lambda at: np.random.RandomState(at),
    lambda at: {1: at}.get, lambda at: counting(at)], ids=["deque", "decimal", "generator", "method", "assigned"])
def test_what_is_made_in_c_or_assigned_by_a_function_is_other_content_or_not_taken_for_known(make):
    first, second = content_of(make(0)), content_of(make(1))
    assert first.digest != second.digest or first.opaque or first.sampled


def counting(start):
    def patch(h):
        nonlocal start
        start += 1
        return h * start

    return patch


def test_a_set_whose_items_lead_back_to_it_ends():
    parent, child = SimpleNamespace(), Attention(1.0)
    parent.children, child.parent = {child}, parent
    assert len(content_of(parent).digest) == len(content_of(1).digest)


def test_a_patch_that_names_the_network_does_not_depend_on_what_is_loaded_into_it():
    model = patcher()
    model.object_patches["forward"] = MethodType(lambda self, h: self(h), model.model)
    before = content_of(model)
    key, weight = next(iter(model.model.named_parameters()))
    model.backup[key] = SimpleNamespace(weight=weight.detach().clone(), inplace_update=False)
    with torch.no_grad():
        weight.add_(1.0)  # as the host puts a LoRA into it
    assert content_of(model).digest == before.digest


def test_a_value_that_holds_itself_ends():
    loop = {"name": "a"}
    loop["self"] = loop
    other = {"name": "b"}
    other["self"] = other
    assert content_of(loop) != content_of(other) and content_of(loop).opaque == ()


def test_a_value_that_never_ends_is_given_up():
    deep = []
    for _ in range(500):
        deep = [deep]
    assert content_of(deep).opaque


# -- weights that the host changed while they are loaded -------------------------------------------------------------


def changed(model, name, value):
    model.get_parameter(name).data.fill_(value)


def test_weights_that_patches_and_hooks_changed_count_as_they_were():
    """The host keeps what hooks change apart from what patches change."""
    before = sampled_hash([patcher()], [])
    hooked = patcher()
    hooked.hook_backup["0.weight"] = (hooked.model[0].weight.detach().clone(), torch.device("cpu"))
    changed(hooked.model, "0.weight", 5.0)
    assert sampled_hash([hooked], []) == before
    both = patcher()
    both.backup["0.weight"] = SimpleNamespace(weight=both.model[0].weight.detach().clone(), inplace_update=False)
    both.hook_backup["0.weight"] = (torch.full((3, 3), 2.0), torch.device("cpu"))  # as patched
    changed(both.model, "0.weight", 7.0)
    assert sampled_hash([both], []) == before
    changed(both.model, "1.weight", 7.0)
    assert sampled_hash([both], []) != before


def test_a_part_that_is_replaced_while_loaded_counts_as_it_was():
    before = sampled_hash([patcher()], [])
    loaded = patcher()
    loaded.object_patches_backup["1"] = loaded.model[1]
    loaded.model[1] = nn.Linear(3, 3)
    assert sampled_hash([loaded], []) == before
