"""What other programs read of a release, each read by the rules of its reader."""

import json

import pytest
from huggingface_hub import ModelCard, ModelCardData

from lora_bootstrap.trainer.models.families import FAMILIES
from lora_bootstrap.trainer.release.bases import A1111, CIVITAI
from lora_bootstrap.trainer.release.cards import model_card
from lora_bootstrap.trainer.release.release import release_lora
from lora_bootstrap.trainer.release.settings import ReleaseSettings
from lora_bootstrap.trainer.release.texts import escaped, json_without_folders, without_folders, yaml_lines
from lora_bootstrap.trainer.statements.rights import Rights

from ...helpers.trained_run import draw_scored, write_trained

TITLE = "Akane: \"red\" | <b>&`x` # [1]\t\x7f"
"""A title with all that YAML, Markdown or HTML could take for their own."""


@pytest.fixture
def released(tmp_path):
    run = write_trained(tmp_path / "output")
    settings = ReleaseSettings(
        title=TITLE, author="A. Painter", licence="CC-BY-4.0", tags=("anime", "yes", "1.0"), base_model="someone/base",
        negative="blurry", description="A girl.\n\nDrawn.", trigger="aka: ne #1", changes="<i>First</i>",
        rights=Rights(person="real", consent_by="Jo", consent_written="yes", consent_uses=("images",)))
    return release_lora(run.folder, tmp_path / "releases", settings, sweep=draw_scored(tmp_path / "output", run).folder)


def test_hugging_face_reads_the_front_matter_as_it_was_meant(released):
    card = ModelCard.load(released.folder / "README.md")
    data = card.data
    assert isinstance(data, ModelCardData)
    assert (data.license, data.base_model, data.pipeline_tag) == ("cc-by-4.0", "someone/base", "text-to-image")
    assert data.tags == ["lora", "text-to-image", "anime", "yes", "1.0", "character"], "texts, not true and 1"
    assert data.get("instance_prompt") == "aka: ne #1"
    assert [entry["output"]["url"] for entry in data.get("widget")] == [f"previews/{n}.png" for n in range(1, 6)]
    assert all((released.folder / entry["output"]["url"]).is_file() for entry in data.get("widget"))
    assert card.text.lstrip().startswith('# Akane: "red" \\| &lt;b&gt;&amp;\\`x\\` # \\[1\\]\n')
    assert ModelCardData(**data.to_dict()).to_dict() == data.to_dict()


def test_a_licence_of_ones_own_is_named_as_other_and_none_is_left_out(tmp_path):
    run = write_trained(tmp_path / "output")
    for licence, expected in (("My own, non-commercial!", ("other", "my-own-non-commercial")), ("", (None, None))):
        done = release_lora(run.folder, tmp_path / "releases", ReleaseSettings(licence=licence))
        data = ModelCard.load(done.folder / "README.md").data
        assert (data.license, data.license_name) == expected
        assert data.base_model is None, "it is not guessed from the family"


def test_the_kind_of_adapter_is_named_and_only_a_lora_is_said_to_load_in_diffusers(tmp_path, monkeypatch):
    monkeypatch.setattr(model_card, "DIFFUSERS", ("sandbox",))
    for kind, type_, loads in (("lora", "LORA", True), ("dora", "DoRA", False), ("lokr", "LoCon", False)):
        run = write_trained(tmp_path / "output", kind, **{"adapter.kind": kind, "optimizer.ema_decay": 0.9})
        done = release_lora(run.folder, tmp_path / "releases", ReleaseSettings())
        card = ModelCard.load(done.folder / "README.md")
        assert f"| kind of adapter | {kind} |" in card.text
        assert "| weights | EMA of the steps, decay 0.9 |" in card.text
        assert (card.data.library_name == "diffusers") is loads and ("diffusers" in card.data.tags) is loads
        assert json.loads((done.folder / f"{kind}.civitai.info").read_text())["model"]["type"] == type_


def test_lora_manager_finds_the_primary_file_its_hash_and_the_trained_words(released):
    """As its scanner does where it has no record of its own: the primary file's name and hashes, the model's name."""
    version = json.loads((released.folder / "akane.civitai.info").read_text("utf-8"))
    file = next(file for file in version["files"] if file.get("primary"))
    hashes = json.loads((released.folder / "hashes.json").read_text())["akane.safetensors"]
    assert file["hashes"]["SHA256"].lower() == hashes["SHA256"].lower() and len(hashes["SHA256"]) == 64
    assert file["sizeKB"] * 1024 == released.lora.stat().st_size
    assert version["baseModel"] == "Other", "the site does not know the sandbox"
    assert version["trainedWords"] == ["aka: ne #1"] and version["model"]["name"] == TITLE
    assert version["model"]["description"].startswith("<p>A girl.</p><p>Drawn.</p>")
    assert version["description"] == "<p>&lt;i&gt;First&lt;/i&gt;</p>"
    assert version["id"] is None, "a version that is on no site has none"
    assert (hashes["AutoV2"], len(hashes["AutoV3"])) == (hashes["SHA256"][:10], 12)


def test_a1111_reads_the_weight_the_activation_text_and_the_version(released):
    """As its editor does: float of the weight, on a slider of 0 to 2; a version out of its list; texts."""
    found = json.loads((released.folder / "akane.json").read_text("utf-8"))
    assert set(found) == {"description", "sd version", "activation text", "preferred weight", "negative text", "notes"}
    assert 0 <= float(found["preferred weight"]) <= 2 and found["preferred weight"] == 0.8
    assert found["sd version"] in ("SD1", "SD2", "SDXL", "SD3", "Unknown")
    assert (found["activation text"], found["negative text"]) == ("aka: ne #1", "blurry")
    assert (released.folder / "akane.png").is_file(), "where it looks for a preview"


def test_the_sites_description_has_no_table_and_the_same_warning_as_the_card(released):
    texts = [(released.folder / name).read_text("utf-8") for name in ("civitai.md", "README.md")]
    warning = "This LoRA shows a real person, whose consent is not stated for: training, generating."
    assert all(warning in text for text in texts) and "| --- |" not in texts[0] and "| --- |" in texts[1]


def test_consent_is_open_until_every_use_is_stated():
    def warned(kind="character", licence="mit", **values):
        return Rights(holder="me", **values).warnings(kind, licence)

    every = {"consent_by": "Jo", "consent_written": "yes", "consent_uses": ("images", "training", "generating")}
    assert warned(person="real", **every) == warned(person="invented") == ()
    assert warned() == ("It is not stated whether the LoRA shows a real person.",)
    assert "not in writing" in warned(person="real", **every | {"consent_written": "no"})[0]
    assert "trained as a real person" in warned("real person", person="invented")[0]
    assert "consent is not stated" in warned("real person")[0], "nothing is guessed in its favour"
    assert "licence is not stated" in warned(person="invented", licence="")[0]


def test_every_name_of_a_base_belongs_to_a_family():
    assert set(CIVITAI) | set(A1111) <= set(FAMILIES)


def test_paths_lose_their_folders_and_addresses_and_prompts_do_not():
    for text, expected in (("/home/jane doe/a b.png", "a b.png"), (r"C:\Users\jane\x.png", "x.png"),
                           (r"\\server\share\x.png", "x.png"), ("~/x/y.png", "y.png"),
                           ("see /home/jane/x.png, please", "see x.png, please"),
                           ("https://huggingface.co/a/b", "https://huggingface.co/a/b"), ("1/2, a/b", "1/2, a/b"),
                           ("girl, :/, smile", "girl, :/, smile")):
        assert without_folders(text) == expected
    assert json.loads(json_without_folders('{"a": ["\\/home\\/jane\\/x.png"]}')) == {"a": ["x.png"]}
    assert json_without_folders('{"b":1, "a": 2}') == '{"b":1, "a": 2}', "what is clean stays as it is"
    assert escaped("a\nb|<c>") == "a b\\|&lt;c&gt;"
    assert yaml_lines({"a": "", "b": [], "c": ["x: y"]}) == ["c:", '  - "x: y"']
