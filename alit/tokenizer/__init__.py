"""The tokenizer: encoding to tokens, token files, checkpoints, and what other tokenizers must offer."""
