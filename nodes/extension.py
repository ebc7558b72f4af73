"""What ComfyUI loads: the pack's nodes. Importing this also registers the pack's routes."""

from __future__ import annotations

from comfy_api.latest import ComfyExtension, io

from ..host.routes import (  # noqa: F401 (register themselves on import; later is too late)
    checks as check_routes,
    folders as folder_routes,
    gallery as gallery_routes,
    plans as plan_routes,
    projects as project_routes,
    runs as routes,
    stacks as stack_routes,
    sweeps as sweep_routes,
    tabs as tab_routes,
    tags as tag_routes,
)
from .audit import AuditDataset
from .candidates import CandidateView, DrawCandidates, KeepCandidate, SaveCandidates
from .captions import AbsorbTags, EditTags
from .checkpoints import LoadRun, PickCheckpoint
from .conflict import ConflictReportNode
from .curate import CurateImages, RoundDataset
from .dataset import CropPicture, DatasetFromImages, LoadDataset, MergeDatasets, PreviewDataset, SplitDataset
from .extract import ExtractLora, ResizeLora
from .merge import MergeLoras
from .prepare import PrepareDataset, SaveDataset
from .project import ProjectNode, ViewPrompts
from .prove import ProveModel
from .refine import RefineStrengths
from .repair import LoadCandidate, SaveRepaired
from .sampling import LinkContent, SamplingByModel
from .sandbox import LoadSandbox
from .score import ScoreSweep
from .settings import TrainSettingsNode
from .sharing.jobs import ExportJob, ImportResult
from .sharing.release import ReleaseLora
from .stack import ApplyLoraStack, LoraStackNode, PromptLoras
from .sweep import CheckpointSweep, DrawLoaderSweep, StrengthGrid
from .sweep_values import ComposeCells, ComposedGrid, ComposeGrid, KeepCell, SweepCell, SweepValues
from .tag_statistics import TagStatisticsNode
from .tagging import CaptionImages, TagImages
from .time_split import TimeSplit
from .train import FineTune, TrainLora

NODES: tuple[type[io.ComfyNode], ...] = (
    LoadSandbox, LoadDataset, CropPicture, DatasetFromImages, MergeDatasets, SplitDataset, AuditDataset, PrepareDataset,
    SaveDataset, PreviewDataset, TagImages, CaptionImages, EditTags, AbsorbTags, TagStatisticsNode, TrainSettingsNode,
    TrainLora, LoadRun, PickCheckpoint, ProjectNode, ViewPrompts, SaveCandidates, CandidateView, KeepCandidate,
    CurateImages, RoundDataset, StrengthGrid, CheckpointSweep, SweepValues, ComposeGrid, SweepCell, KeepCell,
    ComposedGrid, ScoreSweep, LoraStackNode, ApplyLoraStack, PromptLoras, ConflictReportNode, MergeLoras, ExtractLora,
    ResizeLora, TimeSplit, RefineStrengths, LinkContent, ComposeCells, DrawCandidates, ProveModel, SamplingByModel,
    DrawLoaderSweep, LoadCandidate, SaveRepaired, FineTune,
    ReleaseLora,
    ExportJob, ImportResult,
)


class LoraBootstrap(ComfyExtension):
    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return list(NODES)
