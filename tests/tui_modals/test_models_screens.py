"""What opens over the models screen: details, the hub's repositories, models of other programs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.tui_modals.host import (
    HOSTILE,
    PENDING,
    Host,
    assert_harmless,
    local,
    shown,
    until,
)
from tests.tui_modals.models_host import CATALOG, FakeHub, ModelLibrary, Stage
from textual.widgets import OptionList

from corral.errors import NetworkError, Refused
from corral.models.library.adopting import Candidate, Findings, Skipped
from corral.models.library.local import from_catalogue
from corral.tui.screens.dialogs import ConfirmDialog
from corral.tui.screens.models.adopting import AdoptScreen
from corral.tui.screens.models.details import DetailsScreen
from corral.tui.screens.models.entries import Entry
from corral.tui.screens.models.hub_search import HubSearchScreen, RepositoryScreen
from corral.tui.screens.models.starting import DownloadDialog

# --- details ------------------------------------------------------------------------------------


async def test_details_say_where_it_is_from_and_what_the_file_says() -> None:
    app = Host()
    async with app.run_test(size=(120, 60)) as pilot:
        family = CATALOG.families["llama-2-7b-chat"]
        model = replace(from_catalogue(family, family.files[0]), path="/m/x.gguf")
        model = replace(model, state="installed", source="import", verified=1_790_000_000.0)
        library: Any = ModelLibrary(catalog=CATALOG)
        await app.open(DetailsScreen(library, Entry(model)))
        await until(pilot, lambda: "What the file says" in shown(pilot))
        for words in (
            "https://huggingface.co/TheBloke/Llama-2-7B-Chat-GGUF",
            family.revision,
            str(family.files[0].sha256),
            "/m/x.gguf",
            "general.name",
            "6 738 415 616",
            "2026",
        ):
            assert words in shown(pilot)
        await pilot.press("end")
        await until(pilot, lambda: "{{ bos_token }}[INST] {{ x }} [/INST]␛]0;t" in shown(pilot))
        assert_harmless(pilot)
        opened: list[str] = []
        app.open_url = opened.append  # type: ignore[method-assign, assignment]
        await pilot.press("o")
        await until(pilot, lambda: isinstance(app.screen, ConfirmDialog))
        assert opened == []
        await pilot.press("enter")
        await until(pilot, lambda: opened == [family.card])


async def test_details_of_what_is_not_here_say_what_the_catalogue_knows() -> None:
    app = Host()
    async with app.run_test(size=(100, 50)) as pilot:
        family = CATALOG.families["llama-2-70b-chat"]
        library: Any = ModelLibrary(catalog=CATALOG)
        await app.open(DetailsScreen(library, Entry(from_catalogue(family, family.files[0]))))
        await until(pilot, lambda: "What the catalogue says" in shown(pilot))
        assert "not on this machine" in shown(pilot) and "8 192" in shown(pilot)


async def test_a_header_that_cannot_be_read_is_told() -> None:
    app = Host()
    async with app.run_test() as pilot:
        library: Any = ModelLibrary(catalog=CATALOG)

        def refuse(_: object) -> None:
            raise Refused("It holds [/INST] no header")

        library.header = refuse
        await app.open(DetailsScreen(library, Entry(local())))
        await until(pilot, lambda: "It holds [/INST] no header" in shown(pilot))


# --- the hub ------------------------------------------------------------------------------------


async def test_a_file_of_the_hub_is_found_and_downloaded(tmp_path: Path) -> None:
    app = Host()
    async with app.run_test(size=(120, 36)) as pilot:
        hub = FakeHub()
        stage = Stage(tmp_path, local(), hub=hub)
        await stage.open(app, pilot)
        await pilot.press("h")
        await until(pilot, lambda: isinstance(app.screen, HubSearchScreen))
        await pilot.press(*"model", "enter")
        await until(pilot, lambda: "2 found" in shown(pilot))
        assert "↓ 1.2 M" in shown(pilot) and "♥ 321" in shown(pilot)
        assert "other/Gated-GGUF  gated" in shown(pilot)
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, RepositoryScreen))
        await until(pilot, lambda: "needs 3.8 GB more" in shown(pilot))
        rows = [" ".join(line.strip(" │").split()) for line in shown(pilot).splitlines()]
        assert "model-7b.Q4_K_M.gguf Q4_K_M 4.08 GB ● all on the GPU" in rows
        assert any(
            row.startswith("model-7b.F16-00001-of-00002.gguf, 2 parts F16 13.50 GB") for row in rows
        )
        await pilot.press("down", "enter")
        await until(pilot, lambda: isinstance(app.screen, DownloadDialog))
        assert stage.downloads.calls == [("plan", "someone/Model-7B-GGUF/model-7b.Q8_0.gguf")]
        assert hub.calls == [
            ("search", "model"),
            ("files", hub.name),
            ("header", "model-7b.Q4_K_M.gguf"),
        ]


async def test_offline_says_so_at_once(tmp_path: Path) -> None:
    app = Host()
    async with app.run_test(size=(120, 36)) as pilot:
        hub = FakeHub(NetworkError("Nothing is asked of the hub", title="Offline"))
        hub.offline = "corral was started with --offline"
        await app.open(HubSearchScreen(lambda: hub, Stage(tmp_path).fitter))  # type: ignore[arg-type, return-value]
        await until(pilot, lambda: "started with --offline" in shown(pilot))
        assert hub.calls == []
        await pilot.press(*"x", "enter")
        await until(pilot, lambda: "Offline: Nothing is asked of the hub" in shown(pilot))


async def test_the_hub_s_words_are_only_words(tmp_path: Path) -> None:
    app = Host()
    async with app.run_test() as pilot:
        hub = FakeHub()
        hub.name = HOSTILE
        hub.files_ = [(f"{HOSTILE}.Q4_K_M.gguf", 10)]
        await app.open(HubSearchScreen(lambda: hub, Stage(tmp_path).fitter))  # type: ignore[arg-type, return-value]
        await pilot.press(*"x", "enter")
        await until(pilot, lambda: "[/INST]" in shown(pilot))
        assert_harmless(pilot)
        await pilot.press("enter")
        await until(pilot, lambda: ("header", hub.files_[0][0]) in hub.calls)
        await until(pilot, lambda: "all on the GPU" in shown(pilot))
        assert_harmless(pilot)
        hub.error = NetworkError(HOSTILE, hint=HOSTILE)
        await pilot.press("escape", "y", "enter")
        await until(pilot, lambda: "The network failed" in shown(pilot))
        assert_harmless(pilot)


async def test_a_repository_whose_model_cannot_be_used_says_why(tmp_path: Path) -> None:
    app = Host()
    async with app.run_test() as pilot:
        hub = FakeHub()
        hub.no_header = Refused("Its architecture [/INST] is not supported")
        repository = hub.search("")[0]
        fitter: Any = Stage(tmp_path).fitter
        await app.open(RepositoryScreen(lambda: hub, fitter, repository))  # type: ignore[arg-type, return-value]
        await until(pilot, lambda: "[/INST] is not supported" in shown(pilot))
        assert "model-7b.Q8_0.gguf" in shown(pilot)


# --- adopting -----------------------------------------------------------------------------------


def candidates() -> list[Candidate]:
    programs = (("Ollama", "seven", True), ("LM Studio", "thirteen", False), ("Jan", "wild", False))
    return [
        Candidate(program, Path(f"/p/{name}.gguf"), name, 4 * 10**9, known)
        for program, name, known in programs
    ]


async def opened(
    app: Host, pilot: Any, found: list[Candidate], skipped: Sequence[Skipped] = ()
) -> ModelLibrary:
    library = ModelLibrary()
    library.findings = Findings(found, list(skipped))
    await app.open(AdoptScreen(library))  # type: ignore[arg-type]
    await until(pilot, lambda: app.screen.query_one(OptionList).option_count == len(found))
    await until(pilot, lambda: "looking" not in shown(pilot))
    return library


async def test_what_is_marked_is_adopted_where_it_lies() -> None:
    app = Host()
    async with app.run_test() as pilot:
        library = await opened(app, pilot, candidates())
        await until(pilot, lambda: "[ ] seven" in shown(pilot))
        rows = [" ".join(line.strip(" │").split()) for line in shown(pilot).splitlines()]
        assert "[ ] seven in the library Ollama 4.00 GB" in rows
        assert "[x] thirteen LM Studio 4.00 GB" in rows
        assert "nothing is copied" in " ".join(rows)
        await pilot.press("down", "down", "space")
        await until(pilot, lambda: "[ ] wild" in shown(pilot))
        assert "/p/wild.gguf" in shown(pilot)
        await pilot.press("enter")
        await until(pilot, lambda: " 43 %" in shown(pilot))
        library.go_on.set()
        await until(pilot, lambda: app.result is not PENDING)
        assert [model.name for model in app.result] == ["thirteen"]
        assert library.calls == [("adopt", "thirteen")]


async def test_adopting_can_be_cancelled() -> None:
    app = Host()
    async with app.run_test() as pilot:
        library = await opened(app, pilot, candidates())
        await pilot.press("enter")
        await until(pilot, lambda: " 43 %" in shown(pilot))
        await pilot.press("escape")
        await until(pilot, lambda: app.result == [])
        assert library.seen_cancel.is_set() and library.calls == [("adopt", "thirteen")]


async def test_one_that_fails_does_not_stop_the_others() -> None:
    app = Host()
    async with app.run_test(notifications=True) as pilot:
        library = await opened(app, pilot, candidates())
        library.go_on.set()
        library.refused["thirteen"] = Refused("“thirteen” is damaged [/INST]")
        await pilot.press("enter")
        await until(pilot, lambda: app.result is not PENDING)
        assert [model.name for model in app.result] == ["wild"]
        await until(pilot, lambda: "is damaged [/INST]" in shown(pilot))


async def test_nothing_to_adopt_says_where_it_looked() -> None:
    app = Host()
    async with app.run_test() as pilot:
        left = [Skipped("Ollama", Path("/p/x"), "it is no Llama [/INST]")] * 3
        await opened(app, pilot, [], left)
        await until(pilot, lambda: "Looked for Ollama, LM Studio" in shown(pilot))
        assert "Left out: it is no Llama [/INST] and 2 more" in " ".join(shown(pilot).split())
        await pilot.press("enter", "space", "escape")
        await until(pilot, lambda: app.result == [])


async def test_names_of_other_programs_are_only_names() -> None:
    app = Host()
    async with app.run_test() as pilot:
        bad = Candidate(HOSTILE, Path(f"/p/{HOSTILE}"), HOSTILE, 1, False)
        await opened(app, pilot, [bad], [Skipped(HOSTILE, Path("/p/x"), HOSTILE)])
        await until(pilot, lambda: "[/INST]" in shown(pilot))
        assert_harmless(pilot)
