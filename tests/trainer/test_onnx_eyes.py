"""CCIP as an eye, by a small ONNX model of its shape."""

import numpy as np
import pytest
import torch

from lora_bootstrap.trainer.ccip import FEATURES_FILE, MEAN, SIDE, STD, CcipEye, find_ccip
from lora_bootstrap.trainer.errors import UserError

onnx = pytest.importorskip("onnx", reason="needs onnx for a model of CCIP's shape")
pytest.importorskip("onnxruntime", reason="needs onnxruntime for CCIP")


def save_model(folder, channels=3, side=SIDE):
    """An embedding of 2 x 2 means of each channel."""
    from onnx import TensorProto, helper

    folder.mkdir(parents=True)
    pool = helper.make_node("AveragePool", ["input"], ["pooled"], kernel_shape=[side // 2] * 2, strides=[side // 2] * 2)
    flat = helper.make_node("Flatten", ["pooled"], ["output"])
    graph = helper.make_graph(
        [pool, flat], "ccip", [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["n", channels, side, side])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["n", channels * 4])])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8),
              str(folder / FEATURES_FILE))
    return folder


def test_the_first_folder_with_a_model_is_found(tmp_path):
    assert find_ccip([tmp_path / "none", tmp_path]) is None
    save_model(tmp_path / "b")
    assert find_ccip([tmp_path / "none", tmp_path]) == tmp_path / "b"
    assert find_ccip([tmp_path, save_model(tmp_path / "other" / "a").parent]) == tmp_path / "b"


def test_pictures_are_stretched_and_normalised_as_clip_does(tmp_path):
    eye = CcipEye(save_model(tmp_path / "tiny"))
    pixels = torch.zeros(2, 3, 48, 64)
    pixels[1, :, :, 32:] = 1.0
    rows = eye.embed(pixels)
    black, white = (-np.array(MEAN) / STD, (1 - np.array(MEAN)) / STD)
    expected = np.stack([black, white] * 2, axis=1).flatten()
    np.testing.assert_allclose(rows[1].numpy(), expected / np.linalg.norm(expected), atol=0.01)
    assert eye.name == "CCIP tiny" and rows.norm(dim=1).tolist() == pytest.approx([1, 1])
    assert eye.read_tags(pixels, ["1girl"]) is None


def test_more_pictures_than_fit_at_once_keep_their_order(tmp_path):
    eye = CcipEye(save_model(tmp_path / "tiny"))
    pixels = torch.rand(20, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(eye.embed(pixels)[17:18], eye.embed(pixels[17:18]))


def test_a_file_that_is_no_such_model_is_told(tmp_path):
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / FEATURES_FILE).write_bytes(b"no onnx")
    with pytest.raises(UserError, match="cannot be loaded"):
        CcipEye(tmp_path / "bad")
    with pytest.raises(UserError, match="it is no CCIP model"):
        CcipEye(save_model(tmp_path / "four", channels=4))
