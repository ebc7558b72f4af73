"""A finished run with a sweep and its scores, without a training: the LoRA is random, the images are drawn."""

from __future__ import annotations

from pathlib import Path

from lora_bootstrap.trainer.common.files import write_json
from lora_bootstrap.trainer.datasets.recorded import RecordedImage
from lora_bootstrap.trainer.lora.file import Factors, LoraWeights, save_lora
from lora_bootstrap.trainer.models.families import get_family
from lora_bootstrap.trainer.sweeps.score import ScoreRow, Scores
from lora_bootstrap.trainer.sweeps.score_table import write_scores
from lora_bootstrap.trainer.training.config import TrainConfig
from lora_bootstrap.trainer.training.metadata import lora_metadata
from lora_bootstrap.trainer.training.runs import open_run

from .drawn_sweep import draw_sweep
from .lora_files import LAYERS, random

CAPTIONS = ("akane, 1girl, smile, front view, full body, in the secret garden of aunt Mary",
            "akane, 1girl, from behind, upper body, night sky", "akane, 1girl, from side, close-up, open mouth")
PRIVATE = ("secret garden", "holiday_2019", "/home/jane", "Aunt Mary's house", "uncle Bob", "clients/acme",
           "scan_of_jo")
"""What the run knows and a release must not tell: a caption, a file's name, a folder, a prompt of its previews, that of
its preservation, folders of LoRAs that it was trained beside, the run's own name in that of a checkpoint."""
PROMPTS = ("akane, front view, full body", "akane, front view, close-up, smile", "akane, from behind, full body",
           "akane, from side, upper body", "akane, front view, full body, grass")


def write_trained(output: Path, name: str = "akane", kind: str = "character", steps=(50, 100), factors=None,
                  **settings):
    """A finished run with a checkpoint and its final file, in output/loras."""
    config = TrainConfig().replace(**{
        "name": name, "kind": kind, "steps": steps[-1], "data.trigger": "akane", "preview_every": 10,
        "preview_prompts": ("akane, Aunt Mary's house",), "preservation.weight": 1.0,
        "preservation.prompt": "uncle Bob", **settings})
    lineage = {"base": "b" * 64, "dataset": "d" * 64, "folder": "/home/jane/holiday_2019",
               "beside": [{"name": "clients/acme/inks", "tensors": "e" * 64, "strength": 0.5}],
               "model_loras": ["clients/acme/paper.safetensors at 0.8"],
               "average": [{"file": "scan_of_jo-step000050.safetensors", "step": 50, "tensors": "f" * 64}]}
    run = open_run(output / "loras", config, f"key of {name}", lineage)
    for step in steps:
        metadata = lora_metadata(
            config, get_family("sandbox"), base_fingerprint="b" * 64, dataset_fingerprint="d" * 64,
            tag_frequency={"1girl": 3, "smile": 1, "in the secret garden of aunt Mary": 1}, image_count=3,
            lineage=lineage, step=step, epoch=step // 10, started_at=1.0, captions=CAPTIONS)
        path = run.final_path if step == steps[-1] else run.checkpoint_path(step)
        save_lora(path, LoraWeights(factors or random_factors(step), metadata))
    write_json(run.folder / "images.json", {"images": [
        vars(RecordedImage(f"{number:064x}", f"holiday_2019_{number}.png", caption, 2))
        for number, caption in enumerate(CAPTIONS)] + [
        vars(RecordedImage("9" * 64, "holiday_2019_others.png", "1girl, three-quarter view, from above", 5,
                           regularisation=True))]})
    run.append_metrics({"step": steps[-1], "loss": 0.1, "validation_loss": 0.2, "validation_ratio": 0.75})
    run.mark_finished(steps[-1], stopped=False)
    return run


def random_factors(seed: int, size: int = 8):
    return {f"unet.{layer}": Factors(random(4, size, seed=seed).float(), random(size, 4, seed=seed + 1).float(), 2.0)
            for layer in LAYERS}


def draw_scored(output: Path, run, *, best: int = 0, gates=(), faults=(), prompts=PROMPTS, found=(),
                **values):
    """A sweep of the run's averages and checkpoints at two strengths, and scores that recommend one at strength 0.8."""
    files = [*run.averages(), *run.checkpoints()]
    sweep = draw_sweep(output / "sweeps", [path for _, path in files], name=f"{run.name}-test",
                       prompts=prompts, seeds=(1,), strengths=(0.8, 1.0))
    rows = [ScoreRow(0, checkpoint, strength, f"step {step}, strength {at:g}", 5, step, None, f"{run.name}/x", at,
                     likeness=0.6, prompt=0.9, score=0.7 + 0.1 * ((checkpoint, strength) == (best, 0)),
                     gates=tuple(gates), faults=tuple(faults), verdict="good", prompts=tuple(found), **values)
            for checkpoint, (step, _) in enumerate(files) for strength, at in enumerate((0.8, 1.0))]
    write_scores(sweep, Scores("a judge", "character", tuple(rows), 2 * best, "because.", ()))
    return sweep
