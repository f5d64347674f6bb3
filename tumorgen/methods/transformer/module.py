"""Stage 2 as a LightningModule: a masked transformer learns the tokens of a frozen VQGAN (poster; published recipe)."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar, cast

import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.nn import functional as F

from data_modules.base import Batch, ROIDataModule, origin_of
from data_modules.errors import InputError
from data_modules.origin import Origin
from tumorgen import __version__
from tumorgen.methods.generator import Generator
from tumorgen.methods.method import planned_batches
from tumorgen.methods.transformer.decoding import CachedAutoregressive, Sampler
from tumorgen.methods.transformer.held_out import TokenFigures
from tumorgen.methods.transformer.masking import Corrupted, MaskingStrategy, TemporalAgnosticMasking
from tumorgen.methods.transformer.network import TokenTransformer
from tumorgen.methods.transformer.vocabulary import Vocabulary
from tumorgen.methods.vqgan.tokenizer import read_tokenizer
from tumorgen.nn.optimizers import CosineSchedule, OptimizerFactory, ScheduleFactory, TransformerAdamW
from tumorgen.types import Labels, Scores, Tokens, Volume


class MaskedTransformer(Generator):
    """Class-conditional transformer over the tokens of a frozen tokenizer.

    Codebook size, token grid, ROI size, spacing and class names are the tokenizer's. A checkpoint carries the tokenizer, so
    that it samples alone.

    Args:
        tokenizer: Checkpoint of a VQGAN, or of a transformer that carries one.
        network: Builds the network from the vocabulary size and the tokens per volume.
        masking: Builds the strategy that corrupts tokens for training.
        sampler: Builds the sampler of `sample` and `predict`.
        class_dropout: Share of training volumes whose class is withheld; above 0 for classifier-free guidance.
        bfloat16_sampling: Sample with the weights in bfloat16: half the memory traffic, other volumes than in float32.
        optimizer: Builds the optimizer.
        schedule: Builds a schedule from the optimizer and the number of its steps in the whole run.
        compile: Compile the network with `torch.compile`.

    Raises:
        InputError: The tokenizer cannot be read, or sizes do not fit each other.
    """

    monitor: ClassVar[str] = "val/cross_entropy_corrupted"
    runtime_options: ClassVar[tuple[str, ...]] = ("sampler", "bfloat16_sampling")
    self_contained: ClassVar[tuple[str, ...]] = ("tokenizer",)

    def __init__(
        self,
        tokenizer: Path,
        network: Callable[[int, int], TokenTransformer] = TokenTransformer,
        masking: Callable[[], MaskingStrategy] = TemporalAgnosticMasking,
        sampler: Callable[[], Sampler] = CachedAutoregressive,
        class_dropout: float = 0.0,
        bfloat16_sampling: bool = False,
        optimizer: OptimizerFactory = TransformerAdamW,
        schedule: ScheduleFactory = lambda optimizer, steps: CosineSchedule(optimizer, steps, final_lr=1e-8),
        compile: bool = False,
    ) -> None:
        super().__init__()
        if not 0 <= class_dropout < 1:
            raise InputError(f"model.class_dropout is {class_dropout}; expected a share in [0, 1).")
        self.save_hyperparameters()
        self.tokenizer, self._tokenizer_section = read_tokenizer(tokenizer)
        self.class_names, self.roi_size = self.tokenizer.class_names, self.tokenizer.roi_size
        self.spacing, self.in_channels = self.tokenizer.spacing, self.tokenizer.in_channels
        self.vocabulary = Vocabulary(self.tokenizer.num_codes, len(self.class_names), unconditional=class_dropout > 0)
        self.network = network(self.vocabulary.size, self.tokenizer.length)
        self.masking, self.sampler = masking(), sampler()
        self.sampler.check(self.network, self.vocabulary)
        if not self.network.causal and not self.masking.corrupted_only:
            raise InputError(
                "model.masking.corrupted_only is false, but this transformer attends in both directions: it would be trained to "
                "copy the intact tokens that it sees. Set --model.masking.corrupted_only true."
            )
        self.class_dropout, self.bfloat16_sampling, self.compile_network = class_dropout, bfloat16_sampling, compile
        self.optimizer, self.schedule = optimizer, schedule
        self.origin = Origin()
        self.held_out = TokenFigures(self.class_names)
        self._rounded = False
        self._known_tokens: dict[str, tuple[Tensor, Tensor]] = {}

    # ------------------------------------------------------------------ sampling

    def prepare_sampling(self) -> None:
        """Rounds the network's weights where `bfloat16_sampling` asks for it; such a network is not trained any more."""
        if self.bfloat16_sampling:
            self.network.to(torch.bfloat16)
            self._rounded = True

    @torch.no_grad()
    def sample(self, labels: Labels, seeds: Sequence[int]) -> Volume:
        """Samples float32 volumes (B, C, D, H, W) in [-1, 1]; see `Generator.sample`."""
        tokens = self.sampler.sample(self.network, self.vocabulary, labels, seeds, self.tokenizer.grid)
        # one by one: convolutions of a batch differ in the last digits, and at full size a batch of them needs much memory
        return torch.cat([self.tokenizer.decode(volume) for volume in tokens.split(1)])

    def describe_sampler(self) -> dict[str, Any]:
        """The sampler's class and options."""
        options = {name: _plain(value) for name, value in vars(self.sampler).items()}
        return {"class": type(self.sampler).__name__, **options, "bfloat16": self.bfloat16_sampling}

    # ------------------------------------------------------------------ training

    def setup(self, stage: str) -> None:
        """Notes the training patients: its own, those behind the tokenizer and those behind generated volumes."""
        super().setup(stage)
        self._known_tokens.clear()
        if stage != "predict" and self._rounded:
            raise RuntimeError("this transformer was rounded to bfloat16 for sampling; load its checkpoint again")
        if stage != "fit":
            return
        if self.compile_network:
            self.network.compile()
        tokenizer = Origin.from_json(self._tokenizer_section.get("origin"))
        self.origin = origin_of(self.trainer.datamodule).joined(self.origin, tokenizer)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Cross entropy of the original tokens, given the class and the corrupted ones."""
        tokens, scores = self.tokenize(batch, remember=self._augmentation_off())
        corrupted = self.masking(tokens, scores, self.tokenizer.grid, self.vocabulary)
        dropped = None
        if self.class_dropout:
            dropped = torch.rand(len(tokens), device=tokens.device) < self.class_dropout
        logits = self.network.token_logits(self.vocabulary.condition(batch["label"], dropped), corrupted.inputs)
        entropy = F.cross_entropy(logits.transpose(1, 2), tokens, reduction="none")
        # weights instead of a selection: no wait for the device
        of_corrupted = (entropy * corrupted.positions).sum() / corrupted.positions.sum().clamp_min(1)
        loss = of_corrupted if self.masking.corrupted_only else entropy.mean()
        self.log("train/loss", loss.detach(), prog_bar=True)
        self.log("train/cross_entropy", entropy.detach().mean())
        self.log("train/cross_entropy_corrupted", of_corrupted.detach())
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Adds a batch to the held-out figures."""
        self._held_out_step(batch, batch_idx)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Adds a batch to the held-out figures."""
        self._held_out_step(batch, batch_idx)

    def on_validation_epoch_end(self) -> None:
        """Logs the figures of the validation cases."""
        self._log_held_out("val")

    def on_test_epoch_end(self) -> None:
        """Logs the figures of the test fold."""
        self._log_held_out("test")

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """One optimizer, its learning rate changing step by step."""
        # torch's optimizers take groups wherever they take parameters
        optimizer = self.optimizer(cast(Iterable[Tensor], self.network.parameter_groups()))
        planned_batches(self.trainer, optimizers=1)  # refuses a run without an end
        steps = max(1, int(self.trainer.estimated_stepping_batches))
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": self.schedule(optimizer, steps), "interval": "step", "name": "learning_rate"},
        }

    def tokenize(self, batch: Batch, remember: bool) -> tuple[Tokens, Scores]:
        """Tokens and importance scores of a batch, computed once per case where `remember` allows it.

        Then each case is encoded alone, so that its tokens do not depend on the cases that it first met in a batch.
        """
        if not remember:
            return self.tokenizer.encode(batch["volume"])
        for volume, case in zip(batch["volume"], batch["case"], strict=True):
            if case not in self._known_tokens:
                # tensors made in inference mode could not take part in training
                with torch.inference_mode(False):
                    tokens, scores = self.tokenizer.encode(volume[None])
                self._known_tokens[case] = (tokens[0], scores[0])
        known = [self._known_tokens[case] for case in batch["case"]]
        return torch.stack([tokens for tokens, _ in known]), torch.stack([scores for _, scores in known])

    def _held_out_step(self, batch: Batch, batch_idx: int) -> None:
        tokens, scores = self.tokenize(batch, remember=True)
        corrupted = self.corrupt(tokens, scores, seed=batch_idx)
        logits = self.network.token_logits(self.vocabulary.condition(batch["label"]), corrupted.inputs)
        self.held_out.update(logits, tokens, corrupted.positions, batch["label"])

    def corrupt(self, tokens: Tokens, scores: Scores, seed: int) -> Corrupted:
        """Corrupts tokens in a way that depends on the seed alone, so that epochs compare."""
        generator = torch.Generator(tokens.device).manual_seed(seed)
        return self.masking(tokens, scores, self.tokenizer.grid, self.vocabulary, generator)

    def _log_held_out(self, part: str) -> None:
        self.log_dict({f"{part}/{name}": value for name, value in self.held_out.compute().items()})
        self.held_out.reset()

    def _augmentation_off(self) -> bool:
        """Whether the data module says that a case's training volume is the same in every epoch."""
        data = self.trainer.datamodule
        return isinstance(data, ROIDataModule) and data.augmentation is None

    # ------------------------------------------------------------------ checkpoints

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds what builds the tokenizer again, version and origin."""
        checkpoint["tokenizer"] = self._tokenizer_section
        checkpoint["tumorgen"] = {"version": __version__, "origin": self.origin.to_json()}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Takes over the tokenizer's description and the origin; a run that goes on may have added patients."""
        self._tokenizer_section = checkpoint["tokenizer"]
        self.origin = self.origin.joined(Origin.of_checkpoint(checkpoint))


def _plain(value: Any) -> Any:
    """Options that are objects (a token order) by class name and options of their own."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return {"class": type(value).__name__, **{name: _plain(item) for name, item in vars(value).items()}}
