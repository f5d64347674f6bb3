"""Stage 2 as a LightningModule: a masked transformer learns the tokens of a frozen VQGAN (poster; published recipe)."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.nn import functional as F

from data_modules.base import Batch, ROIDataModule
from data_modules.condition import Condition
from data_modules.errors import InputError
from data_modules.origin import Origin
from tumorgen.methods.generator import Generator
from tumorgen.methods.transformer.decoding import CachedAutoregressive, Sampler
from tumorgen.methods.transformer.held_out import TokenMetrics
from tumorgen.methods.transformer.masking import Corrupted, MaskingStrategy, TemporalAgnosticMasking
from tumorgen.methods.transformer.network import TokenTransformer
from tumorgen.methods.transformer.vocabulary import Vocabulary
from tumorgen.methods.vqgan.tokenizer import read_tokenizer
from tumorgen.nn.draws import Draws
from tumorgen.nn.optimizers import CosineSchedule, OptimizerFactory, ScheduleFactory, TransformerAdamW
from tumorgen.types import Scores, Tokens, Volume


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

    monitor: ClassVar[str | None] = "val/cross_entropy_corrupted"
    runtime_options: ClassVar[tuple[str, ...]] = ("sampler", "bfloat16_sampling")
    self_contained: ClassVar[tuple[str, ...]] = ("tokenizer",)
    batch_invariant: bool = True

    held_out: TokenMetrics

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
        if not 0 <= class_dropout < 1:
            raise InputError(f"model.class_dropout is {class_dropout}; expected a share in [0, 1).")
        frozen, section = read_tokenizer(tokenizer)
        super().__init__(frozen.class_names, frozen.roi_size, frozen.spacing, frozen.in_channels)
        self.tokenizer, self._tokenizer_section = frozen, section
        self.vocabulary = Vocabulary(self.tokenizer.num_codes, len(self.class_names), unconditional=class_dropout > 0)
        self.network = network(self.vocabulary.size, self.tokenizer.length)
        self.masking, self.sampler = masking(), sampler()
        self.sampler.check(self.network, self.vocabulary)
        if not self.network.causal and not self.masking.corrupted_only:
            raise InputError(
                "model.masking.corrupted_only is false, but this transformer attends in both directions: it would be trained to "
                "copy the intact tokens that it sees. Set --model.masking.corrupted_only true."
            )
        if self.masking.needs_importance and not self.tokenizer.has_importance:
            raise InputError(
                f"model.masking: {type(self.masking).__name__} chooses tokens by importance, but the tokenizer was trained "
                "without an importance score net. Take tumorgen.methods.transformer.masking.RandomMasking, or another tokenizer."
            )
        self.class_dropout, self.bfloat16_sampling, self.compile_network = class_dropout, bfloat16_sampling, compile
        self.optimizer, self.schedule = optimizer, schedule
        self.held_out = TokenMetrics(self.class_names)
        self.batch_invariant = not bfloat16_sampling
        self._rounded = False
        self._known_tokens: dict[str, tuple[Tensor, Tensor]] = {}

    # ------------------------------------------------------------------ sampling

    def prepare_sampling(self) -> None:
        """Rounds the network's weights where `bfloat16_sampling` asks for it; such a network is not trained any more."""
        if self.bfloat16_sampling:
            self.network.to(torch.bfloat16)
            self._rounded = True

    @torch.no_grad()
    def sample(self, condition: Condition, seeds: Sequence[int]) -> Volume:
        """Samples float32 volumes (B, C, D, H, W) in [-1, 1]; see `Generator.sample`."""
        tokens = self.sampler.sample(self.network, self.vocabulary, condition.label, seeds, self.tokenizer.grid)
        # one by one: convolutions of a batch differ in the last digits, and at full size a batch of them needs much memory
        return torch.cat([self.tokenizer.decode(volume) for volume in tokens.split(1)])

    def describe_sampler(self) -> dict[str, Any]:
        """The sampler's class and options."""
        options = {name: _plain(value) for name, value in vars(self.sampler).items()}
        return {"class": type(self.sampler).__name__, **options, "bfloat16": self.bfloat16_sampling}

    # ------------------------------------------------------------------ training

    def setup(self, stage: str) -> None:
        """Refuses to train what was rounded for sampling."""
        super().setup(stage)
        self._known_tokens.clear()
        if stage != "predict" and self._rounded:
            raise RuntimeError("this transformer was rounded to bfloat16 for sampling; load its checkpoint again")
        if stage == "fit" and self.compile_network:
            self.network.compile()

    def parents(self) -> Sequence[Origin]:
        """The tokenizer's origin."""
        return (Origin.from_json(self._tokenizer_section.get("origin")),)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Cross entropy of the original tokens, given the class and the corrupted ones."""
        tokens, scores = self.tokenize(batch, remember=self._augmentation_off())
        corrupted = self.masking(tokens, scores, self.tokenizer.grid, self.vocabulary, self.draws(batch, "mask"))
        dropped = None
        if self.class_dropout:
            dropped = self.draws(batch, "class dropout").uniform() < self.class_dropout
        logits = self.network.token_logits(self.vocabulary.condition(batch["label"], dropped), corrupted.inputs)
        entropy = F.cross_entropy(logits.transpose(1, 2), tokens, reduction="none")
        # weights instead of a selection: no wait for the device
        of_corrupted = (entropy * corrupted.positions).sum() / corrupted.positions.sum().clamp_min(1)
        loss = of_corrupted if self.masking.corrupted_only else entropy.mean()
        self.log("train/loss", loss.detach(), prog_bar=True)
        self.log("train/cross_entropy", entropy.detach().mean())
        self.log("train/cross_entropy_corrupted", of_corrupted.detach())
        return loss

    def held_out_step(self, batch: Batch, batch_idx: int) -> None:
        """Adds a batch to the held-out metrics; every case is corrupted in one way in all epochs, so that they compare."""
        tokens, scores = self.tokenize(batch, remember=True)
        corrupted = self.corrupt(tokens, scores, batch["case"])
        logits = self.network.token_logits(self.vocabulary.condition(batch["label"]), corrupted.inputs)
        self.held_out.update(logits, tokens, corrupted.positions, batch["label"])

    def corrupt(self, tokens: Tokens, scores: Scores, cases: Sequence[str]) -> Corrupted:
        """Corrupts tokens in a way that depends on the cases alone."""
        draws = Draws.keyed(0, 0, cases, "held-out mask", tokens.device)
        return self.masking(tokens, scores, self.tokenizer.grid, self.vocabulary, draws)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """One optimizer, its learning rate changing step by step."""
        # torch's optimizers take groups wherever they take parameters
        return self.scheduled(self.optimizer, self.network.parameter_groups(), self.schedule)

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

    def _augmentation_off(self) -> bool:
        """Whether the data module says that a case's training volume is the same in every epoch."""
        data = self.trainer.datamodule
        return isinstance(data, ROIDataModule) and data.augmentation is None

    # ------------------------------------------------------------------ checkpoints

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds what builds the tokenizer again."""
        super().on_save_checkpoint(checkpoint)
        checkpoint["tokenizer"] = self._tokenizer_section

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Takes over the tokenizer's description."""
        self._tokenizer_section = checkpoint["tokenizer"]
        super().on_load_checkpoint(checkpoint)


def _plain(value: Any) -> Any:
    """Options that are objects (a token order) by class name and options of their own."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return {"class": type(value).__name__, **{name: _plain(item) for name, item in vars(value).items()}}
