"""``tumorgen demo``: the whole method on phantoms, from an empty folder to a picture sheet and a check, on two CPU cores."""

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from jsonargparse import ArgumentParser

from data_modules.errors import InputError

if TYPE_CHECKING:
    from tumorgen.demo.folders import DemoFolder
    from tumorgen.demo.plans import Plan


def run(argv: Sequence[str]) -> int:
    """Runs the demonstration, or only its check.

    Parts that an earlier, interrupted demonstration finished are not done again.

    Returns:
        0, or 1 when a figure of the check is not reached.

    Raises:
        InputError: The folder holds something else, or, with `--check`, no demonstration.
    """
    parser = ArgumentParser(prog="tumorgen demo", description=__doc__, exit_on_error=False, allow_abbrev=False)
    parser.add_argument("--output", type=Path, default=Path("demo"), help="folder of everything that is made")
    parser.add_argument("--size", type=str, default="demo", help="demo (minutes) or showcase (more than an hour)")
    parser.add_argument(
        "--check", action="store_true", help="only hold the figures of a finished one against the limits"
    )
    options = parser.parse_args(list(argv))
    from tumorgen.demo.folders import DemoFolder
    from tumorgen.demo.plans import PLANS

    if options.size not in PLANS:
        raise InputError(f"--size: found {options.size}, expected one of {', '.join(PLANS)}.")
    folder, plan = DemoFolder(options.output), PLANS[options.size]
    if options.check:
        return _check(folder, plan)
    begin = time.monotonic()
    parts = _parts(folder, plan)
    for number, (title, work) in enumerate(parts, start=1):
        print(f"[{number}/{len(parts)}] {title}  ({time.monotonic() - begin:.0f} s)", file=sys.stderr, flush=True)
        work()
    status = _check(folder, plan)
    print(f"done in {time.monotonic() - begin:.0f} s\n{folder.reconstructions}\n{folder.sheet}")
    return status


def _parts(folder: "DemoFolder", plan: "Plan") -> list[tuple[str, Callable[[], None]]]:
    from tumorgen.commands.init import shipped_experiments
    from tumorgen.demo.pictures import draw_reconstructions, draw_samples

    experiments = shipped_experiments()

    def phantoms() -> None:
        from tumorgen.commands.phantom import run as phantom

        phantom(["--output", str(folder.cohort), "--hgg", str(plan.hgg), "--lgg", str(plan.lgg)])

    def train(stage: str, *words: str) -> None:
        if folder.checkpoint(stage).is_file() and (folder.run(stage) / "finished").is_file():
            return
        configs = [experiments / f"{stage}.yaml", experiments / "demo" / f"{stage}.yaml"]
        if plan.name != "demo":
            configs.append(experiments / plan.name / f"{stage}.yaml")
        words = (*(word for config in configs for word in ("--config", str(config))), *words)
        resume = ["--resume", "run"] if folder.checkpoint(stage).is_file() else ["--run_id", "run"]
        _front("fit", *words, "--data.root", str(folder.cohort), "--runs_dir", str(folder.runs), *resume)
        (folder.run(stage) / "finished").touch()

    def sample() -> None:
        counts = f"{{LGG: {plan.samples}, HGG: {plan.samples}}}"
        _front(
            *("predict", "--config", str(experiments / "sample.yaml"), "--data.counts", counts),
            *("--ckpt_path", str(folder.checkpoint("transformer")), "--output.folder", str(folder.volumes)),
            *("--runs_dir", str(folder.runs), "--wandb.mode", "disabled"),
        )

    return [
        (f"write {plan.hgg + plan.lgg} phantoms", phantoms),
        ("train the tokenizer (stage 1)", lambda: train("vqgan")),
        ("draw held-out reconstructions", lambda: draw_reconstructions(folder)),
        (
            "train the transformer (stage 2)",
            lambda: train("transformer", "--model.tokenizer", str(folder.checkpoint("vqgan"))),
        ),
        (f"sample {plan.samples} volumes per class", sample),
        ("draw real and generated tumours", lambda: draw_samples(folder)),
    ]


def _front(*words: str) -> None:
    """One of Lightning's four commands, as if typed."""
    from tumorgen.cli import main
    from tumorgen.runs import forget_run

    forget_run()
    main(words)
    forget_run()


def _check(folder: "DemoFolder", plan: "Plan") -> int:
    from rich.console import Console
    from rich.table import Table

    from tumorgen.demo.check import check

    findings = check(folder, plan.thresholds)
    table = Table(title=f"{plan.name}: what was reached")
    for column in ("figure", "found", "wanted", ""):
        table.add_column(column)
    for finding in findings:
        limit = (
            f"{finding.least:g} to {finding.most:g}" if finding.most < float("inf") else f"at least {finding.least:g}"
        )
        table.add_row(finding.name, f"{finding.value:.3f}", limit, "reached" if finding.reached else "NOT REACHED")
    Console().print(table)
    return 0 if all(finding.reached for finding in findings) else 1
