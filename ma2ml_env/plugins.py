"""Parts of one's own from a file, without a package: `ma2ml search ... --plugin my_file.py`.

The file is imported under its own name, and registers what it has:

    from ma2ml_env import register

    register("learners", "mine", "my_file:Mine")

Processes that this one starts find it as well, by an environment variable. A run stores a plugin's name and digest, never its
place: nothing is imported because a run says so.
"""

import hashlib
import importlib.util
import os
import sys
from pathlib import Path

VARIABLE = "MA2ML_PLUGINS"
"""places of plugins, of this process and those that it starts"""

_loaded: dict[str, str] = {}


def load(place: str | Path) -> str:
    """Import a file, and tell processes that are started from here on of it; return its name.

    Raises:
        ValueError: if there is no such file, its name is not a module's, taken, or the file cannot be imported.
    """
    path = Path(place).expanduser().absolute()
    name, known = path.stem, os.environ.get(VARIABLE, "").split(os.pathsep)
    if path.suffix != ".py" or not name.isidentifier():
        raise ValueError(f"--plugin takes a Python file whose name can be imported, as my_parts.py; not {place}")
    if not path.is_file():
        raise ValueError(f"--plugin {place}: there is no such file")
    if os.pathsep in str(path):
        raise ValueError(f"--plugin {place}: its path has a {os.pathsep!r}, which separates paths; move it")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    if _loaded.get(path.name) == digest:
        return path.name
    if path.name in _loaded or name in sys.modules or _another(name, path):
        raise ValueError(f"--plugin {place}: there is a module {name!r} already; give the file another name")
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    _loaded[path.name] = digest
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name], _loaded[path.name]
        raise ValueError(f"--plugin {place} cannot be imported: {type(error).__name__}: {error}") from error
    os.environ[VARIABLE] = os.pathsep.join([*filter(None, known), *[str(path)] * (str(path) not in known)])
    return path.name


def _another(name: str, path: Path) -> bool:
    """Whether `import name` finds something else than this file."""
    found = importlib.util.find_spec(name)
    return found is not None and (found.origin is None or Path(found.origin).resolve() != path.resolve())


def loaded() -> dict[str, str]:
    """Name of a plugin's file -> digest of it, of all that are loaded here; those of the environment variable are loaded.

    Raises:
        ValueError: as `load`.
    """
    for place in filter(None, os.environ.get(VARIABLE, "").split(os.pathsep)):
        if Path(place).name not in _loaded:  # one that is being imported is there already
            load(place)
    return dict(_loaded)
