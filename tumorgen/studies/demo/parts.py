"""The parts of a demonstration, each a command of tumorgen as if typed. A part that is already done is not done again."""

from collections.abc import Callable
from dataclasses import dataclass

from data_modules.errors import InputError
from tumorgen.commands.init import shipped_experiments
from tumorgen.studies.demo.folders import DemoFolder
from tumorgen.studies.demo.pictures import draw_reconstructions, draw_samples
from tumorgen.studies.demo.plans import Plan


@dataclass(frozen=True)
class Part:
    """One part: what it is called while it runs, and the work."""

    title: str
    work: Callable[[], None]


def parts(folder: DemoFolder, plan: Plan) -> list[Part]:
    """Everything from the empty folder to the benchmark, in order."""
    tokenizer = str(folder.checkpoint("vqgan"))
    return [
        Part(f"write {plan.hgg + plan.lgg} phantoms", lambda: _write_phantoms(folder, plan)),
        Part("train the tokenizer (stage 1)", lambda: _train(folder, plan, "vqgan")),
        Part("draw held-out reconstructions", lambda: draw_reconstructions(folder)),
        Part(
            "train the transformer (stage 2)",
            lambda: _train(folder, plan, "transformer", "--model.tokenizer", tokenizer),
        ),
        Part(f"sample {plan.samples} volumes per class", lambda: _sample(folder, plan)),
        Part("draw real and generated tumours", lambda: draw_samples(folder)),
        Part("compare generated with real tumours", lambda: _evaluate(folder, plan)),
        Part("train classifiers with and without generated tumours", lambda: _benchmark(folder, plan)),
    ]


def write_report(folder: DemoFolder) -> None:
    """The last part, after the check: everything on one page."""
    from tumorgen.commands.report import write_report as report

    report([folder.root], folder.report, viewer=_available("viewer"))


def _write_phantoms(folder: DemoFolder, plan: Plan) -> None:
    from tumorgen.commands.phantom import run as phantom

    phantom(["--output", str(folder.cohort), "--hgg", str(plan.hgg), "--lgg", str(plan.lgg)])


def _train(folder: DemoFolder, plan: Plan, stage: str, *words: str) -> None:
    if folder.checkpoint(stage).is_file() and (folder.run(stage) / "finished").is_file():
        return
    resume = ["--resume", "run"] if folder.checkpoint(stage).is_file() else ["--run_id", "run"]
    where = ("--data.root", str(folder.cohort), "--runs_dir", str(folder.runs))
    _front("fit", *_configs(plan, stage), *words, *where, *resume)
    (folder.run(stage) / "finished").touch()


def _sample(folder: DemoFolder, plan: Plan) -> None:
    counts = f"{{LGG: {plan.samples}, HGG: {plan.samples}}}"
    _front(
        *("predict", "--config", str(shipped_experiments() / "sample.yaml"), "--data.counts", counts),
        *("--ckpt_path", str(folder.checkpoint("transformer")), "--output.folder", str(folder.volumes)),
        *("--runs_dir", str(folder.runs), "--wandb.mode", "disabled"),
    )


def _evaluate(folder: DemoFolder, plan: Plan) -> None:
    from tumorgen.commands.evaluate import run as evaluate
    from tumorgen.commands.prepare import run as prepare

    if not (folder.real / "manifest.json").is_file():
        prepare([*_configs(plan, "vqgan"), "--data.root", str(folder.cohort), "--export", str(folder.real)])
    if (folder.evaluation / "evaluation.json").is_file():
        return
    features = "mri,classifier" if _available("mri") else "classifier"
    folders = ("--real", str(folder.real), "--generated", str(folder.volumes), "--output", str(folder.evaluation))
    evaluate([*folders, "--features", features])


def _benchmark(folder: DemoFolder, plan: Plan) -> None:
    from tumorgen.commands.benchmark import run as benchmark

    where = ("--data.root", str(folder.cohort), "--output", str(folder.benchmark), "--generated", str(folder.volumes))
    benchmark([*_configs(plan, "benchmark"), *where])


def _configs(plan: Plan, experiment: str) -> list[str]:
    """The experiment, its demo size, and where there is one, what this plan changes on top."""
    shipped = shipped_experiments()
    files = [shipped / f"{experiment}.yaml", shipped / "demo" / f"{experiment}.yaml"]
    if plan.name != "demo" and (shipped / plan.name / f"{experiment}.yaml").is_file():
        files.append(shipped / plan.name / f"{experiment}.yaml")
    return [word for file in files for word in ("--config", str(file))]


def _available(what: str) -> bool:
    """Fetches third-party files where they are not there yet; says so where that fails, and the demo goes on without."""
    from tumorgen.commands.weights import run as weights

    try:
        weights([what])
    except InputError as error:
        print(f"goes on without {what}: {error}")
        return False
    return True


def _front(*words: str) -> None:
    """One of Lightning's four commands, as if typed."""
    from tumorgen.cli import main

    main(words)
