"""Weights & Biases (offline unless told otherwise) and CSV, side by side in the run's folder."""

from lightning.pytorch.loggers import CSVLogger, Logger, WandbLogger

from tumorgen.runs import Run


def run_loggers(run: Run, job: str, mode: str, project: str, entity: str | None) -> list[Logger]:
    """The loggers of one run.

    Args:
        run: The run; its experiment becomes the group, its id the name.
        job: `fit`, `validate`, `test` or `predict`.
        mode: `offline`, `online` or `disabled`.
        project: Project in Weights & Biases.
        entity: User or team; None is the account's default.
    """
    run.folder.mkdir(parents=True, exist_ok=True)
    loggers: list[Logger] = [CSVLogger(save_dir=run.folder, name="", version="csv" if job == "fit" else f"csv-{job}")]
    if mode != "disabled":
        # mode goes in by name: with `offline=True` a resumed run would go online (wandb 0.31)
        loggers.append(
            WandbLogger(
                save_dir=run.folder,
                project=project,
                entity=entity,
                group=run.experiment,
                name=run.id,
                id=f"{run.experiment}-{run.id}" if job == "fit" else f"{run.experiment}-{run.id}-{job}",
                job_type=job,
                mode=mode,
            )
        )
    return loggers
