"""What this machine has: memory, processor cores, and graphics cards as llama.cpp reports them."""

from __future__ import annotations

import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from corral.engine.protocol import Device
from corral.models.fit.memory import available_memory


@dataclass(frozen=True, slots=True)
class Machine:
    """One look at it; sizes in bytes."""

    memory_total: int
    memory_available: int
    """What one more model may use beside those in memory."""
    devices: tuple[Device, ...] = ()
    """Graphics cards alone."""
    cores: int = 1
    """Physical ones."""
    releasable: int = 0
    """What the models in memory would give back."""
    shared_memory: bool = False
    """The cards use the machine's memory: Apple's, and integrated ones."""
    releasable_on: Mapping[str, int] = field(default_factory=dict)
    """The same on the cards, by the device's name."""

    @property
    def title(self) -> str:
        """In a few words: ``16 GB, Metal``."""
        size = f"{self.memory_total / (1 << 30):.0f} GB"
        if not self.devices:
            return f"{size}, no graphics card"
        names = [_name(device) for device in self.devices]
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        return f"{size}, {names[0]}{more}"


def look(
    devices: Sequence[Device] = (),
    *,
    private: int = 0,
    mapped: int = 0,
    on_cards: Mapping[str, int] | None = None,
) -> Machine:
    """What this machine has at the moment.

    Args:
        devices: as the engine describes them.
        private: bytes of the workers' processes alone, for all models in memory.
        mapped: bytes of their weights in the page cache, which the system calls available.
        on_cards: bytes they keep on graphics cards, by name.
    """
    import psutil

    cards = tuple(device for device in devices if device.kind in ("gpu", "integrated"))
    shared = bool(cards) and (_is_apple() or all(device.kind == "integrated" for device in cards))
    return Machine(
        memory_total=psutil.virtual_memory().total,
        memory_available=max(0, available_memory() - mapped),
        devices=cards,
        cores=psutil.cpu_count(logical=False) or psutil.cpu_count() or 1,
        releasable=private + mapped,
        shared_memory=shared,
        releasable_on=dict(on_cards or {}),
    )


def on_battery() -> bool:
    """Whether it runs from its battery; False where that is not known."""
    import psutil

    try:
        battery = psutil.sensors_battery()
    except (AttributeError, OSError, ValueError):  # Not on every system, and files may be odd.
        return False
    return battery is not None and battery.power_plugged is False


def fingerprint() -> str:
    """Tells this machine and this build of the engine from others: what was measured with one says
    nothing about another."""
    from importlib import metadata

    import psutil

    try:
        build = metadata.version("llama-cpp-python")
    except metadata.PackageNotFoundError:
        build = "none"
    memory = psutil.virtual_memory().total >> 30
    parts = (build, sys.platform, platform.machine(), platform.processor(), psutil.cpu_count())
    return "|".join(str(part) for part in (*parts, memory))


def _is_apple() -> bool:
    return sys.platform == "darwin" and platform.machine() == "arm64"


def _name(device: Device) -> str:
    return "Metal" if device.name.lower().startswith(("metal", "mtl")) else device.name
