"""What a job will cost follows from a counted step, the card's published speed, the steps and the price an hour."""

import pytest

from lora_bootstrap.trainer.common.errors import UserError
from lora_bootstrap.trainer.jobs import costs
from lora_bootstrap.trainer.jobs.costs import ORIGIN, CardCost, count_costs, describe_costs
from lora_bootstrap.trainer.memory.cards import CARDS, GIB, step_seconds
from lora_bootstrap.trainer.memory.counter import TookTooLong
from lora_bootstrap.trainer.memory.step import StepCount
from lora_bootstrap.trainer.training.config import TrainConfig

STEP = dict.fromkeys(StepCount.__dataclass_fields__, 0)


@pytest.fixture
def counted(monkeypatch):
    """A step of 20 GiB, of 8 with all blocks recomputed, which takes a third longer then."""
    def count(shape, config, precision, share, seconds):
        return StepCount(**{**STEP, "peak": round((8 if share else 20) * GIB), "kernels": 1000,
                            "operations": 10**13 * (4 if share else 3) // 3})

    monkeypatch.setattr(costs, "count_published", count)
    return count


def test_each_card_gets_the_fastest_setting_that_fits_it(counted):
    found = {cost.card: cost for cost in count_costs("sdxl", TrainConfig(steps=1000, accumulation_steps=2))}
    assert set(found) == {card.name for card in CARDS}
    assert [found[name].recomputed for name in ("RTX 3060 12 GB", "RTX 5070 Ti", "RTX 4090", "H100")] == [
        True, True, False, False]
    card = next(card for card in CARDS if card.name == "RTX 4090")
    seconds = step_seconds(counted(None, None, "", 0.0, 0), card) * 2 * 1000
    assert found["RTX 4090"].seconds == pytest.approx(seconds)
    assert [cost.seconds for cost in found.values()] == sorted((cost.seconds for cost in found.values()), reverse=True)


def test_the_price_is_told_beside_the_time_and_where_both_come_from():
    given = (CardCost("RTX 3090", 7200.0, True), CardCost("RTX 4090", 3600.0))
    assert describe_costs(given, 0.5) == [
        "RTX 3090: about 2.0 h, 1.00 at 0.5 an hour, with gradient checkpointing",
        "RTX 4090: about 60 min, 0.50 at 0.5 an hour", ORIGIN]
    assert describe_costs(given, card="RTX 4090")[0] == "RTX 4090: about 60 min"
    assert "does not fit H100" in describe_costs(given, card="H100")[0]


def test_what_cannot_be_counted_is_said_and_not_guessed(monkeypatch):
    def count(*values):
        raise TookTooLong

    monkeypatch.setattr(costs, "count_published", count)
    assert count_costs("sdxl", TrainConfig()) == () and "could not be counted" in describe_costs(())[0]


def test_a_price_or_card_that_cannot_be_is_refused():
    with pytest.raises(UserError, match="price is -1"):
        describe_costs((), -1.0)
    with pytest.raises(UserError, match="card is 'RTX 409'"):
        describe_costs((), 1.0, "RTX 409")
