"""What a test compares to see that training has left the host's modules as they were."""

import hashlib

import torch


def facts(*roots):
    """Everything of the host's modules that training could have changed, weights by address and by content."""
    found = []
    for root in roots:
        for name, module in root.named_modules():
            hooks = sum(len(value) for key, value in module.__dict__.items() if "_hooks" in key and value)
            found.append((name, id(module), type(module), hooks, module.training, sorted(module.__dict__)))
        for name, tensor in [*root.named_parameters(), *root.named_buffers()]:
            found.append((name, tensor.data_ptr(), tensor.dtype, tensor.device, tensor.requires_grad,
                          tensor.is_inference(), hashlib.sha256(tensor.detach().cpu().contiguous().reshape(-1)
                                                                .view(torch.uint8).numpy().tobytes()).digest()))
    return found
