"""Curates a round of a project: reads its images, decides on them, writes decisions.json with the round's figures."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from torch import Tensor

from ...common.files import file_hash, write_json
from ...measures.eyes import Likeness
from ...measures.likeness import anchor_pixels
from ...measures.remembered import RememberedEye, remember_figures
from ...pictures.images import load_pixels
from .. import originals
from ..candidates import Lineage
from ..config import CurationSettings
from ..project import key_of
from ..rounds import AUTO, MANUAL, Decisions, KeptCandidate, Round, SavedDecisions
from .curate import Curation, curate
from .gates import is_edited
from .round_figures import RoundFigures, round_figures

FIGURES_FILE = ".figures.safetensors"
"""Beside images, as in a round's folder: what was measured of them; see measures/remembered.py."""


@dataclass(frozen=True)
class CuratedRound:
    """The outcome of curating a round.

    Attributes:
        figures: of the kept images or, as long as too few were picked by hand, of those proposed.
        kept: the images now kept, by curation and by hand.
        reused: whether the decisions already existed.
    """

    curation: Curation
    figures: RoundFigures
    kept: tuple[KeptCandidate, ...]
    reused: bool


def curate_round(round_: Round, *, wanted: int, size: tuple[int, int], reference: Tensor | None, eye: Likeness | None,
                 settings: CurationSettings | None = None, mode: str = AUTO) -> CuratedRound:
    """Decide on a round's candidates, write decisions.json, and measure the kept images.

    Decisions made from the same images and picks stay as they are in the file, where somebody may have edited them. Of
    images that were measured before, likeness, tags and the figures marked `per_image` are not measured again.

    Args:
        wanted: how many to keep besides the crops.
        size: (width, height) at which images are compared.
        reference: the base's own images [R, 3, H, W] in 0..1 at that size. Without them, what is compared with them is
            not measured.
    """
    with remember_figures(round_.folder / FIGURES_FILE) as store:
        return _curate_round(round_, wanted, size, reference, RememberedEye(eye, store) if eye else None,
                             settings or CurationSettings(), mode)


def _curate_round(round_: Round, wanted: int, size: tuple[int, int], reference: Tensor | None, eye: Likeness | None,
                  settings: CurationSettings, mode: str) -> CuratedRound:
    paths, crops, picks = round_.pictures(), round_.project.crops(), round_.picks
    pixels, anchors = load_pixels(paths, size), anchor_pixels(crops, size)
    lineage = [Lineage.read(path) for path in paths]
    states = [picks.of(path.stem, round_.read_facts(path)).state for path in paths]
    if mode == MANUAL:
        carried = set(round_.carried)
        states = [state or ("keep" if path in carried else "") for path, state in zip(paths, states, strict=True)]
    key = key_of([item.to_dict() for item in lineage], [file_hash(path) for path in paths], crops.fingerprint, wanted,
                 settings.recorded, eye.name if eye else None, reference is not None, states)
    found = round_.read_decisions()
    recorded = found.values or SavedDecisions(())
    reused = recorded.key == key and all(path.stem in found.decisions for path in paths)
    if reused:
        curation = Curation(tuple(found.decisions[path.stem] for path in paths), (), recorded.notes)
    else:
        curation = curate([item.candidate for item in lineage], pixels, anchors, count=wanted, reference=reference,
                          eye=eye, settings=settings,
                          own_tags=(*round_.project.roles.view, *round_.project.config.tags),
                          by_hand={index: state == "keep" for index, state in enumerate(states) if state})
    kept = round_.list_kept(Decisions({decision.candidate: decision for decision in curation.decisions}, mode))
    rows = [paths.index(item.path) for item in kept]
    if proposed := mode == MANUAL and len(rows) < wanted:
        rows = [row for row, decision in enumerate(curation.decisions) if decision.kept]
    edited = [is_edited(lineage[row].candidate) for row in rows]
    figures = round_figures(round_.number, [curation.decisions[row] for row in rows], curation.decisions, pixels[rows],
                            anchors, reference, eye, originals.real_share(len(crops), len(rows)), proposed, edited)
    write_json(round_.decisions_file, {
        "key": key, "round": round_.number, "wanted": wanted, "mode": mode, "eye": eye.name if eye else "",
        "notes": curation.notes, "figures": asdict(figures), "measured": [paths[row].stem for row in rows],
        "decisions": [asdict(decision) for decision in curation.decisions],
        **({"match_colours": True} if settings.match_colours else {}),
        "twins": recorded.twins if reused else [
            [paths[index].stem for index in group] for group in curation.copies]})
    return CuratedRound(curation, figures, tuple(kept), reused)
