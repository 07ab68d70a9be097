"""Commands of experiments/ that write one file: none writes over a file of another kind."""

import pytest

from alit.errors import ConfigError
from experiments import memory, picture, simulation, training_cost

COMMANDS = {
    "memory": (memory.main, ["paper"]),
    "picture": (picture.main, []),
    "simulation": (simulation.main, ["--tables", "1"]),
    "training_cost": (training_cost.main, ["paper"]),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_file_of_another_kind_stays(name, tmp_path):
    command, arguments = COMMANDS[name]
    (note := tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match=r"found another file; choose another output$"):
        command([*arguments, "-o", str(note)])
    assert note.read_text() == "mine"
