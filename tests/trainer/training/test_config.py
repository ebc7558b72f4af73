import json

import pytest

from lora_bootstrap.trainer.common.errors import UserError
from lora_bootstrap.trainer.training.config import TrainConfig, setting_names


def test_a_config_survives_json():
    changes = {"adapter.rank": 4, "optimizer.name": "prodigy"}
    config = TrainConfig(steps=7, preview_prompts=("a", "b")).replace(**changes)
    again = TrainConfig.from_dict(json.loads(json.dumps(config.to_dict())))
    assert again == config
    assert (again.adapter.rank, again.optimizer.name, again.preview_prompts) == (4, "prodigy", ("a", "b"))


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"stepz": 3}, "'steps'"),
        ({"adapter": {"rnak": 3}}, "'rank'"),
        ({"adapter": {"rank": 0}}, "rank is 0; it must be from 1 to 1024"),
        ({"adapter": {"rank": 2.5}}, "a whole number"),
        ({"optimizer": {"name": "adamw8bi"}}, "'adamw8bit'"),
        ({"optimizer": {"schedule": "cosin"}}, "'cosine'"),
        ({"objective": {"timestep_density": "unifrom"}}, "'uniform'"),
        ({"optimizer": {"learning_rate": -1}}, "learning_rate is -1"),
        ({"name": "../evil"}, "cannot be a folder's"),
        ({"data": 3}, "a group of settings"),
        ({"steps": True}, "a whole number"),
    ],
)
def test_a_wrong_setting_gets_one_line_with_the_remedy(values, said):
    with pytest.raises(UserError) as error:
        TrainConfig.from_dict(values)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_replace_names_the_nearest_setting():
    with pytest.raises(UserError, match=r"adapter\.rank"):
        TrainConfig().replace(**{"adapter.rnk": 3})


def test_every_setting_has_a_dotted_name():
    names = setting_names()
    assert {"steps", "adapter.rank", "optimizer.learning_rate", "data.keep_tokens", "objective.weighting"} <= set(names)
    assert len(names) == len(set(names))
