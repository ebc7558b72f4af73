"""The templates of the bootstrap loop, small enough for a test."""

from __future__ import annotations

from .templates import api, without_previews

STEPS = 6
TARGETS, CANDIDATES = "4, 7, 9", "6, 8"


def template(name, trigger, candidates=CANDIDATES):
    """A template as it is shipped, but with a few small trainings and few candidates, as a project of its own."""
    graph = without_previews(api(name))
    for node in graph.values():
        inputs = node["inputs"]
        if node["class_type"] == "LoraBootstrap_Project":
            inputs |= {"trigger": trigger, "targets": TARGETS, "candidates": candidates}
        elif node["class_type"] == "LoraBootstrap_TrainLora":
            inputs |= {"steps": STEPS, "batch_size": 2}
        elif node["class_type"] == "LoraBootstrap_SamplingByModel":
            inputs["steps"] = 4  # the one place for all rounds
        elif node["class_type"] == "LoraBootstrap_StrengthGrid":
            inputs |= {"steps": 1, "strengths": "0.8", "prompt_set": "as written"}
        elif node["class_type"] == "LoraBootstrap_CurateImages":
            inputs["stop_on_alarm"] = False  # so little training draws strangers
    return graph


def ids(graph, kind):
    return [id for id, node in graph.items() if node["class_type"] == f"LoraBootstrap_{kind}"]
