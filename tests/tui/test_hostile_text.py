"""Nothing that comes from people, models, files or errors is obeyed or ends the program."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tests.support.chat_app import Chat, History, chat
from tests.support.scripted_engine import Script
from textual.widgets import Markdown

from corral.errors import EngineError
from corral.models.library.local import LocalModel

MARKUP = (
    "[/INST] [@click=app.quit]x[/] [/foo] [bold]b[/bold] [link=javascript:alert(1)]l[/link] a[i]"
)
ESCAPES = (
    "\x1b]52;c;aGk=\x07",
    "\x1b]0;title\x1b\\",
    "\x1b]8;;http://evil\x1b\\link\x1b]8;;\x1b\\",
    "\x1b[2J\x1b[H",
    "\x9b2J",
    "\x1bc",
    "a\x00b\x7fc",
    "\u202egnp.exe\u202c",
    "\u2066\u2069\u200e\u200f\u061c\ufeff\u2060",
    "\U000e0041\U000e007f",
    "one\rtwo\x08\x08",
    "\ud800",
)
HOSTILE = MARKUP + " ".join(ESCAPES)
FORBIDDEN = {chr(code) for code in (*range(0x20), *range(0x7F, 0xA0))} | set(
    "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\u061c\u2060\ufeff"
)


def assert_clean(c: Chat) -> None:
    """No painted cell holds anything a terminal would obey."""
    shown = c.text().replace("\n", "")
    assert not FORBIDDEN & set(shown)
    assert not any(0xE0000 <= ord(sign) <= 0xE007F for sign in shown)


async def click_everywhere(c: Chat) -> None:
    """No piece of foreign text does anything when it is clicked."""
    columns, rows = c.app.size
    for y in range(2, rows - 5, 3):
        for x in range(33, columns - 4, 17):
            await c.pilot.click(offset=(x, y))
            if c.covered:
                await c.pilot.press("escape")
    assert c.app.is_running


async def test_in_messages_and_titles(tmp_path: Path) -> None:
    def fill(history: History) -> None:
        history.conversation(HOSTILE, (HOSTILE, HOSTILE), (HOSTILE, "x"), ago=5)
        history.conversation("Second " + HOSTILE, ("q", "```" + HOSTILE + "\n" + HOSTILE + "\n```"))

    async with chat(tmp_path, fill=fill) as c:
        assert_clean(c)
        await click_everywhere(c)
        await c.open(c.store.conversations()[1].id)
        assert "[/INST] [@click=app.quit]x[/]" in c.text()
        assert_clean(c)
        await click_everywhere(c)


async def test_streamed_a_character_at_a_time(tmp_path: Path) -> None:
    async with chat(tmp_path, Script(list(HOSTILE))) as c:
        await c.send(MARKUP)
        await c.settled()
        assert "[/INST]" in c.text()
        assert_clean(c)


@pytest.mark.parametrize("pieces", [["one\r", "\ntwo"], ["one\r\n", "two"]])
async def test_a_line_break_cut_in_two_is_one(tmp_path: Path, pieces: list[str]) -> None:
    async with chat(tmp_path, Script(pieces, hold_after=1)) as c:
        await c.send("go")
        await c.until(lambda: "one" in c.text())
        c.engine.go_on()
        await c.settled()
        assert "␍" not in c.text()
        assert "two" in c.text()


async def test_in_errors_and_notices(tmp_path: Path) -> None:
    error = EngineError(HOSTILE, hint=HOSTILE, title="[/foo]" + ESCAPES[0])
    async with chat(tmp_path, Script(error=error, fail_after=0), Script()) as c:
        await c.send("</s><s>[INST] <<SYS>>")
        await c.settled()
        assert "failed: [/INST]" in c.text()
        assert_clean(c)
        c.app.notify("[/foo]" + HOSTILE, title=HOSTILE)
        await c.until(lambda: "[/foo]" in c.text())
        assert_clean(c)


async def test_in_the_name_of_a_model(tmp_path: Path) -> None:
    async with chat(tmp_path) as c:
        conversing = c.screen.conversing
        assert conversing.model is not None

        def resolve(name: str | None, *, default: str | None = None) -> LocalModel:
            assert conversing.model is not None
            return replace(conversing.model, name=HOSTILE, title=HOSTILE, quant=HOSTILE)

        c.app.library.resolve = resolve  # type: ignore[method-assign]
        await conversing.find_model()
        c.screen.tell()
        await c.pilot.pause()
        assert "[/INST] [@click=app.quit]x[/]" in c.text()
        assert_clean(c)
        await c.send("hello")
        await c.settled()
        assert_clean(c)


async def test_in_the_search(tmp_path: Path) -> None:
    def fill(history: History) -> None:
        history.conversation("needle " + HOSTILE, ("the needle " + HOSTILE, "needle " + HOSTILE))

    async with chat(tmp_path, fill=fill) as c:
        await c.pilot.press("ctrl+f", *"needle")
        await c.until(lambda: c.screen.sidebar._hits)
        await c.pilot.pause()
        assert_clean(c)
        c.screen.sidebar.box.value = HOSTILE + '" OR * NEAR('
        await c.pilot.pause(0.2)
        assert_clean(c)
        assert c.app.is_running


async def test_in_the_palette(tmp_path: Path) -> None:
    def fill(history: History) -> None:
        history.conversation("needle " + HOSTILE, ("q", "a"))

    async with chat(tmp_path, fill=fill) as c:
        await c.pilot.press("ctrl+p", *"needle")
        await c.until(lambda: "[/INST]" in c.text())
        assert_clean(c)
        await c.pilot.press("escape")


async def test_in_the_box(tmp_path: Path) -> None:
    async with chat(tmp_path) as c:
        await c.type(HOSTILE)
        assert_clean(c)
        assert not FORBIDDEN & set(c.screen.prompt.text.replace("\n", ""))


async def test_html_is_shown_as_it_stands(tmp_path: Path) -> None:
    def fill(history: History) -> None:
        history.conversation("Html", ("q", "<div>\nhello\n</div>\n\nand <b>bold</b>"))

    async with chat(tmp_path, fill=fill) as c:
        assert "<div>" in c.text()
        assert "and <b>bold</b>" in c.text()


@pytest.mark.parametrize(
    ("href", "host"),
    [
        ("https://example.org/a?b=c", "example.org"),
        ("http://good@evil.example/", "evil.example"),
        ("https://аpple.com/", "xn--pple-43d.com"),
        ("javascript:alert(1)", None),
        ("file:///etc/passwd", None),
        ("data:text/html,x", None),
        ("x-evil:run", None),
    ],
)
async def test_links(tmp_path: Path, href: str, host: str | None) -> None:
    async with chat(tmp_path) as c:
        opened: list[str] = []
        c.app.open_url = lambda url, *, new_tab=True: opened.append(url)  # type: ignore[method-assign]
        markdown = Markdown(open_links=False)
        c.screen.post_message(Markdown.LinkClicked(markdown, href))
        if host is None:
            await c.until(lambda: "Only web addresses" in c.toasts())
            return
        await c.until(lambda: c.covered)
        await c.until(lambda: f"Open {host} in the browser" in c.text())
        assert opened == []
        await c.pilot.press("enter")
        await c.until(lambda: opened)
        assert host in opened[0]
        assert "good@" not in opened[0]


async def test_deep_and_wide_answers(tmp_path: Path) -> None:
    texts = (
        ">" * 10_000 + " deep",
        "\n".join("  " * n + "- deep" for n in range(300)),
        "x" * 1_000_000,
        "| a | b |\n| - | - |\n" + "| 1 | 2 |\n" * 5_000,
        "```\nnever closed",
        "[" * 5_000,
    )

    def fill(history: History) -> None:
        for text in texts:
            history.conversation("Odd", ("q", text))

    async with chat(tmp_path, fill=fill) as c:
        for conversation in c.store.conversations():
            await c.open(conversation.id)
            assert c.path()
