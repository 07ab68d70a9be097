"""Tasks: scores of reconstructions against their originals, by pixels and by networks.

A task receives images and never a tokenizer. timm, transformers, torchvision and torchmetrics are imported where
they are used, so that importing this package costs nothing.
"""
