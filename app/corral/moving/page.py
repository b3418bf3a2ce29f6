"""Conversations as one HTML file: no script, nothing fetched, readable in light and in dark."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from html import escape

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from markdown_it.utils import EnvType, OptionsDict

from corral.moving.telling import Said, Told

_LARGEST = 200_000
"""Characters of an answer that is laid out; a longer one is shown as it was written."""

_STYLE = """
:root { color-scheme: light dark; --back: #faf7f1; --fore: #2b2a28; --dim: #75706a;
  --warm: #9a5b14; --soft: #efe9de; }
@media (prefers-color-scheme: dark) { :root { --back: #16171b; --fore: #e4e2dd; --dim: #8f8c86;
  --warm: #d9a05b; --soft: #212329; } }
body { margin: 2rem auto; max-width: 46rem; padding: 0 1rem; background: var(--back);
  color: var(--fore); font: 1rem/1.55 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.5rem; } h2 { font-size: 1rem; color: var(--dim); margin: 2rem 0 .4rem; }
article + article { border-top: 1px solid var(--dim); margin-top: 4rem; padding-top: 2rem; }
a { color: var(--warm); }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .1rem 1rem; margin: .5rem 0;
  color: var(--dim); font-size: .85rem; } dd { margin: 0; }
.words { white-space: pre-wrap; } .words, .answer { unicode-bidi: isolate; }
.you { border-left: 3px solid var(--warm); padding-left: 1rem; }
details { color: var(--dim); font-size: .85rem; } summary { cursor: pointer; }
pre, code { font-family: ui-monospace, monospace; font-size: .9em; background: var(--soft); }
pre { padding: .8rem; overflow-x: auto; } blockquote { margin-left: 0; padding-left: 1rem;
  border-left: 3px solid var(--soft); color: var(--dim); }
table { border-collapse: collapse; } th, td { border: 1px solid var(--soft); padding: .2rem .6rem; }
.note { color: var(--dim); }
"""

_HEAD = (
    '<!DOCTYPE html>\n<html lang="und">\n<head>\n<meta charset="utf-8">\n'
    '<meta http-equiv="Content-Security-Policy" '
    "content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
    '<meta name="referrer" content="no-referrer">\n'
    '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
)


class _Renderer(RendererHTML):
    """Links say nothing about where they were followed from."""

    def link_open(
        self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType
    ) -> str:
        tokens[idx].attrSet("rel", "noreferrer noopener nofollow")
        return self.renderToken(tokens, idx, options, env)


def _parser() -> MarkdownIt:
    # HTML in an answer is shown as it stands; a picture would be fetched.
    parser = MarkdownIt("gfm-like", {"html": False, "breaks": True}, renderer_cls=_Renderer)
    return parser.disable("image")


def html(told: Iterable[Told], heading: str) -> Iterator[str]:
    """Piece by piece.

    Args:
        heading: what the window is called.
    """
    parser = _parser()
    yield f"{_HEAD}<title>{escape(heading)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
    for one in told:
        yield f'<article>\n<h1 dir="auto">{escape(one.title)}</h1>\n{_facts(one.facts)}'
        if one.elsewhere:
            words = "message stands" if one.elsewhere == 1 else "messages stand"
            yield f'<p class="note">{one.elsewhere} {words} on other branches; '
            yield "the JSON export has all of them.</p>\n"
        if one.system:
            yield '<h2>System prompt</h2>\n<blockquote class="words" dir="auto">'
            yield f"{escape(one.system)}</blockquote>\n"
        for said in one.said:
            yield from _said(said, parser)
        yield "</article>\n"
    yield "</body>\n</html>\n"


def _said(said: Said, parser: MarkdownIt) -> Iterator[str]:
    if said.summary:
        yield "<h2>In place of everything above, the model sees</h2>\n"
        yield f'<blockquote class="words" dir="auto">{escape(said.summary)}</blockquote>\n'
    notes = [said.who, said.ending, "pinned" if said.pinned else ""]
    yield f"<section>\n<h2>{escape(' · '.join(filter(None, notes)))}</h2>\n"
    if said.role == "assistant" and len(said.text) <= _LARGEST:
        yield f'<div class="answer" dir="auto">\n{parser.render(said.text)}</div>\n'
    else:
        kind = "words you" if said.role == "user" else "words"
        yield f'<div class="{kind}" dir="auto">{escape(said.text)}</div>\n'
    if said.facts:
        facts = _facts((("Written", said.when), *said.facts))
        yield f"<details><summary>{escape(said.when)}</summary>\n{facts}</details>\n"
    else:
        yield f'<p class="note">{escape(said.when)}</p>\n'
    yield "</section>\n"


def _facts(facts: Iterable[tuple[str, str]]) -> str:
    rows = "".join(f"<dt>{escape(label)}</dt><dd>{escape(value)}</dd>\n" for label, value in facts)
    return f"<dl>\n{rows}</dl>\n"
