"""Tasks are shared among workers, begun again where they failed, and resumed by the files that exist."""

from lora_bootstrap.trainer.cast.batch import BatchFinished, TaskEnded, TaskResult
from lora_bootstrap.trainer.cast.records import CELLS, PROJECT, SCORE
from lora_bootstrap.trainer.common.events import Interrupted

from ...helpers.cast import FakePool, make_cast, run_cast

LOST = TaskResult(60.0, lost=True, problem="its worker ended: killed")


def kinds(pool):
    return [(job.character.name, job.kind, job.number, job.count) for _, job in pool.done]


def test_a_character_goes_from_its_project_over_shares_of_its_cells_to_its_scores(tmp_path):
    pool = FakePool(tmp_path, 2)
    _, last, rows = run_cast(make_cast(tmp_path, "zqx"), tmp_path, pool, price=0.5)
    assert kinds(pool) == [("zqx", PROJECT, 0, 1), ("zqx", CELLS, 0, 2), ("zqx", CELLS, 1, 2), ("zqx", SCORE, 0, 1)]
    assert isinstance(last, BatchFinished) and last.report.counts["ready"] == 1
    row = rows["zqx"]
    assert row["verdict"] == "ready" and row["strength"] == 0.8 and row["images"] == 4
    assert row["hours"] == 4.0 and row["cost"] == 2.0
    page = last.page.read_text()
    assert 'href="../../bootstrap/zqx/report.html"' in page and 'href="../../sweeps/zqx-checkpoints/grid.html"' in page


def test_a_finished_cast_is_not_made_again_and_what_was_deleted_is(tmp_path):
    cast = make_cast(tmp_path, "a", "b")
    run_cast(cast, tmp_path, FakePool(tmp_path))
    again = FakePool(tmp_path)
    _, last, _ = run_cast(cast, tmp_path, again)
    assert isinstance(last, BatchFinished) and again.done == []
    (tmp_path / "sweeps/b-checkpoints/scores.json").unlink()
    next((tmp_path / "sweeps/b-checkpoints/cells").glob("*.json")).unlink()
    run_cast(cast, tmp_path, again)
    assert kinds(again) == [("b", CELLS, 0, 1), ("b", SCORE, 0, 1)]


def test_a_task_whose_worker_died_is_begun_again_and_paid_for(tmp_path):
    pool = FakePool(tmp_path, ends={("a", PROJECT): [LOST]})
    events, _, rows = run_cast(make_cast(tmp_path, "a"), tmp_path, pool)
    assert [event.again for event in events if isinstance(event, TaskEnded)][0]
    assert rows["a"]["verdict"] == "ready" and rows["a"]["hours"] == round(3 + 1 / 60, 5)
    assert any("Workers died in 1 of its tasks" in text for text in rows["a"]["look"])


def test_a_task_that_keeps_failing_ends_its_character_and_no_other(tmp_path):
    pool = FakePool(tmp_path, ends={("a", PROJECT): [LOST] * 3})
    _, last, rows = run_cast(make_cast(tmp_path, "a", "b"), tmp_path, pool, retries=2)
    assert rows["a"]["verdict"] == "failed" and "its worker ended: killed" in rows["a"]["look"][0]
    assert rows["b"]["verdict"] == "ready" and last.report.counts["failed"] == 1


def test_a_cluster_whose_machines_do_not_share_the_output_folder_is_found_out(tmp_path):
    pool = FakePool(tmp_path, ends={("a", PROJECT): [TaskResult(1.0, {"lora": "loras/a/a.safetensors"})]})
    _, _, rows = run_cast(make_cast(tmp_path, "a"), tmp_path, pool)
    assert len(pool.done) == 1 and "Give an --output that all machines share" in rows["a"]["look"][0]


def test_a_users_mistake_is_not_tried_again(tmp_path):
    pool = FakePool(tmp_path, ends={("a", PROJECT): [TaskResult(1.0, problem="no image", mistake=True)]})
    _, _, rows = run_cast(make_cast(tmp_path, "a"), tmp_path, pool)
    assert len(pool.done) == 1 and rows["a"]["look"] == ["no image"]
    _, _, rows = run_cast(make_cast(tmp_path, "a"), tmp_path, FakePool(tmp_path))  # mended, and run again
    assert rows["a"]["verdict"] == "ready"


def test_a_batch_that_is_stopped_goes_on_from_there(tmp_path):
    cast, asked = make_cast(tmp_path, "a", "b"), iter([False, False, True])
    pool = FakePool(tmp_path)
    _, last, rows = run_cast(cast, tmp_path, pool, should_stop=lambda: next(asked, True))
    assert isinstance(last, Interrupted) and pool.stopped
    assert {row["verdict"] for row in rows.values()} == {"unfinished"} and rows["a"]["images"] == 4
    pool = FakePool(tmp_path)
    _, last, rows = run_cast(cast, tmp_path, pool)
    assert ("a", PROJECT, 0, 1) not in kinds(pool) and {row["verdict"] for row in rows.values()} == {"ready"}


def test_a_worker_stays_with_its_base_while_there_is_work_on_it(tmp_path):
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "model_index.json").write_text("{}")
    mine, other = make_cast(tmp_path, "a", "c"), make_cast(tmp_path, "b", base=f'"{tmp_path / "base"}"')
    pool = FakePool(tmp_path)
    run_cast([mine[0], *other, mine[1]], tmp_path, pool)
    assert [job.character.name for _, job in pool.done if job.kind == PROJECT] == ["a", "c", "b"]


def test_a_weak_or_stopped_character_is_to_be_looked_at(tmp_path):
    weak = {"best": {"at": 1.0, "score": 0.2, "gates": ["burn"]}, "why": "", "notes": [], "cells": {"failed": 2}}
    pool = FakePool(tmp_path, ends={("a", SCORE): [TaskResult(1.0, weak)]})
    _, _, rows = run_cast(make_cast(tmp_path, "a"), tmp_path, pool)
    assert rows["a"]["verdict"] == "look at it"
    assert rows["a"]["look"] == ["Gates failed: burn.", "Its best score is 0.20, below 0.5.",
                                 "2 cells of the sweep could not be drawn."]
