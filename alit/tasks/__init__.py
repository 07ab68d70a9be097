"""What reconstructions are good for: scores of images against their originals, by pixels and by networks.

Tasks see images and never a tokenizer. timm, transformers, torchvision and torchmetrics are imported where
they are used, so that importing this package costs nothing.
"""
