"""Settings of the probe study in little."""

from alit.studies.probe.measure import MaeProbeConfig, ProbeConfig

CONFIG = ProbeConfig(
    method="ridge",
    train_images=None,
    batch_size=4,
    seeds=2,
    draw_share=0.5,
    iterations=None,
    tokens=("image", "latents", "both"),
    stages=("encoder", "quantizer"),
    pooling=("mean", "concatenated"),
    penalties=(1.0, 10.0),
    folds=2,
    mae=MaeProbeConfig(epochs=2, warmup_epochs=1, batch_size=8, base_learning_rate=0.1),
)
