"""Three looks: altiplano (dark), puna (light), and terminal, which takes the terminal's colours."""

from __future__ import annotations

from textual.theme import Theme

DEFAULT = "altiplano"


def own_variables(theme: Theme) -> dict[str, str]:
    """Styles for text of little weight, for a theme that does not bring them.

    They are for content only, not for style sheets: in the terminal's own colours they are an
    attribute and no colour.
    """
    if theme.ansi:
        return {"quiet": "ansi_default dim", "faint": "ansi_default dim"}
    return {"quiet": "auto 60%", "faint": "auto 45%"}


_ALTIPLANO = Theme(
    name="altiplano",
    dark=True,
    primary="#d9a05b",
    secondary="#b8a888",
    accent="#d9a05b",
    foreground="#e6e3dc",
    background="#16171b",
    surface="#1d1e23",
    panel="#26272e",
    success="#8fb573",
    warning="#dcb862",
    error="#e0796a",
    variables={
        "text": "#e6e3dc",
        "text-muted": "#918f89",
        "text-disabled": "#6d6b67",
        "quiet": "#918f89",
        "faint": "#6d6b67",
        "text-primary": "#d9a05b",
        "text-secondary": "#b8a888",
        "text-accent": "#e0a69a",
        "text-success": "#a3bd8a",
        "text-warning": "#e3c281",
        "text-error": "#e59487",
        "border": "#d9a05b",
        "border-blurred": "#34353c",
        "scrollbar": "#4a3d2c",
        "scrollbar-hover": "#6a5538",
        "scrollbar-active": "#d9a05b",
        "scrollbar-background": "#16171b",
        "scrollbar-background-hover": "#16171b",
        "scrollbar-background-active": "#16171b",
        "block-cursor-background": "#2b2c34",
        "block-cursor-foreground": "#f2efe8",
        "block-cursor-blurred-background": "#22232a",
        "block-hover-background": "#1d1e23",
        "input-selection-background": "#d9a05b 30%",
        "screen-selection-background": "#d9a05b 30%",
        "footer-key-foreground": "#d9a05b",
    },
)

_PUNA = Theme(
    name="puna",
    dark=False,
    primary="#9a5b14",
    secondary="#6f6046",
    accent="#9a5b14",
    foreground="#26241f",
    background="#faf7f1",
    surface="#f3eee3",
    panel="#ebe4d5",
    success="#4c7a31",
    warning="#8a6510",
    error="#a83f2d",
    variables={
        "text": "#26241f",
        "text-muted": "#6d685e",
        "text-disabled": "#938d81",
        "quiet": "#6d685e",
        "faint": "#938d81",
        "text-primary": "#9a5b14",
        "text-secondary": "#6f6046",
        "text-accent": "#9c3f31",
        "text-success": "#44702b",
        "text-warning": "#7c5a0c",
        "text-error": "#a83f2d",
        "border": "#9a5b14",
        "border-blurred": "#d9d0be",
        "scrollbar": "#d8c6a8",
        "scrollbar-hover": "#c4a878",
        "scrollbar-active": "#9a5b14",
        "scrollbar-background": "#faf7f1",
        "scrollbar-background-hover": "#faf7f1",
        "scrollbar-background-active": "#faf7f1",
        "block-cursor-background": "#e9e0ce",
        "block-cursor-foreground": "#16140f",
        "block-cursor-blurred-background": "#efe8da",
        "block-hover-background": "#f3eee3",
        "input-selection-background": "#9a5b14 25%",
        "screen-selection-background": "#9a5b14 25%",
        "footer-key-foreground": "#9a5b14",
    },
)

_TERMINAL = Theme(
    name="terminal",
    ansi=True,
    primary="ansi_yellow",
    secondary="ansi_cyan",
    accent="ansi_yellow",
    warning="ansi_yellow",
    error="ansi_red",
    success="ansi_green",
    foreground="ansi_default",
    background="ansi_default",
    surface="ansi_default",
    panel="ansi_default",
    boost="ansi_default",
    variables={
        "ansi-background": "ansi_default",
        "ansi-foreground": "ansi_default",
        "text-muted": "ansi_default 60%",
        "text-disabled": "ansi_default 60%",
        "border": "ansi_yellow",
        "border-blurred": "ansi_bright_black",
        "scrollbar": "ansi_bright_black",
        "scrollbar-hover": "ansi_yellow",
        "scrollbar-active": "ansi_yellow",
        "scrollbar-background": "ansi_default",
        "scrollbar-background-hover": "ansi_default",
        "scrollbar-background-active": "ansi_default",
        "block-cursor-background": "ansi_yellow",
        "block-cursor-foreground": "ansi_black",
        "block-cursor-blurred-background": "ansi_default",
        "block-cursor-blurred-foreground": "ansi_default",
        "block-cursor-blurred-text-style": "bold",
        "input-cursor-text-style": "reverse",
        "footer-key-foreground": "ansi_yellow",
    },
)

THEMES = (_ALTIPLANO, _PUNA, _TERMINAL)
