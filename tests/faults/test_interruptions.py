"""Killed or refused at any call, a work loses nothing, leaves no half a file, and ends as if nothing had happened."""

import os

import pytest

from ..helpers.interrupted_works import SLOW_WORKS, WORKS
from ..helpers.interruptions import Trials, choose

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
QUICK = {"kill": 6, "half": 2, "error": 24}
SLOW = {"kill": 3, "half": 2, "error": 3}
LONG_FORM_ONLY = ("crops",)
"""They make the same calls as crops over images of one's own, and take half a minute."""
TRIED = [work for work in (*WORKS, *SLOW_WORKS) if work.name not in LONG_FORM_ONLY]


@pytest.mark.parametrize("work", TRIED, ids=lambda work: work.name.replace(" ", "_"))
def test_a_work_that_is_killed_or_refused_anywhere_ends_as_if_nothing_had_happened(work, tmp_path):
    trials = Trials(work, tmp_path)
    tried = [trials.attempt(fault) for fault in choose(len(trials.calls), QUICK if work in WORKS else SLOW, work.name)]
    wrong = [f"{trial.fault} ({trial.call}): {line}" for trial in tried for line in trial.wrong]
    assert not wrong, "\n".join([f"{len(wrong)} faults, {len(trials.calls)} calls", *wrong[:20]])
