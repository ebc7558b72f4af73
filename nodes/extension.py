"""What the host is given: the pack's nodes. Importing this also registers the pack's routes."""

from __future__ import annotations

from comfy_api.latest import ComfyExtension, io

from . import routes  # noqa: F401 (registers itself; the host has no later moment for it)
from .captions import EditTags
from .checkpoints import LoadRun, PickCheckpoint
from .dataset import CropPicture, DatasetFromImages, LoadDataset, PreviewDataset
from .sandbox import LoadSandbox
from .settings import TrainSettingsNode
from .train import TrainLora

NODES: tuple[type[io.ComfyNode], ...] = (
    LoadSandbox, LoadDataset, CropPicture, DatasetFromImages, PreviewDataset, EditTags, TrainSettingsNode, TrainLora,
    LoadRun, PickCheckpoint,
)


class LoraBootstrap(ComfyExtension):
    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return list(NODES)
