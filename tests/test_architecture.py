"""The house laws that a machine can check."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = sorted([*(ROOT / "ma2ml_env").rglob("*.py"), *(ROOT / "ma2ml_agents").rglob("*.py")])


def test_import_is_light():
    """What it imports of others tells, on every machine: numpy, gymnasium and pettingzoo take .2 s, torch alone seconds."""
    program = (
        "import sys; before = set(sys.modules); import ma2ml_env;"
        "print(*{name.partition('.')[0] for name in set(sys.modules) - before})"
    )
    out = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    others = set(out.split()) - sys.stdlib_module_names
    # What these three bring: cython is numpy's, farama_notifications and typing_extensions gymnasium's.
    brought = {"farama_notifications", "typing_extensions", "cython_runtime", "__mp_main__"}
    light = {name for name in others if name in brought or name.startswith("_cython")}
    assert others - light == {"ma2ml_env", "numpy", "gymnasium", "pettingzoo"}
    assert "sqlite3" not in out.split()


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_file(path):
    text = path.read_text()
    tree = ast.parse(text)
    assert text.count("\n") <= 400, "the hard limit on a file's length"
    assert ast.get_docstring(tree), "every file says what it is"
    assert not re.search(r"\bnp\.random\.(?!Generator|default_rng|SeedSequence|PCG64)", text), "no global randomness"
    assert "TYPE_CHECKING" not in text, "an import for types alone hides a cycle"
    package = path.relative_to(ROOT).parts[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            assert all(alias.name != package for alias in node.names), "no import of the own package root"
        if isinstance(node, ast.ImportFrom):
            assert node.module != package, "no import of the own package root"
            assert not node.level, "imports are absolute"


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_nothing_runs_code_from_a_file(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            assert name not in {"eval", "exec", "pickle.load", "pickle.loads", "yaml.load"} or path.name == "testing.py"
            if name == "torch.load":
                assert any(k.arg == "weights_only" and ast.unparse(k.value) == "True" for k in node.keywords)


def test_every_package_stands_in_a_contract():
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    lists = [
        contract.get(key, []) for contract in contracts for key in ("source_modules", "forbidden_modules", "layers")
    ]
    told = {module for names in lists for module in names} - {"ma2ml_env", "ma2ml_agents"}
    packages = {".".join(path.relative_to(ROOT).parts[:2]) for path in SOURCES if len(path.relative_to(ROOT).parts) > 2}
    assert len(packages) > 15
    for package in packages:
        assert any(name == package or name.startswith(f"{package}.") for name in told), f"{package} is in no contract"


@pytest.mark.slow
def test_every_public_name_can_be_called_after_all_modules_are_imported():
    """No package or file takes the name of a public function away: `ma2ml_agents.search` stays the function."""
    program = """
import importlib, pkgutil, types
import ma2ml_agents, ma2ml_env
for root in (ma2ml_env, ma2ml_agents):
    for module in pkgutil.walk_packages(root.__path__, root.__name__ + "."):
        try:
            importlib.import_module(module.name)
        except ImportError:
            optional = module.name.endswith(("ray_pool", "export_loader", "optuna_sampler"))
            assert ".integrations." in module.name or optional, module.name
    for name in root.__all__:
        assert not isinstance(getattr(root, name), types.ModuleType), name
game = ma2ml_env.make_game("digits-v0", "surrogate")
learner = ma2ml_agents.make_learner("random", game.spec)
print(ma2ml_agents.search(game, learner, budget=2).number in (0, 1))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "True", done.stderr
