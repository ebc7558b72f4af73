"""Questions to a server that trains, and graphs for it."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from PIL import Image

from lora_bootstrap.trainer.training.runs import read_run

from .server import Refused

EVENT = "lora_bootstrap.progress"
FEW_STEPS = 24


class GraphMaker:
    """Makes graphs that train on the sandbox: called with a run's name and widgets of TrainLora.

    Args:
        info: what the host answers to /object_info; a node's widgets have the defaults that it tells.
    """

    def __init__(self, info: dict[str, Any]) -> None:
        self._info = info

    def node(self, class_type: str, /, **inputs: Any) -> dict[str, Any]:
        required = self._info[class_type]["input"].get("required", {})
        values = {name: _default(spec) for name, spec in required.items()}
        return {"class_type": class_type, "inputs": {k: v for k, v in values.items() if v is not None} | inputs}

    def __call__(self, name: str, **widgets: Any) -> dict[str, dict[str, Any]]:
        return {
            "base": self.node("LoraBootstrap_LoadSandbox"),
            "data": self.node("LoraBootstrap_LoadDataset", folder="sandbox/dataset/akane"),
            "train": self.node("LoraBootstrap_TrainLora", model=["base", 0], clip=["base", 1], vae=["base", 2],
                               dataset=["data", 0], settings=["settings", 0], name=name,
                               **{"trigger": "akane", "steps": FEW_STEPS, "batch_size": 1, **widgets}),
            "settings": self.node("LoraBootstrap_TrainSettings", save_every=0, preview_every=0, state_every=10,
                                  state_minutes=0.0),
        }


def _default(spec):
    kind, options = spec[0], spec[1] if len(spec) > 1 else {}
    if "default" in options:
        return options["default"]
    choices = kind if isinstance(kind, list) else options.get("options")
    return choices[0] if choices else None


def status(server, name):
    return server.get("/lora_bootstrap/run", name=name)


def run_folder(server, run):
    return server.base / "output" / "loras" / run


def steps_done(server, run):
    """The steps that metrics.jsonl has a loss of, in the file's order."""
    return [row["step"] for row in read_run(run_folder(server, run)).metrics() if "loss" in row]


def training_at(tab, name, step=1):
    """Wait until a run of that name has trained `step` steps; returns the progress event that says so."""
    return tab.wait_for(lambda m: m.type == EVENT and m.data["name"] == name and m.data["status"] == "training"
                        and m.data["step"] >= step, f"step {step} of {name}").data


def loras(server):
    combo = server.get("/object_info/LoraLoader")["LoraLoader"]["input"]["required"]["lora_name"]
    names = combo[0] if isinstance(combo[0], list) else combo[1]["options"]
    return [name.replace("\\", "/") for name in names]


def pixels(server, place):
    return np.asarray(Image.open(io.BytesIO(server.view(**place))).convert("RGB"))


def status_or_none(server, name):
    try:
        return status(server, name)["status"]
    except Refused:
        return None


def output_number(server, kind, node="LoraBootstrap_TrainLora"):
    """The number of a node's first output of a type."""
    return server.get(f"/object_info/{node}")[node]["output"].index(kind)
