"""Models of other programs, laid out as each of them does it: found, and used where they lie."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.support.gguf_files import Gguf, string, tiny_llama

from corral.errors import Refused
from corral.models.catalog import Catalog, find_catalogue
from corral.models.library.adopting import Candidate, find, look
from corral.models.library.library import Library
from corral.paths import Paths
from corral.store.store import Store

Other = Callable[..., Path]
COMMIT = "c0ffee" * 6 + "abcd"


@pytest.fixture(scope="session")
def strange(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that no catalogue knows."""
    path = tmp_path_factory.mktemp("strange") / "strange.gguf"
    return tiny_llama(path, seed=7, type="F16", name="Strange")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "person").mkdir()
    return tmp_path / "person"


def put(file: Path, place: Path) -> Path:
    place.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(file, place)
    return place


def sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def ollama(store: Path, file: Path, name: str, *more: str, digest: str = "") -> Path:
    """A model in Ollama's store, and the path of its blob."""
    digest = digest or sha256(file)
    kinds = ("model", *more)
    layers = [
        {"mediaType": f"application/vnd.ollama.image.{kind}", "digest": f"sha256:{d}", "size": 9}
        for kind, d in zip(kinds, [digest, *("ab" * 32 for _ in more)], strict=True)
    ]
    manifest = store / "manifests/registry.ollama.ai" / name
    manifest.parent.mkdir(parents=True, exist_ok=True)
    manifest.write_text(json.dumps({"schemaVersion": 2, "config": {}, "layers": layers}))
    return put(file, store / f"blobs/sha256-{digest}")


def hub_cache(hub: Path, file: Path, repository: str, name: str = "") -> Path:
    """A model in the cache of the hub's library, and the path of its snapshot."""
    folder = hub / f"models--{repository.replace('/', '--')}"
    blob = put(file, folder / "blobs" / sha256(file))
    link = folder / "snapshots" / COMMIT / (name or file.name)
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(os.path.relpath(blob, link.parent))
    return link


def told(candidates: list[Candidate]) -> list[tuple[str, str, Path]]:
    return [(one.program, one.name, one.path) for one in candidates]


def lay_out(program: str, home: Path, file: Path) -> tuple[Path, str]:
    """The file as ``program`` keeps it, and what it is called there."""
    match program:
        case "Ollama":
            return ollama(
                home / ".ollama/models", file, "library/llama2/7b", "template"
            ), "llama2-7b"
        case "LM Studio":
            return put(file, home / ".lmstudio/models/TheBloke/Strange-GGUF/s.Q4.gguf"), "s.Q4"
        case "Jan":
            path = put(file, home / ".local/share/Jan/data/llamacpp/models/strange-7b/model.gguf")
            path.with_name("model.yml").write_text(f"model_path: {path}\nname: x\n")
            return path, "strange-7b"
        case "GPT4All":
            return put(
                file, home / ".local/share/nomic.ai/GPT4All/strange.Q4_0.gguf"
            ), "strange.Q4_0"
        case "KoboldCpp":
            (home / "apps/kobold").mkdir(parents=True)
            (home / "apps/kobold/koboldcpp-linux-x64").write_bytes(b"\x7fELF")
            return put(file, home / "apps/kobold/strange.gguf"), "strange"
        case _:
            return hub_cache(home / ".cache/huggingface/hub", file, "Owner/Strange-GGUF"), "strange"


PROGRAMS = ("Ollama", "LM Studio", "Jan", "GPT4All", "KoboldCpp", "Hugging Face")


@pytest.mark.parametrize("program", PROGRAMS)
def test_each_program_is_adopted_without_a_copy(
    program: str, home: Path, strange: Path, library: Library, tmp_path: Path
) -> None:
    path, name = lay_out(program, home, strange)
    (found,) = library.adoptable(home, {}, root=home).candidates
    assert told([found]) == [(program, name, path)]
    assert (found.bytes, found.known) == (strange.stat().st_size, False)
    before = disk_use(tmp_path)
    model = library.adopt(found)
    assert disk_use(tmp_path) == before
    assert (model.name, model.path, model.state) == (name, str(path), "installed")
    assert (model.source, model.sha256) == ("adopted", sha256(strange))
    assert library.resolve(name) == model
    assert [one.known for one in library.adoptable(home, {}, root=home).candidates] == [True]
    removal = library.removal(model)
    assert (removal.deletes, removal.keeps, removal.bytes) == ([], [path], 0)
    library.remove(model)
    assert path.exists() and library.models() == []


def disk_use(folder: Path) -> int:
    return sum(p.lstat().st_blocks for p in folder.rglob("*") if not p.is_symlink())


def test_a_known_blob_gets_the_catalogues_name(home: Path, tiny: Path, library: Library) -> None:
    """By its hash: a blob has no name of its own, and no end."""
    blob = ollama(home / ".ollama/models", tiny, "library/tiny/latest")
    (found,) = library.adoptable(home, {}, root=home).candidates
    assert (found.name, found.sha256) == ("tiny-chat:Q8_0", sha256(tiny))
    assert told(find(home, {}, root=home)) == [("Ollama", "tiny", blob)]
    model = library.adopt(found)
    assert (model.name, model.format, model.title) == ("tiny-chat:Q8_0", "llama-2", "Tiny Chat")
    assert library.resolve("tiny-chat").path == str(blob)


def test_a_name_that_is_a_hash_is_only_a_claim(home: Path, tiny: Path, library: Library) -> None:
    spoiled = tiny.with_name("spoiled")
    spoiled.write_bytes(tiny.read_bytes()[:-9] + b"\x55" * 9)
    ollama(home / ".ollama/models", spoiled, "library/tiny/7b", digest=sha256(tiny))
    (found,) = library.adoptable(home, {}, root=home).candidates
    with pytest.raises(Refused, match="not the one that Ollama has for it"):
        library.adopt(found)
    assert library.models() == []


def test_the_same_name_of_somebody_else_is_another_model(
    home: Path, tiny: Path, library: Library
) -> None:
    """Its contents are what its own repository has: nothing is damaged."""
    tiny.write_bytes(tiny.read_bytes()[:-9] + b"\x55" * 9)
    hub_cache(home / ".cache/huggingface/hub", tiny, "Another/tiny-GGUF")
    (found,) = library.adoptable(home, {}, root=home).candidates
    model = library.adopt(found)
    assert (model.name, model.family, model.state) == ("tiny.Q8_0", None, "installed")
    assert library.verify(model).ok
    with pytest.raises(Refused, match="not the one in the catalogue") as refused:
        library.import_file(tiny)
    assert "rename it" in refused.value.hint


def test_what_a_blob_does_not_say_is_asked(home: Path, strange: Path, library: Library) -> None:
    """A template of Ollama's is a program in a language of its own: it is never run."""
    ollama(home / ".ollama/models", strange, "someone/odd/13b", "template", "params")
    (found,) = library.adoptable(home, {}, root=home).candidates
    model = library.adopt(found)
    assert (model.name, model.format, model.kind) == ("someone-odd-13b", None, "unknown")
    assert library.set_format(model.path or "", "llama-2").format == "llama-2"


def test_the_hubs_cache_tells_where_it_came_from(home: Path, tiny: Path, library: Library) -> None:
    link = hub_cache(home / "hf/hub", tiny, "Owner/Name-GGUF", "sub/tiny.Q8_0.gguf")
    other = link.parents[2] / ("d" * 40) / "tiny.Q8_0.gguf"
    other.parent.mkdir()
    other.symlink_to(link.resolve())
    (found,) = library.adoptable(home, {"HF_HOME": str(home / "hf")}, root=home).candidates
    model = library.adopt(found)
    assert model.repository == "Owner/Name-GGUF" and model.revision in (COMMIT, "d" * 40)
    assert (model.name, model.title) == ("tiny-chat:Q8_0", "Tiny Chat")
    assert library.resolve("owner/name-gguf:q8_0").path == model.path


def test_a_blob_of_another_program_chats(home: Path, starter: Path) -> None:
    """llama.cpp minds neither the name nor the end of it."""
    blob = ollama(home / ".ollama/models", starter, "library/smollm2/135m")
    paths = Paths.from_environment()
    paths.make()
    store = Store.open(paths.database)
    library = Library(store, Catalog.load(find_catalogue()), folder=paths.data / "models")
    (found,) = library.adoptable(home, {}, root=home).candidates
    name = library.adopt(found).name
    store.close()
    assert (name, found.path) == ("smollm2-135m-instruct:Q4_1", blob)
    command = [sys.executable, "-m", "corral", "ask", "Say hello", "-m", name, "--max-tokens", "8"]
    done = subprocess.run([*command, "--json"], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout.splitlines()[-1])
    assert (answer["model"]["name"], answer["model"]["sha256"]) == (name, sha256(blob))


def test_every_other_place(home: Path, strange: Path) -> None:
    """Where programs were told to keep their models, or kept them once."""

    def own(place: Path) -> Path:
        return put(strange, place)

    blobs = [ollama(home / "big disk/🦙", strange, "library/a/latest")]
    blobs.append(ollama(home / "sys/usr/share/ollama/.ollama/models", strange, "library/b/q4"))
    for name, place in (("c", "ollama/.ollama/models"), ("d", "ollama/models"), ("e", "ollama")):
        blobs.append(ollama(home / "sys/var/lib" / place, strange, f"library/{name}/latest"))
    expected = dict(zip(blobs, ("a", "b-q4", "c", "d", "e"), strict=True))
    expected[own(home / ".cache/lm-studio/models/p/r/old.gguf")] = "old"
    expected[own(home / "lms/models/p/r/pointed.gguf")] = "pointed"
    (home / ".lmstudio-home-pointer").write_text(f"{home / 'lms'}\n")
    (home / "lms/settings.json").write_text(json.dumps({"downloadsFolder": str(home / "lm2")}))
    expected[own(home / "lm2/p/r/chosen.gguf")] = "chosen"
    expected[own(home / "jan/models/tiny/tiny.gguf")] = "tiny"
    expected[own(home / "elsewhere/imported.gguf")] = "linked"
    note = home / "Library/Application Support/Jan/data/llamacpp/models/linked/model.yml"
    note.parent.mkdir(parents=True)
    note.write_text(f'name: "Linked"\nmodel_path: "{home / "elsewhere/imported.gguf"}"\n')
    expected[own(home / "AppData/Local/nomic.ai/GPT4All/windows.gguf")] = "windows"
    (home / ".config/nomic.ai").mkdir(parents=True)
    (home / ".config/nomic.ai/GPT4All.ini").write_text(f"[General]\nmodelPath={home / 'g4a'}\n")
    expected[own(home / "g4a/named.gguf")] = "named"
    expected[own(home / "koboldcpp/models/k.gguf")] = "k"
    expected[own(home / "far/away/kcpps.gguf")] = "kcpps"
    (home / "Documents").mkdir()
    settings = {"model_param": "../far/away/kcpps.gguf", "model": None, "threads": 4}
    (home / "Documents/my.kcpps").write_text(json.dumps(settings))
    expected[own(home / "work/local/sub/l.gguf")] = "l"
    record = home / "work/local/.cache/huggingface/download/sub/l.gguf.metadata"
    record.parent.mkdir(parents=True)
    record.write_text(f"{COMMIT}\n{sha256(strange)}\n1700000000.5\n")
    environment = {"OLLAMA_MODELS": str(home / "big disk/🦙")}
    found = find(home, environment, root=home / "sys")
    assert {one.path.resolve(): one.name for one in found} == expected
    (local,) = (one for one in found if one.name == "l")
    assert (local.sha256, local.revision) == (sha256(strange), COMMIT)


def test_what_is_no_model_is_skipped_with_a_reason(
    home: Path, edited: Gguf, strange: Path, tmp_path: Path
) -> None:
    models = home / ".lmstudio/models/p/r"
    models.mkdir(parents=True)
    edited.set("general.architecture", string("clip"))
    edited.write(models / "mmproj-model.gguf")
    (models / "broken.gguf").write_bytes(b"<html>not found</html>" * 9)
    os.mkfifo(models / "pipe.gguf")
    (models / "gone.gguf").symlink_to(tmp_path / "nowhere")
    (models / "notes.txt").write_text("hello")
    ollama(home / ".ollama/models", strange, "library/tuned/latest", "adapter")
    findings = look(home, {}, root=home)
    assert findings.candidates == []
    reasons = {one.path.name: one.reason for one in findings.skipped}
    assert "image part of a model" in reasons.pop("mmproj-model.gguf")
    assert "cannot be used" in reasons.pop("broken.gguf")
    assert list(reasons.values()) == ["it is only whole together with an adapter"]


def test_a_model_that_another_one_adapts_is_whole_alone(home: Path, strange: Path) -> None:
    """The manifests of both name the same blob, and the adapted one may come first."""
    models = home / ".ollama/models"
    ollama(models, strange, "library/adapted/latest", "adapter")
    ollama(models, strange, "library/adapted/other", "adapter")
    blob = ollama(models, strange, "library/plain/7b")
    findings = look(home, {}, root=home)
    assert told(findings.candidates) == [("Ollama", "plain-7b", blob)]
    assert [one.path for one in findings.skipped] == [blob]


def test_loops_hostile_notes_and_closed_folders_do_no_harm(home: Path, strange: Path) -> None:
    place = put(strange, home / ".lmstudio/models/a/b/x.gguf")
    (place.parent / "loop").symlink_to(home / ".lmstudio/models")
    (place.parent / "self.gguf").symlink_to("self.gguf")
    (place.parent / "again.gguf").symlink_to(place)
    manifests = home / ".ollama/models/manifests/r/library/m"
    manifests.mkdir(parents=True)
    layer = {"mediaType": "application/vnd.ollama.image.model", "digest": "sha256:../../../x"}
    (manifests / "evil").write_text(json.dumps({"layers": [layer]}))
    (manifests / "deep").write_text("[" * 100_000)
    (manifests / "null").write_text('{"layers": null}')
    (manifests / "binary").write_bytes(os.urandom(999))
    os.mkfifo(manifests / "pipe")
    (home / ".lmstudio/settings.json").write_text('{"downloadsFolder": 7}')
    (home / "k.kcpps").write_text('{"model_param": ["", 3, "a\\u0000b.gguf"]}')
    (home / "loop").symlink_to(home)
    assert [one.path.name for one in find(home, {}, root=home)] == ["again.gguf"]
    environment = {"HF_HOME": "\0", "OLLAMA_MODELS": "\0"}
    assert find(home / "nobody", environment, root=home) == []


def test_later_parts_of_a_split_model_are_not_models(
    home: Path, split: Callable[[Path], list[Path]], library: Library
) -> None:
    first, *_ = split(home / ".lmstudio/models/p/r")
    findings = library.adoptable(home, {}, root=home)
    (found,) = findings.candidates
    assert (found.path, findings.skipped) == (first, [])
    assert library.adopt(found).state == "installed"
