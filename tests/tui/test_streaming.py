"""An answer looks the same in the end, whether it came in one piece or in many."""

from __future__ import annotations

import random

import pytest
from textual.app import App, ComposeResult
from textual.containers import VerticalScroll
from textual.geometry import Offset
from textual.selection import Selection

from corral.tui.widgets.fence import Fence
from corral.tui.widgets.lists import TextList
from corral.tui.widgets.markdown import AnswerMarkdown

CODE = """Here:

```python
def work(llamas):
    '''A text over
    several lines, where "quotes" are no strings.
    '''
    for llama in llamas:
        yield llama  # one by one

    return None
```

and then `more`.
"""
LISTS = """Steps:

1. First **bold**
2. Second, with a long line that has to be wrapped because it does not fit the width of a screen
   and goes on here
   - deeper
     - and *deeper*
   - again
3. Third

   with a second paragraph

- loose

- list
* other marker
"""
MIXED = """1. Install it:

   ```bash
   pip install corral
   ```

2. Run it
3. Read

   > a quote

   | a | b |
   | - | - |
   | 1 | 2 |

4. Done
5. Really

# Heading

Setext
======

> quoted
lazily

| name | value |
| --- | --- |
| one | `1` |
| two | [link](http://example.org) |

---

~~~
tilde
~~~

    indented code
"""
NUMBERED = "\n".join(f"{n}. item {n} with a few words to read" for n in range(87, 115))
BULLETS = "\n".join(f"- item **{n}** with `code`" for n in range(60)) + "\n\nThe end.\n"
ONES = "\n".join("1. the same number" for _ in range(40))
NESTED = "- - - a\n    - b\n  - c\n- \n- d\n  1) e\n  2) f\n\n0. zero\n1. one\n"
UNCLOSED = "```\n" + "\n".join(f"line {n}" for n in range(50))
TABLE = (
    "| name | value | what there is to say |\n| :--- | ---: | :-: |\n"
    + "".join(f"| row {n} | {n**3} | *words* `{n}`{' and more' * (n % 9)} |\n" for n in range(14))
    + "\nAfter it.\n"
)
GROWING = "Text\n\n" + "\n".join(f"{n}. x\n\n   ```\n   y{n}\n   ```\n" for n in range(1, 13))

DOCUMENTS = {
    "code": CODE,
    "lists": LISTS,
    "mixed": MIXED,
    "numbered": NUMBERED,
    "bullets": BULLETS,
    "ones": ONES,
    "nested": NESTED,
    "unclosed": UNCLOSED,
    "growing": GROWING,
    "table": TABLE,
    "everything": "\n\n".join([CODE, LISTS, MIXED, BULLETS, NESTED]),
}


class Page(App[None]):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.body = AnswerMarkdown(text)

    def compose(self) -> ComposeResult:
        with VerticalScroll():
            yield self.body


def looks(app: App[None]) -> list[list[tuple[str, str]]]:
    """What is painted: texts with their styles, but for where they can be selected."""
    lines = []
    for strip in app.screen._compositor.render_strips():
        line: list[tuple[str, str]] = []
        for text, style, _ in strip.simplify():
            plain = (
                str(style.without_color) + str(style.color) + str(style.bgcolor) if style else ""
            )
            if line and line[-1][1] == plain:
                line[-1] = (line[-1][0] + text, plain)
            else:
                line.append((text, plain))
        lines.append(line)
    return lines


async def at_once(text: str) -> list[list[tuple[str, str]]]:
    app = Page(text)
    async with app.run_test(size=(60, 400)) as pilot:
        await pilot.pause()
        return looks(app)


@pytest.mark.parametrize("name", DOCUMENTS)
async def test_pieces_give_the_same_as_the_whole(name: str) -> None:
    text = DOCUMENTS[name]
    sizes = random.Random(len(text))
    app = Page("")
    async with app.run_test(size=(60, 400)) as pilot:
        at = 0
        while at < len(text):
            size = sizes.randint(1, 12 if len(text) < 1500 else 90)
            await app.body.append(text[at : at + size])
            at += size
            if sizes.random() < 0.15:
                await pilot.pause()
        app.body.finish()
        await pilot.pause()
        assert app.body.source == text
        assert looks(app) == await at_once(text)


async def test_a_half_shown_answer_goes_on_where_it_was() -> None:
    """A running answer can be opened in the middle of a block."""
    for text, half in ((CODE, CODE.index("yield")), (NUMBERED, 700), (LISTS, LISTS.index("again"))):
        app = Page(text[:half])
        async with app.run_test(size=(60, 400)) as pilot:
            await app.body.append(text[half:])
            app.body.finish()
            await pilot.pause()
            assert looks(app) == await at_once(text)


async def test_another_width_wraps_the_lines_anew() -> None:
    app = Page(LISTS + CODE)
    async with app.run_test(size=(60, 400)) as pilot:
        await pilot.resize_terminal(30, 400)
        await pilot.pause()
        await pilot.resize_terminal(60, 400)
        await pilot.pause()
        assert looks(app) == await at_once(LISTS + CODE)


async def test_another_theme_colours_what_is_there() -> None:
    app = Page(LISTS + CODE)
    async with app.run_test(size=(60, 100)) as pilot:
        before = looks(app)
        app.theme = "textual-light"
        await pilot.pause()
        assert looks(app) != before
        app.theme = "textual-dark"
        await pilot.pause()
        assert looks(app) == before


async def test_long_lists_and_code_take_few_widgets() -> None:
    app = Page(BULLETS + "\n" + UNCLOSED)
    async with app.run_test(size=(60, 50)) as pilot:
        await pilot.pause()
        assert len(list(app.body.query("*"))) < 15


async def test_a_table_fits_its_columns_to_the_room() -> None:
    app = Page("| a | b |\n| - | -: |\n| one | 1 |\n| two words and many more of them | 22 |\n")
    async with app.run_test(size=(30, 20)) as pilot:
        await pilot.pause()
        painted = [strip.text.strip() for strip in app.screen._compositor.render_strips()]
        assert painted[:8] == [
            "┌──────────────────┬─────┐",
            "│ a                │   b │",
            "├──────────────────┼─────┤",
            "│ one              │   1 │",
            "├──────────────────┼─────┤",
            "│ two words and    │  22 │",
            "│ many more of     │     │",
            "│ them             │     │",
        ]
        await pilot.resize_terminal(60, 20)
        await pilot.pause()
        painted = [strip.text.strip() for strip in app.screen._compositor.render_strips()]
        assert painted[5] == "│ two words and many more of them │  22 │"


async def test_a_growing_list_keeps_its_first_widgets() -> None:
    """Or else the screen would flicker, and pay for them again with every word."""
    app = Page("")
    async with app.run_test(size=(60, 100)) as pilot:
        await app.body.append(BULLETS[:800])
        first = app.body.query(TextList).first()
        await app.body.append(BULLETS[800:])
        await pilot.pause()
        assert app.body.query(TextList).first() is first
        await app.body.append("\n```\ncode\n")
        fence = app.body.query_one(Fence)
        for n in range(100):
            await app.body.append(f"line {n}\n")
        assert app.body.query_one(Fence) is fence
        assert fence.code.endswith("line 99")


async def test_what_is_selected_is_copied_as_it_stands() -> None:
    app = Page("- one\n- two **bold** words\n  - three\n\n```\nfirst\nsecond\n```\n")
    async with app.run_test(size=(60, 30)) as pilot:
        await pilot.pause()
        app.screen.selections = {app.body.query_one(TextList): Selection(Offset(2, 1), None)}
        await pilot.pause()
        assert app.screen.get_selected_text() == "two bold words\n  ◦ three"
        painted = [strip.text.strip() for strip in app.screen._compositor.render_strips()]
        assert painted[:3] == ["• one", "• two bold words", "◦ three"]
        code = app.body.query_one(Fence).query_one("#code-content")
        app.screen.selections = {code: Selection(Offset(1, 0), Offset(3, 1))}
        assert app.screen.get_selected_text() == "irst\nsec"


async def test_the_mouse_selects_across_the_rows_of_a_list() -> None:
    app = Page("- one\n- two is a line that is so long that it has to be wrapped\n- three\n")
    async with app.run_test(size=(30, 30)) as pilot:
        await pilot.pause()
        (region,) = [widget.region for widget in app.body.query(TextList)]
        await pilot.mouse_down(offset=(region.x + 2, region.y + 1))
        await pilot.hover(offset=(region.x + 5, region.y + 2))
        await pilot.mouse_up(offset=(region.x + 5, region.y + 2))
        await pilot.pause()
        text = app.screen.get_selected_text() or ""
        assert text.startswith("two is a line") and "\n" not in text and "three" not in text
