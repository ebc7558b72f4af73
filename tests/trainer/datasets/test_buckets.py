"""Aspect buckets and the order of batches."""

import hashlib
import math
import tracemalloc
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from lora_bootstrap.trainer.common.errors import UserError
from lora_bootstrap.trainer.datasets import buckets as buckets_module
from lora_bootstrap.trainer.datasets.buckets import BatchPlan, assign_bucket, fit_to_bucket, make_buckets


@pytest.mark.parametrize(("resolution", "step"), [(64, 8), (512, 64), (1024, 64), (1024, 32), (768, 64)])
def test_buckets_keep_to_the_step_the_area_and_the_aspect(resolution, step):
    buckets = make_buckets(resolution, step)
    assert (resolution // step * step,) * 2 in buckets
    assert len(set(buckets)) == len(buckets) >= 5
    for width, height in buckets:
        assert width % step == height % step == 0
        assert 0.75 * resolution**2 < width * height <= resolution**2
        assert max(width, height) <= 2 * min(width, height)
        assert (height, width) in buckets


def test_the_sandbox_has_these_buckets():
    assert make_buckets(64, 8) == ((48, 80), (56, 72), (64, 64), (72, 56), (80, 48))


@pytest.mark.parametrize(("size", "bucket"), [
    ((4000, 4000), (1024, 1024)), ((3000, 4000), (896, 1152)), ((1920, 1080), (1344, 768)), ((9000, 1000), (1408, 704)),
    ((1024, 1024), (1024, 1024))])
def test_a_large_picture_goes_to_the_bucket_of_nearest_aspect(size, bucket):
    assert assign_bucket(size, make_buckets(1024, 64)) == bucket
    assert assign_bucket(size[::-1], make_buckets(1024, 64)) == bucket[::-1]


@pytest.mark.parametrize(("size", "bucket"), [((300, 300), (256, 256)), ((1000, 200), (384, 192)),
                                              ((130, 700), (128, 256)), ((1023, 1023), (960, 960))])
def test_a_small_picture_gets_the_largest_size_it_covers(size, bucket):
    assert assign_bucket(size, make_buckets(1024, 64)) == bucket


def test_nothing_is_enlarged_and_no_budget_broken_whatever_the_size():
    rng = np.random.default_rng(0)
    for resolution, step in ((64, 8), (512, 64), (1024, 64)):
        buckets = make_buckets(resolution, step)
        for _ in range(2000):
            size = tuple(int(v) for v in np.exp(rng.uniform(math.log(2 * step), math.log(8 * resolution), 2)))
            width, height = assign_bucket(size, buckets)
            assert width <= size[0] and height <= size[1]
            assert width % step == height % step == 0
            assert width * height <= resolution**2
            assert max(width, height) <= 2 * min(width, height)
            assert min(width, height) >= step
            assert assign_bucket(size, buckets, upscale=True) in buckets


def test_a_picture_too_small_to_train_on_says_how_large_it_must_be():
    with pytest.raises(UserError, match="500 x 127 pixels are too few .* at least 128.*turn on upscale"):
        assign_bucket((500, 127), make_buckets(1024, 64))


def test_a_resolution_below_two_steps_says_what_is_valid():
    with pytest.raises(UserError, match="resolution is 100; it must be at least 128"):
        make_buckets(100, 64)
    with pytest.raises(UserError, match="max_aspect is 0.5"):
        make_buckets(1024, 64, 0.5)


def test_fitting_cuts_the_overhang_evenly_and_does_not_distort():
    # Three vertical stripes of 100 pixels; a square bucket keeps the middle one.
    image = Image.new("RGB", (300, 100), "red")
    image.paste("lime", (100, 0, 200, 100))
    fitted = fit_to_bucket(image, (40, 40))
    assert fitted.size == (40, 40)
    assert np.asarray(fitted)[:, 5:-5].reshape(-1, 3).mean(0).tolist() == [0, 255, 0]
    assert np.asarray(fitted)[..., 0].max() < 25  # a stripe on either side would be 255
    assert fit_to_bucket(image, (300, 100)) is image


def test_fitting_is_antialiased():
    checks = np.indices((256, 256)).sum(0) % 2 * 255
    small = np.asarray(fit_to_bucket(Image.fromarray(checks.astype(np.uint8)).convert("RGB"), (32, 32)))
    assert abs(small.mean() - 127.5) < 2 and small.std() < 2


A, B = (64, 64), (48, 80)


def _epoch(plan, epoch):
    return [plan.batch(epoch * plan.batches_per_epoch + i) for i in range(plan.batches_per_epoch)]


def test_every_sample_comes_repeats_times_an_epoch_in_batches_of_one_bucket():
    buckets = [A, B, A, A, B, A]
    repeats = [3, 1, 2, 5, 4, 0]
    plan = BatchPlan(buckets, repeats, batch_size=4, seed=7)
    for epoch in range(5):
        batches = _epoch(plan, epoch)
        assert Counter(i for batch in batches for i in batch) == {0: 3, 1: 1, 2: 2, 3: 5, 4: 4}
        assert all(len({buckets[i] for i in batch}) == 1 and 1 <= len(batch) <= 4 for batch in batches)
        assert sorted(map(len, batches)) == [1, 2, 4, 4, 4]
    assert plan.batches_per_epoch == 5
    assert [plan.epoch_of(i) for i in (0, 4, 5, 14)] == [0, 0, 1, 2]


def test_a_batch_depends_on_the_seed_and_its_index_alone():
    make = [lambda seed=seed: BatchPlan([A] * 9 + [B] * 4, [2] * 13, 3, seed) for seed in (0, 1)]
    forward = [make[0]().batch(i) for i in range(40)]
    plan = make[0]()
    assert [plan.batch(i) for i in reversed(range(40))] == forward[::-1]
    assert [make[1]().batch(i) for i in range(40)] != forward


def test_epochs_are_shuffled_each_in_its_own_way():
    plan = BatchPlan([A] * 10, [1] * 10, 1, seed=0)
    orders = {tuple(i for batch in _epoch(plan, epoch) for i in batch) for epoch in range(20)}
    assert len(orders) == 20


def test_the_repeats_of_one_sample_do_not_meet_in_a_batch_if_they_can_be_kept_apart():
    plan = BatchPlan([A] * 8, [10] * 8, 4, seed=0)
    assert all(len(set(batch)) == 4 for epoch in range(3) for batch in _epoch(plan, epoch))


def test_a_dataset_smaller_than_a_batch_still_gives_batches():
    assert sorted(BatchPlan([A, A], [1, 1], 8, 0).batch(5)) == [0, 1]


def test_nothing_to_train_on_is_the_users_to_mend():
    for buckets, repeats in (([], []), ([A], [0])):
        with pytest.raises(UserError, match="nothing to train on"):
            BatchPlan(buckets, repeats, 1, 0)
    with pytest.raises(UserError, match="batch_size is 0"):
        BatchPlan([A], [1], 0, 0)
    with pytest.raises(ValueError):
        BatchPlan([A], [1, 1], 1, 0)


def test_the_order_of_an_epoch_stays_what_resumed_runs_depend_on():
    plan = BatchPlan([A, B, A, A, B, A], [3, 1, 2, 5, 4, 0], batch_size=4, seed=7)
    digest = hashlib.sha256(repr([plan.batch(i) for i in range(15)]).encode()).hexdigest()
    assert digest == "42e755fc460b67d48dda228faee66643e5e8b8b1ab9ddc3d0b545add4818dc6e"


@pytest.fixture
def computed(monkeypatch):
    """Every epoch is too long for a list."""
    monkeypatch.setattr(buckets_module, "LISTED", 0)


@pytest.mark.usefixtures("computed")
def test_an_epoch_that_is_too_long_for_a_list_has_the_same_batches_in_another_order():
    test_every_sample_comes_repeats_times_an_epoch_in_batches_of_one_bucket()
    test_a_batch_depends_on_the_seed_and_its_index_alone()
    test_the_repeats_of_one_sample_do_not_meet_in_a_batch_if_they_can_be_kept_apart()
    plan = BatchPlan([A] * 10, [1] * 10, 1, seed=0)
    firsts = Counter(plan.batch(10 * epoch)[0] for epoch in range(2000))
    assert len(firsts) == 10 and max(firsts.values()) < 2 * min(firsts.values())


def test_a_hundred_million_repeats_take_no_memory_and_no_time():
    plan = BatchPlan([A, B, A], [98_765_432, 5, 10**20], 4, 0)
    tracemalloc.start()
    assert all(len(plan.batch(i)) == 4 for i in (0, 1, 10**7, plan.batches_per_epoch // 2))
    assert tracemalloc.get_traced_memory()[1] < 100_000
    tracemalloc.stop()


def test_a_long_list_takes_a_few_bytes_a_sample():
    tracemalloc.start()
    BatchPlan([A], [buckets_module.LISTED // 4], 1, 0).batch(0)
    assert tracemalloc.get_traced_memory()[1] < 48 * buckets_module.LISTED // 4
    tracemalloc.stop()
