"""The parts of the models screen without files, engine or network: the same calls, scripted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tests.tui_modals.host import FakeLibrary, Host, local, until
from textual.pilot import Pilot

from corral.engine.protocol import Device
from corral.errors import CorralError
from corral.models.catalog import Catalog, Licence, find_catalogue
from corral.models.downloads.files import Leftover
from corral.models.fit.machine import Machine
from corral.models.fit.memory import Fit, Memory
from corral.models.hub.types import Listing, RemoteFile, Repository
from corral.models.library.adopting import Findings
from corral.models.library.local import LocalModel, from_catalogue
from corral.store.downloads import Download
from corral.tui.screens.models.screen import ModelsScreen
from corral.tui.screens.models.table import Table

GB = 1_000_000_000
CATALOG = Catalog.load(find_catalogue())
LICENCE = Licence(
    name="llama2", title="LLAMA 2 Community License", accept=True,
    repository="meta-llama/Llama-2-7b", revision="a" * 40, files=("LICENSE.txt",),
    url="https://ai.meta.com/llama/license/",
)  # fmt: skip
TEXT = "LLAMA 2 COMMUNITY LICENSE AGREEMENT\n\n" + "\n".join(
    f"{n}. Additional Commercial Terms: 700 million monthly active users [/INST]."
    for n in range(80)
)


class FakeFitter:
    """Everything fits that is smaller than the memory; the graphics card holds 8 GB."""

    calibrated = True

    def fit(self, model: LocalModel, header: Any = None, **_: Any) -> Fit:
        total = int(model.bytes + 2.3 * GB)
        fits: Any = "gpu" if total < 8 * GB else "partial" if total < 14 * GB else "no"
        layers = 33 if total < 8 * GB else int(8 * GB / total * 41)
        speed = {"gpu": (38.0, 46.0), "partial": (1.5, 2.5), "no": None}[fits]
        return Fit(
            name=model.name,
            n_ctx=4096,
            kv_type="f16",
            bytes=Memory(model.bytes, 2 * GB, GB // 5, GB // 10),
            device_bytes={"CUDA0": min(total, 7 * GB)},
            free_bytes={"CUDA0": 7_200_000_000},
            fits=fits,
            gpu_layers=layers,
            layers=41,
            tokens_per_second=speed,
            first_token_ms=(180.0, 400.0) if speed else None,
            quality_loss=1.42 if model.quant == "Q4_K_M" else None,
            measured=False,
            reason=f"{layers} layers fit on CUDA0",
            fits_if_released=fits != "no",
            missing=max(0, total - 12 * GB),
        )


class FakeDownloads:
    """A queue whose rows are changed by the test."""

    def __init__(self, folder: Path, *downloads: Download) -> None:
        self.folder = folder
        self.rows = {one.id: one for one in downloads}
        self.calls: list[tuple[Any, ...]] = []
        self.error: CorralError | None = None
        self.agreed: list[str] = []
        self.left: list[Leftover] = []

    def leftovers(self) -> list[Leftover]:
        return list(self.left)

    def clean(self, paths: Iterable[Path]) -> int:
        self.calls.append(("clean", *paths))
        self.left = []
        return 0

    def all(self) -> list[Download]:
        return sorted(self.rows.values(), key=lambda one: one.position)

    def set(self, id: int, **changes: Any) -> None:
        self.rows[id] = replace(self.rows[id], **changes)

    def plan(self, name: str) -> Any:
        self.calls.append(("plan", name))
        if self.error is not None:
            raise self.error
        return SimpleNamespace(
            name=name, title="Llama 2 7B Chat Q5_K_M", quant="Q5_K_M", warning="",
            licence_name="llama2", bytes=4_783_156_928,
            licence=None if LICENCE.name in self.agreed else LICENCE,
            free=212 * GB, needed=4_783_156_928, folder=self.folder,
            repository="TheBloke/Llama-2-7B-Chat-GGUF", revision="b" * 40, family=None,
        )  # fmt: skip

    def licence_text(self, licence: Licence) -> str:
        self.calls.append(("text", licence.name))
        return TEXT

    def accept(self, licence: Licence, text: str) -> None:
        assert text == TEXT
        self.agreed.append(licence.name)

    def add(self, plan: Any) -> Download:
        self.calls.append(("add", plan.name))
        made = download(len(self.rows) + 1, plan.name, state="queued")
        self.rows[made.id] = made
        return made

    def pause(self, id: int) -> None:
        self.calls.append(("pause", id))
        self.set(id, state="paused")

    def resume(self, id: int) -> None:
        self.calls.append(("resume", id))
        self.set(id, state="queued", error="", hint="")

    def cancel(self, id: int) -> None:
        self.calls.append(("cancel", id))
        del self.rows[id]

    def move(self, id: int, step: int) -> None:
        self.calls.append(("move", id, step))

    def repair(self, path: Path, numbers: list[int]) -> None:
        self.calls.append(("repair", path, tuple(numbers)))


class FakeHub:
    """Two repositories, one of them gated; three files, one of them in two shards."""

    def __init__(self, error: CorralError | None = None) -> None:
        self.error = error
        self.offline = ""
        self.no_header: CorralError | None = None
        self.calls: list[tuple[Any, ...]] = []
        self.name = "someone/Model-7B-GGUF"
        self.files_ = [
            ("model-7b.Q8_0.gguf", 7_161_089_632),
            ("model-7b.Q4_K_M.gguf", 4_081_004_224),
            ("model-7b.F16-00001-of-00002.gguf", 9_900_000_000),
            ("model-7b.F16-00002-of-00002.gguf", 3_600_000_000),
        ]

    def _say(self, *call: Any) -> None:
        self.calls.append(call)
        if self.error is not None:
            raise self.error

    def search(self, query: str, limit: int = 30) -> list[Repository]:
        self._say("search", query)
        return [
            Repository(self.name, 1_234_567, 321, "2026-01-02T03:04:05Z", False, "llama2"),
            Repository("other/Gated-GGUF", 12_345, 9, "2025-01-02", True, None),
        ]

    def files(self, repository: str, revision: str = "main") -> Listing:
        self._say("files", repository)
        files = tuple(
            RemoteFile(repository, "c" * 40, file, size, "ab" * 32, "ab" * 32)
            for file, size in self.files_
        )
        return Listing(repository, "c" * 40, False, "llama2", files)

    def header(self, remote: RemoteFile) -> Any:
        self._say("header", remote.file)
        if self.no_header is not None:
            raise self.no_header
        return FakeHeader(remote.size, remote.size - 740_000)


@dataclass(frozen=True)
class FakeHeader:
    bytes: int
    tensor_bytes: int
    quant: str = ""


class ModelLibrary(FakeLibrary):
    """With a catalogue, verification and removal."""

    def __init__(self, *models: LocalModel, catalog: Catalog | None = None) -> None:
        super().__init__(*models)
        self.catalog = catalog or Catalog({}, {})
        self.verdict: Any = SimpleNamespace(ok=True, sha256="cd" * 32, damaged_pieces=[], reason="")
        self.findings = Findings()
        self.refused: dict[str, CorralError] = {}
        """What checking or adopting a model of this name raises."""

    def models(self, all: bool = False) -> list[LocalModel]:
        found = super().models()
        here = {model.name for model in found}
        for family in self.catalog.families.values() if all else ():
            offered = (from_catalogue(family, file) for file in family.files)
            found += [model for model in offered if model.name not in here]
        return found

    def header(self, model: LocalModel) -> Any:
        return SimpleNamespace(
            version=2, parameters=6_738_415_616, vocab_size=32000,
            metadata={"general.name": "LLaMA v2 [/INST]\x1b[2J"},
            chat_template="{{ bos_token }}[INST] {{ x }} [/INST]\x1b]0;t\x07",
        )  # fmt: skip

    def verify(
        self,
        model: LocalModel,
        progress: Callable[[int, int], None],
        cancelled: Callable[[], bool],
    ) -> Any:
        self.calls.append(("verify", model.name))
        if model.name in self.refused:
            raise self.refused[model.name]
        progress(43, 100)
        self.wait(cancelled)
        return self.verdict

    def adoptable(self, home: Path, environment: Mapping[str, str]) -> Findings:
        return self.findings

    def adopt(
        self,
        candidate: Any,
        progress: Callable[[int, int], None],
        cancelled: Callable[[], bool],
    ) -> LocalModel:
        self.calls.append(("adopt", candidate.name))
        if candidate.name in self.refused:
            raise self.refused[candidate.name]
        progress(43, 100)
        self.wait(cancelled)
        model = local(candidate.name, title=candidate.name, path=str(candidate.path))
        self.kept.append(model)
        return model

    def removal(self, model: LocalModel) -> Any:
        return SimpleNamespace(
            deletes=[Path("/data/models/x.gguf")], keeps=[Path("/disk/y.gguf")],
            bytes=4 * GB, conversations=2,
            sentence="4.08 GB are freed; 2 conversations use it and stay",
        )  # fmt: skip

    def duplicates(self) -> list[list[LocalModel]]:
        return [self.kept] if len(self.kept) > 1 else []

    def remove(self, model: LocalModel) -> None:
        self.calls.append(("remove", model.name))
        self.kept = [one for one in self.kept if one.name != model.name]


def machine() -> Machine:
    gpu = Device(
        name="CUDA0",
        description="",
        kind="gpu",
        memory_free=7_200_000_000,
        memory_total=8 * GB,
    )
    return Machine(16 * GB, 11_800_000_000, (gpu,), cores=8)


def download(id: int = 1, name: str = "llama-2-7b-chat:Q8_0", **changes: Any) -> Download:
    made = Download(
        id=id, name=name, title="Llama 2 7B Chat", family="llama-2-7b-chat",
        quant=name.partition(":")[2], repository="TheBloke/Llama-2-7B-Chat-GGUF",
        revision="b" * 40, licence="llama2", folder="/data/models", targets=(),
        bytes=7_161_089_632, state="running", done=3_079_268_541, fetched=3_079_268_541,
        rate=12.4e6, eta=329.0, stage="transfer", position=id,
    )  # fmt: skip
    return replace(made, **changes)


class Stage:
    """The screen and all that it works on."""

    def __init__(
        self,
        folder: Path,
        *models: LocalModel,
        catalog: Catalog | None = None,
        downloads: tuple[Download, ...] = (),
        hub: Any = None,
        loaded: tuple[str, ...] = (),
        current: str | None = None,
        **options: Any,
    ) -> None:
        self.library = ModelLibrary(*models, catalog=catalog)
        self.downloads = FakeDownloads(folder, *downloads)
        self.fitter = FakeFitter()
        self.screen = ModelsScreen(
            self.library,  # type: ignore[arg-type]
            self.downloads,  # type: ignore[arg-type]
            self.fitter,  # type: ignore[arg-type]
            lambda: hub,
            current=current,
            machine=machine,
            loaded=lambda: list(loaded),
            **options,
        )

    @property
    def table(self) -> Table:
        return self.screen.query_one(Table)

    async def open(self, app: Host, pilot: Pilot[None]) -> ModelsScreen:
        await app.open(self.screen)
        count = len(self.library.models(all=True))
        await until(pilot, lambda: len(self.screen._entries) == count)
        await pilot.pause()
        return self.screen

    async def select(self, pilot: Pilot[None], name: str) -> None:
        names = [entry.model.name for entry in self.screen.entries]
        self.table.highlighted = names.index(name)
        await pilot.pause()
