"""How the rows of a step are shared, and which runs cannot be."""

import pytest
import torch

from lora_bootstrap.trainer.common.errors import UserError
from lora_bootstrap.trainer.training.config import TrainConfig
from lora_bootstrap.trainer.training.parallel.gradients import GradientSum
from lora_bootstrap.trainer.training.parallel.launched import count_launched, launched_rank
from lora_bootstrap.trainer.training.parallel.team import ALONE, Share, Team, check_team, share_rows


def team_of(size, rank=0):
    team = Team()
    team.rank, team.size = rank, size
    return team


@pytest.mark.parametrize("sizes", [[3], [1, 1, 1, 1], [4, 4], [3, 1, 2], [2], [5, 4, 3]])
@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_every_row_of_a_step_is_trained_once_and_the_shares_differ_by_one_row(sizes, size):
    shares = [share_rows(sizes, rank, size) for rank in range(size)]
    for batch, count in enumerate(sizes):
        assert [row for own in shares for row in own[batch].of(list(range(count)))] == list(range(count))
        assert sum(own[batch].fraction for own in shares) == pytest.approx(1)
    rows = [sum(share.end - share.first for share in own) for own in shares]
    assert max(rows) - min(rows) <= 1


def test_batches_stay_whole_where_they_can():
    assert [list(map(bool, share_rows([1, 1, 1, 1], rank, 2))) for rank in range(2)] == [[1, 1, 0, 0], [0, 0, 1, 1]]
    assert share_rows([3], 1, 2) == [Share(1, 3, 3)] and ALONE.shares([3]) == [Share(0, 3, 3)]


def test_the_values_of_a_share_are_put_among_zeros():
    assert Share(1, 3, 4).spread(torch.tensor([5.0, 6.0])).tolist() == [0, 5, 6, 0]


def test_the_sum_leaves_a_parameter_without_a_gradient_that_no_process_uses():
    unused, missing, held = (torch.nn.Parameter(torch.zeros(2, dtype=dtype))
                             for dtype in (torch.float32, torch.bfloat16, torch.float32))
    held.grad = torch.tensor([1.0, 2.0])
    GradientSum([unused, missing, held]).add_up([False, True, True], lambda flat: flat.add_(1))
    assert unused.grad is None and missing.grad.dtype == torch.bfloat16 and missing.grad.tolist() == [1, 1]
    assert held.grad.tolist() == [2, 3]


@pytest.mark.parametrize(("settings", "size", "words"), [
    ({}, 2, r"a step has 1 image \(batch_size 1 x accumulation_steps 1\), which 2 processes cannot share. Raise"),
    ({"data.batch_size": 3}, 4, "a step has 3 images .* or start at most 3 processes"),
    ({"method": "full", "data.batch_size": 4}, 2, "a fine-tune is trained in one process"),
])
def test_a_run_that_cannot_be_shared_says_what_to_change(settings, size, words):
    config = TrainConfig().replace(**settings)
    check_team(ALONE, config)
    with pytest.raises(UserError, match=words):
        check_team(team_of(size), config)


def test_two_images_a_step_can_be_shared_by_two():
    for settings in ({"data.batch_size": 2}, {"accumulation_steps": 2}):
        check_team(team_of(2), TrainConfig().replace(**settings))


@pytest.mark.parametrize(("given", "count", "rank"), [
    ({}, 1, 0),
    ({"WORLD_SIZE": "2", "RANK": "1", "LOCAL_RANK": "1"}, 2, 1),
    ({"WORLD_SIZE": "8", "RANK": "3"}, 1, 0),  # of a job scheduler
])
def test_a_process_knows_how_many_a_launcher_has_started(monkeypatch, given, count, rank):
    for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert (count_launched(), launched_rank()) == (count, rank)
