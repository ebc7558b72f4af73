"""Whatever a LoRA file holds, every reader reads it or says in one line what is wrong with it."""

import time

import pytest

from lora_bootstrap.trainer.cli.main import main
from lora_bootstrap.trainer.common.errors import UserError
from lora_bootstrap.trainer.lora.file import load_lora
from lora_bootstrap.trainer.lora.hashes import tensor_hash
from lora_bootstrap.trainer.lora.layers import read_header
from lora_bootstrap.trainer.stacks.blocks import filter_lora, read_blocks
from lora_bootstrap.trainer.stacks.conflict import measure_conflict
from lora_bootstrap.trainer.stacks.conflict_table import report_dict
from lora_bootstrap.trainer.stacks.merge import MergeSettings
from lora_bootstrap.trainer.stacks.merged_file import merge_to_file
from lora_bootstrap.trainer.stacks.stack import StackEntry, roles
from lora_bootstrap.trainer.sweeps.cells import checkpoint_axis
from lora_bootstrap.trainer.training.checkpoint import load_state

from ...helpers.damaged_loras import MODULE, damaged_files
from ...helpers.lora_files import plain, write
from ...helpers.tiny import make_tiny_backbone

FILES = damaged_files()
SECONDS = 3
"""A reader that takes longer has run something that the file told it to."""


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    return write(tmp_path_factory.mktemp("other") / "other.safetensors", {MODULE: plain(4, 7, 32, 32)})


@pytest.fixture(scope="module")
def backbone():
    return make_tiny_backbone()


def apply(backbone, path):
    with backbone.lora(path, 0.8):
        pass


def readers(path, other, backbone):
    """Name → what is done with the file."""
    entries = [StackEntry(path=path), StackEntry(path=other)]
    return {
        "load": lambda: load_lora(path), "header": lambda: read_header(path).facts(),
        "blocks": lambda: read_blocks(path), "filter": lambda: filter_lora(path, "down* = 0.5", path.parent / "blocks"),
        "conflict": lambda: report_dict(measure_conflict(entries)),
        "merge": lambda: merge_to_file(path.parent / "merged", "", entries, MergeSettings(rank=4)),
        "roles": lambda: roles(entries), "apply": lambda: apply(backbone, path),
        "sweep's axis": lambda: checkpoint_axis([path]), "hash": lambda: tensor_hash(path),
        "resume": lambda: load_state(path), "info": lambda: main(["info", str(path)]),
    }


def outcome(action):
    """"", the line of a UserError, or what else went wrong."""
    began = time.monotonic()
    try:
        action()
    except UserError as error:
        return "" if "\n" not in str(error) and len(str(error)) < 1000 else f"a long text: {str(error)[:200]!r}"
    except BaseException as error:
        return f"{type(error).__name__}: {error}"[:200]
    return "" if time.monotonic() - began < SECONDS else f"{time.monotonic() - began:.0f} s"


def test_every_reader_reads_a_damaged_file_or_says_what_is_wrong(tmp_path, other, backbone, capsys):
    raw = {}
    for number, (name, data) in enumerate(FILES.items()):
        path = tmp_path / f"{number}.safetensors"
        path.write_bytes(data)
        found = {reader: outcome(action) for reader, action in readers(path, other, backbone).items()}
        raw |= {(name, reader): text for reader, text in found.items() if text}
        assert "Traceback" not in capsys.readouterr().err
    assert len(FILES) > 100 and raw == {}


def test_nothing_is_wrong_with_the_file_that_is_damaged(tmp_path, other, backbone):
    (tmp_path / "a.safetensors").write_bytes(FILES["nothing wrong"])
    for name, reader in readers(tmp_path / "a.safetensors", other, backbone).items():
        if name != "resume":
            reader()
