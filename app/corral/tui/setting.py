"""Every setting of ``config.toml`` that has a place on the settings screen. No Textual in here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel

from corral.settings import DownloadSettings, EngineSettings, Settings
from corral.tui.parameter import Parameter

Table = Literal["", "engine", "downloads"]
Holds = Literal["now", "answer", "load", "model", "download", "file"]
"""From when on a change counts."""

WHEN: dict[Holds, str] = {
    "now": "Holds at once.",
    "answer": "Holds from the next answer on.",
    "load": "Holds with the next load: the next answer brings it.",
    "model": "Holds for every model that is loaded from now on.",
    "download": "Holds from the next download on.",
    "file": "Changed in config.toml; holds when corral is started again.",
}

_CHECKED_BY: dict[Table, type[BaseModel]] = {
    "": Settings,
    "engine": EngineSettings,
    "downloads": DownloadSettings,
}
_ON = {"on": True, "off": False}
_AUTO = {"auto": 0}


@dataclass(frozen=True)
class Setting(Parameter):
    """One of them: a parameter that knows its table in the file, and from when on it counts."""

    table: Table = "engine"
    holds: Holds = "load"
    unit: str = ""
    """Stands after a number."""

    @property
    def key(self) -> str:
        """Its name in the file: ``engine.pace``."""
        return f"{self.table}.{self.name}" if self.table else self.name

    @property
    def checked_by(self) -> type[BaseModel]:
        return _CHECKED_BY[self.table]

    @property
    def default(self) -> Any:
        return self.field.default

    @property
    def choices(self) -> tuple[Any, ...]:
        return (True, False) if self.field.annotation is bool else super().choices

    @property
    def is_number(self) -> bool:
        return self.field.annotation in (int, float)

    @property
    def when(self) -> str:
        return WHEN[self.holds]

    def shown(self, value: Any) -> str:
        text = super().shown(value)
        return f"{text} {self.unit}" if self.unit and text not in self.words else text

    def _home(self, settings: Settings) -> BaseModel:
        return getattr(settings, self.table) if self.table else settings

    def of(self, settings: Settings) -> Any:
        """What it is now."""
        return getattr(self._home(settings), self.name)

    def put(self, settings: Settings, value: Any) -> None:
        """Change it for all who look at the same settings."""
        setattr(self._home(settings), self.name, value)


SETTINGS: dict[str, tuple[Setting, ...]] = {
    "Screen": (
        Setting(
            "theme",
            "Theme",
            "altiplano is dark, puna is light, terminal takes the colours of your terminal.",
            table="",
            holds="now",
        ),
        Setting(
            "sidebar",
            "Sidebar",
            "The list of conversations beside the text, where the screen is wide enough.",
            _ON,
            table="",
            holds="now",
        ),
        Setting(
            "vim",
            "Vim keys",
            "Esc leaves the typing and i goes back to it; between them h j k l w b e 0 $ gg G x "
            "dd yy p u and their like work as in vim. Enter sends in both.",
            _ON,
            table="",
            holds="now",
        ),
    ),
    "Speed": (
        Setting(
            "pack",
            "Engine",
            "Which build of llama.cpp computes: auto takes the best that works here. More come in "
            "with corral engine add and build.",
            holds="model",
        ),
        Setting(
            "pace",
            "Pace",
            "quiet takes half the cores at a lower priority: the machine stays cool and silent. "
            "auto is quiet on battery.",
        ),
        Setting(
            "lookup",
            "Prompt lookup",
            "Guesses ahead from what was said before; the model checks it all at once. Faster "
            "where text is edited or quoted. Every word stays the model's own.",
            _ON,
            holds="answer",
        ),
        Setting(
            "exact",
            "Exact guesses",
            "Guesses only as far as the text stays the same. Off, rounding may "
            "decide a tie: faster with K-quants and on graphics cards.",
            _ON,
        ),
        Setting(
            "draft",
            "Draft model",
            "A small model with the same vocabulary guesses ahead, and the large one checks. auto "
            "takes an installed one where that pays.",
        ),
        Setting(
            "threads",
            "Threads",
            "Processor threads for writing. auto follows what else the machine does.",
            _AUTO,
        ),
        Setting(
            "threads_batch",
            "Threads for reading",
            "Processor threads for reading the prompt. auto follows what else the machine does.",
            _AUTO,
        ),
    ),
    "Memory": (
        Setting(
            "n_ctx",
            "Context window",
            "Tokens the model sees at once; more needs more memory. auto is what it was trained "
            "with, at most 4096.",
            _AUTO,
        ),
        Setting(
            "type_k",
            "K cache",
            "How the keys of the context are kept. q8_0 needs about half the memory of f16 and is "
            "nearly as exact.",
        ),
        Setting(
            "type_v",
            "V cache",
            "How the values of the context are kept. A quantized one needs flash attention.",
        ),
        Setting(
            "flash_attn",
            "Flash attention",
            "Attention in less memory. auto uses it where the device can.",
        ),
        Setting(
            "n_gpu_layers",
            "GPU layers",
            "Layers of the model on the graphics card. all takes as many as fit; 0 is the "
            "processor alone.",
            {"all": -1},
        ),
        Setting(
            "load_mode",
            "Load mode",
            "How weights come into memory: mmap uses the file's own pages, read copies them, "
            "mlock keeps them from being swapped out.",
        ),
        Setting(
            "repack",
            "Repack weights",
            "Copies weights into the order the processor multiplies them in: answers come faster. "
            "Off, a cached file is there at once.",
            _ON,
        ),
        Setting(
            "keep_warm",
            "Keep models warm",
            "Models used before stay in memory while there is room, to go back to them at once.",
            _ON,
            holds="now",
        ),
        Setting(
            "idle_minutes",
            "Idle models leave",
            "A model nobody used for so long leaves memory.",
            {"never": 0},
            holds="now",
            unit="min",
        ),
    ),
    "Kept prompts": (
        Setting(
            "kv_disk",
            "Room on the disk",
            "For evaluated prompts, so that a conversation of yesterday goes on at once. auto is "
            "a tenth of the free disk, at most 20 GB.",
            {"auto": -1, "none": 0},
            holds="model",
            unit="GB",
        ),
    ),
    "Downloads": (
        Setting(
            "limit",
            "Speed limit",
            "Megabytes a second, all downloads together.",
            {"none": 0},
            table="downloads",
            holds="now",
            unit="MB/s",
        ),
        Setting(
            "connections",
            "Connections",
            "Ranges of one file fetched at the same time, where that is faster.",
            table="downloads",
            holds="download",
        ),
        Setting(
            "folder",
            "Folder",
            "Where downloaded models lie. Those that are there already stay where they are.",
            table="downloads",
            holds="file",
        ),
    ),
}
"""All of them, in the order they are shown."""
