"""corral: chat with Llama 2 models in a terminal, offline."""

__version__ = "0.1.0"
