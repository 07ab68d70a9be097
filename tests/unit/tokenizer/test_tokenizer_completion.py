"""Shell completion: the scripts know every command and option, and bash answers as a user expects."""

import shutil
import subprocess

import pytest

from alit.cli import SHELLS, build_parser, main
from alit.completion import commands_of

COMMANDS = ("encode", "tokenize", "decode", "view", "explore", "info", "convert", "bench", "completion")


@pytest.fixture(scope="module")
def scripts() -> dict[str, str]:
    import contextlib
    import io

    found = {}
    for shell in SHELLS:
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            main(["completion", shell])
        found[shell] = printed.getvalue()
    return found


@pytest.mark.parametrize("shell", SHELLS)
def test_a_script_names_every_command_and_every_option(shell, scripts):
    commands = list(commands_of(build_parser()))
    assert tuple(command.name for command in commands) == COMMANDS
    for command in commands:
        assert command.name in scripts[shell]
        actions = command.parser._actions
        options = [option for action in actions for option in action.option_strings if option.startswith("--")]
        assert [option for option in options if option.removeprefix("--") not in scripts[shell]] == []


@pytest.mark.parametrize("shell", SHELLS)
def test_a_shell_that_is_here_reads_its_script(shell, scripts, tmp_path):
    if (program := shutil.which(shell)) is None:
        pytest.skip(f"no {shell} on the PATH")
    (file := tmp_path / "script").write_text(scripts[shell])
    done = subprocess.run([program, "-n", str(file)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def answers(script: str, words: str, folder: str) -> set[str]:
    """Return what bash offers after some words, the last of which is being written."""
    code = (
        f'{script}\nCOMP_WORDS=({words}); COMP_CWORD=$(( ${{#COMP_WORDS[@]}} - 1 )); COMP_LINE="{words}"\n'
        'COMP_POINT=${#COMP_LINE}; _shtab_alit alit "${COMP_WORDS[-1]}" 2>/dev/null\nprintf "%s\\n" "${COMPREPLY[@]}"'
    )
    done = subprocess.run(["bash", "-c", code], capture_output=True, text=True, check=False, cwd=folder)
    return {line.strip() for line in done.stdout.splitlines()}


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash on the PATH")
@pytest.mark.parametrize(
    ("words", "expected", "others"),
    [
        ("alit ''", set(COMMANDS), {"--json"}),
        ("alit en", {"encode"}, {"decode"}),
        ("alit encode --p", {"--progress"}, {"--until-l1"}),
        ("alit info --", {"--json"}, {"--progress"}),
        ("alit bench --size ''", {"tiny", "small", "base", "semilarge"}, {"--size"}),
        ("alit completion ''", set(SHELLS), set()),
        ("alit info t", {"t.alit"}, {"sheet.png"}),
        ("alit view t.alit -o s", {"sheet.png"}, {"t.alit"}),
        ("alit view t.alit -m z", {"zoo"}, {"t.alit"}),
    ],
)
def test_bash_offers_what_fits(words, expected, others, scripts, tmp_path):
    for name in ("t.alit", "sheet.png"):
        (tmp_path / name).touch()
    (tmp_path / "zoo").mkdir()
    found = answers(scripts["bash"], words, str(tmp_path))
    assert expected <= found
    assert not others & found


def test_another_shell_is_refused(capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["completion", "cmd.exe"])
    assert "bash" in capsys.readouterr().err
