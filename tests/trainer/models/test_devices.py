import torch

from lora_bootstrap.trainer.models import devices


def test_a_system_that_refuses_pinned_memory_is_asked_once(monkeypatch):
    monkeypatch.setattr(devices, "_refused", False)
    asked = []

    def refuse():
        asked.append(True)
        raise RuntimeError("CUDA error: out of memory")

    assert torch.equal(devices.pin(lambda: torch.ones(1)), torch.ones(1))
    assert devices.pin(refuse) is None and devices.pin(refuse) is None and len(asked) == 1
