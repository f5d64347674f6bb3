"""Result files: what is written is read, a figure that was changed by hand is refused, ids follow content."""

import dataclasses
import json
import math

import pytest

from data_modules.errors import InputError
from tumorgen.results.records import Floor, Interval, Record, Results, read_results, write_results

RECORD = Record(
    metric="kid",
    value=0.25,
    definition={"kernel": "cubic", "scales": (1, 2), "extractor": {"name": "mri", "sha256": "ab"}, "better": "lower"},
    group={"class": "LGG", "generated": "samples"},
    counts={"real": 24, "generated": 250},
    interval=Interval(0.1, 0.4, "percentile bootstrap"),
    floor=Floor(0.01, -0.1, 0.12, splits=200, size=12),
    p_value=0.02,
    details={"sd": 0.5},
)


def test_round_trip(tmp_path):
    path = tmp_path / "results" / "evaluation.json"
    other = dataclasses.replace(RECORD, metric="fid", interval=None, floor=None, p_value=None, details={})
    write_results(
        path, "evaluation", [RECORD, other], inputs={"real": {"folder": "real"}}, pictures={"samples": "a.png"}
    )
    results = read_results(path)
    assert isinstance(results, Results)
    assert results.kind == "evaluation"
    assert results.path == path
    assert results.extra["inputs"] == {"real": {"folder": "real"}}
    assert results.extra["packages"]["tumorgen"]
    assert "T" in results.extra["created"]
    assert [record.id for record in results.records] == [RECORD.id, other.id]
    assert results.records[0].to_json() == RECORD.to_json()
    assert results.records[0].interval == RECORD.interval
    assert results.records[0].floor == RECORD.floor


def test_the_id_follows_the_content():
    assert len(RECORD.id) == 12
    assert dataclasses.replace(RECORD).id == RECORD.id
    reordered = dataclasses.replace(RECORD, counts={"generated": 250, "real": 24})
    assert reordered.id == RECORD.id  # the order of keys says nothing
    changes = {
        "metric": "fid",
        "value": 0.26,
        "definition": {"kernel": "cubic"},
        "group": {"class": "HGG", "generated": "samples"},
        "counts": {"real": 23, "generated": 250},
        "interval": Interval(0.1, 0.4, "jackknife"),
        "floor": Floor(0.01, -0.1, 0.12, splits=100, size=12),
        "p_value": None,
        "details": {},
    }
    assert set(changes) == {field.name for field in dataclasses.fields(Record)}
    ids = {dataclasses.replace(RECORD, **{name: value}).id for name, value in changes.items()}
    assert len(ids | {RECORD.id}) == len(changes) + 1


@pytest.mark.parametrize("value", [math.nan, math.inf, 3, 0, -0.0, 1e-300])
def test_every_value_survives_as_json_that_others_can_read(tmp_path, value):
    record = dataclasses.replace(RECORD, value=value, details={"undefined": math.nan, "list": [math.inf, 1.0]})
    write_results(tmp_path / "x.json", "evaluation", [record], note=math.nan)

    def refuse(constant):
        raise AssertionError(f"{constant} is no JSON")

    content = json.loads((tmp_path / "x.json").read_text(), parse_constant=refuse)
    assert content["records"][0]["details"] == {"undefined": None, "list": [None, 1.0]}
    (read,) = read_results(tmp_path / "x.json").records
    assert read.id == record.id
    assert read.value == value if math.isfinite(value) else math.isnan(read.value)


def test_a_figure_that_was_changed_by_hand_is_refused(tmp_path):
    path = tmp_path / "x.json"
    write_results(path, "evaluation", [RECORD])
    content = json.loads(path.read_text())
    content["records"][0]["value"] = 0.01
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=rf"x\.json: .*record {RECORD.id} \(kid\) was changed after it was written"):
        read_results(path)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"format": 99, "kind": "evaluation", "records": []}', "null"])
def test_other_files_are_refused_in_one_line(tmp_path, content):
    path = tmp_path / "x.json"
    path.write_text(content)
    with pytest.raises(InputError, match=r"x\.json: is no result file of tumorgen .*Run that command again") as error:
        read_results(path)
    assert "\n" not in str(error.value)
    with pytest.raises(InputError, match="is no result file"):
        read_results(tmp_path / "absent.json")


def test_nothing_half_written_is_left(tmp_path):
    path = tmp_path / "x.json"
    write_results(path, "evaluation", [RECORD])
    before = path.read_text()
    with pytest.raises(TypeError):
        write_results(path, "evaluation", [dataclasses.replace(RECORD, details={"tensor": object()})])
    assert path.read_text() == before
    assert list(tmp_path.iterdir()) == [path]
