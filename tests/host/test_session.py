"""What this process remembers is in one place, and a test begins with none of it."""

import threading

from lora_bootstrap.host.session import PlannedCandidates, begin_session, current_session


def test_a_new_session_remembers_nothing_of_the_one_before(host, tmp_path):
    before = current_session()
    before.trainings.begin("girl")
    before.trainings.resume("girl")
    before.projects.add("zqx")
    before.stack_files.note(tmp_path / "gone")
    assert before.stack_files.look() == 1 and before.trainings.find("girl") is not None
    after = begin_session()
    assert after is current_session() and after is not before
    assert after.trainings.find("girl") is None and after.trainings.resumed(None) == 0
    assert after.projects == set() and after.stack_files.look() == 0


def test_all_threads_share_one_session():
    seen = []
    thread = threading.Thread(target=lambda: seen.append(current_session()))
    thread.start()
    thread.join()
    assert seen == [current_session()]


def test_candidates_that_are_gone_count_once(tmp_path):
    session = begin_session()
    for number in range(3):
        (tmp_path / f"r1-{number}.json").touch()
    assert session.candidates.note(tmp_path) == 3 and session.candidates.look() == 0
    (tmp_path / "r1-0.json").unlink()
    assert [session.candidates.look() for _ in range(2)] == [1, 1]


def test_a_candidate_whose_image_is_gone_still_counts_as_open_though_its_lineage_is_there(tmp_path):
    planned = PlannedCandidates()
    planned.add("a Run", tmp_path, ["r1-000-abcdef", "r1-001-abcdef", "r1-002-abcdef"])
    for name in ("r1-001-abcdef.json", "r1-002-abcdef.json", "r1-002-abcdef.png"):
        (tmp_path / name).touch()
    assert planned.count_open(tmp_path, "r1-000-abcdef") == 1
