"""The loop of every training stage: progress, log, resume state, and a stop where a loss is no longer finite."""

import csv
import os
import signal
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor, nn
from tqdm import tqdm

from alit.errors import CheckpointError, TrainingError
from alit.training.engine.fabric import default_randomness, gradient_scaler
from alit.training.optim import OptimizationConfig

if TYPE_CHECKING:  # slow to import, and settings do not need it
    from lightning_fabric import Fabric

STATE_FILE = "state.ckpt"
LOG_FILE = "log.csv"
SIGNALS = (signal.SIGINT, signal.SIGTERM)


class TrainingStage(Protocol):
    """A training that the loop runs. A step depends on the saved state and on the step's number, on nothing else."""

    name: str
    seed: int
    columns: tuple[str, ...]  # names of the scalars that steps return

    def step(self, step: int) -> Mapping[str, Tensor]:
        """Take one optimizer step; return scalars without gradient: "loss", and others where they occur."""
        ...

    def state(self) -> dict[str, Any]:
        """Return the objects that resuming restores, by name: modules, optimizers, anything with `state_dict`."""
        ...

    def image_ids(self, step: int) -> Sequence[str]:
        """Return the ids of the images of a step's batch."""
        ...


def run_training(
    stage: TrainingStage, *, fabric: "Fabric", config: OptimizationConfig, scratch: Path, description: str
) -> None:
    """Run `stage` to `config.steps`, going on from the state in `scratch` if there is one.

    `scratch` receives `log.csv` and `state.ckpt`, replaced atomically every `save_every` steps, at the end, and
    after Ctrl-C or SIGTERM. A resumed run ends with the weights of an uninterrupted one, on a CPU bit for bit.

    Raises:
        TrainingError: a loss, or the weights about to be saved, are not finite; the last good state is kept.
        CheckpointError: the state cannot be read.
        KeyboardInterrupt: after saving, when the run was interrupted.
    """
    scratch.mkdir(parents=True, exist_ok=True)
    run = _Run(stage, fabric, config, scratch)
    run.resume()
    with Interruption() as interruption, run.open_log() as log, _progress_bar(run, description) as bar:
        while run.progress.steps < config.steps:
            run.step()
            bar.update()
            steps = run.progress.steps
            stop = _any_interrupted(interruption.interrupted, fabric, steps)
            last = steps == config.steps
            if stop or last or steps % config.save_every == 0 or steps % config.log_every == 0:
                run.require_finite_losses()
            if last or steps % config.log_every == 0:
                bar.set_postfix(loss=f"{run.write_row(log):.4g}", refresh=False)
            if stop or last or steps % config.save_every == 0:
                run.save()
            if stop and not last:
                raise KeyboardInterrupt


class _Run:
    """One run of the loop: the stage with its progress and files."""

    def __init__(self, stage: TrainingStage, fabric: "Fabric", config: OptimizationConfig, scratch: Path) -> None:
        self.stage = stage
        self.fabric = fabric
        self.config = config
        self.scratch = scratch
        self.file = scratch / STATE_FILE
        self.progress = Progress()
        self.saved_steps: int | None = None
        self.unchecked_losses: list[Tensor] = []  # checked together: each check waits for the device

    def resume(self) -> None:
        """Load the saved state, if any."""
        self.fabric.barrier()
        if not self.file.is_file():
            return
        state = {**self.stage.state(), "progress": self.progress}
        try:
            self.fabric.load(self.file, state, weights_only=True)
        except Exception as error:
            raise CheckpointError(
                f"expected the resume state of this run in {self.file}, but it cannot be read "
                f"({type(error).__name__}: {error}); delete it to start again"
            ) from error
        scaler = gradient_scaler(self.fabric)
        if scaler is not None and self.progress.scaler:  # states of earlier versions have none
            scaler.load_state_dict(self.progress.scaler)
        self.saved_steps = self.progress.steps

    def open_log(self) -> "TrainingLog | NoLog":
        """Open the log, which the first process alone writes."""
        if not self.fabric.is_global_zero:
            return NoLog()
        return TrainingLog(self.scratch / LOG_FILE, self.stage.columns, self.progress.steps)

    def step(self) -> None:
        """Run one step of the stage."""
        began = time.perf_counter()
        number, rank = self.progress.steps, self.fabric.global_rank
        with default_randomness(self.stage.seed, self.stage.name, number, rank, device=self.fabric.device):
            values = self.stage.step(number)
        self.unchecked_losses.append(values["loss"].detach())
        self.progress.add(values)
        self.progress.seconds += time.perf_counter() - began

    def write_row(self, log: "TrainingLog | NoLog") -> float:
        """Write the means since the last row; return that of the loss."""
        means = self.progress.take_means(self.stage.columns, self.fabric)
        steps = self.progress.steps
        log.write(steps, steps * self.config.batch_size, self.progress.seconds, means)
        loss = means[self.stage.columns.index("loss")]
        assert loss is not None
        return loss

    def save(self) -> None:
        """Replace the resume state, unless the weights are no longer finite."""
        scaler = gradient_scaler(self.fabric)
        self.progress.scaler = {} if scaler is None else scaler.state_dict()
        state = {**self.stage.state(), "progress": self.progress}
        modules = [value for value in state.values() if isinstance(value, nn.Module)]
        if not all(bool(p.isfinite().all()) for module in modules for p in module.parameters()):
            self._stop("the weights are", self.progress.steps - 1)
        partial = self.file.with_name(self.file.name + ".partial")
        self.fabric.save(partial, state)
        if self.fabric.is_global_zero:
            os.replace(partial, self.file)
        self.fabric.barrier()
        self.saved_steps = self.progress.steps

    def require_finite_losses(self) -> None:
        """Check the losses of all processes since the last check."""
        finite = torch.stack(self.unchecked_losses).isfinite().int()
        first = self.progress.steps - len(self.unchecked_losses)
        self.unchecked_losses = []
        summed = self.fabric.all_reduce(finite, reduce_op="sum")
        assert isinstance(summed, Tensor)
        bad = (summed < self.fabric.world_size).nonzero()
        if len(bad):
            self._stop("the loss is", first + int(bad[0]))

    def _stop(self, what: str, step: int) -> None:
        kept = "no state had been saved"
        if self.saved_steps is not None:
            kept = f"the last good state, after {self.saved_steps} steps, is {self.file}"
        ids = ", ".join(self.stage.image_ids(step))
        raise TrainingError(
            f"stage {self.stage.name}: {what} no longer finite at step {step}; {kept}; a lower learning "
            f"rate, a smaller clip_norm or precision 32-true may help; images of the batch: {ids}"
        )


class Progress:
    """The steps and seconds of a training so far, and the sums of its scalars since the last row of the log."""

    def __init__(self) -> None:
        self.steps = 0
        self.seconds = 0.0
        self.sums: dict[str, Tensor] = {}
        self.counts: dict[str, int] = {}
        self.scaler: dict[str, Any] = {}  # of the gradient scaler, when last saved

    def add(self, values: Mapping[str, Tensor]) -> None:
        """Count one step and its scalars, without waiting for the device that computes them."""
        self.steps += 1
        for name, value in values.items():
            value = value.detach()
            self.sums[name] = self.sums[name] + value if name in self.sums else value
            self.counts[name] = self.counts.get(name, 0) + 1

    def take_means(self, columns: Sequence[str], fabric: "Fabric") -> list[float | None]:
        """Return each column's mean over steps and processes, None where it did not occur, and start again."""
        names = [name for name in columns if name in self.sums]
        means = torch.stack([self.sums[name].float() / self.counts[name] for name in names])
        reduced = fabric.all_reduce(means, reduce_op="mean")
        assert isinstance(reduced, Tensor)
        known = dict(zip(names, reduced.tolist(), strict=True))
        self.sums, self.counts = {}, {}
        return [known.get(name) for name in columns]

    def state_dict(self) -> dict[str, Any]:
        """Return what resuming needs."""
        return dict(self.__dict__)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self.__dict__.update(state)


def _any_interrupted(interrupted: bool, fabric: "Fabric", steps: int) -> bool:
    """Return whether any process was interrupted; several processes exchange it in each tenth step only, for speed."""
    if fabric.world_size == 1:
        return interrupted
    if steps % 10:
        return False
    votes = fabric.all_reduce(torch.tensor(float(interrupted), device=fabric.device), reduce_op="sum")
    return float(votes) > 0  # type: ignore[arg-type]


def _progress_bar(run: _Run, description: str) -> "tqdm[Any]":
    return tqdm(
        total=run.config.steps,
        initial=run.progress.steps,
        desc=description,
        unit="step",
        disable=not run.fabric.is_global_zero,
        mininterval=0.5 if sys.stderr.isatty() else 30,
    )


class Interruption:
    """Remembers the first Ctrl-C or SIGTERM within the block; a second one acts as usual.

    Outside the main thread Python delivers no signals, and the block does nothing.
    """

    def __init__(self) -> None:
        self.interrupted = False
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> "Interruption":
        if threading.current_thread() is threading.main_thread():
            self._previous = {number: signal.signal(number, self._remember) for number in SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore()

    def _remember(self, number: int, frame: FrameType | None) -> None:
        self.interrupted = True
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)


class TrainingLog:
    """A CSV file with the columns step, images, seconds and those of the stage.

    Opening it drops what was written after `step`, the step that training resumes from, and a torn last line.
    `images` counts image visits, `seconds` the wall time spent training in all runs together.
    """

    def __init__(self, path: Path, columns: Sequence[str], step: int) -> None:
        self.columns = ("step", "images", "seconds", *columns)
        kept = _rows_until(path, self.columns, step)
        partial = path.with_name(path.name + ".partial")
        with partial.open("w", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows([self.columns, *kept])
        os.replace(partial, path)
        self._file = path.open("a", newline="")

    def write(self, step: int, images: int, seconds: float, values: Sequence[float | None]) -> None:
        """Append one row; an empty field means that the quantity did not occur since the last row."""
        numbers = ["" if value is None else f"{value:.6g}" for value in values]
        csv.writer(self._file, lineterminator="\n").writerow([step, images, f"{seconds:.1f}", *numbers])
        self._file.flush()

    def __enter__(self) -> "TrainingLog":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()


class NoLog:
    """The log of a process that keeps none. (A file renamed to /dev/null would take the device's place.)"""

    def write(self, step: int, images: int, seconds: float, values: Sequence[float | None]) -> None:
        """Write nothing."""

    def __enter__(self) -> "NoLog":
        return self

    def __exit__(self, *fault: object) -> None:
        pass


def _rows_until(path: Path, columns: Sequence[str], step: int) -> list[list[str]]:
    """Return the complete rows of an existing log up to `step`."""
    if not path.is_file():
        return []
    with path.open(newline="") as file:
        rows = list(csv.reader(file))[1:]
    return [row for row in rows if len(row) == len(columns) and row[0].isdigit() and int(row[0]) <= step]
