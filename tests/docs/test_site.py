"""The site has every page, and only pages that there are; `make docs` builds it strictly."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]


def pages(nav):
    for entry in nav:
        if isinstance(entry, str):
            yield entry
        else:
            for target in entry.values():
                yield from [target] if isinstance(target, str) else pages(target)


def test_every_page_stands_in_the_navigation_once():
    nav = tomllib.loads((ROOT / "zensical.toml").read_text())["project"]["nav"]
    there = sorted(path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md"))
    assert sorted(pages(nav)) == there


def test_no_page_leads_out_of_the_folder():
    """What a site does not have would be a broken link."""
    for page in (ROOT / "docs").rglob("*.md"):
        depth = len(page.relative_to(ROOT / "docs").parts) - 1
        for link in re.findall(r"\]\((?!https?:|#)([^)]+)\)", page.read_text()):
            assert link.count("../") <= depth, f"{page}: {link}"
            assert (page.parent / link.partition("#")[0]).is_file(), f"{page}: {link}"


def test_the_api_names_what_is_there():
    import importlib

    for page in (ROOT / "docs" / "api").glob("*.md"):
        for name in re.findall(r"^::: (\S+)$", page.read_text(), re.MULTILINE):
            module, _, attribute = name.rpartition(".")
            try:
                importlib.import_module(name)
            except ImportError:
                assert hasattr(importlib.import_module(module), attribute), f"{page.name}: {name}"


def test_the_api_has_all_that_the_package_offers():
    import ma2ml_env

    told = (ROOT / "docs" / "api" / "environment.md").read_text()
    for name in ma2ml_env.__all__:
        assert re.search(rf"^::: \S+\.{name}$", told, re.MULTILINE), name
