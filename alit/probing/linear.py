"""Linear classifiers on frozen features: closed form, L-BFGS, and the published protocol."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from alit.config.s_probe import MaeProbeConfig, ProbeConfig

MOMENTUM, TRUST = 0.9, 1e-3  # MAE's LARS

Predict = Callable[[np.ndarray], np.ndarray]  # features (n, f) -> labels (n,)


def fit_probe(
    features: np.ndarray, labels: np.ndarray, config: ProbeConfig, seed: int, device: torch.device
) -> Predict:
    """Fit the classifier that `config.method` names to features (n, f) and int labels (n,) in 0 ... classes - 1.

    Features are standardised by the training images' mean and deviation. Ridge regresses one-hot labels in closed form
    and chooses its penalty by leaving out one image at a time; logistic regression chooses its by `config.folds` folds.
    """
    if config.method == "mae":
        return fit_mae_probe(features, labels, config.mae, seed, device)
    model = _ridge(config) if config.method == "ridge" else _logistic(config, seed)
    return model.fit(features.astype(np.float64), labels).predict


def fit_mae_probe(
    features: np.ndarray, labels: np.ndarray, config: MaeProbeConfig, seed: int, device: torch.device
) -> Predict:
    """Train the probe of MAE (He et al. 2022, table 10): batch norm without affine, LARS, cosine rate, no weight decay.

    The bias is not rescaled by LARS, as there. Features are those of one central view: MAE draws a new crop and flip
    of each image in each epoch.
    """
    generator = torch.Generator().manual_seed(seed)
    inputs, targets = torch.from_numpy(np.asarray(features, np.float32)).to(device), torch.from_numpy(labels).to(device)
    head = nn.Linear(inputs.shape[1], int(targets.max()) + 1)
    nn.init.trunc_normal_(head.weight, std=0.01, generator=generator)
    nn.init.zeros_(head.bias)
    probe = nn.Sequential(nn.BatchNorm1d(inputs.shape[1], affine=False, eps=1e-6), head).to(device)
    optimiser = mae_optimiser(head)
    batch_size = min(config.batch_size, len(inputs))
    batches = len(inputs) // batch_size  # what is left over waits for another epoch's order
    for epoch in range(config.epochs):
        order = torch.randperm(len(inputs), generator=generator)[: batches * batch_size]
        for number, rows in enumerate(order.split(batch_size)):
            for group in optimiser.param_groups:
                group["lr"] = mae_learning_rate(epoch + number / batches, batch_size, config)
            optimiser.zero_grad()
            nn.functional.cross_entropy(probe(inputs[rows]), targets[rows]).backward()
            optimiser.step()
    probe.eval()
    return lambda values: _predict(probe, values, device)


def mae_optimiser(head: nn.Linear) -> torch.optim.Optimizer:
    """Return LARS for a linear layer, its rate still zero; the bias takes plain steps with momentum."""
    from timm.optim.lars import Lars

    groups = [{"params": [head.weight], "always_adapt": True}, {"params": [head.bias], "always_adapt": False}]
    return Lars(groups, lr=0.0, momentum=MOMENTUM, trust_coeff=TRUST)  # type: ignore[arg-type]


def mae_learning_rate(epoch: float, batch_size: int, config: MaeProbeConfig) -> float:
    """Return the rate at a point of the training, in epochs: linear warm-up, then half a cosine to zero."""
    peak = config.base_learning_rate * batch_size / 256
    if epoch < config.warmup_epochs:
        return peak * epoch / config.warmup_epochs
    return peak * (1 + np.cos(np.pi * (epoch - config.warmup_epochs) / (config.epochs - config.warmup_epochs))) / 2


@torch.no_grad()
def _predict(probe: nn.Module, values: np.ndarray, device: torch.device) -> np.ndarray:
    return probe(torch.from_numpy(np.asarray(values, np.float32)).to(device)).argmax(dim=1).cpu().numpy()


def _ridge(config: ProbeConfig) -> Any:
    from sklearn.linear_model import RidgeClassifierCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), RidgeClassifierCV(alphas=config.penalties))


def _logistic(config: ProbeConfig, seed: int) -> Any:
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV, StratifiedKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))  # L-BFGS, multinomial
    candidates = {"logisticregression__C": [1 / penalty for penalty in config.penalties]}
    return GridSearchCV(model, candidates, cv=StratifiedKFold(config.folds, shuffle=True, random_state=seed))
