"""``tumorgen fit | validate | test | predict``: Lightning's CLI composes model, data and trainer from YAML."""

import sys
from collections.abc import Sequence
from dataclasses import asdict
from inspect import signature
from pathlib import Path
from typing import Any

import lightning as L
import yaml
from jsonargparse import Namespace
from lightning.pytorch.callbacks import LearningRateMonitor, ModelCheckpoint
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI, SaveConfigCallback

from data_modules.base import ROIDataModule
from data_modules.errors import InputError
from data_modules.files import atomic_path
from tumorgen.__main__ import TRAINING
from tumorgen.commands.words import as_words, asks_for_help, check_typed, early_settings
from tumorgen.methods.loading import architecture, find_class, load_weights, read_checkpoint, restore
from tumorgen.methods.method import Method
from tumorgen.methods.system import System
from tumorgen.methods.trust import trusting
from tumorgen.options import add_trust
from tumorgen.parsing import Parser
from tumorgen.runs.artifacts import VolumeArtifact
from tumorgen.runs.checkpoints import DurableCheckpoints
from tumorgen.runs.cost import CostFile
from tumorgen.runs.folder import Run, earlier_run, leave_run, open_run, without_resume
from tumorgen.runs.loggers import WandbOptions, group_of, run_loggers, run_tags
from tumorgen.runs.progress import TimeLeft
from tumorgen.runs.random_state import RandomState
from tumorgen.runs.signals import EndOnSignal, Killed
from tumorgen.runs.state import StateFile
from tumorgen.runs.volumes import VolumeWriter

DATA_FACTS = {"class_names": "class_names", "roi_size": "roi_size", "spacing": "spacing", "channels": "in_channels"}
"""Facts that the data module states, and the model's constructor arguments that take them over."""


class SaveConfig(SaveConfigCallback):
    """Writes the complete configuration into the run's folder, such that `--config` of it starts the same run anew."""

    def save_config(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Called once, on rank zero. A resumed run keeps the earlier configurations as config.1.yaml, ..."""
        config = self.config.clone()
        for key in ("resume", "run_id", "ckpt_path"):
            if key in config and (key != "ckpt_path" or self.config.get("resume")):
                config[key] = None
        path = Path(trainer.default_root_dir) / "config.yaml"
        if path.exists():
            earlier = len(list(path.parent.glob("config*.yaml")))
            path.replace(path.with_name(f"config.{earlier}.yaml"))
        with atomic_path(path) as temporary:
            self.parser.save(config, temporary, skip_none=False, overwrite=True, multifile=False)
        # Lightning itself sends the model's arguments only
        complete = yaml.safe_load(path.read_text())
        for logger in trainer.loggers:
            logger.log_hyperparams(complete)


class TumorgenCLI(LightningCLI):
    """Lightning's CLI with run folders, resuming, and checkpoints that decide the architecture.

    `fit` builds the model from the configuration; facts about the data (class names, ROI size, spacing, channels) come from
    the data module. `validate`, `test` and `predict` build it from the checkpoint: of the `model` section only the options
    that the model calls its `runtime_options` count, and those win over what the checkpoint remembers.
    """

    run: Run
    model: Method

    def __init__(self, args: Sequence[str]) -> None:
        self.command, self.typed = args[0], without_resume(args)
        self.early = early_settings(args[1:])
        with EndOnSignal() as self.signals, trusting(self.early.trust, self.early.classes):
            super().__init__(
                Method,
                L.LightningDataModule,
                subclass_mode_model=True,
                subclass_mode_data=True,
                save_config_callback=SaveConfig,
                save_config_kwargs={"save_to_log_dir": False},
                seed_everything_default=0,
                auto_configure_optimizers=False,
                parser_class=Parser,
                parser_kwargs={"prog": f"tumorgen {self.command}", "description": TRAINING[self.command]},
                args=list(args[1:]),
                run=False,  # one parser for the one command: references to other options count from the top of its YAML
            )

    def add_core_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Adds trainer, model and data; only `fit` has to be told the model, the others find it in the checkpoint."""
        fit = self.command == "fit"
        parser.add_lightning_class_args(L.Trainer, "trainer")
        parser.add_lightning_class_args(Method, "model", subclass_mode=True, required=fit)
        parser.add_lightning_class_args(L.LightningDataModule, "data", subclass_mode=True)
        taken = {"model", "datamodule", "dataloaders", "train_dataloaders", "val_dataloaders"}
        self._trainer_options = parser.add_method_arguments(L.Trainer, self.command, skip=taken)
        if fit:
            for fact, argument in DATA_FACTS.items():
                parser.link_arguments(f"data.{fact}", f"model.init_args.{argument}", apply_on="instantiate")
        if self.command == "predict":
            parser.add_class_arguments(VolumeWriter, "output")
            parser.set_defaults({"return_predictions": False})

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Adds what concerns the run's folder and its dashboard."""
        parser.add_argument("--experiment", type=str, default="unnamed", help="runs of one experiment share a folder")
        parser.add_argument("--runs_dir", type=Path, default=Path("runs"), help="folder of all experiments")
        parser.add_argument("--run_id", type=str | None, default=None, help="name of this run (default: the time)")
        parser.add_argument(
            "--resume",
            type=str | None,
            nargs="?",
            const="newest",
            default=None,
            help="continue the newest run of the experiment, or the run of this id; auto: start a run, or go on with the one "
            "of this --run_id, this job or this very command",
        )
        add_trust(parser)
        parser.add_class_arguments(System, "system")
        parser.add_class_arguments(WandbOptions, "wandb")
        parser.set_defaults({"trainer.enable_progress_bar": False, "trainer.num_sanity_val_steps": 0})

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parses; every command but `fit` starts from the model that the checkpoint remembers, so what is typed wins."""
        self.checkpoint: dict[str, Any] | None = None
        if self.command == "fit" or asks_for_help(args):
            self.config = parser.parse_args(args)
            return
        path = self.early.ckpt_path
        if path is None:
            raise InputError(f"--ckpt_path: `tumorgen {self.command}` needs the checkpoint of a trained model.")
        self.checkpoint = read_checkpoint(path)
        kind, arguments = architecture(self.checkpoint, path, Method)
        check_typed(args, kind)
        self.config = parser.parse_args([*as_words(kind, arguments), *args])

    def _parse_ckpt_path(self) -> None:
        """Finds the run's folder and the checkpoint; Lightning's own version overwrites the model section by it."""
        config = self.config
        if config.resume is not None and self.command != "fit":
            raise InputError(f"--resume: continues training, so it goes with `fit`, not with `{self.command}`.")
        place = (config.runs_dir, config.experiment)
        self.earlier = earlier_run(*place, config.run_id, config.resume, self.typed)
        if self.command == "fit" and self.earlier is not None and self.earlier.last_checkpoint.is_file():
            config.ckpt_path = str(self.earlier.last_checkpoint)
        kind = find_class(config.model.class_path)
        built_on = [config.ckpt_path, *(config.model.init_args.get(name) for name in kind.self_contained)]
        handed_on = next(filter(None, map(group_of, built_on)), None)
        config.wandb.group = config.wandb.group or handed_on or config.experiment
        if self.command == "fit":
            config.system.name = config.system.name or config.model.class_path.rpartition(".")[2]
        if config.ckpt_path is None:
            return
        self.checkpoint = self.checkpoint or read_checkpoint(config.ckpt_path)
        if self.checkpoint["hyper_parameters"]["_class_path"] != config.model.class_path:
            architecture(self.checkpoint, config.ckpt_path, kind)  # refuses other classes
        if self.command == "fit":
            if "optimizer_states" not in self.checkpoint:
                raise InputError(
                    f"--ckpt_path: {config.ckpt_path} holds a model but no state of its training (it was imported), so `fit` "
                    "cannot continue it. It can be tested, sampled from, or serve as --model.tokenizer."
                )
            # the tokenizer that a transformer was trained on may be gone by now; its checkpoint carries it
            for name in kind.self_contained:
                config.model.init_args[name] = config.ckpt_path

    def instantiate_classes(self) -> None:
        """Builds data, model and trainer."""
        config = self.config
        if self.command == "fit":
            self.config_init = self.parser.instantiate_classes(config)
            self.datamodule, self.model = self.config_init["data"], self.config_init["model"]
            self._forget_foreign_facts()
            if self.checkpoint is not None:
                load_weights(self.model, self.checkpoint, config.ckpt_path)
        else:
            assert self.checkpoint is not None
            parts = config.clone()
            # the weights are loaded here, so Lightning need not read the file again
            del parts["model"], parts["ckpt_path"]
            self.config_init = self.parser.instantiate_classes(parts)
            self.datamodule = self.config_init.get("data")
            changed = {
                name: config.model.init_args[name] for name in find_class(config.model.class_path).runtime_options
            }
            options = {name: _plain(value) for name, value in changed.items()}
            self.model = restore(self.checkpoint, config.ckpt_path, Method, **options)
        self.checkpoint = None  # three times the size of the model
        if self.command == "fit":
            self.model.system = self.config_init["system"]
        else:
            config.system = Namespace(asdict(self.model.system))
        self._check_facts()
        # last, so that a command that is refused leaves no folder behind
        self.run = open_run(config.runs_dir, config.experiment, config.run_id, self.earlier)
        self.trainer = self.instantiate_trainer()

    def after_instantiate_classes(self) -> None:
        """Runs the command."""
        options = {name: self.config_init.get(name) for name in self._trainer_options}
        getattr(self.trainer, self.command)(self.model, datamodule=self.datamodule, **options)

    def _forget_foreign_facts(self) -> None:
        """Takes facts about the data that are no arguments of this model out of what its checkpoint builds it from."""
        accepted = signature(type(self.model)).parameters
        for argument in DATA_FACTS.values():
            if argument not in accepted:
                self.model.hparams.pop(argument, None)

    def _check_facts(self) -> None:
        """Refuses data that the model, or the tokenizer it carries, was not made for."""
        if not isinstance(self.datamodule, ROIDataModule):
            return
        differing = []
        for fact, name in DATA_FACTS.items():
            found, expected = _plain(getattr(self.datamodule, fact)), _plain(getattr(self.model, name))
            if found != expected:
                differing.append(f"{fact} {found} instead of {expected}")
        if differing:
            raise InputError(
                f"--data: the data have {', '.join(differing)}, which the checkpoint was trained with; prepare the data with "
                "its values (--data.roi_size and so on), or choose another checkpoint."
            )

    def instantiate_trainer(self, **kwargs: Any) -> L.Trainer:
        """Builds the trainer with the run's folder, loggers, checkpoints and progress."""
        config = self.config_init
        options, trainer = config["wandb"], config["trainer"]
        callbacks = trainer["callbacks"] or []
        trainer["callbacks"] = [callbacks] if isinstance(callbacks, L.Callback) else list(callbacks)
        if trainer["default_root_dir"] is None:
            trainer["default_root_dir"] = str(self.run.folder)
        if trainer["logger"] in (None, True) and not trainer["fast_dev_run"]:
            tags = run_tags(self.model.system.name, self.datamodule, self.config.seed_everything)
            trainer["logger"] = run_loggers(self.run, self.command, options, tags)
        if trainer["logger"] and not trainer["fast_dev_run"] and self.command == "fit":
            trainer["callbacks"].append(LearningRateMonitor(logging_interval="step"))
        trainer["callbacks"] += [TimeLeft(), RandomState(), self.signals, StateFile(self.run, self.typed)]
        trainer["callbacks"].append(CostFile(self.run))
        if self.command == "predict":
            config["output"].checkpoint = Path(self.config.ckpt_path)
            trainer["callbacks"].append(config["output"])
            if options.artifacts:
                trainer["callbacks"].append(VolumeArtifact(config["output"]))
        if self.command == "fit" and trainer["enable_checkpointing"] is not False:
            trainer["callbacks"] += self._checkpoints()
            plugins = trainer["plugins"] or []
            trainer["plugins"] = [*(plugins if isinstance(plugins, list) else [plugins]), DurableCheckpoints()]
        if trainer["strategy"] == "ddp":
            trainer["strategy"] = self.model.ddp_strategy
        return super().instantiate_trainer(**kwargs)

    def _checkpoints(self) -> list[ModelCheckpoint]:
        """`last.ckpt` after every epoch, to continue from, and `best.ckpt` by the figure that the model names.

        Two callbacks: with `save_last`, Lightning 2.6 writes `last.ckpt` only when the figure has improved, and only after
        validation.
        """
        folder = self.run.checkpoints
        last = ModelCheckpoint(folder, "last", save_on_train_epoch_end=True, enable_version_counter=False)
        if self.model.monitor is None:
            return [last]
        monitor = self.model.selection or self.model.monitor
        mode = self.model.monitor_mode
        return [ModelCheckpoint(folder, "best", monitor=monitor, mode=mode, enable_version_counter=False), last]


def main(args: Sequence[str]) -> TumorgenCLI:
    """Runs `fit`, `validate`, `test` or `predict`.

    Args:
        args: The command and its options, as typed.

    Raises:
        InputError: Something in the input cannot be used.
        Killed: A signal ended the command.
        argparse.ArgumentError: An option is unknown or its value is not of its type.
    """
    try:
        return TumorgenCLI(args)
    except Killed as killed:
        print(f"tumorgen: ended by {killed.name}", file=sys.stderr)
        raise
    finally:
        leave_run()


def _plain(value: Any) -> Any:
    """Namespaces and tuples as dictionaries and lists, to compare and to store."""
    if hasattr(value, "as_dict"):
        return value.as_dict()
    return list(value) if isinstance(value, tuple) else value
