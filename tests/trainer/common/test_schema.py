"""Reading JSON as what it should be: the right types, or an error that names file and field."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest

from lora_bootstrap.trainer.common.errors import UserError
from lora_bootstrap.trainer.common.schema import convert, read_record


@dataclass(frozen=True)
class Inner:
    label: str
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Record:
    title: str
    rows: tuple[Inner, ...] = ()
    at: tuple[int | None, ...] = ()
    size: tuple[int, int] = (1, 1)
    scores: Mapping[str, float] = field(default_factory=dict)
    state: Literal["keep", "reject"] = "keep"
    best: int | None = None


def test_a_record_is_read_with_its_types(tmp_path):
    values = {"title": "t", "rows": [{"label": "a", "facts": {"seed": 1}}], "at": [0, None], "size": [2, 3],
              "scores": {"a": 1}, "state": "reject", "best": None, "of a later version": 1}
    (tmp_path / "a.json").write_text(json.dumps(values))
    record = read_record(tmp_path / "a.json", Record)
    assert record == Record("t", (Inner("a", {"seed": 1}),), (0, None), (2, 3), {"a": 1.0}, "reject", None)
    assert isinstance(record.scores["a"], float)


@pytest.mark.parametrize(("values", "problem"), [
    ([], "it is \\[\\]; it must be an object"), (None, "it is None; it must be an object"),
    ({}, "it has no 'title'"),
    ({"title": "\ud800"}, "title is .* it must be a text of whole letters"),
    ({"title": 1}, "title is 1; it must be a text"), ({"title": None}, "title is None"),
    ({"title": "t", "rows": {}}, "rows is {}; it must be a list of values"),
    ({"title": "t", "rows": [{"label": "a"}, None]}, "rows 2 is None; it must be an object"),
    ({"title": "t", "rows": [{}]}, "rows 1 has no 'label'"), ({"title": "t", "at": [True]}, "at 1 is True"),
    ({"title": "t", "at": ["x"]}, "at 1 is 'x'; it must be a whole number"),
    ({"title": "t", "size": [1]}, "size is \\[1\\]; it must be a list of 2 values"),
    ({"title": "t", "scores": {"a": "x"}}, "scores 'a' is 'x'; it must be a number"),
    ({"title": "t", "scores": {"a": 10**400}}, "scores 'a' is"), ({"title": "t", "best": 10**400}, "best is"),
    ({"title": "t", "state": "kept"}, "state is 'kept'; it must be one of keep, reject"),
    ({"title": "t", "state": ["keep"]}, "state is .*it must be one of keep, reject"),
    ({"title": "t", "best": "1"}, "best is '1'"),
])
def test_anything_else_is_refused_with_file_and_field(tmp_path, values, problem):
    (tmp_path / "a.json").write_text(json.dumps(values))
    with pytest.raises(UserError, match=rf"a\.json cannot be read: {problem}.* Repair or delete it\.$") as caught:
        read_record(tmp_path / "a.json", Record)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 300 + len(str(tmp_path))


def test_settings_of_a_person_are_refused_if_they_do_not_exist():
    with pytest.raises(UserError, match="unknown setting 'titel'. Did you mean 'title'"):
        convert({"titel": "t"}, Record, strict=True)
