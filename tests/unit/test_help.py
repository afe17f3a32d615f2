"""What a new user reads first: `ma2ml list` at 80 columns, an example in every help, completion for the shell."""

import re
import shlex
import shutil
import subprocess

import pytest

from ma2ml_agents.cli.commands import COMMANDS, EXAMPLES, parse
from ma2ml_agents.cli.main import main
from ma2ml_agents.registry import LEARNERS
from ma2ml_env.registry import names


def test_a_list_has_no_line_beyond_80_columns(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    begun = {line.split()[0] for line in lines if line[:1].strip()}
    assert set(LEARNERS) | set(names("games")) <= begun  # each begins a line of its own


def test_every_command_has_an_example_and_no_other_has():
    assert list(EXAMPLES) == list(COMMANDS)


@pytest.mark.parametrize("command", EXAMPLES)
def test_an_example_is_a_command_and_stands_in_its_help(command, capsys):
    example = EXAMPLES[command]
    words = shlex.split(re.sub(r" > \S+$", "", example))
    assert words[:2] == ["ma2ml", command]
    assert isinstance(parse(words[1:]), COMMANDS[command])
    with pytest.raises(SystemExit, match=r"^0$"):
        parse([command, "--help"])
    assert f"Example: {example}" in capsys.readouterr().out


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_bash_completes_commands_and_options(capsys, tmp_path):
    with pytest.raises(SystemExit) as stop:
        parse(["--tyro-print-completion", "bash"])
    assert not stop.value.code
    script = tmp_path / "ma2ml"
    script.write_text(capsys.readouterr().out)
    subprocess.run(["bash", "-n", str(script)], check=True)
    ask = tmp_path / "ask.sh"
    ask.write_text(
        f"source {script}\nCOMP_WORDS=(ma2ml re); COMP_CWORD=1; COMP_LINE='ma2ml re'; COMP_POINT=8\n"
        '_tyro_ma2ml ma2ml re ma2ml\necho "${COMPREPLY[@]}"\n'
    )
    told = subprocess.run(["bash", str(ask)], capture_output=True, text=True, check=True).stdout
    assert {"resume", "retrain", "report"} <= set(told.split())
