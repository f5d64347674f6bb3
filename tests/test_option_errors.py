"""One line out of jsonargparse's nested reports; the reports are made by the real parser, so that its changes show."""

import pytest
from front import TINY_VQGAN

from tumorgen.cli import TumorgenCLI
from tumorgen.option_errors import one_line


def report_of(*words: object) -> str:
    """What jsonargparse says of options that cannot be used."""
    with pytest.raises(Exception) as caught:  # noqa: PT011  (its class is jsonargparse's affair)
        TumorgenCLI(["fit", "--config", str(TINY_VQGAN), *map(str, words)])
    return str(caught.value)


CASES = [
    (
        ("--model.quantizer.decai", "0.9"),
        "model.quantizer: option 'decai' is not accepted by tumorgen.methods.vqgan.quantizers.cosine_ema.CosineEMAQuantizer.",
    ),
    (("--data.rooot", "x"), "data: option 'rooot' is not accepted by toy.ToyDataModule."),
    (("--trainer.max_epochs", "many"), "trainer.max_epochs: expected a value of type int, found many."),
]


@pytest.mark.parametrize(("words", "line"), CASES, ids=lambda value: value[0] if isinstance(value, tuple) else "")
def test_lines_in_full(words: tuple[str, ...], line: str) -> None:
    assert one_line(report_of(*words)) == line


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (
            ("--model.quantizer", "tumorgen.methods.vqgan.quantizers.base.VQ"),
            ("quantizer", "tumorgen.methods.vqgan.quantizers.base.VQ"),
        ),
        (("--model.encoder", "torch.nn.Conv3d"), ("encoder", "torch.nn.Conv3d")),
        (("--model.discriminator_start", "late"), ("model.discriminator_start", "late")),
        (("--model.compute.checkpoint_levels", "two"), ("checkpoint_levels", "two")),
        (("--model", "tumorgen.methods.vqgan.module.VQGANN"), ("model", "VQGANN")),
        (("--wandb.mode", "onlin"), ("wandb.mode", "onlin")),
        (("--trainer.precision", "bf17"), ("trainer.precision", "bf17")),
        (("--trainer.max_epoch", "3"), ("trainer.max_epoch",)),
        (("--seed_everything", "often"), ("seed_everything", "often")),
    ],
    ids=lambda value: value[0],
)
def test_every_line_names_the_key_and_what_was_found(words: tuple[str, ...], parts: tuple[str, ...]) -> None:
    line = one_line(report_of(*words))
    assert "\n" not in line
    assert len(line) < 300
    assert line.endswith(".")
    for part in parts:
        assert part in line, line
    for noise in ("Namespace(", "Subtypes", "NoneType", "Does not validate"):
        assert noise not in line, line


def test_reports_of_an_unknown_kind_are_not_swallowed() -> None:
    assert one_line("Something else went wrong") == "something else went wrong."
    assert one_line("First.\n  - second thing\n") == "second thing."
