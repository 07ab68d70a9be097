"""The loader of training: the same batches for any number of workers, from any step, and past what cannot be read."""

import os
import pickle
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from photo_project import Project, one_set
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter
from training_cases import SEED, base_config, perceptual, tokenizer_config

from alit.data.imageset import Subset, open_set
from alit.errors import DataError
from alit.training.base import train_base
from alit.training.engine.execution import ExecutionConfig
from alit.training.engine.fabric import build_fabric
from alit.training.engine.loader import Augmentation, BatchSampler
from alit.training.engine.views import ViewDataset, ViewLoader, ViewRequest

# torch warns where there are fewer cores than workers.
pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create")
CROPS = Augmentation(True, 0.5)


class Rank:
    """One of several processes."""

    device = torch.device("cpu")

    def __init__(self, rank, processes):
        self.global_rank, self.world_size = rank, processes

    def to_device(self, value):
        return value


@pytest.fixture
def project(tmp_path):
    return Project(tmp_path)


def opened(project, share=0.0, **changes):
    """The photographs, read from their files."""
    project.materialize(one_set(**({"pack": False} | changes)), share=share)
    return open_set(project.data / "photos")


def sampler(images, workers=0, fabric=None, augmentation=CROPS):
    fabric = fabric or Rank(0, 1)
    return BatchSampler(images, 4, augmentation, fabric=fabric, seed=3, stage="test", workers=workers)


def draw_all(draw, steps):
    return [draw(step) for step in range(steps)]


def assert_same(batch, other):
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(batch, other, strict=True))


@pytest.mark.slow
def test_batches_are_the_same_for_any_number_of_workers(project):
    images = opened(project)
    samplers = [sampler(images, workers) for workers in (0, 1, 3)]
    for step in range(7):
        first, *others = (each(step) for each in samplers)
        assert first.images.shape == (4, 3, 16, 16)
        for other in others:
            assert_same(other, first)


@pytest.mark.slow
def test_a_resumed_training_sees_what_an_uninterrupted_one_does(project):
    images = opened(project)
    whole = sampler(images)
    for workers in (0, 2):
        resumed = sampler(images, workers)
        for step in (5, 6, 2, 3):  # from a later step, and back, as where a codebook is drawn from the coming batches
            assert_same(resumed(step), whole(step))


@pytest.mark.slow
def test_a_training_ends_with_the_same_weights_for_any_number_of_workers(project, tmp_path):
    images = opened(project)

    def trained(workers):
        network = train_base(
            *(tokenizer_config().base, base_config(), images, perceptual()),
            augmentation=CROPS,
            fabric=build_fabric("cpu", 1),
            seed=SEED,
            scratch=tmp_path / f"workers-{workers}",
            execution=ExecutionConfig(workers=workers),
        )
        return network.state_dict()

    weights, others = trained(0), trained(2)
    assert all(torch.equal(others[name], value) for name, value in weights.items())


def test_shares_of_several_processes_make_up_the_batch_of_one_with_crops_too(project):
    images = opened(project)
    whole = sampler(images)(1)
    shares = [sampler(images, fabric=Rank(rank, 2))(1) for rank in range(2)]
    assert_same(map(torch.cat, zip(*shares, strict=True)), whole)


def test_crops_are_drawn_again_in_each_epoch(project):
    images = opened(project)
    draw = sampler(images, augmentation=Augmentation(False, 0.5))
    seen = {}
    for step in range(6):
        batch = draw(step)
        for index, view in zip(batch.indices.tolist(), batch.images, strict=True):
            seen.setdefault(index, []).append(view)
    repeated = [views for views in seen.values() if len(views) > 1]
    assert repeated
    assert all(not torch.equal(views[0], views[1]) for views in repeated)


def test_views_without_crops_are_those_of_the_set(project):
    images = opened(project)
    batch = sampler(images, augmentation=Augmentation(False, 1.0))(0)
    assert torch.equal(batch.images, images.images(batch.indices))


def test_a_packed_set_is_cropped_from_its_squares(project):
    images = opened(project, pack=True)
    whole, batch = images.images(range(10)), sampler(images)(0)
    assert batch.images.shape == (4, 3, 16, 16)
    assert not any(torch.equal(view, whole[index]) for view, index in zip(batch.images, batch.indices, strict=True))


def test_a_part_of_a_set_is_cropped_like_the_whole(project):
    images = opened(project)
    part = Subset(images, 5)
    request = ViewRequest(2, None)
    rows = np.arange(0, 10, 2)
    assert np.array_equal(part.view(2), images.view(int(rows[2])))
    assert ViewDataset(part, 0)[request].rows.tolist() == [2]


def test_a_sets_views_reach_a_worker_that_is_no_fork(project):
    dataset = pickle.loads(pickle.dumps(ViewDataset(opened(project), 0)))
    assert dataset[ViewRequest(3, None)].pixels.shape == (1, 16, 16, 3)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_loading_leaves_the_default_generator_and_the_signals_alone(project, workers):
    state, handlers = torch.get_rng_state(), [signal.getsignal(number) for number in (signal.SIGCHLD, signal.SIGINT)]
    sampler(opened(project), workers)(0)
    assert torch.equal(torch.get_rng_state(), state)
    assert [signal.getsignal(number) for number in (signal.SIGCHLD, signal.SIGINT)] == handlers


# What cannot be read


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_an_image_that_became_unreadable_is_named_once_and_replaced_by_the_next(project, workers, capsys):
    images = opened(project, share=0.1)
    before = draw_all(sampler(images), 5)
    project.break_image("cat/2.png")
    after = draw_all(sampler(images, workers), 5)
    broken = images.manifest["image_id"].tolist().index("cat/2.png")
    for batch, whole in zip(after, before, strict=True):
        replaced = whole.indices == broken
        assert torch.equal(batch.indices, whole.indices.where(~replaced, torch.tensor(broken + 1)))
        assert torch.equal(batch.images[~replaced], whole.images[~replaced])
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("photos: ")]
    assert len(told) == 1
    assert "cat/2.png" in told[0]
    assert "1 of 10 images so far" in told[0]


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_more_unreadable_images_than_allowed_end_a_training_in_one_line(project, workers):
    images = opened(project, share=0.1)
    project.break_image("cat/2.png")
    project.break_image("dog/3.png")
    draw = sampler(images, workers)
    with pytest.raises(DataError, match=r"photos: .*\.png: .*2 of 10 .*rejected_share allows 10\.0%") as raised:
        draw_all(draw, 5)
    assert "\n" not in str(raised.value)


class Deadly:
    """A set whose worker dies at an image, as where memory runs out: each time, or once."""

    def __init__(self, images, row, once: Path | None):
        self.__dict__ |= images.__dict__
        self.images, self.row, self.once = images, row, once

    def __len__(self):
        return len(self.images)

    def view(self, row, crop=None):
        if row == self.row and (self.once is None or not self.once.exists()):
            if self.once is not None:
                self.once.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return self.images.view(row, crop)


@pytest.fixture
def impatient(monkeypatch):
    """Let torch look for dead workers ten times as often as every five seconds."""
    monkeypatch.setattr(_MultiProcessingDataLoaderIter._try_get_data, "__defaults__", (0.5,))


def rows_in_order(step):
    return [ViewRequest((2 * step + place) % 10, None) for place in range(2)]


@pytest.mark.slow
def test_a_worker_that_is_killed_once_is_named_and_its_batch_loaded_again(project, tmp_path, capsys, impatient):
    images = opened(project)
    loader = ViewLoader(Deadly(images, 6, tmp_path / "died"), rows_in_order, workers=2, pin_memory=False)
    for step in range(5):
        rows, pixels = loader(step)
        assert rows.tolist() == [2 * step, 2 * step + 1]
        assert np.array_equal(pixels[0].numpy(), images.view(2 * step))
    assert (loader.failures, loader.unreadable) == (1, {})
    assert "photos: a worker of the loader ended at step" in capsys.readouterr().err


@pytest.mark.slow
def test_an_image_that_kills_its_worker_counts_as_unreadable(project, capsys, impatient):
    loader = ViewLoader(Deadly(opened(project, share=0.1), 3, None), rows_in_order, workers=1, pin_memory=False)
    assert [loader(step)[0].tolist() for step in range(3)] == [[0, 1], [2, 4], [4, 5]]
    assert "photos: cat/3.png: reading it ends the process" in capsys.readouterr().err
    strict = ViewLoader(Deadly(opened(project), 3, None), rows_in_order, workers=1, pin_memory=False)
    with pytest.raises(
        DataError, match=r"photos: cat/3\.png: reading it ends the process .1 of 10 .*allows 0\.0%"
    ) as raised:
        draw_all(strict, 3)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("error", [EOFError(), ConnectionResetError(104, "Connection reset by peer")])
def test_a_worker_that_is_killed_while_it_hands_over_a_batch_is_found_by_its_connection(
    project, capsys, monkeypatch, error
):
    start, errors = ViewLoader._start, [error]

    def cut():
        yield from ()
        raise errors.pop()

    def first_cut(self, batches, workers):
        return cut() if errors else start(self, batches, 0)

    monkeypatch.setattr(ViewLoader, "_start", first_cut)
    loader = ViewLoader(opened(project), rows_in_order, workers=1, pin_memory=False)
    assert [loader(step)[0].tolist() for step in range(2)] == [[0, 1], [2, 3]]
    assert loader.failures == 1
    assert "photos: a worker of the loader ended at step 0 (" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize(("workers", "told"), [(0, "^$"), (1, "in DataLoader worker process")])
def test_an_input_that_the_code_itself_finds_at_its_end_is_not_taken_for_a_dead_worker(project, workers, told):
    class Lost(Deadly):
        def view(self, row, crop=None):
            raise EOFError

    with pytest.raises(EOFError, match=told):
        ViewLoader(Lost(opened(project), 0, None), rows_in_order, workers=workers, pin_memory=False)(0)


def test_a_fault_of_the_code_is_not_taken_for_a_dead_worker():
    def requests(step):
        raise RuntimeError("a fault")

    images = type("Images", (), {"rejected_share": 0.5, "__len__": lambda _: 4})()
    with pytest.raises(RuntimeError, match="a fault"):
        ViewLoader(images, requests, workers=0, pin_memory=False)(0)


def test_the_real_fabric_has_what_the_sampler_needs(project):
    images = opened(project)
    assert_same(sampler(images, fabric=build_fabric("cpu", 1))(0), sampler(images)(0))
