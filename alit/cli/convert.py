"""`alit convert`: one of the authors' checkpoints to safetensors, config.json and a model card."""

import argparse
from pathlib import Path

from alit.cli.arguments import positive_integer, writing
from alit.cli.info import describe_tokenizer
from alit.tokenizer.published import load_published

LICENCE = "The authors published these weights without a licence; the code that reads them is Apache-2.0."


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "convert", help="one of the authors' checkpoints to safetensors and config.json", description=run.__doc__
    )
    parser.set_defaults(run=run)
    parser.add_argument("checkpoint", type=Path, help="a .pth or .safetensors file with the authors' tensor names")
    parser.add_argument("output", type=Path, help="the folder to write to")
    parser.add_argument("--heads", type=positive_integer, help="attention heads, where the size is not a published one")


def run(arguments: argparse.Namespace) -> None:
    """Write a published checkpoint as model.safetensors, config.json and a model card; every tensor is checked."""
    tokenizer = load_published(arguments.checkpoint, heads=arguments.heads)
    card = {
        "source": str(arguments.output),
        "licence_text": LICENCE,
        "notes": f"Converted from the authors' `{arguments.checkpoint.name}`.",
    }
    with writing(arguments.output):
        tokenizer.save_pretrained(arguments.output, model_card_kwargs=card)
    print(f"wrote {arguments.output}: {describe_tokenizer(tokenizer)}")
