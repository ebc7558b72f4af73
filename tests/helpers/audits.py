"""An audit run to its end."""

from lora_bootstrap.trainer.datasets.audit import audit


def run_audit(dataset, config=None, cache=None):
    *_, last = audit(dataset, config, cache)
    return last.audit
