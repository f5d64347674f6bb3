"""The evaluation during training and `tumorgen evaluate` give equal records on the same volumes."""

import json
from collections.abc import Sequence
from pathlib import Path

import handmade_time
import nibabel as nib
import pytest
from front import HELPERS
from handmade_time import Clock, Learner
from toy import Blobs, ToyDataModule

from data_modules.condition import Condition
from data_modules.volumes.file import to_nifti
from data_modules.volumes.folder import VolumeFolder
from tumorgen.evaluation.callback import GeneratorEvaluation
from tumorgen.evaluation.compare import Folders, Options, evaluate_folders
from tumorgen.evaluation.listed import listed_metrics
from tumorgen.metrics.metric import Resampling
from tumorgen.results.layouts import curve
from tumorgen.results.records import Record, read_results
from tumorgen.types import Volume

NAMES = ("LGG", "HGG")
QUICK = Resampling(resamples=50, permutations=50, splits=8)
PER_CLASS = 5


class Stored(ToyDataModule):
    """The training and validation volumes of a folder."""

    def __init__(self, folder: VolumeFolder) -> None:
        super().__init__()
        self.folder = folder

    def setup(self, stage: str) -> None:
        super().setup(stage)
        for part, blobs in (("train", self.train), ("val", self.val)):
            blobs.keep(self.folder[int(index)] for index in self.folder.indices(parts=[part]))


class Teller(Learner):
    """Samples the volumes of a folder, class by class in the order of their seeds."""

    def __init__(self, folder: VolumeFolder) -> None:
        super().__init__(Clock(), 0.0)
        self.folder = folder

    def sample(self, condition: Condition, seeds: Sequence[int]) -> Volume:
        wanted = zip(condition.label.tolist(), seeds, strict=True)
        return self.folder.stack([self.folder.indices(label)[seed // 2] for label, seed in wanted])


def write(folder: Path, parts: dict[str, Blobs]) -> VolumeFolder:
    """Blobs of every part as a folder whose manifest says the parts; validation volumes come first."""
    entries = []
    for part, blobs in parts.items():
        for index, item in enumerate(blobs.items):
            name = NAMES[item["label"]]
            file = f"{name}/{'b' if part == 'train' else 'a'}{index:04d}.nii.gz"
            (folder / name).mkdir(parents=True, exist_ok=True)
            nib.save(to_nifti(item["volume"].numpy()[0], 8.0), folder / file)
            said = {"case": file, "patient": file, "part": part} if part else {}
            entries.append({"file": file, "class": name, **said})
    stated = {"class_names": NAMES, "roi_size": 16, "spacing_mm": 8.0, "intensities": "[0, 1]", "volumes": entries}
    (folder / "manifest.json").write_text(json.dumps(stated))
    return VolumeFolder(folder)


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Record], list[Record]]:
    """Records of the callback, and of the command on the same volumes."""
    place = tmp_path_factory.mktemp("both")
    real = write(place / "real", {"val": Blobs(12, 16, 1000), "train": Blobs(16, 16, 0)})
    made = write(place / "made", {"": Blobs(2 * PER_CLASS, 16, 5000)})
    metrics = listed_metrics(HELPERS / "quick_metrics.yaml")
    callback = GeneratorEvaluation(PER_CLASS, metrics=metrics, features="classifier", resampling=QUICK)
    handmade_time.trainer(place, [callback], max_epochs=1).fit(Teller(made), Stored(real))
    during = read_results(place / "evaluations" / "epoch_0001.json").records
    afterwards = evaluate_folders(Folders(real, made), metrics, place, Options("classifier"), QUICK).records
    return list(during), list(afterwards)


def test_the_same_records_are_there(both: tuple[list[Record], list[Record]]) -> None:
    during, afterwards = both
    assert [curve(record) for record in during] == [curve(record) for record in afterwards]
    assert len(during) > 40


def test_values_floors_intervals_and_counts_are_equal(both: tuple[list[Record], list[Record]]) -> None:
    for one, other in zip(*both, strict=True):
        first, second = (numbers(record) for record in (one, other))
        assert first == pytest.approx(second, rel=1e-6, abs=1e-9, nan_ok=True), curve(one)


def numbers(record: Record) -> dict[str, float]:
    """All numbers of a record by name."""
    found = {"value": record.value, "p": -1 if record.p_value is None else record.p_value, **record.counts}
    for part in (record.interval, record.floor):
        numeric = () if part is None else vars(part).items()
        found |= {f"{type(part).__name__} {key}": value for key, value in numeric if key != "method"}
    return found


def test_definitions_differ_in_which_real_volumes_they_name_and_in_nothing_else(
    both: tuple[list[Record], list[Record]],
) -> None:
    for one, other in zip(*both, strict=True):
        first, second = ({**record.definition} for record in (one, other))
        second.pop("held_out_patients", None)
        named = [definition.pop("real_volumes") for definition in (first, second)]
        assert first.pop("bandwidth", 0) == pytest.approx(second.pop("bandwidth", 0))
        assert first == second
        if named[0] != named[1]:
            assert named == ["validation part of fold 0 of 1", "validation and test part of fold ? of ?"]
