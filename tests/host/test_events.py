"""The events that the server sends are those that the front end has listened to from the start."""

import re
from pathlib import Path

from lora_bootstrap.host import events

ROOT = Path(__file__).parents[2]


def test_the_front_end_knows_every_event_of_the_pack_and_no_other():
    known = re.search(r"OWN_EVENTS = \{(.*?)\}", (ROOT / "web/common/host.js").read_text("utf-8"), re.DOTALL)[1]
    assert sorted(re.findall(r'"(lora_bootstrap\.\w+)"', known)) == sorted(events.EVENTS)


def test_events_are_sent_under_names_of_the_one_table():
    sent = [(path.name, name) for room in ("host", "nodes") for path in sorted((ROOT / room).rglob("*.py"))
            for name in re.findall(r"\bsend_sync\((.+?),", path.read_text("utf-8"))]
    known = {"PROJECT", "CANDIDATES", "SWEEP", "MARKS", "PROGRESS", "ARCHIVE"}
    assert sent and {name for _, name in sent} <= known, sent
