"""The cache: computed once, never stale, never damaged."""

import os

import pytest
import torch

from lora_bootstrap.trainer.common.tensor_cache import TensorCache

PARTS = {"what": "latents", "image": "abc", "crop": (0, 0, 4, 4), "bucket": (64, 64), "model": "m1"}


class _Compute:
    """Counts its calls."""

    def __init__(self, *shape):
        self.calls, self.value = 0, torch.arange(24.0).reshape(shape or (2, 3, 4))

    def __call__(self):
        self.calls += 1
        return {"latents": self.value, "mask": torch.tensor([True, False])}


@pytest.fixture(params=["ram", "disk"])
def cache(request, tmp_path):
    return TensorCache(None if request.param == "ram" else tmp_path / "cache")


def test_an_entry_is_computed_once_and_comes_back_the_same(cache):
    compute = _Compute()
    results = [cache.get(PARTS, compute) for _ in range(3)]
    assert compute.calls == 1 and (cache.hits, cache.misses) == (2, 1)
    for result in results:
        assert result.keys() == {"latents", "mask"}
        assert torch.equal(result["latents"], compute.value)
        assert result["mask"].dtype == torch.bool


@pytest.mark.parametrize("changed", [{"image": "abd"}, {"crop": None}, {"bucket": (64, 72)}, {"model": "m2"},
                                     {"more": 1}])
def test_a_change_in_anything_it_was_made_from_is_another_entry(cache, changed):
    compute = _Compute()
    cache.get(PARTS, compute)
    cache.get({**PARTS, **changed}, compute)
    assert compute.calls == 2


def test_the_order_of_the_parts_does_not_matter(cache):
    compute = _Compute()
    cache.get(PARTS, compute)
    cache.get(dict(reversed(PARTS.items())), compute)
    assert compute.calls == 1


def test_a_new_cache_on_the_same_folder_finds_the_entries(tmp_path):
    compute = _Compute()
    TensorCache(tmp_path).get(PARTS, compute)
    assert torch.equal(TensorCache(tmp_path).get(PARTS, compute)["latents"], compute.value)
    assert compute.calls == 1
    assert [name.endswith(".safetensors") for name in os.listdir(tmp_path)] == [True]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.uint8])
def test_every_type_and_an_empty_or_single_tensor_survive(cache, dtype):
    made = {"a": torch.ones(2, 3).to(dtype), "empty": torch.zeros(0, 4).to(dtype), "one": torch.tensor(1).to(dtype)}
    for _ in range(2):
        found = cache.get({"dtype": str(dtype)}, lambda: made)
        for name, tensor in made.items():
            assert found[name].dtype == dtype and torch.equal(found[name], tensor)
    assert cache.hits == 1


def test_slices_of_one_batch_and_tensors_with_gradients_can_be_kept(cache):
    batch = torch.randn(8, 4, requires_grad=True)
    for row in range(8):
        found = cache.get({"row": row}, lambda row=row: {"x": batch[row], "y": batch[row].t()})
        assert torch.equal(found["x"], batch[row]) and not found["x"].requires_grad
        assert found["x"].untyped_storage().nbytes() == 16


@pytest.mark.parametrize("damage", [
    lambda data: data[:-1], lambda data: data[:20], lambda data: b"", lambda data: data[:-3] + b"\x7f" + data[-2:],
    lambda data: b"\xff" * len(data), lambda data: data + b"more"])
def test_a_damaged_file_is_made_again(tmp_path, damage):
    compute = _Compute()
    TensorCache(tmp_path).get(PARTS, compute)
    path = next(tmp_path.iterdir())
    path.write_bytes(damage(path.read_bytes()))
    assert torch.equal(TensorCache(tmp_path).get(PARTS, compute)["latents"], compute.value)
    assert compute.calls == 2
    TensorCache(tmp_path).get(PARTS, compute)
    assert compute.calls == 2


def test_a_file_under_the_wrong_name_is_not_used(tmp_path):
    compute, other = _Compute(), _Compute(4, 6)
    cache = TensorCache(tmp_path)
    cache.get(PARTS, compute)
    first = next(tmp_path.iterdir())
    cache.get({**PARTS, "model": "m2"}, other)
    second = next(path for path in tmp_path.iterdir() if path != first)
    os.replace(first, second)
    assert cache.get({**PARTS, "model": "m2"}, other)["latents"].shape == (4, 6)
    assert other.calls == 2


def test_a_failed_computation_leaves_nothing_behind(tmp_path):
    def fail():
        raise RuntimeError("out of memory")

    cache = TensorCache(tmp_path / "cache")
    with pytest.raises(RuntimeError):
        cache.get(PARTS, fail)
    compute = _Compute()
    cache.get(PARTS, compute)
    assert compute.calls == 1 and len(os.listdir(tmp_path / "cache")) == 1


def test_parts_that_json_cannot_tell_apart_are_refused():
    with pytest.raises(TypeError):
        TensorCache().get({"model": object()}, _Compute())


def test_what_half_precision_computed_takes_half_the_room_and_comes_back_as_it_was(cache):
    made = {name: torch.randn(64, 64).to(dtype).float() for name, dtype in (
        ("bf16", torch.bfloat16), ("fp16", torch.float16), ("fp32", torch.float32))}
    for _ in range(2):
        found = cache.get({"made": 1}, lambda: made)
        assert all(found[name].dtype == torch.float32 and torch.equal(found[name], made[name]) for name in made)
    if cache.folder:
        (path,) = cache.folder.iterdir()
        assert 64 * 64 * (2 + 2 + 4) <= path.stat().st_size < 64 * 64 * (2 + 2 + 4) + 1500


def test_only_the_entries_used_last_are_also_held_in_memory(tmp_path):
    cache = TensorCache(tmp_path, held=100)
    for name in "abc":
        cache.put({"name": name}, {"x": torch.rand(10)})
        cache.find({"name": "a"})
    for path in tmp_path.iterdir():
        path.unlink()
    assert [name for name in "abc" if cache.find({"name": name})] == ["a", "c"]


def test_entries_are_not_flushed_to_the_disk_one_by_one(tmp_path, monkeypatch):
    flushed = []
    cache = TensorCache(tmp_path)
    monkeypatch.setattr(os, "fsync", flushed.append)
    cache.get(PARTS, _Compute())
    assert flushed == [] and len(os.listdir(tmp_path)) == 1
