"""No text from a widget leads out of the folders that are meant."""

import os

import pytest

from lora_bootstrap.host import paths
from lora_bootstrap.trainer.common.errors import UserError
from lora_bootstrap.trainer.common.files import file_hash


def test_a_folder_is_found_below_input_output_and_the_sandbox(host):
    for place in (host.input / "a", host.output / "b", host.input / "both", host.output / "both"):
        place.mkdir()
    assert {paths.dataset_folder(text) for text in ("a", "input/a", " a/ ", '"a"')} == {host.input / "a"}
    assert paths.dataset_folder("b") == host.output / "b"
    assert paths.dataset_folder(".") == paths.dataset_folder("input") == host.input
    assert paths.dataset_folder("both") == host.input / "both"
    assert paths.dataset_folder("output/both") == host.output / "both"
    assert paths.dataset_folder(r"output\both") == host.output / "both"
    assert paths.dataset_folder("sandbox/pictures") == paths.PACK / "sandbox" / "pictures"


def test_a_folder_of_ones_own_may_have_the_name_of_a_root(host):
    (host.input / "sandbox" / "mine").mkdir(parents=True)
    assert paths.dataset_folder("sandbox/mine") == host.input / "sandbox" / "mine"


@pytest.mark.parametrize("text", [
    "../secret", "a/../../secret", "input/../../secret", "..", "sandbox/../..", r"..\secret", "/etc", "~", "~/x",
    "//host/share", r"\\host\share", "C:/pictures", "C:pictures", "a\0b", "a\nb"])
def test_what_leads_elsewhere_is_refused(text, host):
    (host.base / "secret").mkdir()
    with pytest.raises(UserError, match="not in input/ or output/"):
        paths.dataset_folder(text)


@pytest.mark.skipif(os.name == "nt", reason="links need a privilege there")
def test_a_link_out_of_the_folders_is_refused_and_one_within_is_not(host):
    (host.base / "secret").mkdir()
    (host.input / "real").mkdir()
    (host.input / "out").symlink_to(host.base / "secret")
    (host.input / "within").symlink_to(host.input / "real")
    with pytest.raises(UserError, match="link to a place outside input/"):
        paths.dataset_folder("out")
    assert paths.dataset_folder("within") == host.input / "within"


def test_a_folder_that_is_not_there_is_told_with_those_that_are(host):
    with pytest.raises(UserError, match="Make one in ComfyUI's input folder"):
        paths.dataset_folder("girl")
    (host.input / "girls").mkdir()
    with pytest.raises(UserError, match="no folder 'girl' in input/ or output/. In input/ there are: girls"):
        paths.dataset_folder("girl")
    with pytest.raises(UserError, match="there is no folder"):
        paths.dataset_folder("x" * 300)
    with pytest.raises(UserError, match="there is no CSV file"):
        paths.table_file("x" * 300)
    with pytest.raises(UserError, match="the folder is empty"):
        paths.dataset_folder("  ")


def test_a_name_of_ones_own_stays_a_folder_directly_below_its_root(host):
    assert paths.own_folder(host.output, "my girl_2") == host.output / "my girl_2"
    for name in ("", " ", ".", "..", "../x", "a/b", r"a\b", "C:x", ".hidden", "a\0b", "/x", 'a"b'):
        with pytest.raises(UserError, match="cannot be a folder's"):
            paths.own_folder(host.output, name)


@pytest.mark.parametrize("name", ["CON", "nul.txt", "x.", "x" * 121, "字" * 41, "a\nb", "\udcff", "\u202ex"])
def test_a_name_that_another_system_or_a_file_cannot_have_is_refused(host, name):
    for find in (lambda: paths.own_folder(host.output, name), lambda: paths.edits_file(name)):
        with pytest.raises(UserError, match="cannot be a folder's"):
            find()


@pytest.mark.parametrize("name", ["CON", "x.", "字" * 50, "cafe\u0301"])
def test_what_an_older_version_made_under_such_a_name_is_still_found(host, name):
    (host.output / name).mkdir()
    assert paths.own_folder(host.output, name) == host.output / name
    paths.edits_root().mkdir(parents=True, exist_ok=True)
    (paths.edits_root() / f"{name}.json").write_text("{}")
    assert paths.edits_file(name) == paths.edits_root() / f"{name}.json"


def test_two_spellings_of_a_new_name_are_one_folder(host):
    assert paths.own_folder(host.output, "cafe\u0301") == paths.own_folder(host.output, "caf\u00e9")


def test_a_name_that_is_a_link_elsewhere_is_refused(host):
    (host.base / "elsewhere").mkdir()
    (host.output / "linked").symlink_to(host.base / "elsewhere")
    with pytest.raises(UserError):
        paths.own_folder(host.output, "linked")


def write(path, content=b"weights"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_files_are_named_as_the_host_names_them(host):
    path = write(host.output / "loras" / "run" / "run.safetensors")
    assert paths.lora_name(path) == os.path.join("run", "run.safetensors")
    assert paths.view_place(path.parent / "samples" / "a.png") == {
        "filename": "a.png", "subfolder": "loras/run/samples", "type": "output"}


def test_files_are_named_alike_where_the_lora_folder_is_a_link(host):
    """Many keep their models on another disk; runs know their real folder."""
    real = host.base / "disk"
    real.mkdir()
    (host.output / "loras").rmdir()
    (host.output / "loras").symlink_to(real)
    write(real / "run" / "run.safetensors")
    for folder in (real, host.output / "loras"):
        assert paths.lora_name(folder / "run" / "run.safetensors") == os.path.join("run", "run.safetensors")
        assert paths.view_place(folder / "run" / "samples" / "a.png")["subfolder"] == "loras/run/samples"


@pytest.mark.parametrize("hiding", ["run/run.safetensors", "run"])
def test_a_file_that_another_hides_from_the_loaders_has_no_name(host, hiding):
    """https://github.com/willmiao/ComfyUI-Lora-Manager/issues/917
    https://github.com/willmiao/ComfyUI-Lora-Manager/issues/303"""
    mine = write(host.output / "loras" / "run" / "run.safetensors")
    other = write(host.base / "elsewhere" / "run.safetensors", b"others!")
    (host.base / "models" / "loras").mkdir(parents=True)
    if hiding == "run":
        (host.base / "models" / "loras" / "run").symlink_to(other.parent)
    else:
        write(host.base / "models" / "loras" / hiding, b"others!")
    with pytest.raises(UserError, match="ComfyUI loads .*models/loras/run/run.safetensors under the name "
                                        "'run/run.safetensors', not .*output/loras/run/run.safetensors."):
        paths.lora_name(mine)
    assert paths.lora_place(mine) == os.path.join("run", "run.safetensors")


def test_a_copy_or_a_link_that_comes_first_is_as_good_as_the_file(host):
    mine = write(host.output / "loras" / "run" / "run.safetensors")
    copy = write(host.base / "models" / "loras" / "run" / "run.safetensors")
    assert paths.lora_name(mine) == os.path.join("run", "run.safetensors")
    copy.unlink()
    copy.symlink_to(mine)
    assert paths.lora_name(mine) == os.path.join("run", "run.safetensors")


def test_a_longer_name_by_another_folder_is_used_where_the_short_one_means_another_file(host, monkeypatch):
    roots = [str(host.base / "models" / "loras"), str(host.output / "loras"), str(host.output)]
    monkeypatch.setattr(paths.folder_paths, "get_folder_paths", lambda kind: roots, raising=False)
    mine = write(host.output / "loras" / "run" / "run.safetensors")
    write(host.base / "models" / "loras" / "run" / "run.safetensors", b"others!")
    assert paths.lora_name(mine) == os.path.join("loras", "run", "run.safetensors")


def test_a_run_whose_folder_is_a_link_is_named_as_the_host_lists_it(host, monkeypatch):
    real = write(host.base / "disk" / "run-7" / "run.safetensors")
    (host.output / "loras" / "run").symlink_to(real.parent)
    name = os.path.join("run", "run.safetensors")
    monkeypatch.setattr(paths.folder_paths, "get_filename_list", lambda kind: [name])
    for path in (real, host.output / "loras" / "run" / "run.safetensors"):
        assert paths.lora_name(path) == name


def test_a_file_is_found_by_its_hash_though_another_hides_it(host):
    mine = write(host.output / "loras" / "run" / "run.safetensors")
    other = write(host.base / "models" / "loras" / "run" / "run.safetensors", b"others!")
    name = os.path.join("run", "run.safetensors")
    assert paths.lora_of_hash(name, file_hash(mine)) == mine and paths.lora_of_hash(name, file_hash(other)) == other
    assert paths.lora_of_hash(name, "0" * 64) is None and paths.lora_of_hash("gone", file_hash(mine)) is None
    write(host.base / "secret")
    for away in ("../../../secret", str(host.base / "secret")):
        assert paths.lora_of_hash(away, file_hash(mine)) is None


def test_a_table_is_found_below_input_and_nothing_else_is_one(host):
    (host.input / "rules").mkdir()
    for name in ("rules/names.csv", "secret.txt"):
        (host.input / name).write_text("a,b\n")
    (host.base / "out.csv").write_text("a,b\n")
    assert paths.table_file("rules/names.csv") == paths.table_file("input/rules/names.csv") == (
        host.input / "rules" / "names.csv")
    assert paths.table_file("  ") is None
    for text in ("secret.txt", "../out.csv", str(host.base / "out.csv"), "rules", "none.csv"):
        with pytest.raises(UserError, match="there is no CSV file"):
            paths.table_file(text)


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
def test_a_link_to_a_table_elsewhere_is_not_followed(host):
    (host.base / "out.csv").write_text("a,b\n")
    (host.input / "in.csv").symlink_to(host.base / "out.csv")
    with pytest.raises(UserError, match="there is no CSV file"):
        paths.table_file("in.csv")


def test_edits_are_kept_below_the_user_folder_by_a_plain_name(host):
    assert paths.edits_file(" mine ") == host.base / "user" / "lora_bootstrap" / "edits" / "mine.json"
    for name in ("", "../mine", "a/b", ".mine", r"a\b", "C:x"):
        with pytest.raises(UserError, match="cannot be a folder's"):
            paths.edits_file(name)


def test_models_lie_in_the_hosts_folder_and_where_its_settings_say(host, monkeypatch):
    assert paths.model_roots("taggers") == (host.base / "models" / "taggers",)
    monkeypatch.setitem(paths.folder_paths.folder_names_and_paths, "taggers", (["/elsewhere"], set()))
    assert [str(root) for root in paths.model_roots("taggers")][1:] == ["/elsewhere"]
