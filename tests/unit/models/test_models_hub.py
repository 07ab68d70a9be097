"""No network, or an odd one: one line within seconds that says what was wanted and what to do instead."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from huggingface_hub import constants

from alit.environment import NAMES, settle_environment
from alit.errors import CheckpointError, ConfigError
from alit.models import hub
from alit.models.hub import fault_of_hub, fetch_file, offline_where_unreachable
from alit.tasks.pretrained import download
from alit.tasks.weights import torch_cache


class OddError(Exception):
    """Of whatever speaks HTTP."""


@pytest.fixture
def unreachable(monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    fault_of_hub.cache_clear()
    yield
    fault_of_hub.cache_clear()


@pytest.mark.parametrize("error", [ImportError("no socksio"), OSError("refused"), OddError("odd"), ValueError("x\ny")])
def test_whatever_the_client_raises_is_one_line(error, monkeypatch):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(hub, "hf_hub_download", fail)
    monkeypatch.setattr(hub, "fault_of_hub", lambda _: "")
    with pytest.raises(CheckpointError, match=r"^no model: .*; do this$"):
        fetch_file("a/b", "c", expected="no model", instead="do this")
    with pytest.raises(CheckpointError, match="expected published weights of it"):
        download("it", lambda: fail())


def test_faults_of_the_suite_pass_through():
    def fail(error):
        raise error

    for error in (ConfigError("mine"), ModuleNotFoundError("no timm", name="timm")):
        with pytest.raises(type(error)):
            download("it", lambda error=error: fail(error))


def test_a_hub_that_refuses_is_asked_once_and_the_cache_is_still_read(unreachable, monkeypatch):
    seen = []

    def cached(repository, name, **_):
        seen.append(constants.HF_HUB_OFFLINE)
        return "/a/file"

    monkeypatch.setattr(hub, "hf_hub_download", cached)
    assert str(fetch_file("a/b", "c", expected="x", instead="y")) == "/a/file"
    assert seen == [True]
    assert constants.HF_HUB_OFFLINE is False
    with offline_where_unreachable() as fault:
        assert fault


def test_nobody_is_asked_where_the_cache_alone_is_wanted(monkeypatch):
    monkeypatch.setattr(hub, "fault_of_hub", lambda _: pytest.fail("asked"))
    with offline_where_unreachable(asked=False) as fault:
        assert fault == ""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with offline_where_unreachable() as fault:
        assert fault == ""


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        {"HF_ENDPOINT": "http://127.0.0.1:9"},
        {"HF_ENDPOINT": "http://no.such.host.invalid"},
        {"HF_ENDPOINT": "nonsense"},
        {"ALL_PROXY": "socks5://127.0.0.1:9"},
        {"HF_ENDPOINT": "", "HTTPS_PROXY": "http://127.0.0.1:9"},
        {"HTTPS_PROXY": "nonsense://x"},
        {"HF_HUB_OFFLINE": "1"},
    ],
)
def test_odd_network_settings_end_in_one_line(settings, tmp_path):
    network = {
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "ALL_PROXY",
        "NO_PROXY",
        "HF_HUB_OFFLINE",
        "HF_ENDPOINT",
        "TRANSFORMERS_OFFLINE",
    }
    environment = {name: value for name, value in os.environ.items() if name.upper() not in network} | settings
    command = [sys.executable, "-m", "alit.cli", "bench", "someone/model"]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=90, check=False
    )
    assert done.returncode == 2, done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith("error: expected a checkpoint folder or hub id, found none at someone/model: ")
    assert "give a folder with config.json and model.safetensors instead" in last
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "hub").exists()


def test_an_empty_variable_is_unset(monkeypatch):
    for name in NAMES:
        monkeypatch.setenv(name, "")
    expected = Path.home() / ".cache" / "torch" / "hub" / "checkpoints"
    assert torch_cache() == expected
    settle_environment()
    assert not set(NAMES) & set(os.environ)
    assert torch_cache() == expected
    monkeypatch.setenv("TORCH_HOME", "/elsewhere")
    settle_environment()
    assert torch_cache() == Path("/elsewhere/hub/checkpoints")
    monkeypatch.setenv("HF_ENDPOINT", "http://[::1")
    with pytest.raises(ConfigError, match="expected an address in HF_ENDPOINT"):
        settle_environment()
