"""The options about consent and rights, at the start of a project and at a release."""

from __future__ import annotations

import argparse

from ...statements.rights import ANSWERS, NOT_STATED, PERSONS, USES, Rights


def add_rights_options(command: argparse.ArgumentParser, description: str) -> None:
    """Add them as a group of their own.

    Args:
        description: what becomes of an answer that is not given.
    """
    rights = command.add_argument_group("consent and rights", description)
    rights.add_argument("--person", default=NOT_STATED, choices=PERSONS, help="whether a real person is shown")
    rights.add_argument("--consent-by", default="", metavar="WHO", help="who consented: the person, or who speaks for "
                        "them")
    rights.add_argument("--consent-written", default=NOT_STATED, choices=ANSWERS, help="whether in writing")
    rights.add_argument("--consent-for", nargs="+", default=[], choices=USES, metavar="USE",
                        help=f"for which uses: {', '.join(USES)}")
    rights.add_argument("--rights-holder", default="", metavar="WHO", help="who holds the rights")


def read_rights(options: argparse.Namespace) -> Rights:
    """What these options state. Raises UserError for an answer that is too long."""
    return Rights(person=options.person, consent_by=options.consent_by, consent_written=options.consent_written,
                  consent_uses=tuple(options.consent_for), holder=options.rights_holder)
