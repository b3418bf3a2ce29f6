"""What the help says besides the commands: sections, examples, variables, exit codes, files.

``corral --help`` and the manual page are both made of it.
"""

from __future__ import annotations

from typing import NamedTuple


class Line(NamedTuple):
    """A term and what it means, both short."""

    term: str
    text: str


SECTIONS: tuple[tuple[str, tuple[Line, ...]], ...] = (
    (
        "Talk",
        (
            Line("ask", "One turn, streamed to stdout"),
            Line("compare", "The same prompt to several models, presets or parameters"),
            Line("presets", "Personas and tasks: list, show"),
        ),
    ),
    (
        "Conversations",
        (
            Line(
                "history",
                "list, show, search, rename; tree, fork, prune, undo; pin, archive, file; "
                "delete, trash, undelete; export, import, backup, restore",
            ),
        ),
    ),
    (
        "Models",
        (
            Line(
                "models",
                "list, show, search, fit, pull, import, adopt, adapters, verify, remove, clean",
            ),
        ),
    ),
    (
        "This machine",
        (
            Line("bench", "How fast a model is here: load, prompt, generation, reuse, restore"),
            Line("engine", "Engine packs: list, use, add, remove, build"),
            Line("doctor", "Hardware, engine, folders, and what fits this machine"),
            Line("completion", "A script that completes commands and options in your shell"),
        ),
    ),
)
"""The commands as the help groups them; each is a module of this package by that name."""

EXAMPLES = (
    Line("corral", "the chat screen; F1 shows every key"),
    Line('corral ask "Why is the sky blue?"', "one answer"),
    Line('git diff | corral ask "Explain this change"', "stdin is appended"),
    Line('corral ask --continue "Shorter"', "goes on with the latest conversation"),
    Line('corral ask --json --seed 1 --temperature 0 "Hi"', "for scripts"),
    Line('corral ask --schema form.json "…"', "an answer that always parses"),
    Line("corral models pull llama-2-7b-chat", "download; again after a stop goes on"),
    Line("corral models import model.gguf", "or a file that is here already"),
    Line("corral history export --all -o talks.json", "take everything along"),
)

MODEL_NAMES = (
    "A model is called family:QUANT, as in llama-2-13b-chat:Q5_K_M; the quantization may be left "
    "out. owner/repository:QUANT is one on the hub, and the path of a .gguf file works wherever a "
    "name does."
)

STREAMS = (
    "Text goes to stdout, everything else to stderr. What tells something has --json, and "
    "corral COMMAND --help says the rest."
)

ENVIRONMENT = (
    Line("CORRAL_HOME", "one folder for everything: settings, conversations, models, logs"),
    Line("CORRAL_OFFLINE", "1 forbids every connection, as --offline does"),
    Line("HF_TOKEN", "your token for the hub; else what hf auth login kept is used"),
    Line("HF_ENDPOINT", "another hub than the usual one"),
    Line("HF_HUB_OFFLINE", "1 forbids connections to the hub, as for its own programs"),
    Line("HTTPS_PROXY, NO_PROXY", "proxies for downloads"),
    Line("VISUAL, EDITOR", "what F7 opens to write a message in"),
    Line("TERM", "dumb keeps the chat screen away; xterm-256color suits most terminals"),
    Line("LC_ALL, LANG", "a locale with UTF-8, such as C.UTF-8, shows every sign"),
)

EXIT_CODES = (
    Line("0", "all went well"),
    Line("1", "an unexpected error"),
    Line("2", "wrong usage, or no terminal for the chat screen"),
    Line("3", "no such model, conversation or file"),
    Line("4", "does not fit in memory or on disk"),
    Line("5", "the engine failed"),
    Line("6", "the network or the hub failed"),
    Line("7", "refused: a bad file, a checksum, a licence not accepted"),
    Line("130", "interrupted"),
)

FILES = (
    Line("config/config.toml", "your settings"),
    Line("config/presets/*.toml", "your own presets"),
    Line("config/models.toml", "your own additions to the catalogue"),
    Line("data/corral.db", "the conversations"),
    Line("data/models", "downloaded models"),
    Line("data/engines", "engine packs"),
    Line("cache", "evaluated prompts, and what the hub answered"),
    Line("logs", "what corral and the engine noted"),
)
"""Below the folders of :class:`corral.paths.Paths`, by their names there."""


def commands() -> dict[str, str]:
    """Every command with its line."""
    return {line.term: line.text for _, lines in SECTIONS for line in lines}
