"""PyInstaller: the engine's libraries are opened by name, so nothing imports them."""

from PyInstaller.utils.hooks import collect_dynamic_libs

binaries = collect_dynamic_libs("llama_cpp")
