"""Damaged files for the readers of pictures, arrays, tables, settings, token files and checkpoints.

Run as a script, tens of thousands of them:

    python tests/helpers/fuzz_readers.py --inputs 540000

Whatever the damage, a reader answers with the documented error or with something that still checks out. Ends with 1 and
the seeds of the inputs that did anything else.
"""

import argparse
import hashlib
import re
import signal
import sys
import tempfile
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import torch
from fuzz_data import read_whole, readers_of_data, readers_of_results
from mutations import Reader, mutate, mutate_json
from published_names import published_name
from safetensors.torch import load, save, save_file
from tiny import images, tokenizer, tokenizer_config
from tqdm import tqdm

from alit import AdaptiveTokenizer, load_published
from alit.errors import AlitError
from alit.tokenizer.code_model import CARD_FILE, COUNTS_FILE, CodeModel, count_ids
from alit.tokenizer.length_predictor import LengthPredictor, PredictorRecord, load_length_predictor
from alit.tokenizer.origin import Origin, read_origin, write_origin
from alit.tokenizer.tokens import DIGEST_BYTES, pack, unpack

SECONDS_EACH = 30  # a reader that takes longer hangs


def mutate_and_sign(content: bytes, generator: np.random.Generator) -> bytes:
    """Give a damaged token file the checksum that fits, so that the damage is read."""
    body = mutate(content[:-DIGEST_BYTES], generator)
    return body + hashlib.blake2b(body, digest_size=DIGEST_BYTES).digest()


def misshape(content: bytes, generator: np.random.Generator) -> bytes:
    """Remove, rename or misshape up to three tensors of a safetensors file that is whole otherwise."""
    tensors = load(content)
    for _ in range(generator.integers(1, 4)):
        name = str(generator.choice(sorted(tensors)))
        tensor = tensors.pop(name)
        flat = tensor.flatten()
        shapes = [tensor, flat, flat[:0], flat[:1], tensor[None], tensor.reshape(tensor.shape[::-1]), tensor.long()]
        renamed = ["", name, name, name[: generator.integers(len(name))], re.sub(r"\d+", "99", name)]
        if new_name := str(generator.choice(renamed)):
            tensors[new_name] = shapes[generator.integers(len(shapes))].contiguous().clone()
    return save(tensors)


def readers(folder: Path) -> list[Reader]:
    """Return the readers with tiny originals; files are written into `folder`."""
    token_files = token_originals()
    weights, config = own_checkpoint(folder / "ours")
    pickled, tensors = published_checkpoints(folder)
    own, theirs, spoiled_codes = folder / "spoiled", folder / "x.safetensors", folder / "spoiled_codes"
    model, coded = coded_originals()
    card, counts = code_model_files(folder / "codes", model)
    predictor = folder / "spoiled_predictor"
    record, weighted = length_predictor_files(folder / "predictor")
    return [
        *readers_of_data(folder / "data"),
        *readers_of_results(folder / "results"),
        Reader("token file", token_files, mutate, lambda content: unpack(content, source="x")),
        Reader("signed token file", token_files, mutate_and_sign, lambda content: unpack(content, source="x")),
        Reader("coded token file", coded, mutate, lambda content: unpack(content, source="x", entropy=model)),
        Reader("signed coded file", coded, mutate_and_sign, lambda content: unpack(content, source="x", entropy=model)),
        Reader("code_model.json", [card], mutate, lambda content: read_code_model(spoiled_codes, content, counts)),
        Reader(
            "code_model.safetensors", [counts], mutate, lambda content: read_code_model(spoiled_codes, card, content)
        ),
        Reader("length predictor", [record], mutate_json, lambda content: read_predictor(predictor, content, weighted)),
        Reader("its weights", [weighted], mutate, lambda content: read_predictor(predictor, record, content)),
        Reader("its tensors", [weighted], misshape, lambda content: read_predictor(predictor, record, content)),
        Reader("published pth", [pickled], mutate, lambda content: read_published(folder / "x.pth", content)),
        Reader("published safetensors", [tensors], mutate, lambda content: read_published(theirs, content)),
        Reader("published tensors", [tensors], misshape, lambda content: read_published(theirs, content)),
        Reader("model.safetensors", [weights], mutate, lambda content: read_own(own, content, config)),
        Reader("own tensors", [weights], misshape, lambda content: read_own(own, content, config)),
        Reader("config.json", [config], mutate_json, lambda content: read_own(own, weights, content)),
        Reader("origin.json", [origin(folder)], mutate_json, read_whole(folder / "origin.json", origin_of)),
    ]


def origin(folder: Path) -> bytes:
    """Return the record of where weights come from."""
    write_origin(folder, Origin(checkpoint="a", sha256="0" * 64, converted_from="b.pth"))
    return (folder / "origin.json").read_bytes()


def origin_of(path: Path) -> object:
    """Read such a record."""
    return read_origin(path.parent)


def token_originals() -> list[bytes]:
    """Return token files of ids, of continuous codes, with names, and of nothing."""
    ids, codes = tokenizer(), tokenizer(tokenizer_config(quantize=False))
    tokens = ids.encode(images(3), budget=4.0)
    return [
        pack(tokens),
        pack(tokens, ["a.png", "b.png", "c.png"]),
        pack(codes.encode(images(2), length=4)),
        pack(tokens[:0]),
    ]


def coded_originals() -> tuple[CodeModel, list[bytes]]:
    """Return a code model, and entropy-coded token files of several lengths, with names, and of nothing."""
    ids = tokenizer()
    known = {length: found.numpy() for length, found in ids.token_ids(images(8, seed=1))}
    assert ids.codebook_size is not None
    model = CodeModel({length: count_ids(found, ids.codebook_size) for length, found in known.items()})
    tokens = ids.encode(images(3), budget=4.0)
    return model, [
        pack(tokens, entropy=model),
        pack(tokens, ["a.png", "b.png", "c.png"], entropy=model),
        pack(tokens[:0], entropy=model),
    ]


def code_model_files(folder: Path, model: CodeModel) -> tuple[bytes, bytes]:
    """Return code_model.json and code_model.safetensors."""
    folder.mkdir()
    model.save(folder, {"images": 8})
    return (folder / CARD_FILE).read_bytes(), (folder / COUNTS_FILE).read_bytes()


def read_code_model(folder: Path, card: bytes, counts: bytes) -> CodeModel:
    """Read bytes as a code model."""
    folder.mkdir(exist_ok=True)
    (folder / CARD_FILE).write_bytes(card)
    (folder / COUNTS_FILE).write_bytes(counts)
    return CodeModel.load(folder)


def length_predictor_files(folder: Path) -> tuple[bytes, bytes]:
    """Return config.json and model.safetensors of a length predictor for three lengths."""
    record = PredictorRecord(
        tokenizer="a", lengths=(2, 4, 6), data="noise", seed=0, fitted=4, calibrated=5, penalty=1.0
    )
    shapes = {"mean": (7,), "scale": (7,), "weight": (7, 3), "bias": (3,), "predicted": (5, 3), "losses": (5, 3)}
    LengthPredictor(record, {name: torch.ones(shape) for name, shape in shapes.items()}).save(folder)
    return (folder / "config.json").read_bytes(), (folder / "model.safetensors").read_bytes()


def read_predictor(folder: Path, record: bytes, weights: bytes) -> LengthPredictor:
    """Read bytes as a length predictor."""
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_bytes(record)
    (folder / "model.safetensors").write_bytes(weights)
    return load_length_predictor(folder)


def own_checkpoint(folder: Path) -> tuple[bytes, bytes]:
    """Return model.safetensors and config.json of a tiny tokenizer."""
    tokenizer().save_pretrained(folder)
    return (folder / "model.safetensors").read_bytes(), (folder / "config.json").read_bytes()


def published_checkpoints(folder: Path) -> tuple[bytes, bytes]:
    """Return the same tokenizer under the authors' names, pickled and as safetensors."""
    config = tokenizer_config()
    tensors = {published_name(name, config): tensor.contiguous() for name, tensor in tokenizer().state_dict().items()}
    torch.save({"ema": tensors, "epoch": 3, "args": argparse.Namespace(lr=1e-4)}, folder / "m.pth")
    save_file(tensors, folder / "m.safetensors")
    return (folder / "m.pth").read_bytes(), (folder / "m.safetensors").read_bytes()


def read_published(path: Path, content: bytes) -> AdaptiveTokenizer:
    """Read bytes as one of the authors' checkpoints."""
    path.write_bytes(content)
    return load_published(path, heads=2)


def read_own(folder: Path, weights: bytes, config: bytes) -> AdaptiveTokenizer:
    """Read bytes as a checkpoint folder."""
    folder.mkdir(exist_ok=True)
    (folder / "model.safetensors").write_bytes(weights)
    (folder / "config.json").write_bytes(config)
    return AdaptiveTokenizer.from_pretrained(folder)


def outcome(reader: Reader, seed: int) -> str:
    """Return "read", "refused", or the type of an error that no reader may raise."""
    generator = np.random.default_rng(seed)
    content = reader.spoil(reader.originals[generator.integers(len(reader.originals))], generator)
    try:
        reader.read(content)
    except AlitError:
        return "refused"
    except Exception as error:
        return f"{type(error).__name__}: {error}".splitlines()[0][:120]
    return "read"


def main() -> None:
    """Damage, read and count."""
    warnings.simplefilter("ignore")  # torch's, about pickles of damaged names
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=50_000, help="files, shared evenly by the readers")
    parser.add_argument("--seed", type=int, default=0, help="of the first input of each reader")
    parser.add_argument("--only", nargs="*", help="names of readers; all by default")
    arguments = parser.parse_args()
    signal.signal(signal.SIGALRM, _hangs)
    faults = 0
    with tempfile.TemporaryDirectory() as folder:
        everything = [one for one in readers(Path(folder)) if not arguments.only or one.name in arguments.only]
        each = -(-arguments.inputs // len(everything))
        for reader in everything:
            counts: Counter[str] = Counter()
            for seed in tqdm(range(arguments.seed, arguments.seed + each), desc=reader.name, disable=None):
                signal.alarm(SECONDS_EACH)
                result = outcome(reader, seed)
                signal.alarm(0)
                if result not in ("read", "refused") and not counts[result]:
                    print(f"{reader.name}, seed {seed}: {result}", flush=True)
                counts[result] += 1
            print(f"{reader.name}: {dict(counts)}", flush=True)
            faults += each - counts["read"] - counts["refused"]
    sys.exit(1 if faults else 0)


def _hangs(*_: object) -> None:
    raise TimeoutError(f"more than {SECONDS_EACH} seconds")


if __name__ == "__main__":
    main()
