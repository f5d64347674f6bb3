"""Blobs that have not every part, or not every option."""

from toy import ToyDataModule


class WithoutTest(ToyDataModule):
    """Nobody to test on."""

    def setup(self, stage: str) -> None:
        super().setup(stage)
        self.test = None


class StuckToOneFold(ToyDataModule):
    """Two folds, and no option that chooses one."""

    folds = 2
