"""safetensors files are written as the library writes them, and read as they are, one tensor at a time."""

import gc
import hashlib
import weakref

import pytest
import torch
from safetensors.torch import load_file, save

from lora_bootstrap.trainer.common.errors import UserError
from lora_bootstrap.trainer.lora.file import Factors, LoraWeights, load_lora, save_lora
from lora_bootstrap.trainer.lora.hashes import check_weights
from lora_bootstrap.trainer.lora.tensors import DTYPES, Source, TensorFile, all_finite, write_tensors

from ...helpers.lora_files import BLOCK, kohya, write

FLOATS = [dtype for dtype in DTYPES.values() if dtype.is_floating_point]
QUERY = f"unet.{BLOCK}.attn1.to_q"


def of_every_type():
    tensors = {f"{number % 3}.{name}": torch.arange(6).remainder(2).to(dtype).reshape(2, 3)
               for number, (name, dtype) in enumerate(DTYPES.items())}
    return tensors | {"alpha": torch.tensor(4.0), "nothing": torch.empty(0, 2), "größe": torch.ones(3)}


def data_of(content):
    return content[8 + int.from_bytes(content[:8], "little"):]


def write_plainly(path, tensors, metadata=None):
    sources = {key: Source(value.dtype, tuple(value.shape), lambda value=value: value)
               for key, value in tensors.items()}
    write_tensors(path, sources, metadata or {}, lambda digest: {"digest": digest})
    return path


def test_a_file_has_the_bytes_that_the_library_writes_and_states_their_hash(tmp_path):
    tensors = of_every_type()
    path = write_plainly(tmp_path / "a", tensors, {"note": "ö"})
    library = save(tensors, {"note": "ö"})
    assert data_of(path.read_bytes()) == data_of(library)
    digest = hashlib.sha256(data_of(library)).hexdigest()
    assert TensorFile(path).metadata == {"note": "ö", "digest": digest}
    back = load_file(path)
    assert back.keys() == tensors.keys()
    assert all(back[key].dtype == value.dtype and back[key].shape == value.shape for key, value in tensors.items())
    assert (8 + int.from_bytes(path.read_bytes()[:8], "little")) % 8 == 0, "the data is aligned"


def test_tensors_are_read_as_they_were_written(tmp_path):
    tensors = of_every_type()
    file = TensorFile(write_plainly(tmp_path / "a", tensors))
    for key, value in tensors.items():
        read = file.read(key)
        assert read.dtype == value.dtype and read.tolist() == value.tolist()
    file.close()
    (tmp_path / "a").unlink()


def test_no_more_than_two_tensors_are_in_memory_while_a_file_is_written(tmp_path):
    alive, most = weakref.WeakSet(), 0

    def make():
        nonlocal most
        gc.collect()
        most = max(most, len(alive))
        tensor = torch.ones(1000)
        alive.add(tensor)
        return tensor

    sources = {str(number): Source(torch.float32, (1000,), make) for number in range(8)}
    write_tensors(tmp_path / "a", sources, {}, lambda digest: {"digest": digest})
    assert most <= 1 and len(load_file(tmp_path / "a")) == 8


def test_a_saved_lora_states_the_hash_of_the_library_s_bytes(tmp_path):
    path = tmp_path / "a.safetensors"
    save_lora(path, LoraWeights({QUERY: Factors(torch.randn(2, 6), torch.randn(5, 2), 1.0)},
                                {"lora_bootstrap.family": "sd15"}), dtype=torch.float16)
    stated = TensorFile(path).metadata["sshs_model_hash"]
    assert stated == hashlib.sha256(data_of(save(load_file(path)))).hexdigest()
    check_weights(path)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_a_lora_is_loaded_in_its_own_type(tmp_path, dtype):
    factors = Factors(torch.randn(2, 6).to(dtype), torch.randn(5, 2).to(dtype), 1.0)
    save_lora(tmp_path / "a", LoraWeights({QUERY: factors}), dtype=dtype)
    loaded = load_lora(tmp_path / "a").modules[QUERY]
    assert loaded.down.dtype == loaded.up.dtype == dtype
    assert torch.equal(loaded.down, factors.down) and torch.equal(loaded.up, factors.up)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float8_e5m2])
def test_types_that_cannot_be_calculated_with_are_loaded_as_float32(tmp_path, dtype):
    factors = Factors(torch.ones(2, 6), torch.ones(5, 2), 1.0)
    save_lora(tmp_path / "a", LoraWeights({QUERY: factors}), dtype=dtype)
    loaded = load_lora(tmp_path / "a").modules[QUERY]
    assert loaded.down.dtype == torch.float32 and torch.equal(loaded.down, factors.down)


@pytest.mark.parametrize("dtype", FLOATS)
def test_one_value_that_is_not_a_number_is_noticed_in_every_type(dtype):
    kinds = torch.tensor([float("nan"), float("inf"), float("-inf")]).to(dtype)
    for bad in kinds[~kinds.float().isfinite()]:  # E4M3 has no infinity
        for place in (0, 17, 500, 1000):
            tensor = torch.ones(1001).to(dtype)
            assert all_finite([tensor])
            tensor[place] = bad
            assert not all_finite([torch.ones(2), tensor])
    assert all_finite([torch.empty(0, dtype=dtype), torch.ones(3, dtype=torch.int64)])


def test_a_full_difference_is_loaded_in_its_own_type(tmp_path):
    diff = torch.randn(3, 5).half()
    loaded = load_lora(write(tmp_path / "a", {kohya(f"{BLOCK}.attn1.to_q"): {"diff": diff}})).modules[QUERY]
    assert loaded.up.dtype == torch.float16 and torch.equal(loaded.up.float() @ loaded.down.float(), diff.float())


def test_values_too_large_for_float32_are_not_numbers_there(tmp_path):
    factors = Factors(torch.full((2, 6), 1e300, dtype=torch.float64), torch.ones(5, 2), 1.0)
    save_lora(tmp_path / "a", LoraWeights({QUERY: factors}), dtype=torch.float64)
    with pytest.raises(UserError, match="has weights that are not numbers"):
        load_lora(tmp_path / "a")
