"""Files of base tokenizers in the layout that MAGE and MAR publish theirs in."""

from published_names import published_name
from safetensors.torch import save_file
from tiny import tokenizer_config


def base_part(weights, kind):
    """The tensors of the base tokenizer in a checkpoint of the authors', under the names of its own publication."""
    prefix = f"base_tokenizer.{kind}."
    return {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}


def published_file(base, path, renaming=()):
    """Write the weights of a base tokenizer under published names."""
    tokenizer = tokenizer_config().model_copy(update={"base": base.config})
    tensors = {f"base.{name}": value for name, value in base.state_dict().items()}
    tensors = base_part({published_name(name, tokenizer): value for name, value in tensors.items()}, base.config.kind)
    for ours, theirs in renaming:
        tensors = {name.replace(ours, theirs): value for name, value in tensors.items()}
    save_file({name: value.contiguous() for name, value in tensors.items()}, path)
    return base.config.model_copy(update={"pretrained": str(path)})
