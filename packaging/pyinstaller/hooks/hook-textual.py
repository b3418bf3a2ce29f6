"""PyInstaller: widgets and drivers are imported by name, when they are first used."""

from PyInstaller.utils.hooks import collect_data_files, collect_submodules

hiddenimports = [*collect_submodules("textual.widgets"), *collect_submodules("textual.drivers")]
datas = collect_data_files("textual")
