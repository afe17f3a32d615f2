"""What hostile files are made of: any JSON, real JSON with a part of it replaced, and a watch over what reading them does."""

import copy
import json
import sqlite3
import sys
from contextlib import closing, contextmanager
from pathlib import Path

from hypothesis import strategies as st

from ma2ml_env.store.database import digest

DEEP = json.loads("[" * 100 + "]" * 100)
NASTY = st.sampled_from(
    [
        -1,
        10**30,
        10**400,
        1e308,
        float("nan"),
        float("inf"),
        "",
        "x" * 1000,
        "\ud800",
        "[/x]",
        "\x1b[2J",
        "../../up",
        "/dev/zero",
        DEEP,
    ]
)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | NASTY,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5) | NASTY.map(str), inner, max_size=3)
    ),
    max_leaves=5,
)


def places(value):
    """(container, key) of everything inside a JSON value."""
    for key, item in list(value.items() if isinstance(value, dict) else enumerate(value)):
        yield value, key
        if isinstance(item, (dict, list)):
            yield from places(item)


@st.composite
def broken(draw, real):
    """Real JSON of which one to three parts are replaced, left out or named otherwise; or something else altogether."""
    value = copy.deepcopy(real)
    for _ in range(draw(st.integers(1, 3))):
        found = list(places(value))
        if not found or draw(st.integers(0, 20)) == 0:
            return copy.deepcopy(draw(ANYTHING))
        container, key = draw(st.sampled_from(found))
        kind = draw(st.sampled_from(["other", "other", "none", "renamed"]))
        if kind == "other":
            container[key] = copy.deepcopy(draw(ANYTHING))
        elif isinstance(container, dict):
            item = container.pop(key)
            if kind == "renamed":
                container[draw(st.text(max_size=5))] = item
        else:
            del container[key]
    return value


def rows(folder, table):
    """Of a run's database, as column -> value."""
    with closing(sqlite3.connect(folder / "run.sqlite")) as db:
        db.row_factory = sqlite3.Row
        return [dict(row) for row in db.execute(f"SELECT * FROM {table}")]


def overwrite(folder, table, row, column, value):
    """Put a value into a row (as `rows` gave it), with a digest that is right: who writes a file can compute it.

    False if SQLite itself will not have it.
    """
    key = next(iter(row))
    with closing(sqlite3.connect(folder / "run.sqlite")) as db:
        try:
            db.execute(f"UPDATE {table} SET {column} = ? WHERE {key} IS ?", (value, row[key]))
            place = value if column == key else row[key]
            (stored,) = db.execute(f"SELECT * FROM {table} WHERE {key} IS ?", (place,)).fetchall()  # as SQLite has it
        except (sqlite3.Error, UnicodeError, ValueError):
            return False
        db.execute(f"UPDATE {table} SET digest = ? WHERE {key} IS ?", (marked(db, stored), place))
        db.commit()
    return True


def marked(db, stored):
    """The digest of a row, which is of the run's id as well."""
    ids = db.execute("SELECT json FROM meta WHERE key = 'id'").fetchall()
    return digest(*stored[:-1]) if not ids or stored[0] == "id" else digest(json.loads(ids[0][0]), *stored[:-1])


class Watch:
    """Sees, while it is on, code that is run and files that are written outside of some folders."""

    def __init__(self):
        self.allowed = None
        self.seen = []
        sys.addaudithook(self._hook)  # there is no way to take it off again

    @contextmanager
    def __call__(self, *folders):
        self.allowed, self.seen = [Path(folder).resolve() for folder in folders], []
        try:
            yield self.seen
        finally:
            self.allowed = None

    def _hook(self, event, args):
        if self.allowed is None:
            return
        if event in (
            "os.system",
            "subprocess.Popen",
            "os.exec",
            "os.posix_spawn",
            "os.fork",
            "pickle.find_class",
            "socket.connect",
        ):
            self.seen.append((event, str(args)[:200]))
        elif event == "open" and isinstance(args[0], str) and set(args[1] or "") & set("wax+"):
            place = Path(args[0]).resolve()
            if not any(place.is_relative_to(folder) for folder in self.allowed):
                self.seen.append((event, args[0]))
