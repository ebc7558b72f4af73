"""CCIP and SSCD as eyes, by small ONNX models of their shapes."""

import numpy as np
import pytest
import torch

from lora_bootstrap.trainer.common.errors import UserError
from lora_bootstrap.trainer.measures.onnx import CcipEye, SscdEye, find_onnx

onnx = pytest.importorskip("onnx", reason="needs onnx for a model of CCIP's shape")
pytest.importorskip("onnxruntime", reason="needs onnxruntime for CCIP")


each_eye = pytest.mark.parametrize("kind", [CcipEye, SscdEye])


def save_model(folder, channels=3, kind=CcipEye):
    """An embedding of 2 x 2 means of each channel."""
    side = kind.SIDE
    from onnx import TensorProto, helper

    folder.mkdir(parents=True)
    pool = helper.make_node("AveragePool", ["input"], ["pooled"], kernel_shape=[side // 2] * 2, strides=[side // 2] * 2)
    flat = helper.make_node("Flatten", ["pooled"], ["output"])
    graph = helper.make_graph(
        [pool, flat], "ccip", [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["n", channels, side, side])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["n", channels * 4])])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8),
              str(folder / kind.FILE))
    return folder


def test_the_first_folder_with_a_model_is_found(tmp_path):
    assert find_onnx(CcipEye, [tmp_path / "none", tmp_path]) is None
    save_model(tmp_path / "b")
    assert find_onnx(CcipEye, [tmp_path / "none", tmp_path]) == tmp_path / "b"
    assert find_onnx(CcipEye, [tmp_path, save_model(tmp_path / "other" / "a").parent]) == tmp_path / "b"


def test_a_folder_with_a_model_of_the_other_kind_is_not_taken(tmp_path):
    save_model(tmp_path / "a", kind=CcipEye)
    assert find_onnx(SscdEye, [tmp_path]) is None
    save_model(tmp_path / "b", kind=SscdEye)
    assert find_onnx(SscdEye, [tmp_path]) == tmp_path / "b" and find_onnx(CcipEye, [tmp_path]) == tmp_path / "a"


@each_eye
def test_pictures_are_stretched_and_normalised_as_the_model_was_trained(tmp_path, kind):
    eye = kind(save_model(tmp_path / "tiny", kind=kind))
    pixels = torch.zeros(2, 3, 48, 64)
    pixels[1, :, :, 32:] = 1.0
    rows = eye.embed(pixels)
    black, white = (-np.array(kind.MEAN) / kind.STD, (1 - np.array(kind.MEAN)) / kind.STD)
    expected = np.stack([black, white] * 2, axis=1).flatten()
    np.testing.assert_allclose(rows[1].numpy(), expected / np.linalg.norm(expected), atol=0.01)
    assert eye.name == f"{kind.TITLE} tiny" and rows.norm(dim=1).tolist() == pytest.approx([1, 1])
    assert eye.read_tags(pixels, ["1girl"]) is None


def test_copies_are_measured_as_the_paper_does():
    """Pizzi et al. 2022: 288 pixels, ImageNet's mean and deviation; CCIP is asked with CLIP's."""
    assert (SscdEye.SIDE, SscdEye.MEAN, SscdEye.STD) == (288, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert (CcipEye.SIDE, CcipEye.MEAN[0], CcipEye.STD[0]) == (384, 0.48145466, 0.26862954)


def test_of_a_copy_sscd_is_above_half_and_of_another_picture_it_is_not(tmp_path):
    from lora_bootstrap.trainer.sweeps.score import SSCD_COPY

    eye = SscdEye(save_model(tmp_path / "tiny", kind=SscdEye))
    picture = torch.rand(1, 3, 2, 2, generator=torch.Generator().manual_seed(0)).repeat_interleave(
        24, 2).repeat_interleave(24, 3)
    near, other = (picture * 0.95).clamp(0, 1), 1 - picture
    cosines = (eye.embed(torch.cat([near, other])) @ eye.embed(picture).T)[:, 0].tolist()
    assert cosines[0] > SSCD_COPY > cosines[1]


def test_more_pictures_than_fit_at_once_keep_their_order(tmp_path):
    eye = CcipEye(save_model(tmp_path / "tiny"))
    pixels = torch.rand(20, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(eye.embed(pixels)[17:18], eye.embed(pixels[17:18]))


@each_eye
def test_a_file_that_is_no_such_model_is_told(tmp_path, kind):
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / kind.FILE).write_bytes(b"no onnx")
    with pytest.raises(UserError, match="cannot be loaded"):
        kind(tmp_path / "bad")
    with pytest.raises(UserError, match=f"it is not the {kind.TITLE} model"):
        kind(save_model(tmp_path / "four", channels=4, kind=kind))


@each_eye
def test_without_onnxruntime_the_remedy_is_told(tmp_path, kind, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(UserError, match=f"{kind.TITLE} needs onnxruntime.*or move models/{kind.TITLE.lower()} away"):
        kind(tmp_path)
