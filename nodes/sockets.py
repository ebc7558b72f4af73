"""Every custom socket type, and the object it carries.

| socket | carries |
| --- | --- |
| LORA_DATASET | trainer.datasets.dataset.Dataset |
| LORA_TRAIN_SETTINGS | host.training.request.TrainSettings |
| BOOTSTRAP_PROJECT | trainer.bootstrap.rounds.Project |
| BOOTSTRAP_VIEWS | trainer.bootstrap.planning.view_plan.ViewPlan |
| LORA_RUN | trainer.training.runs.Run (read the folder again before use: the run may have continued) |
| LORA_SWEEP | trainer.sweeps.cells.Sweep |
| LORA_STACK | list of (lora name below a loras root, model strength, clip strength): the community's own type |
| LORA_MODEL | the state dict of a LoRA file, name → tensor: the host's own type, as its SaveLoRA takes it |
"""

from __future__ import annotations

from comfy_api.latest import io

from ..host.training.request import TrainSettings  # noqa: F401 (what its socket carries)

LoraDataset = io.Custom("LORA_DATASET")
LoraTrainSettings = io.Custom("LORA_TRAIN_SETTINGS")
BootstrapProjectSocket = io.Custom("BOOTSTRAP_PROJECT")
BootstrapViews = io.Custom("BOOTSTRAP_VIEWS")
LoraRun = io.Custom("LORA_RUN")
LoraSweep = io.Custom("LORA_SWEEP")
LoraStack = io.Custom("LORA_STACK")
LoraModel = io.Custom("LORA_MODEL")
