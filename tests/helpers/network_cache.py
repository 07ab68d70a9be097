"""A cache of the hubs' clients as they leave it behind: the real classes' networks under their published names.

Weights are random. Networks whose size is a setting are tiny; the widest layers of the others are one number, repeated.
"""

from pathlib import Path
from unittest.mock import patch

import torch
from torch import Tensor, nn

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[DEC]", "a", "red", "blue", "ball", "cube", "on", "grass"]
REVISION = "0" * 40
TORCHVISION = {"alexnet": "alexnet-owt-7be5be79.pth", "vgg16": "vgg16-397923af.pth"}
INCEPTION = "weights-inception-2015-12-05-6726825d.pth"
WIDE = 4_000_000  # numbers in a tensor, from which on it is one number, repeated


def hub_folder(cache: Path, name: str) -> Path:
    """Return the folder of a repository in a cache of the Hugging Face hub's client."""
    repository = cache / f"models--{name.replace('/', '--')}"
    snapshot = repository / "snapshots" / REVISION
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(REVISION)
    return snapshot


def network_cache(folder: Path, blip_size: int) -> dict[str, str]:
    """Fill a cache with every network that configs/published.yaml names; return the variables that point to it.

    Args:
        folder: where it goes, some 100 MB.
        blip_size: pixels per side of BLIP's pictures.
    """
    hub, torch_hub = folder / "hub", folder / "torch" / "hub" / "checkpoints"
    torch_hub.mkdir(parents=True)
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        for size in ("small", "base", "large"):
            depth_anything(56).save_pretrained(
                hub_folder(hub, f"depth-anything/Depth-Anything-V2-{size.capitalize()}-hf")
            )
        for size in ("base", "large"):
            snapshot = hub_folder(hub, f"Salesforce/blip-image-captioning-{size}")
            _blip(blip_size).save_pretrained(snapshot)
            (snapshot / "vocab.txt").write_text("\n".join(WORDS))
        import timm
        import torchvision

        for name, repository in {"resnet18": "timm/resnet18.a1_in1k", "vgg16": "timm/vgg16.tv_in1k"}.items():
            _save(timm.create_model(name), hub_folder(hub, repository) / "pytorch_model.bin")
        for name, file in TORCHVISION.items():
            _save(torchvision.models.get_model(name), torch_hub / file)
        _save(_inception(), torch_hub / INCEPTION)
    return {"HF_HUB_CACHE": str(hub), "TORCH_HOME": str(folder / "torch"), "HF_HUB_OFFLINE": "1"}


def _save(network: nn.Module, path: Path) -> None:
    torch.save({name: _narrow(tensor) for name, tensor in network.state_dict().items()}, path)


def _narrow(tensor: Tensor) -> Tensor:
    return tensor if tensor.numel() < WIDE else tensor.flatten()[:1].clone().expand(tensor.numel()).view(tensor.shape)


def depth_anything(image_size: int) -> nn.Module:
    """Return the class of Depth Anything V2 with random weights, tiny."""
    from transformers import DepthAnythingConfig, DepthAnythingForDepthEstimation, Dinov2Config

    backbone = Dinov2Config(
        image_size=image_size,
        patch_size=14,
        hidden_size=16,
        num_hidden_layers=4,
        num_attention_heads=2,
        out_indices=[1, 2, 3, 4],
        reshape_hidden_states=False,
        apply_layernorm=True,
    )
    config = DepthAnythingConfig(
        backbone_config=backbone,
        patch_size=14,
        reassemble_hidden_size=16,
        neck_hidden_sizes=[4, 4, 8, 8],
        fusion_hidden_size=8,
        head_hidden_size=4,
    )
    return DepthAnythingForDepthEstimation(config)


def _blip(size: int) -> nn.Module:
    from transformers import BlipConfig, BlipForConditionalGeneration

    layers = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    special = {"bos_token_id": 5, "sep_token_id": 3, "eos_token_id": 3, "pad_token_id": 0}
    text = {"vocab_size": len(WORDS), "encoder_hidden_size": 16, "max_position_embeddings": 64}
    vision = layers | {"image_size": size, "patch_size": size // 2}
    config = BlipConfig(text_config=layers | special | text, vision_config=vision, projection_dim=8)
    return BlipForConditionalGeneration(config)


def _inception() -> nn.Module:
    from torch_fidelity import feature_extractor_inceptionv3 as inception

    network = inception.FeatureExtractorInceptionV3
    unread = patch.object(inception, "load_state_dict_from_url", lambda *_, **__: {})
    with unread, patch.object(network, "load_state_dict", lambda *_, **__: None):
        return network("inception-v3-compat", ["2048"])
