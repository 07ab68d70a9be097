"""Devices that are not here, or are none: one line before any work."""

import pytest
import torch

from alit.errors import ConfigError
from alit.training.engine.fabric import build_fabric, quick_precision, require_devices


@pytest.mark.parametrize(
    ("device", "devices", "cards", "reason"),
    [
        ("cuda", 1, 0, "found 0 GPUs that torch can use; set device to cpu"),
        ("cuda", 4, 2, "found 2 GPUs that torch can use; set devices to 2"),
        ("auto", 4, 2, "found 2 GPUs that torch can use; set devices to 2"),
        ("cpu", 0, 0, "devices: expected at least 1, found 0"),
        ("cuda", -1, 2, "devices: expected at least 1, found -1"),
        ("tpu", 1, 0, "device: expected one of auto, cpu, cuda, found tpu"),
        ("cuda:0", 1, 1, "device: expected one of auto, cpu, cuda, found cuda:0"),
        ("", 1, 0, "device: expected one of"),
    ],
)
def test_devices_that_are_not_here_are_named(device, devices, cards, reason, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: cards)
    for ask in (require_devices, build_fabric):
        with pytest.raises(ConfigError, match=reason):
            ask(device, devices)


def test_devices_that_are_here_pass(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    for device, devices in (("cuda", 2), ("auto", 1), ("cpu", 8)):
        require_devices(device, devices)


@pytest.mark.parametrize(
    ("precision", "device", "capability", "computed"),
    [
        ("bf16-mixed", "cpu", "AVX2", "32-true"),
        ("bf16-mixed", "cpu", "DEFAULT", "32-true"),
        ("bf16-mixed", "cpu", "AVX512", "bf16-mixed"),
        ("bf16-mixed", "cuda", "AVX2", "bf16-mixed"),
        ("16-mixed", "cpu", "AVX2", "16-mixed"),
        ("32-true", "cpu", "AVX2", "32-true"),
    ],
)
def test_bfloat16_that_a_cpu_would_emulate_is_computed_in_float32(precision, device, capability, computed, monkeypatch):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    assert quick_precision(precision, torch.device(device)) == computed
