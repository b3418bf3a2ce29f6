"""The meter plans as the next turn does, whatever was changed since the last one."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

from tests.support.scripted_engine import ScriptedEngine

from corral.chat.conversation import Conversation, active_path
from corral.chatting import Chatting
from corral.metering import Meter
from corral.models.catalog import Catalog, find_catalogue
from corral.models.library.library import Library
from corral.presets import Presets
from corral.settings import Settings
from corral.store.store import Store


async def test_what_is_counted_is_what_is_sent(starter: Path, tmp_path: Path) -> None:
    store = Store.open(tmp_path / "corral.db")
    library = Library(store, Catalog.load(find_catalogue()))
    engine = ScriptedEngine(n_ctx=4096)
    chatting = Chatting(store, library, engine, Settings())
    chatting.planner.presets = presets = Presets(tmp_path)
    meter = Meter(chatting)

    async def counted_and_sent(conversation: Conversation, text: str) -> None:
        conversation = store.conversation(conversation.id)
        path = active_path(store.messages(conversation.id), conversation.active)
        model = await asyncio.to_thread(chatting.planner.model_for, conversation)
        measure = await meter.measure(conversation, path, text, model)
        async for _ in chatting.send(conversation.id, text):
            pass
        if chatting.loaded is not None and measure is not None and engine.prompts[1:]:
            assert not measure.about
            assert measure.tokens == engine.prompts[-1]

    file = tmp_path / "file.gguf"
    shutil.copyfile(starter, file)
    assert library.resolve(str(file)).source == "file"
    by_file = store.create_conversation(model=str(file))
    by_file = store.update_conversation(by_file.id, preset="mine")
    for system in ("Be brief.", "Be as wordy as a llama on a long way.", ""):
        presets.save("mine", f'system = "{system}"\ntemplate = "{system} {{text}}"')
        await counted_and_sent(by_file, "Hello")
    assert len(engine.prompts) == 3 and len({*engine.prompts}) == 3
    store.close()
