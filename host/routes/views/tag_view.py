"""What the tag editor shows of a dataset. No host is needed here; the shapes are in tags.py."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from ....trainer.captions.tags import split_tags
from ....trainer.common.errors import UserError
from ....trainer.datasets.dataset import Sample
from ....trainer.pictures.thumbnails import ThumbnailStyle, thumbnail
from ....trainer.tagging.hand_edits import HandEdits
from ...editors import EditableDataset
from ...folders.view import host_place

THUMBNAIL = ThumbnailStyle()


def dataset_view(dataset: EditableDataset) -> dict[str, Any]:
    """The answer of the dataset route."""
    saved = HandEdits.load(dataset.path) if dataset.path else HandEdits()
    edited, _ = saved.apply_to(dataset.dataset)
    captions = {sample.content_hash: sample.caption for sample in edited}
    rows = [_row(dataset, picture, caption) for picture, caption in captions.items()]
    return {"id": dataset.id, "name": dataset.name, "editable": dataset.path is not None, "pictures": rows,
            "revision": saved.revision}


def _row(dataset: EditableDataset, picture: str, caption: str) -> dict[str, Any]:
    sample: Sample = dataset.pictures[picture]
    width, height = sample.size
    return {"id": picture, "name": sample.path.name, "caption": caption, "tags": split_tags(caption),
            "thumb": f"/lora_bootstrap/thumb?{urlencode({'id': dataset.id, 'picture': picture})}", "width": width,
            "height": height, "place": "" if sample.crop else host_place(sample.path)}


def picture_thumbnail(dataset: EditableDataset, picture: str) -> bytes:
    """The image as a small JPEG. Raises UserError if it does not exist or cannot be read."""
    sample = dataset.pictures.get(picture)
    if sample is None:
        raise UserError(f"there is no image {picture!r} in dataset {dataset.id!r}; reload the editor.")
    return thumbnail(sample, THUMBNAIL, picture)  # by content: one that has changed is not shown as it was
