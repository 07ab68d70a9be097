import io
import json
import re

import numpy as np
import pytest
import torch
from huggingface_hub import ModelCard
from PIL import Image
from published_names import published_name
from tiny import images, tokenizer, tokenizer_config

from alit import AdaptiveTokenizer, TokenSet
from alit.cli import SIZES, main
from alit.errors import CheckpointError, ConfigError, DataError, TokenFileError
from alit.progress import ProgressBar
from alit.tokenizer import published
from alit.tokenizer.length_predictor import fit_length_predictor, measure_examples
from alit.tokenizer.tokens import pack


@pytest.fixture
def model(tmp_path):
    tokenizer().save_pretrained(tmp_path / "model")
    return str(tmp_path / "model")


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "pictures" / "deep"
    folder.mkdir(parents=True)
    draw = np.random.default_rng(0)
    for index, size in enumerate([(16, 16), (40, 20), (1, 30)]):
        Image.fromarray(draw.integers(0, 256, (*size, 3), dtype=np.uint8)).save(folder / f"p{index}.png")
    return tmp_path / "pictures"


@pytest.mark.parametrize("how", [["--length", "4"], ["--until-l1", "0.3"], ["--mean-length", "4"]])
def test_a_folder_is_encoded_described_and_decoded(how, model, pictures, tmp_path, capsys):
    tokens, out = tmp_path / "t.alit", tmp_path / "out"
    main(["encode", str(pictures), "-o", str(tokens), "-m", model, *how, "--batch-size", "2"])
    main(["info", str(tokens)])
    main(["decode", str(tokens), "-o", str(out), "-m", model])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == lines[1]
    assert lines[0].startswith("3 images")
    assert sorted(path.name for path in out.iterdir()) == ["00000-p0.png", "00001-p1.png", "00002-p2.png"]
    with Image.open(out / "00001-p1.png") as image:
        assert image.size == (16, 16)


def test_lengths_can_be_predicted(model, pictures, tmp_path, capsys):
    predicting = AdaptiveTokenizer.from_pretrained(model)
    examples = measure_examples(predicting, images(60))
    options = {"data": "noise", "seed": 0}
    predicting.length_predictor = fit_length_predictor(
        examples, tokenizer=predicting.fingerprint, lengths=predicting.lengths, **options
    )
    predicting.save_pretrained(tmp_path / "predicting")
    how = ["--until-predicted-l1", "0.9", "--confidence", "0.8"]
    main(["encode", str(pictures), "-o", str(tmp_path / "t"), "-m", str(tmp_path / "predicting"), *how])
    assert capsys.readouterr().out.startswith("3 images")
    main(["tokenize", str(pictures), str(tmp_path / "set"), "-m", str(tmp_path / "predicting"), *how])
    record = json.loads((tmp_path / "set" / "_tokenize.json").read_text())
    assert (record["until_predicted_l1"], record["confidence"]) == (0.9, 0.8)
    assert record["length_predictor"] == predicting.length_predictor.digest
    with pytest.raises(ConfigError, match=r"confidence 0\.8, and this one has 0.9"):
        main(["tokenize", str(pictures), str(tmp_path / "set"), "-m", str(tmp_path / "predicting"), *how[:2]])


@pytest.mark.parametrize("command", ["encode", "tokenize"])
@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("--until-predicted-l1 0.1", "expected a length predictor for PredictedLoss, found none"),
        ("--until-predicted-l1 0.1 --confidence 1", "confidence between 0 and 1, found 1"),
        ("--until-predicted-l1 2", "l1 above 0 and at most 1, found 2"),
        ("--length 2 --confidence 0.9", "--confidence goes with --until-predicted-l1"),
    ],
)
def test_lengths_that_cannot_be_predicted_are_refused(command, how, message, model, pictures, tmp_path):
    out = ["-o", str(tmp_path / "t")] if command == "encode" else [str(tmp_path / "t")]
    with pytest.raises(ConfigError, match=message):
        main([command, str(pictures), *out, "-m", model, *how.split()])


def test_globs_and_paths_on_standard_input_are_inputs_too(model, pictures, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{pictures}/deep/p0.png\n"))
    arguments = ["-o", str(tmp_path / "t.alit"), "-m", model, "--length", "2"]
    main(["encode", "-", f"{pictures}/**/p[12].png", *arguments])
    assert capsys.readouterr().out.startswith("3 images")


def test_an_unreadable_picture_is_named_and_the_others_are_kept(model, pictures, tmp_path, capsys):
    (pictures / "bad.png").write_bytes(b"not a picture")
    tokens = tmp_path / "t.alit"
    with pytest.raises(DataError, match=r"1 of 4 pictures could not be read.*bad\.png: not an image"):
        main(["encode", str(pictures), "-o", str(tokens), "-m", model, "--length", "2"])
    main(["info", str(tokens)])
    assert capsys.readouterr().out.splitlines()[-1].startswith("3 images")


def test_only_unreadable_pictures_give_an_empty_file_and_an_error(model, pictures, tmp_path):
    bad = pictures / "bad.png"
    bad.write_bytes(b"")
    with pytest.raises(DataError, match="1 of 1"):
        main(["encode", str(bad), "-o", str(tmp_path / "t.alit"), "-m", model, "--length", "2"])


def test_what_is_missing_is_named(model, tmp_path):
    with pytest.raises(DataError, match="found none"):
        main(["encode", str(tmp_path / "nowhere"), "-o", str(tmp_path / "t"), "-m", model, "--length", "2"])
    with pytest.raises(TokenFileError, match="found none"):
        main(["info", str(tmp_path / "nothing.alit")])
    with pytest.raises(CheckpointError, match=r"no config\.json"):
        main(["info", str(tmp_path)])


def test_one_missing_input_among_others_is_named(model, pictures, tmp_path):
    (tmp_path / "empty").mkdir()
    for missing in (tmp_path / "missing.png", tmp_path / "empty", tmp_path / "*.jpg"):
        with pytest.raises(DataError, match=f"expected pictures at {re.escape(str(missing))}, found none"):
            main(["encode", str(pictures), str(missing), "-o", str(tmp_path / "t"), "-m", model, "--length", "2"])
    assert not (tmp_path / "t").exists()


def test_a_place_that_cannot_be_written_to_is_named_before_any_work(model, pictures, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    for place in (tmp_path, tmp_path / "file" / "t.alit"):
        with pytest.raises(DataError, match="cannot write to"):
            main(["encode", str(pictures), "-o", str(place), "-m", "no/model", "--length", "2"])


def test_a_device_that_is_not_here_is_named(model, pictures, tmp_path):
    for device in ("nonsense", "meta:x", "hpu"):
        with pytest.raises(ConfigError, match=f"expected a torch device of this machine, found {device}"):
            main(["encode", str(pictures), "-o", str(tmp_path / "t"), "-m", model, "--length", "2", "--device", device])


@pytest.mark.parametrize("options", ["--length 0", "--until-l1 -1", "--mean-length nan", "--length 2 --batch-size 0"])
def test_numbers_out_of_range_end_with_status_2(options, model, pictures, tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["encode", str(pictures), "-o", str(tmp_path / "t"), "-m", model, *options.split()])
    assert ended.value.code == 2
    assert "expected a " in capsys.readouterr().err


def test_names_in_a_token_file_lead_nowhere_else(tmp_path, model, capsys):
    names = ["../../up.png", "nul\0.png", "x" * 300, "-", "a b.tar.gz"]
    (tmp_path / "t.alit").write_bytes(pack(tokenizer().encode(images(5), length=2), names))
    main(["decode", str(tmp_path / "t.alit"), "-o", str(tmp_path / "out"), "-m", model])
    found = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert found == ["00000-up.png", "00001-nul_.png", f"00002-{'x' * 100}.png", "00003.png", "00004-a b.tar.png"]


def test_tokens_of_another_model_are_not_decoded(model, pictures, tmp_path):
    tokens = tmp_path / "t.alit"
    main(["encode", str(pictures), "-o", str(tokens), "-m", model, "--length", "2"])
    tokenizer(seed=1).save_pretrained(tmp_path / "other")
    with pytest.raises(TokenFileError, match="checkpoint that encoded"):
        main(["decode", str(tokens), "-o", str(tmp_path / "out"), "-m", str(tmp_path / "other")])


def test_info_describes_a_checkpoint(model, capsys):
    main(["info", model])
    output = capsys.readouterr().out
    assert "lengths 2, 4, 6" in output
    assert f"{sum(p.numel() for p in tokenizer().parameters()):,} parameters" in output


def test_a_published_checkpoint_is_converted_and_its_card_claims_no_licence(tmp_path, capsys):
    config = tokenizer().config
    tensors = {published_name(name, config): tensor.contiguous() for name, tensor in tokenizer().state_dict().items()}
    torch.save({"ema": tensors}, tmp_path / "alit_x.pth")
    main(["convert", str(tmp_path / "alit_x.pth"), str(tmp_path / "out"), "--heads", "2"])
    assert "lengths 2, 4, 6" in capsys.readouterr().out
    assert len(AdaptiveTokenizer.from_pretrained(tmp_path / "out").encode(images(1), length=2)) == 1
    card = ModelCard.load(tmp_path / "out" / "README.md")
    assert card.data.license is None
    assert "without a license" in card.text
    assert "`alit_x.pth`" in card.text


def test_a_checkpoint_that_is_not_published_is_not_converted(tmp_path):
    torch.save({"something": 1}, tmp_path / "bad.pth")
    with pytest.raises(CheckpointError, match="expected tensors under"):
        main(["convert", str(tmp_path / "bad.pth"), str(tmp_path / "out")])


def test_bench_prints_a_row_for_every_length_or_json(model, capsys):
    main(["bench", model, "--rounds", "1", "--batch-size", "2"])
    *_, settings, headings, first, second, third = capsys.readouterr().out.splitlines()
    assert "batch_size 2" in settings
    assert headings.split()[:4] == ["tokens", "bits", "encode", "ms"]
    assert [row.split()[:2] for row in (first, second, third)] == [["2", "8"], ["4", "16"], ["6", "24"]]
    main(["bench", model, "--rounds", "1", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert found["model"] == model
    assert [row["length"] for row in found["lengths"]] == [2, 4, 6]


def test_bench_measures_a_published_size_without_a_checkpoint(capsys, monkeypatch):
    monkeypatch.setattr("alit.commands.published_config", {"small": tokenizer_config()}.__getitem__)
    main(["bench", "--size", "small", "--rounds", "1", "--json"])
    assert json.loads(capsys.readouterr().out)["model"] == "small, random weights"
    assert tuple(published.SIZES) == SIZES
    for arguments in (["bench"], ["bench", "model", "--size", "small"], ["bench", "--size", "huge"]):
        with pytest.raises(SystemExit, match="2"):
            main(arguments)


def test_info_as_json_holds_what_the_lines_say(model, pictures, tmp_path, capsys):
    main(["encode", str(pictures), "-o", str(tmp_path / "t.alit"), "-m", model, "--until-l1", "0.3"])
    main(["info", str(tmp_path / "t.alit"), "--json"])
    line, text = capsys.readouterr().out.split("\n", 1)
    found, tokens = json.loads(text), TokenSet.load(tmp_path / "t.alit")
    assert f"{found['images']} images, {found['mean_tokens']:.1f} tokens on average" in line
    assert (found["tokenizer"], found["codebook_size"]) == (tokens.model, tokens.codebook_size)
    assert found["mean_bytes"] == float(tokens.bits.double().mean()) / 8
    listed = [each["length"] for each in found["lengths"] for _ in range(each["images"])]
    assert listed == sorted(tokens.lengths.tolist())
    assert (found["shortest"], found["longest"]) == (listed[0], listed[-1])
    assert found["unsatisfied"] == int((~tokens.satisfied).sum())

    main(["info", model, "--json"])
    found = json.loads(capsys.readouterr().out)
    assert (found["tokenizer"], found["image_size"], found["lengths"]) == (tokens.model, 16, [2, 4, 6])
    assert found["parameters"] == sum(each.numel() for each in tokenizer().parameters())


def test_info_of_a_tokenized_set_and_of_an_empty_file_is_json_too(model, pictures, tmp_path, capsys):
    main(["tokenize", str(pictures), str(tmp_path / "set"), "-m", model, "--length", "4"])
    main(["info", str(tmp_path / "set"), "--json"])
    found = json.loads(capsys.readouterr().out.split("\n", 1)[1])
    assert found["lengths"] == [{"length": 4, "images": 3}]
    tokenizer().encode(images(0), length=2).save(tmp_path / "empty.alit")
    main(["info", str(tmp_path / "empty.alit"), "--json"])
    found = json.loads(capsys.readouterr().out)
    assert (found["images"], found["mean_tokens"], found["longest"], found["lengths"]) == (0, None, None, [])


def test_the_bar_is_shown_where_asked_and_counts_no_picture_of_an_earlier_command(model, pictures, tmp_path, capsys):
    (pictures / "bad.png").write_bytes(b"")
    how = ["-m", model, "--length", "2", "--batch-size", "2"]
    for options, shown in (([], False), (["--no-progress"], False), (["--progress"], True)):
        with pytest.raises(DataError, match="1 of 4"):
            main(["encode", str(pictures), "-o", str(tmp_path / "t"), *how, *options])
        last = capsys.readouterr().err.split("\r")[-1]
        assert bool(re.search(r"100%.* 4/4 \[\d\d:\d\d<00:00, .*(image/s|s/image)", last)) == shown


def test_what_is_skipped_counts_for_no_rate():
    bar = ProgressBar(1000, shown=True)
    bar.skip(900)
    bar.update(10)
    bar.start_t -= 100
    bar.close()
    about = bar.format_dict
    assert (about["n"], about["initial"]) == (910, 900)
    assert "10.00s/image" in str(bar)


@pytest.mark.parametrize(
    "command", ["", "encode", "tokenize", "decode", "view", "info", "convert", "bench", "completion"]
)
def test_help_says_what_is_asked_for(command, capsys):
    with pytest.raises(SystemExit) as ended:
        main([*command.split(), "--help"])
    assert ended.value.code == 0
    words = {
        "": "Exit status",
        "encode": "pixels count from 0 to 1",
        "info": "sizes in bits",
        "bench": "GFLOP (two per",
        "view": "ends the command with status 2",
        "completion": "{bash,zsh,fish}",
    }
    assert words.get(command, "folder to write to") in " ".join(capsys.readouterr().out.split())
