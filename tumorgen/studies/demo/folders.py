"""Where a demonstration keeps what, and how its parts see the phantoms."""

from dataclasses import dataclass
from pathlib import Path

import yaml

from data_modules.brats import BraTSDataModule
from data_modules.errors import InputError


@dataclass(frozen=True)
class DemoFolder:
    """The folder of one demonstration."""

    root: Path

    @property
    def cohort(self) -> Path:
        """Phantoms in BraTS 2019 layout."""
        return self.root / "cohort"

    @property
    def runs(self) -> Path:
        """Runs of the stages."""
        return self.root / "runs"

    @property
    def volumes(self) -> Path:
        """Sampled volumes."""
        return self.root / "volumes"

    @property
    def figures(self) -> Path:
        """What the check found."""
        return self.root / "figures.json"

    @property
    def sheet(self) -> Path:
        """Real and generated tumours side by side."""
        return self.root / "sheet.png"

    @property
    def reconstructions(self) -> Path:
        """Held-out originals, reconstructions and importance."""
        return self.root / "reconstructions.png"

    @property
    def real(self) -> Path:
        """Regions of all phantoms as NIfTI, in the layout of sampled ones."""
        return self.root / "real"

    @property
    def evaluation(self) -> Path:
        """Generated against real phantoms."""
        return self.root / "evaluation"

    @property
    def benchmark(self) -> Path:
        """Classifiers trained with and without generated phantoms."""
        return self.root / "benchmark"

    @property
    def report(self) -> Path:
        """Everything on one page."""
        return self.root / "report.html"

    def run(self, stage: str) -> Path:
        """The run of a stage."""
        return self.runs / f"demo-{stage}" / "run"

    def checkpoint(self, stage: str) -> Path:
        """The last checkpoint of a stage."""
        return self.run(stage) / "checkpoints" / "last.ckpt"

    def data(self) -> BraTSDataModule:
        """The phantoms as the tokenizer saw them, without augmentation.

        Raises:
            InputError: There is no finished tokenizer in the folder.
        """
        config = self.run("vqgan") / "config.yaml"
        if not config.is_file():
            raise InputError(f"{self.root}: holds no demonstration ({config} is missing); run `tumorgen demo` first.")
        options = yaml.safe_load(config.read_text())["data"]["init_args"]
        module = BraTSDataModule(**{**options, "root": Path(options["root"]), "cache_dir": None, "augmentation": None})
        module.setup()
        return module
