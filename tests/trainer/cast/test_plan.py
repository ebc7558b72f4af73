"""Time and cost of a cast, before anything is made."""

import pytest

from lora_bootstrap.trainer.cast.plan import count_work, plan_cast
from lora_bootstrap.trainer.cast.records import CastRecords
from lora_bootstrap.trainer.common.errors import UserError

from ...helpers.cast import FakePool, make_cast, run_cast


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


MORE = """
[style]
steps = 100
[character]
steps = 600
save_every = 200
[sweep]
strengths = [0.8, 1.0]
prompts = ["zqx"]
prompt_set = "as written"
seeds = [1, 2, 3]
"""


def test_steps_images_and_cells_follow_from_the_settings(tmp_path):
    [character] = make_cast(tmp_path, "zqx", more=MORE, targets="[4, 16, 40]", candidates="[48, 96]")
    work = count_work(character)
    assert work.steps == 2 * 100 + 600
    reference, candidates, grid, cells = 16, 48 + 96, 5 * 5, 3 * (3 * 2 + 1)
    assert work.images == reference + candidates + grid + cells
    [usual] = make_cast(tmp_path, "usual")
    assert count_work(usual).steps == 550  # the sandbox's preset for 4, 16 and 40 images


def test_hours_follow_from_steps_and_cost_from_hours(tmp_path):
    cast, records = make_cast(tmp_path, "a", "b", more=MORE), CastRecords(tmp_path, "cast")
    plan = plan_cast(cast, {"RTX 4090": 0.5, "H100": 3.0}, 2, records)
    assert {row.card for row in plan.cards} == {"RTX 4090", "H100"} and plan.steps == 2 * 800
    for row in plan.cards:
        assert row.cost == pytest.approx(row.hours * row.price) and row.waiting == pytest.approx(row.hours / 2)
    [longer] = make_cast(tmp_path, "c", more=MORE.replace("steps = 600", "steps = 6000"))
    [short, long] = (plan_cast([each], {"H100": 3.0}, 1, records).cards[0].hours for each in (cast[0], longer))
    assert long > 2 * short > 0


def test_what_is_finished_is_not_planned_but_measured(tmp_path):
    cast = make_cast(tmp_path, "a", "b", more=MORE)
    run_cast(cast[:1], tmp_path, FakePool(tmp_path))
    plan = plan_cast(cast, {}, 1, CastRecords(tmp_path, "cast"))
    assert plan.left_out == 1 and plan.steps == 800 and plan.measured == (3.0, 1)
    assert len(plan.cards) > 5 and all(row.cost is None for row in plan.cards)


def test_a_price_of_an_unknown_card_is_refused(tmp_path):
    with pytest.raises(UserError, match="unknown card 'RTX 4091'. Did you mean 'RTX 4090'"):
        plan_cast([], {"RTX 4091": 1.0}, 1, CastRecords(tmp_path, "cast"))
