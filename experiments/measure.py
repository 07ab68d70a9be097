"""Stages `measure`, `probe`, `cost` and `ablations`: what a study looks up in the networks, beside the sweep."""

import shutil
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from alit.data.imageset import ImageSet, Subset, read_cards
from alit.errors import NotMeasurable, run_command
from alit.models.weights import WEIGHTS_FILE
from alit.paths import NOT_MEASURED, TARGET_FILE
from alit.tokenizer.protocol import Tokenizer, codebook_size_of
from alit.tokenizer.tokenizer import AdaptiveTokenizer
from alit.training.engine.fabric import build_fabric
from alit.training.engine.processes import fail_together
from experiments.network_stage import NetworkStage
from experiments.stage import write_tables

if TYPE_CHECKING:  # slow to import, and settings do not need it
    from lightning_fabric import Fabric


def main(argv: Sequence[str] | None = None) -> None:
    """Write `runs/<profile>/measured/<study>/`, one file per table of docs/studies/<study>.md."""
    stage = NetworkStage(argv, main.__doc__, studies=tuple(MEASUREMENTS))
    fabric = stage.fabric() if stage.study in SHARED else build_fabric(stage.read("device", str), 1)
    with fail_together(fabric):
        try:
            tables = MEASUREMENTS[stage.study](stage, fabric)
        except NotMeasurable as reason:  # the study's claims and page say so
            if fabric.is_global_zero:
                print(f"not measurable: {reason}", flush=True)
            tables = {NOT_MEASURED: pd.DataFrame({"reason": [str(reason)]})}
        if fabric.is_global_zero:
            prefix = stage.study if NOT_MEASURED in tables else PREFIXES.get(stage.study, stage.study)
            write_tables(stage.paths.measured(stage.study), tables, prefix)


def attention(stage: NetworkStage, fabric: "Fabric") -> Mapping[str, pd.DataFrame]:
    """Measure where latents look at each iteration, against masks and controls; a killed run continues."""
    from alit.studies.attention.measure import AttentionConfig, measure_attention

    config = stage.read("attention", AttentionConfig)
    if not config.sets:
        raise NotMeasurable("the profile names no images with segmentation masks (attention.sets)")
    scenes = {card.name for card in read_cards(stage.paths.data) if card.source == "scenes"}
    tokenizer, images, seed = _any_tokenizer(stage, fabric), stage.sets(config.sets), stage.read("seed", int)
    if not hasattr(tokenizer, "attention_maps"):
        raise NotMeasurable(f"{tokenizer.name} does not say where it looks: no attention_maps (docs/bring-your-own.md)")
    scratch = _scratch(stage, images, {"seed": seed, "attention": config})
    return _finish(measure_attention(tokenizer, images, scenes, config, seed, scratch, fabric), scratch)


def codebook(stage: NetworkStage, fabric: "Fabric") -> Mapping[str, pd.DataFrame]:
    """Write down the token ids of every evaluation image at every iteration, and which images share most of them."""
    from alit.studies.codebook.measure import CodebookConfig, measure_codebook

    cards = [card for card in read_cards(stage.paths.data) if card.role == "evaluate" and not card.controlled]
    shown = [card.name for card in cards if card.source == "scenes"]  # others are not ours to show
    tokenizer, images = _any_tokenizer(stage, fabric), stage.sets([card.name for card in cards])
    if codebook_size_of(tokenizer) is None and not isinstance(tokenizer, AdaptiveTokenizer):
        raise NotMeasurable(
            f"the code of {tokenizer.name} is no ids, or it does not give them (docs/bring-your-own.md)"
        )
    config = stage.read("codebook", CodebookConfig)
    scratch = _scratch(stage, images, {"batch_size": config.batch_size})
    return _finish(measure_codebook(tokenizer, images, shown, config, scratch, fabric), scratch)


def probe(stage: NetworkStage, fabric: "Fabric") -> Mapping[str, pd.DataFrame]:
    """Fit linear probes to the frozen tokenizer's features; a killed run continues."""
    from alit.studies.probe import VARIANTS, FixedLengthPair
    from alit.studies.probe.measure import ProbeConfig, measure_probes

    if not any(card.role == "train" for card in read_cards(stage.paths.data)):
        raise NotMeasurable("the profile has no training images to fit a probe on (data.sets, role: train)")
    tokenizer = _any_tokenizer(stage, fabric)
    if not isinstance(tokenizer, AdaptiveTokenizer) and not hasattr(tokenizer, "features"):
        raise NotMeasurable(f"{tokenizer.name} does not give its tokens' vectors: no features (docs/bring-your-own.md)")
    config, train, test = stage.read("probe", ProbeConfig), stage.train_set, stage.evaluation_set
    seed = stage.read("seed", int)
    pairs = [
        FixedLengthPair(f"{VARIANTS}{each['variant']}/{number.name}", f"{VARIANTS}{each['than']}/{number.name}")
        for each in stage.read("ablations.comparisons", tuple[dict[str, str], ...])
        if each["factor"] == "fixed length"
        for number in sorted((stage.paths.variants / each["variant"]).glob("*"))
        if (stage.paths.variants / each["than"] / number.name).is_dir()
    ]
    folders = {name: stage.paths.run / name for pair in pairs for name in pair}
    settings = config.model_dump(include={"train_images", "compared_images", "batch_size"}) | {"pairs": pairs}
    scratch = _scratch(stage, [train, test], settings, [folder / WEIGHTS_FILE for folder in folders.values()])
    tables = measure_probes(
        tokenizer,
        train,
        test,
        config,
        seed,
        scratch,
        fabric,
        {name: _load(folder, fabric) for name, folder in folders.items()},
        pairs,
    )
    return _finish(tables, scratch)


def cost(stage: NetworkStage, fabric: "Fabric") -> Mapping[str, pd.DataFrame]:
    """Time encoding and decoding of the tokenizer and its baselines, and count operations; no two times are alike."""
    import torch

    from alit.studies.cost.measure import CostConfig, measure_cost
    from alit.tokenizer.adapters import BaselinesConfig, load_tokenizer

    config = stage.read("cost", CostConfig)
    torch.set_num_threads(config.threads)
    size = stage.evaluation_set.image_size
    load = partial(load_tokenizer, folder=stage.paths.run, image_size=size, device=fabric.device)
    tokenizers = {"own": load("tokenizer", {})}
    for entry in stage.read("baselines", BaselinesConfig).tokenizers:
        tokenizers[entry.name] = load(stage.target(entry.target), entry.arguments, options=entry.options)
    images = Subset(stage.evaluation_set, config.images)
    measured = measure_cost(tokenizers, images.images(range(len(images))).to(fabric.device))
    where = {"device": str(fabric.device.type), "threads": torch.get_num_threads()}
    return {name: table.assign(**where) for name, table in measured._asdict().items()}


def ablations(stage: NetworkStage, fabric: "Fabric") -> Mapping[str, pd.DataFrame]:
    """Measure every trained variant on the same images, and count what it costs."""
    from alit.studies.ablations.measure import AblationsConfig, compare_variants
    from alit.sweep.engine import SweepConfig
    from alit.tasks.registry import TaskModelConfig, build_task_models
    from alit.tokenizer.adapters import BaselinesConfig
    from alit.training.variants import VariantsConfig

    paths = stage.paths
    config = stage.read("ablations", AblationsConfig)
    task_models = stage.read("task_models", tuple[TaskModelConfig, ...])
    reference = stage.read("analysis.feature_extractor", str)
    trained = {
        (entry.name, seed): paths.variants / entry.name / str(seed)
        for entry in stage.read("variants", VariantsConfig).trainings
        for seed in entry.seeds
    }
    extractors = build_task_models(task_models, paths.task_models, fabric.device).extractors if trained else ()
    others = {entry.name: paths.baselines / entry.name for entry in stage.read("baselines", BaselinesConfig).tokenizers}
    return compare_variants(
        trained,
        {"own": paths.sweep, **others},
        Subset(stage.evaluation_set, config.images),
        next((each for each in extractors if each.name == reference), None),
        config,
        feature_name=reference,
        sweep=stage.read("sweep", SweepConfig),
        scratch=paths.scratch / f"ablations-{paths.profile}",
        fabric=fabric,
    )


def _scratch(
    stage: NetworkStage, images: Sequence[ImageSet], settings: Mapping[str, Any], weights: Sequence[Path] = ()
) -> Path:
    """Return the folder of a study's resume state for these images, settings, and weights beside the tokenizer's."""
    from alit.training.engine.checkpoint import resume_dir

    own = [stage.paths.tokenizer / file for file in (WEIGHTS_FILE, TARGET_FILE)]
    manifests = [each.folder / "manifest.csv" for each in images]
    inputs = [*manifests, *(path for path in own if path.is_file()), *weights]
    return resume_dir(stage.paths.scratch, stage.study, settings, inputs)


def _finish(tables: Any, scratch: Path) -> Mapping[str, pd.DataFrame]:
    """Return what a study has measured by name, nothing in processes that have no tables; remove the resume state."""
    if tables is None:
        return {}
    shutil.rmtree(scratch, ignore_errors=True)
    return tables._asdict()


def _any_tokenizer(stage: NetworkStage, fabric: "Fabric") -> Tokenizer:
    """Load the profile's tokenizer, of this suite or somebody else's."""
    from alit.tokenizer.adapters import load_tokenizer

    size = stage.evaluation_set.image_size
    return load_tokenizer("tokenizer", {}, folder=stage.paths.run, image_size=size, device=fabric.device)


def _load(folder: Path, fabric: "Fabric") -> AdaptiveTokenizer:
    return AdaptiveTokenizer.from_pretrained(folder).to(fabric.device).eval()


MEASUREMENTS = {"attention": attention, "codebook": codebook, "probe": probe, "cost": cost, "ablations": ablations}
SHARED = {"attention", "codebook", "probe", "ablations"}  # among all processes; times are those of one alone
PREFIXES = {"ablations": "ablation"}  # of the tables' names, where the study's own name is another


if __name__ == "__main__":
    run_command(main)
