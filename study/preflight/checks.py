"""What can be found wrong in a moment: without torch, and without decoding a picture."""

import os
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from study.cluster.folders import folder_faults, store_faults
from study.config.settings import Settings, flag
from study.config.uris import is_server
from study.config.validate import resolve
from study.tracking.client import check_server
from tl_core.data.sources import Source, find_source
from tl_core.errors import Fault, InputError

Value = TypeVar("Value")
_AGAIN = {"resume", "extend", "replay"}
_NEED_TORCH = {"backbone", "weights", "address", "storage", "gpus", "trials_per_gpu", "compile"}
_DOWNLOAD = "oxford-pet"


def early_faults(given: Mapping[str, Any]) -> list[Fault]:
    """Return the faults that need no torch, whose import takes seconds; [] if it must be asked.

    All faults are told together. So where only torch can tell whether something else that was
    given is wrong, these wait for it, unless it is a server that is missing, or an address at
    fault, without which nobody knows what machines there are.
    """
    missing = _server_faults(given)
    if given.keys() & _AGAIN:
        return missing
    settings, faults = resolve(given)
    waits = _asks_torch(given, faults) and not address_faults(faults)
    if not missing and (not faults or waits):
        return []
    look_at_places(settings, faults)
    look_at_data(settings, faults)
    return faults + missing


def address_faults(faults: list[Fault]) -> list[Fault]:
    """Those of the address that was given for a cluster."""
    return [fault for fault in faults if fault.flag == "--address"]


def look_at_places(settings: Settings, faults: list[Fault], new: bool = True) -> None:
    """Add to `faults` why a study can't be written; a `new` one has no folder yet."""
    look_at_folder(settings, faults, new)
    faults += [] if settings.offline else store_faults(settings.tracking_uri)


def look_at_folder(settings: Settings, faults: list[Fault], new: bool = True) -> None:
    """Add to `faults` why the study's own folder can't be written."""
    folder = settings.out / str(settings.name)
    if new and settings.name is not None and os.path.lexists(folder):
        why = f"{folder} exists; choose another name or remove it"
        faults.append(Fault("--name", f"{folder.name}: {why}"))
    faults += folder_faults("--out", folder, settings.out)


def look_at_data(settings: Settings, faults: list[Fault]) -> Source | None:
    """Return the images, not yet decoded, or None with what is wrong added to `faults`.

    A download is left until nothing else is wrong.
    """
    if faults and settings.data == _DOWNLOAD:
        return None
    return attempt(lambda: find_source(settings.data, settings.cache), faults)


def attempt(check: Callable[[], Value], faults: list[Fault]) -> Value | None:
    """Return what `check` gives, or None with what is wrong added to `faults`."""
    try:
        return check()
    except InputError as error:
        faults += error.faults
    except OSError as error:  # A data folder that can't be read.
        faults.append(Fault(None, told(error)))
    return None


def told(error: OSError) -> str:
    """What a system call failed at, and why."""
    name = f"{error.filename}: " if error.filename else ""
    return f"{name}{error.strerror or error}"


def _asks_torch(given: Mapping[str, Any], faults: list[Fault]) -> bool:
    """Whether torch may find more: not in a value that is at fault already."""
    at_fault = {fault.flag for fault in faults}
    return any(flag(name) not in at_fault for name in given.keys() & _NEED_TORCH)


def _server_faults(given: Mapping[str, Any]) -> list[Fault]:
    uri, faults = given.get("tracking_uri", ""), list[Fault]()
    if is_server(uri) and "offline" not in given:
        attempt(lambda: check_server(uri), faults)
    return faults
