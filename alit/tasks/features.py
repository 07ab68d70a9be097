"""Feature extractors for Fréchet distances."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from alit.errors import require
from alit.tasks.classification import Classifier
from alit.tasks.pretrained import download, read_weights
from alit.tasks.protocol import round_to_8_bit


class ClassifierFeatures:
    """The vectors (b, f) before a classifier's last layer."""

    def __init__(self, name: str, classifier: Classifier, record: Mapping[str, Any]) -> None:
        self.name = name
        self.size = classifier.feature_size
        self.record = {**record, "features": "before the last layer"}
        self._classifier = classifier

    def features(self, images: Tensor) -> Tensor:
        """Return (b, size) features of images (b, 3, h, w) in [0, 1]."""
        return self._classifier.features_and_logits(images).features.float()


class InceptionFeatures:
    """The 2048 features of the reference Inception, through torch-fidelity: the only ones that an FID is computed from.

    The network takes 8-bit images and resizes them itself, as the TensorFlow original does.
    """

    size = 2048

    def __init__(self, name: str, network: nn.Module, record: Mapping[str, Any]) -> None:
        self.name = name
        self.record = {**record, "features": "pool3, 2048", "resize": "as TensorFlow 1, inside the network"}
        self._network = network

    def features(self, images: Tensor) -> Tensor:
        """Return (b, 2048) features of images (b, 3, h, w) in [0, 1]."""
        return self._network((round_to_8_bit(images) * 255).to(torch.uint8))[0].float()


def reference_inception(local: Path | None = None) -> nn.Module:
    """Load the reference Inception with its published weights, which torch-fidelity fetches, or from a local copy.

    Raises:
        CheckpointError: there are no weights, or the local file is not torch-fidelity's.
    """
    require("torch_fidelity")
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    if local is not None:
        read_weights(local)  # torch-fidelity would unpickle whatever the file holds
    path = None if local is None else str(local)
    return download(
        "torch-fidelity's Inception",
        lambda: FeatureExtractorInceptionV3("inception-v3-compat", ["2048"], feature_extractor_weights_path=path),
    )
