"""What each score column means: a label for axes and sentences, and which way is better."""

from typing import Literal, NamedTuple

Better = Literal["lower", "higher"]


class Metric(NamedTuple):
    """A score column, its label, and whether lower or higher values are better."""

    column: str
    label: str
    better: Better
    short: str  # the label without the network that measures it

    @property
    def sign(self) -> float:
        """+1 where higher is better, -1 where lower is."""
        return 1.0 if self.better == "higher" else -1.0


_EXACT: dict[str, tuple[str, Better]] = {
    "l1": ("L1 error", "lower"),
    "l2": ("L2 error", "lower"),
    "psnr": ("PSNR (dB)", "higher"),
    "ssim": ("SSIM", "higher"),
    "bits": ("bits", "lower"),
    "frechet_fid": ("FID", "lower"),  # no other network than the reference Inception may be called fid
    "kernel_fid": ("KID", "lower"),
}
_FAMILIES: dict[str, tuple[str, str, Better]] = {
    "top1_": ("top-1 accuracy", "of {}", "higher"),
    "class_rank_": ("rank of the true class", "for {}", "lower"),
    "depth_true_error_": ("relative depth error", "of {} (exact depth)", "lower"),
    "depth_rank_agreement_": ("rank agreement", "of {}'s depth with known depth", "higher"),
    "depth_error_": ("relative depth error", "of {}", "lower"),
    "perceptual_": ("perceptual distance", "on {}", "lower"),
    "caption_score_": ("caption score", "of {}", "higher"),
    "caption_true_score_": ("caption score", "of {} (reference caption)", "higher"),
    "frechet_": ("Fréchet distance", "on {}", "lower"),
    "kernel_": ("kernel distance", "on {}", "lower"),
}


def metric_info(column: str) -> Metric:
    """Describe a score column of the sweep table; a column of no known family is named as it is, lower is better."""
    if column in _EXACT:
        label, better = _EXACT[column]
        return Metric(column, label, better, label)
    for prefix, (short, network, better) in _FAMILIES.items():
        if column.startswith(prefix):
            return Metric(column, f"{short} {network.format(column.removeprefix(prefix))}", better, short)
    return Metric(column, column, "lower", column)


def criterion_label(column: str) -> str:
    """Name the token-selection criterion that thresholds `column`, as on the axes of the paper's Fig. 5, 6, 14, 15."""
    if column.startswith("class_rank_"):
        return f"top-X class of {column.removeprefix('class_rank_')}"
    if column.startswith("depth_error_"):
        return f"depth error of {column.removeprefix('depth_error_')} < threshold"
    described = metric_info(column)
    return f"{described.label} {'<' if described.better == 'lower' else '>'} threshold"


CODEC_LABELS = {"jpeg_bytes": "JPEG bytes", "webp_bytes": "WebP bytes"}  # column with an image's file size -> label
