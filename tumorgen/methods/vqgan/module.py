"""Stage 1 as a LightningModule: how the parts of the class-aware 3D VQGAN train together (poster; published recipe)."""

import math
import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import nn
from torch.optim import Optimizer

from data_modules.base import Batch
from data_modules.errors import InputError
from tumorgen.methods.method import Method
from tumorgen.methods.vqgan.autoencoder import Decoder, Encoder
from tumorgen.methods.vqgan.compute import Compute
from tumorgen.methods.vqgan.discriminator import PatchDiscriminator3D
from tumorgen.methods.vqgan.held_out import TokenizerMetrics
from tumorgen.methods.vqgan.importance import ImportanceScoreNet
from tumorgen.methods.vqgan.model import Encoding, VQGANModel
from tumorgen.methods.vqgan.objective import GeneratorTerms, VQGANObjective, adaptive_weight, hinge_discriminator_loss
from tumorgen.methods.vqgan.perceptual import MRIPerceptual, PerceptualTerm
from tumorgen.methods.vqgan.quantizers.base import Quantizer
from tumorgen.methods.vqgan.quantizers.cosine_ema import CosineEMAQuantizer
from tumorgen.metrics.codebook import CodebookUsage
from tumorgen.nn.optimizers import CosineSchedule, GANAdam, OptimizerFactory, ScheduleFactory
from tumorgen.types import Codes, Labels, Scalar, Volume


class VQGAN(Method):
    """The class-aware 3D VQGAN: encoder, quantiser, importance score net, decoder and patch discriminator.

    Args:
        class_names: Classes in the order of their labels (from the data module).
        roi_size: Side of the cubic ROI in voxels (from the data module).
        spacing: Side of a voxel in mm (from the data module).
        in_channels: MRI sequences per volume (from the data module).
        encoder: Builds the encoder from `in_channels`.
        decoder: Builds the decoder from `in_channels` and the encoder's widths.
        quantizer: Builds the quantiser; its `code_dim` is the width of the features that are quantised.
        importance: Builds the importance score net from the number of classes, the grid side and the code width; null leaves
            it out, and with it what needs scores (masking by importance).
        discriminator: Builds the discriminator from `in_channels`.
        objective: Builds the objective, which holds the weights of the loss terms.
        perceptual: Builds the perceptual term; null turns it off.
        discriminator_start: Share of the training after which the discriminator joins (published: 2000 of 10 000 epochs).
        optimizer: Builds the optimizer of the generator side.
        discriminator_optimizer: Builds the optimizer of the discriminator.
        schedule: Builds a schedule from an optimizer and the number of its steps in the whole run.
        compute: How the arithmetic is done.

    Raises:
        InputError: Sizes that do not fit each other, with the numbers.
    """

    monitor: ClassVar[str | None] = "val/l1_tumour"
    ddp_strategy: ClassVar[str] = "ddp_find_unused_parameters_true"

    held_out: TokenizerMetrics

    def __init__(
        self,
        class_names: Sequence[str] = ("LGG", "HGG"),
        roi_size: int = 128,
        spacing: float = 1.0,
        in_channels: int = 1,
        encoder: Callable[[int], Encoder] = Encoder,
        decoder: Callable[[int, Sequence[int]], Decoder] = Decoder,
        quantizer: Callable[[], Quantizer] = CosineEMAQuantizer,
        importance: Callable[[int, int, int], ImportanceScoreNet] | None = ImportanceScoreNet,
        discriminator: Callable[[int], PatchDiscriminator3D] = PatchDiscriminator3D,
        objective: Callable[[], VQGANObjective] = VQGANObjective,
        perceptual: Callable[[], PerceptualTerm] | None = MRIPerceptual,
        discriminator_start: float = 0.2,
        optimizer: OptimizerFactory = GANAdam,
        discriminator_optimizer: OptimizerFactory = GANAdam,
        schedule: ScheduleFactory = CosineSchedule,
        compute: Compute = Compute(),  # noqa: B008  (never changed; jsonargparse reads the default from here)
    ) -> None:
        if not 0 <= discriminator_start <= 1:
            raise InputError(f"model.discriminator_start is {discriminator_start}; expected a share in [0, 1].")
        super().__init__(class_names, roi_size, spacing, in_channels)
        self.automatic_optimization = False
        self.model = VQGANModel(in_channels, len(self.class_names), roi_size, encoder, decoder, quantizer, importance)
        self.discriminator = discriminator(in_channels)
        self.discriminator.check_roi_size(roi_size)
        self.objective = objective()
        self.perceptual = perceptual() if perceptual is not None else None

        self.discriminator_start = discriminator_start
        self.optimizer, self.discriminator_optimizer, self.schedule = optimizer, discriminator_optimizer, schedule
        self.compute = Compute(**compute) if isinstance(compute, dict) else compute
        self.model.encoder.checkpoint_levels = self.model.decoder.checkpoint_levels = self.compute.checkpoint_levels
        if self.compute.channels_last:
            self.model.to_channels_last()
            self.discriminator.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]  # not in torch's stubs

        self.total_batches: int | None = None
        self.training_codes = CodebookUsage(self.model.quantizer.num_codes, self.class_names)
        scored = self.model.importance is not None
        self.held_out = TokenizerMetrics(self.model.quantizer.num_codes, self.class_names, scored)

    def encode(self, volume: Volume) -> Encoding:
        """Turns volumes in [-1, 1] into codes and importance scores, without the classifier."""
        return self.model.encode(volume)

    def decode(self, codes: Codes) -> Volume:
        """Turns codes (B, d, h, w) into volumes in [-1, 1]."""
        return self.model.decode(codes)

    def forward(self, volume: Volume) -> Volume:
        """Reconstructs volumes in [-1, 1]."""
        return self.model(volume)

    def setup(self, stage: str) -> None:
        """Loads the perceptual weights."""
        super().setup(stage)
        if stage != "fit":
            return
        if self.perceptual is not None:
            self.perceptual.load()
        if self.compute.compile:
            for network in (self.model.encoder, self.model.decoder, self.discriminator):
                network.compile()
        # the discriminator's schedule runs from the first batch, its optimizer later
        warnings.filterwarnings("ignore", message="Detected call of `lr_scheduler.step")

    def training_step(self, batch: Batch, batch_idx: int) -> None:
        """One step of both sides on a batch of real volumes."""
        begin = time.perf_counter()
        x = self._layout(batch["volume"])
        generator, discriminator = self.optimizers()
        step_now = self.trainer.is_last_batch or (batch_idx + 1) % self.compute.accumulate_batches == 0
        x_hat = self._generator_step(x, batch["label"], generator, step_now)
        self._discriminator_step(x, x_hat, discriminator, step_now)
        if step_now:
            for schedule in self.lr_schedulers():
                schedule.step()
        self.log("train/voxels_per_second", x.numel() / (time.perf_counter() - begin))

    def _generator_step(self, x: Volume, labels: Labels, optimizer: Any, step_now: bool) -> Volume:
        """Improves encoder, quantiser, importance score net and decoder; returns the detached reconstruction."""
        with self.toggled_optimizer(optimizer):
            z = self.model.features(x)
            quantized = self.model.quantizer(z)
            x_hat = self.model.synthesize(quantized.latent)
            logits = self.model.importance(z).logits if self.model.importance is not None else None
            real = fake = None
            if self.objective.judges_generator(self.adversarial_on):
                with torch.no_grad():
                    real = self.discriminator(x)
                fake = self.discriminator(x_hat)
            perceptual = self.perceptual(x, x_hat) if self.perceptual is not None else None
            terms = self.objective.generator_terms(
                x, x_hat, quantized.commitment, logits, labels, perceptual, real, fake
            )
            weight: Scalar | float = 0.0
            if self.adversarial_on:
                weight = adaptive_weight(terms.pixel, terms.adversarial, self.model.decoder.last_layer)
            total = self.objective.total(terms, weight)
            self._descend(total, optimizer, step_now)
        self._log_generator(terms, weight, total)
        if logits is not None:
            self.log("train/importance_accuracy", (logits.argmax(1) == labels).float().mean())
        self.training_codes.update(quantized.codes, labels)
        return x_hat.detach()

    def _discriminator_step(self, x: Volume, x_hat: Volume, optimizer: Any, step_now: bool) -> None:
        """Improves the discriminator on real volumes and detached reconstructions, once it has started."""
        if not self.adversarial_on:
            return
        with self.toggled_optimizer(optimizer):
            loss = hinge_discriminator_loss(self.discriminator(x).logits, self.discriminator(x_hat).logits)
            self._descend(loss, optimizer, step_now)
        self.log("train/discriminator", loss.detach())

    def _descend(self, loss: Scalar, optimizer: Any, step_now: bool) -> None:
        self.manual_backward(loss / self.compute.accumulate_batches)
        if step_now:
            optimizer.step()
            optimizer.zero_grad()

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Clips gradients by value; under fp16 Lightning has unscaled them at this point, and not before."""
        if self.compute.clip_gradients is not None:
            parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
            nn.utils.clip_grad_value_(parameters, self.compute.clip_gradients)

    @property
    def steps_per_batch(self) -> float:
        """Optimizer steps of a batch, averaged over the run: what `trainer.max_steps` counts."""
        return (2 - self.discriminator_start) / self.compute.accumulate_batches

    @property
    def adversarial_on(self) -> bool:
        """Whether the discriminator takes part by now."""
        if self.total_batches is None:
            self.total_batches = self.planned_batches()
        return self.updates >= self.discriminator_start * self.total_batches

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """One optimizer and one schedule for each side."""
        discriminator = set(self.discriminator.parameters())
        generator = [parameter for parameter in self.parameters() if parameter not in discriminator]
        optimizers = [self.optimizer(generator), self.discriminator_optimizer(self.discriminator.parameters())]
        epochs, rest = divmod(self.planned_batches(), self.trainer.num_training_batches)
        per_epoch = math.ceil(self.trainer.num_training_batches / self.compute.accumulate_batches)
        steps = int(epochs * per_epoch + math.ceil(rest / self.compute.accumulate_batches))
        sides = zip(("generator", "discriminator"), optimizers, strict=True)
        return optimizers, [
            {"scheduler": self.schedule(o, steps), "name": f"learning_rate/{side}"} for side, o in sides
        ]

    def held_out_step(self, batch: Batch, batch_idx: int) -> None:
        """Adds a batch to the held-out metrics."""
        x = self._layout(batch["volume"])
        z = self.model.features(x)
        quantized = self.model.quantizer(z)
        x_hat = self.model.synthesize(quantized.latent)
        self.held_out.update(x, x_hat, quantized.codes, batch["label"])
        if self.model.importance is not None:
            scores, logits = self.model.importance(z)
            self.held_out.update_importance(x, scores, logits, batch["label"])

    def on_train_epoch_end(self) -> None:
        """Logs how the codebook was used over the epoch."""
        self.log_dict({f"train/codebook_{name}": value for name, value in self.training_codes.compute().items()})
        self.training_codes.reset()

    def _log_generator(self, terms: GeneratorTerms, weight: Scalar | float, total: Scalar) -> None:
        self.log_dict({f"train/{name}": value.detach() for name, value in terms._asdict().items()})
        self.log("train/adaptive_weight", torch.as_tensor(weight))
        self.log("train/total", total.detach(), prog_bar=True)

    def _layout(self, volume: Volume) -> Volume:
        return volume.contiguous(memory_format=torch.channels_last_3d) if self.compute.channels_last else volume
