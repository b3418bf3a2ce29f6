"""Adapters in a conversation: ``/adapter``, what the screen says of them, and the next answer."""

from __future__ import annotations

from pathlib import Path

from tests.support.chat_app import Chat, History, chat
from tests.support.gguf_files import tiny_llama
from tests.support.lora_files import lora

from corral import adapting
from corral.models.library.library import Library
from corral.tui.screens.adapters import AdaptersScreen
from corral.tui.screens.parameters import ParametersScreen


def choices(c: Chat) -> list[adapting.Choice]:
    return list(adapting.chosen(c.screen.conversing.conversation))


async def command(c: Chat, text: str) -> None:
    c.screen.prompt.area.focus()
    await c.type(text)
    await c.pilot.press("escape", "enter")
    await c.pilot.pause()


def take_in(c: Chat, folder: Path, *names: str) -> Library:
    for number, name in enumerate(names):
        c.app.library.import_adapter(lora(folder / f"{name}.gguf", seed=number))
    return c.app.library


async def test_is_put_on_scaled_and_taken_off_by_its_name(tmp_path: Path) -> None:
    async with chat(tmp_path) as c:
        take_in(c, tmp_path, "cats", "dogs")
        await c.screen.adapter_command("cats")
        await c.until(lambda: "cats is used from the next answer on" in c.toasts())
        await c.screen.adapter_command("dogs:0.5")
        assert choices(c) == [("cats", 1.0), ("dogs", 0.5)]
        await c.until(lambda: "+ cats + dogs ×0.5" in c.text())
        await c.screen.adapter_command("CATS:0.25")
        assert choices(c) == [("dogs", 0.5), ("cats", 0.25)]
        await c.screen.adapter_command("dogs off")
        assert choices(c) == [("cats", 0.25)]
        await c.screen.adapter_command("dogs off")
        await c.until(lambda: "No adapter dogs is used here" in c.toasts())
        await c.screen.adapter_command("off")
        assert choices(c) == []
        await c.until(lambda: "+ cats" not in c.text())


async def test_it_holds_for_the_next_answers_of_this_conversation_alone(tmp_path: Path) -> None:
    def before(history: History) -> None:
        history.conversation("Another", ("Hello?", "Hello."))

    async with chat(tmp_path, fill=before) as c:
        take_in(c, tmp_path, "cats")
        other = c.screen.conversing.id
        await c.screen.open_conversation(None)
        await c.screen.adapter_command("cats:0.5")
        await c.send("What is a llama?")
        await c.settled()
        await c.send("And an alpaca?")
        await c.settled()
        await c.screen.adapter_command("off")
        await c.send("And a vicuña?")
        await c.settled()
        used = [[(one.name, one.scale) for one in some] for some in c.engine.adapters]
        assert used == [[("cats", 0.5)], [("cats", 0.5)], []]
        assert "Tiny Llama · F32 + cats ×0.5" in c.text()
        await c.open(other)
        assert choices(c) == []


async def test_a_file_is_taken_in_and_what_does_not_belong_is_refused(tmp_path: Path) -> None:
    async with chat(tmp_path) as c:
        path = lora(tmp_path / "cats.gguf")
        await c.screen.adapter_command(f"{path}:2")
        assert choices(c) == [("cats", 2.0)]
        assert [one.name for one in c.app.library.adapters(found=False)] == ["cats"]
        large = lora(tmp_path / "large.gguf", {"blk.0.attn_q.weight": (128, 128)})
        await c.screen.adapter_command(str(large))
        await c.until(lambda: "large does not belong to tiny-llama" in c.toasts())
        await c.screen.adapter_command(str(tmp_path / "tiny.gguf"))
        await c.until(lambda: "it is a model, not an adapter" in c.toasts())
        await c.screen.adapter_command("nobody")
        await c.until(lambda: "There is no adapter called “nobody”" in c.toasts())
        await c.screen.adapter_command("cats:1000")
        await c.until(lambda: "The scale of cats is 1000" in c.toasts())
        assert choices(c) == [("cats", 2.0)]


async def test_alone_it_opens_the_screen_whose_changes_hold(tmp_path: Path) -> None:
    async with chat(tmp_path) as c:
        take_in(c, tmp_path, "cats")
        await command(c, "/adapter")
        await c.until(lambda: isinstance(c.app.screen, AdaptersScreen))
        await c.until(lambda: "○ cats" in c.text())
        await c.pilot.press("enter", "right")
        await c.until(lambda: choices(c) == [("cats", 1.1)])
        await c.pilot.press("escape")
        await c.until(lambda: not c.covered)
        await c.send("Hello")
        await c.settled()
        assert c.store.conversation(c.screen.conversing.id).parameters == {
            "adapters": [{"name": "cats", "scale": 1.1}]
        }


async def test_another_model_leaves_it_out_and_says_so(tmp_path: Path) -> None:
    async with chat(tmp_path) as c:
        take_in(c, tmp_path, "cats")
        path = tiny_llama(tmp_path / "wide.gguf", n_embd=128)
        c.app.library.import_file(path, format="llama-2", name="wide")
        await c.screen.adapter_command("cats")
        await c.screen.change(c.screen.conversing.conversation, model="wide")
        await c.send("Hello")
        await c.settled()
        assert c.engine.adapters == [()]
        assert "An adapter is left out" in c.toasts()
        assert choices(c) == [("cats", 1.0)]


async def test_saving_other_parameters_leaves_it_alone(tmp_path: Path) -> None:
    async with chat(tmp_path) as c:
        take_in(c, tmp_path, "cats")
        await c.screen.adapter_command("cats")
        await c.pilot.press("ctrl+g")
        await c.until(lambda: isinstance(c.app.screen, ParametersScreen))
        await c.until(lambda: "save" in c.text())
        assert "Also stored" not in c.text()
        await c.pilot.press("ctrl+r", "ctrl+s")
        await c.until(lambda: not c.covered)
        assert choices(c) == [("cats", 1.0)]
