"""What people are told of files: what is wrong with which, and how they were read where that is not as usual."""

from collections.abc import Iterator, Mapping, Sequence

from ma2ml_env.training.data.reader import Read

SHOWN = 20
"""names in a message"""


def few(names: Sequence[str]) -> str:
    """The first of them, and how many there are beside."""
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")


def grouped(bad: Mapping[str, str]) -> str:
    """Names by what is wrong with them."""
    names: dict[str, list[str]] = {}
    for name, why in bad.items():
        names.setdefault(why, []).append(name)
    return "; ".join(f"{few(some)} {why}" for why, some in names.items())


def swallowed(names: Sequence[str], background: str) -> str:
    """Of pictures that stand in their transparency alone."""
    return f"{few(names)}: nothing is seen of a transparent picture on {background}; give another --background"


def notes(read: Read, background: str) -> Iterator[str]:
    """What is not as usual."""
    entries = read.squares.entries
    if read.bad:
        yield f"left out {len(read.bad)} files: {grouped(read.bad)}"
    if several := sum(entry.several for entry in entries.values()):
        yield f"{several} files hold several frames or pages: the first is taken"
    if upper := sum(entry.mode.endswith(";16") and entry.depth == "byte" for entry in entries.values()):
        yield f"{upper} files hold colours of 16 bits: the upper 8 are read"
    if vanished := [name for name, entry in entries.items() if entry.vanished]:
        yield swallowed(vanished, background)
    if read.depth != "byte":
        low, high = read.squares.value_range
        yield f"values from {low:g} to {high:g} became 0 to 255"
