"""``tumorgen benchmark``: do synthetic tumours help a classifier of real ones? Arms, folds, seeds, controls, statistics."""

from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_modules.errors import InputError
from tumorgen.options import OptionParser, command_parser

if TYPE_CHECKING:
    from jsonargparse import Namespace

    from data_modules.base import ROIDataModule
    from data_modules.volumes.memory import Block
    from tumorgen.benchmark.session import Session

# Constructor arguments of the classifier that the data decide.
_FACTS = {"class_names", "roi_size", "spacing", "in_channels"}


def run(argv: Sequence[str]) -> int:
    """Runs `tumorgen benchmark --config experiments/benchmark.yaml --data.root DIR --generated ... --output DIR`.

    The same command goes on where it was stopped. Processes that are given parts of one benchmark (`--only`) write into the
    same folder; whichever finds all trainings done writes the tables.

    Args:
        argv: Words after `benchmark`.

    Returns:
        0.

    Raises:
        InputError: Data or generated volumes cannot be used, or earlier results are of other settings.
        ArgumentError: for unknown or malformed options.
    """
    from tumorgen.benchmark.report import write_report

    parser = _parser()
    options = parser.parse_args(list(argv))
    session = _session(parser, options)
    session.train(options.only, options.overwrite)
    missing = session.missing()
    if missing:
        total = len(session.trainings)
        print(
            f"{total - len(missing)} of {total} trainings are done; next: {missing[0]}. Tables follow with the last one."
        )
    else:
        write_report(session, options.output, options.resamples)
    return 0


def _parser() -> OptionParser:
    from data_modules.base import ROIDataModule
    from tumorgen.benchmark.training import Budget, Hardware
    from tumorgen.classifier.module import GradeClassifier
    from tumorgen.parsing import Parser

    parser = command_parser(
        "benchmark",
        "Trains a grade classifier with and without synthetic tumours, over the same folds and seeds, and tests "
        "it on held-out patients. `--data.help CLASS` and `--model.help CLASS` list the options of data and model.",
        Parser,
    )
    parser.add_subclass_arguments(ROIDataModule, "data", fail_untyped=False, required=True)
    parser.add_subclass_arguments(GradeClassifier, "model", skip=_FACTS, instantiate=False, required=True)
    parser.set_defaults({"data": {"class_path": "data_modules.brats.BraTSDataModule"}})
    parser.set_defaults({"model": {"class_path": "tumorgen.classifier.module.GradeClassifier"}})
    parser.add_argument(
        "--generated",
        type=str | list[str] | dict[str, str | list[str]],
        default={},
        help="folder of generated volumes, with {fold} in its name, or a list with one per fold, named by the system in its "
        "manifest; or several by names of yours: '{mine: \"samples/fold{fold}\", other: [a, b, c, d, e]}'",
    )
    parser.add_argument("--output", type=Path, required=True, help="folder to write to")
    parser.add_argument("--folds", type=list[int] | None, default=None, help="folds to test on (default: all)")
    parser.add_argument(
        "--seeds", type=list[int], default=[0, 1, 2], help="one training of every arm and fold for each"
    )
    parser.add_argument("--arms", type=list[str] | None, default=None, help="some of the arms (default: all)")
    parser.add_argument(
        "--shares", type=list[float], default=[0.1, 0.25, 0.5, 1.0], help="of real patients to fine-tune on"
    )
    parser.add_class_arguments(Budget, "budget")
    parser.add_class_arguments(Hardware, "hardware")
    parser.add_argument("--resamples", type=int, default=2000, help="draws of test patients and seeds for intervals")
    parser.add_argument(
        "--trust_unmanifested",
        type=bool,
        default=False,
        help="accept volumes that cannot tell whom they were trained on; the table will say so",
    )
    parser.add_argument(
        "--generated_intensities", type=str | None, default=None, help="of generated files without manifest: '[0, 1]'"
    )
    parser.add_argument(
        "--convert", type=bool, default=False, help="resample generated volumes of another size or spacing"
    )
    parser.add_argument(
        "--only", type=str | None, default=None, help="train a part: arm=mixed,fold=0 (also generated, seed)"
    )
    parser.add_argument(
        "--overwrite", type=bool, default=False, help="train again what was trained with other settings"
    )
    return parser


def _session(parser: OptionParser, options: "Namespace") -> "Session":
    """Prepares the data, opens every fold, and refuses what must not be used before anything is trained."""
    from tumorgen.benchmark.arms import chosen_arms
    from tumorgen.benchmark.data import Reading, open_fold
    from tumorgen.benchmark.plan import folders_by_fold, plan
    from tumorgen.benchmark.session import Session
    from tumorgen.benchmark.training import ArmTrainer

    if options.data.init_args.get("fold", 0) != 0:
        raise InputError(
            "--data.fold: a benchmark takes all folds of --data.folds, or those of --folds, for example [0, 2]."
        )
    data = _data(parser, options, 0)
    folds = list(range(data.folds)) if options.folds is None else options.folds
    folders = folders_by_fold(options.generated, folds)
    arms = chosen_arms(options.arms, options.shares)
    trainings = plan(arms, list(folders), folds, options.seeds)
    if beyond := [fold for fold in folds if fold >= data.folds]:
        raise InputError(
            f"--folds: found {beyond[0]}; with --data.folds {data.folds} the last one is {data.folds - 1}."
        )
    data.prepare_data()
    reading = Reading(options.trust_unmanifested, options.generated_intensities, options.convert)
    kept: dict[Hashable, Block] = {}
    opened = {
        fold: open_fold(
            _data(parser, options, fold),
            {label: by_fold[fold] for label, by_fold in folders.items()},
            reading,
            _plain(options.data.init_args.get("augmentation")),
            kept,
        )
        for fold in folds
    }
    budget, hardware = (parser.instantiate_classes(options)[name] for name in ("budget", "hardware"))
    trainer = ArmTrainer(options.model.class_path, _plain(options.model.init_args), budget, hardware)
    return Session(options.output, arms, trainings, opened, trainer)


def _data(parser: OptionParser, options: "Namespace", fold: int) -> "ROIDataModule":
    """The data with this fold held out; data without folds have one.

    Raises:
        InputError: They have several and no option that chooses one.
    """
    config = options.clone()
    if "fold" in config.data.init_args:
        config.data.init_args.fold = fold
    data: ROIDataModule = parser.instantiate_classes(config).data
    if data.fold != fold:
        raise InputError(
            f"--data: a {type(data).__name__} has {data.folds} folds and no option `fold`; expected one, or --folds "
            f"[{data.fold}]."
        )
    return data


def _plain(section: Any) -> Any:
    """A section of the configuration as dictionaries."""
    return section.as_dict() if hasattr(section, "as_dict") else section
