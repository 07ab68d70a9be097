"""Classification: the rank of an image's true class, among all of a classifier's classes and the image set's own."""

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from alit.errors import ConfigError
from alit.tasks.protocol import Normalize, SweepBatch, memoize_last, resize


class Backbone(Protocol):
    """The part of timm's interface that a classifier needs; every timm model has it."""

    head_hidden_size: int

    def forward_intermediates(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return the last map and the map of each stage."""
        ...

    def forward_head(self, maps: Tensor, pre_logits: bool = False) -> Tensor:
        """Return logits, or the vector before the last layer."""
        ...

    def reset_classifier(self, num_classes: int) -> None:
        """Replace the last layer by a new one of `num_classes` logits."""
        ...


class ConvolutionalBackbone(nn.Module):
    """A torchvision network of `features`, `avgpool` and `classifier`, with the part of timm's interface used here.

    Its maps are the last one at each resolution, and its features the input of the last linear layer: of AlexNet
    (Krizhevsky, 2014) and VGG16 4,096 numbers.

    Raises:
        ConfigError: the network has other parts, or its last layer is not linear.
    """

    def __init__(self, network: nn.Module, name: str) -> None:
        super().__init__()
        parts = dict(network.named_children())
        if set(parts) != {"features", "avgpool", "classifier"} or not _ends_linear(parts["classifier"]):
            raise ConfigError(
                f"expected a torchvision model of features, avgpool and a linear classifier, found {name}; timm/<name> "
                "takes others"
            )
        self.features, self.avgpool = parts["features"], parts["avgpool"]
        *before, self.last = parts["classifier"].children()
        flattens = any(isinstance(layer, nn.Flatten) for layer in before)
        self.pre_logits = nn.Sequential(*([] if flattens else [nn.Flatten()]), *before)
        self.head_hidden_size = int(self.last.in_features)  # type: ignore[arg-type]

    def forward_intermediates(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return the last map and the last map at each resolution."""
        maps: list[Tensor] = []
        found = images
        for layer in self.features.children():
            found = layer(found)
            if maps and maps[-1].shape[-2:] == found.shape[-2:]:
                maps.pop()
            maps.append(found)
        return found, maps

    def forward_head(self, maps: Tensor, pre_logits: bool = False) -> Tensor:
        """Return logits, or the vector before the last layer."""
        features = self.pre_logits(self.avgpool(maps))
        return features if pre_logits else self.last(features)

    def reset_classifier(self, num_classes: int) -> None:
        """Replace the last layer by a new one of `num_classes` logits."""
        self.last = nn.Linear(self.head_hidden_size, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (b, classes)."""
        return self.forward_head(self.features(images))


def _ends_linear(classifier: nn.Module) -> bool:
    return isinstance(classifier, nn.Sequential) and isinstance(classifier[-1], nn.Linear)


class ClassifierOutput(NamedTuple):
    """Logits, features and maps of one pass of a classifier."""

    logits: Tensor  # (b, classes)
    features: Tensor  # (b, f), before the last layer
    maps: list[Tensor]  # (b, c, h, w) per stage


class Classifier(nn.Module):
    """A classifier for images in [0, 1] of any size, resized (bilinear, antialiased) to `input_size`."""

    def __init__(
        self,
        backbone: nn.Module,
        *,
        input_size: int,
        class_names: tuple[str, ...],
        mean: tuple[float, ...] = (0.5, 0.5, 0.5),
        std: tuple[float, ...] = (0.5, 0.5, 0.5),
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.normalize = Normalize(mean, std)
        self.input_size = input_size
        self.class_names = class_names
        self.features_and_logits = memoize_last(self._features_and_logits)

    @property
    def feature_size(self) -> int:
        """Numbers of the vector before the last layer."""
        return int(getattr(self.backbone, "head_hidden_size"))  # noqa: B009 - nn.Module hides its type

    def set_classes(self, class_names: tuple[str, ...]) -> None:
        """Give the network a new last layer for other classes; its weights come from torch's global generator."""
        backbone: Any = self.backbone
        backbone.reset_classifier(len(class_names))
        self.class_names = class_names

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (b, classes) of images (b, 3, h, w) in [0, 1]."""
        return self.backbone(self.normalize(resize(images, self.input_size)))

    def _features_and_logits(self, images: Tensor) -> ClassifierOutput:
        backbone: Any = self.backbone
        last, maps = backbone.forward_intermediates(self.normalize(resize(images, self.input_size)))
        return ClassifierOutput(backbone.forward_head(last), backbone.forward_head(last, pre_logits=True), maps)


class TrueClasses(NamedTuple):
    """What the ranks of a batch are of and among, by the classifier's numbers of classes."""

    targets: Tensor  # (b,) each image's true class, -1 where it has none
    in_set: Tensor  # (classes,) bool: the classes that the image set has


class ClassificationTask:
    """Columns class_rank_<name> and class_rank_in_set_<name>: 0 where the true class is top-1; "top X" is rank < X.

    The first rank is among all classes of the network, as in the paper. The second is among the image set's own, those
    of them that the network has: a head of 1,000 classes asked about ten is at its floor on reconstructions that it
    still tells apart among the ten. Where network and set have the same classes, the two ranks are the same.

    Classes are matched by name between the image set and the classifier (ImageNet heads are named by wnid); images of
    unknown or unmatched label have no rank. With fewer than two classes of a set there is no rank among them.
    """

    def __init__(self, name: str, classifier: Classifier, record: Mapping[str, Any]) -> None:
        self.columns = (f"class_rank_{name}", f"class_rank_in_set_{name}")
        self.record = record
        self._classifier = classifier
        self._index = {name: index for index, name in enumerate(classifier.class_names)}

    def reference(self, batch: SweepBatch) -> TrueClasses:
        """Return each image's true class and the set's classes, by the classifier's numbers."""
        numbers = [self._index.get(name, -1) for name in batch.class_names]
        targets = torch.tensor([*numbers, -1])[batch.labels.cpu()]  # label -1 reads the last entry
        in_set = torch.zeros(len(self._index), dtype=torch.bool)
        in_set[[number for number in numbers if number >= 0]] = True
        return TrueClasses(targets.to(batch.images.device), in_set.to(batch.images.device))

    def score(self, images: Tensor, reference: TrueClasses, batch: SweepBatch) -> dict[str, np.ndarray]:
        """Return both ranks (b,) as floats, NaN where there is none."""
        targets, in_set = reference
        unknown = np.full(len(images), np.nan, dtype=np.float32)
        if not (targets >= 0).any():
            return dict.fromkeys(self.columns, unknown)
        logits = self._classifier.features_and_logits(images).logits
        own = class_ranks(logits, targets, in_set).cpu().numpy() if in_set.sum() > 1 else unknown
        return dict(zip(self.columns, (class_ranks(logits, targets).cpu().numpy(), own), strict=True))


def class_ranks(logits: Tensor, targets: Tensor, among: Tensor | None = None) -> Tensor:
    """Return the place (b,) of each target among the descending logits (b, classes); NaN for target -1.

    Equal logits keep the order of their classes, as argmax does: a classifier with equal logits for all classes scores
    at chance. A logit that is not finite gives no rank.

    Args:
        logits: of all classes.
        targets: numbers of classes.
        among: (classes,) bool, the classes that count; all by default.
    """
    target = logits.gather(1, targets.clamp(min=0)[:, None])  # b 1
    classes = torch.arange(logits.shape[1], device=logits.device)
    ahead = (logits > target) | ((logits == target) & (classes < targets[:, None]))
    ahead = ahead if among is None else ahead & among
    known = (targets >= 0) & logits.isfinite().all(dim=1)
    return torch.where(known, ahead.sum(dim=1).float(), torch.nan)
