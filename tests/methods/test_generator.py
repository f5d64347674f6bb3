"""A trained generator in the hands of a Python program."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from stage2 import AUTOREGRESSIVE, bidirectional, tokenizer, transformer

import tumorgen as package
from data_modules.errors import InputError
from tumorgen.methods.generator import load_generator


@pytest.mark.parametrize("checkpoint", [transformer, bidirectional])
def test_a_volume_does_not_depend_on_its_batch(checkpoint: Any) -> None:
    generator = load_generator(checkpoint())
    names, seeds = ["LGG", "HGG"] * 4, list(range(8))
    together = generator.sample_classes(names, seeds)
    for size in (1, 3):
        parts = [generator.sample_classes(names[i : i + size], seeds[i : i + size]) for i in range(0, len(seeds), size)]
        assert torch.equal(torch.cat(parts), together), f"batches of {size}"


def test_ten_lines_of_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(transformer(), "transformer.ckpt")
    lines = """
    from pathlib import Path
    import tumorgen
    from tumorgen.results.sheets import gallery, save

    generator = tumorgen.load_generator("transformer.ckpt")
    volumes = generator.sample_classes(["LGG", "HGG"], seeds=[0, 1])  # (2, 1, D, H, W) in [-1, 1]
    rows = [(name, [volume[0].numpy()]) for name, volume in zip(generator.class_names, volumes)]
    save(gallery(rows), Path("samples.png"))
    """
    exec("\n".join(line.strip() for line in lines.splitlines()))
    assert (tmp_path / "samples.png").stat().st_size > 1000


def test_loading_says_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        package.load_generator(tmp_path / "nix.ckpt")
    with pytest.raises(InputError, match=r"holds a tumorgen.methods.vqgan.module.VQGAN, expected a .*Generator"):
        package.load_generator(tokenizer())
    with pytest.raises(
        InputError,
        match=r"network: is built as it was trained; of a MaskedTransformer may be replaced: sampler, bfloat16_s",
    ):
        package.load_generator(transformer(), network=3)
    generator = package.load_generator(transformer())
    with pytest.raises(InputError, match="does not know the class GBM"):
        generator.sample_classes(["GBM"], [0])
    with pytest.raises(InputError, match="2 labels and 1 seeds"):
        generator.sample_classes(["LGG", "HGG"], [0])


def test_a_sampler_is_chosen_in_python(tmp_path: Path) -> None:
    sampler = {"class_path": AUTOREGRESSIVE, "init_args": {"top_k": 1}}
    greedy = package.load_generator(transformer(), sampler=sampler)
    assert not greedy.training
    first, second = greedy.sample_classes(["LGG", "LGG"], [0, 1])
    assert torch.equal(first, second), "the most likely code leaves nothing to chance"
