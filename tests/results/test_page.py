"""The page: every figure resolves to a record that holds it, nothing is fetched, and verdicts follow from figures."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from html_page import NUMBER, figures_in, is_shown, read_page
from PIL import Image
from results import (
    benchmark_folder,
    benchmark_records,
    evaluation_folder,
    evaluation_records,
    everything,
    picture,
    run_folder,
    volume,
    volume_folder,
)

from data_modules.errors import InputError
from tumorgen.__main__ import main
from tumorgen.commands import report
from tumorgen.results.html.panels import evaluated
from tumorgen.results.html.pictures import embedded, strip
from tumorgen.results.html.sources import find_sources
from tumorgen.results.html.summary import answers
from tumorgen.results.records import Interval, Record, write_results


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    paths = [str(path) for path in everything(folder / "results")]
    assert report.run([*paths, "--output", str(folder / "out" / "report.html"), "--viewer", "false"]) == 0
    return folder / "out" / "report.html"


@pytest.fixture(scope="module")
def parsed(page):
    return read_page(page.read_text())


def test_every_figure_names_a_record_that_holds_it(parsed):
    records = parsed.json("records")
    marked = [element for element in parsed.elements if "data-record" in element.attributes]
    assert len(marked) > 150
    for element in marked:
        figures = figures_in(records[element.attributes["data-record"]])
        for text in NUMBER.findall(element.text.replace("< 0.001", "")):
            assert is_shown(text, figures), (element.text, figures)


def test_no_table_has_a_number_without_a_record(parsed):
    cells = [cell for cell in parsed.of("td") if "data-record" not in cell.attributes]
    assert cells
    assert [cell.text for cell in cells if NUMBER.search(cell.text)] == []


def test_the_records_in_the_page_are_those_of_the_results(page, parsed):
    embedded_records = parsed.json("records")
    for key, content in embedded_records.items():
        assert Record.from_json(content).id == key  # raises if anything was changed
    for name in ("evaluation", "evaluation_noise", "benchmark"):
        path = page.parents[1] / "results" / name / f"{name.partition('_')[0]}.json"
        written = {record["id"]: record for record in json.loads(path.read_text())["records"]}
        assert written.items() <= embedded_records.items()


def test_the_page_needs_nothing_but_itself(page, parsed):
    for element in parsed.elements:
        for key in ("src", "href", "srcset", "data", "poster"):
            if key in element.attributes:
                assert re.match(r"data:|#", element.attributes[key]), (element.tag, element.attributes)
    assert not re.search(r"@import|url\((?!data:)", page.read_text())
    policy = next(e.attributes["content"] for e in parsed.of("meta") if "http-equiv" in e.attributes)
    assert policy.startswith("default-src 'none'")
    assert page.stat().st_size < 2e6


def test_contents_lead_to_sections_that_are_there(parsed):
    targets = [link.attributes["href"].removeprefix("#") for link in parsed.of("a")]
    assert targets == ["answers", "samples", "metrics", "memorisation", "benchmark", "training", "provenance"]
    assert set(targets) == {section.attributes["id"] for section in parsed.of("section")}


def test_pictures_and_charts_of_every_source_are_there(parsed):
    alternatives = [image.attributes["alt"] for image in parsed.of("img")]
    assert sum("closest pairs" in text for text in alternatives) == 2
    assert alternatives.count("share") == 1
    assert alternatives.count("reconstructions") == 1
    assert sum("of class LGG in real" in text for text in alternatives) == 1
    assert sum("of class HGG in samples" in text for text in alternatives) == 1
    assert all(image.attributes["src"].startswith("data:image/") for image in parsed.of("img"))
    labels = [svg.attributes["aria-label"] for svg in parsed.of("svg")]
    assert {"KID (mri)", "AUC", "AUC minus AUC of real data only", "vqgan/20260101-120000: l1"} <= set(labels)


def test_configuration_and_origin_are_told_without_hashes_of_patients(parsed):
    text = "".join(part.text for part in parsed.of("pre"))
    assert "class_path: tumorgen.methods.vqgan.module.VQGAN" in text
    assert '"checkpoint_sha256"' in text
    assert '"patients": "20 entries"' in text


def test_tables_are_written_beside_the_page_and_elsewhere(page, tmp_path):
    text = page.with_name("report_tables.md").read_text()
    assert text.count("generated against real") == 3
    ids = set(re.findall(r"\b[0-9a-f]{12}\b", "".join(re.findall(r"<!-- records by row: (.*) -->", text))))
    assert ids <= read_page(page.read_text()).json("records").keys()
    assert page.with_name("report_tables.tex").read_text().count(r"\caption{") == text.count("<!-- records")
    folder = benchmark_folder(tmp_path / "benchmark")
    options = ["--output", str(tmp_path / "a.html"), "--tables", str(tmp_path / "tables"), "--viewer", "false"]
    report.run([str(folder), *options])
    assert sorted(path.name for path in (tmp_path / "tables").iterdir()) == [
        f"a_tables.{s}" for s in ("md", "tex", "txt")
    ]


def test_two_evaluations_with_one_label_keep_their_figures_apart(tmp_path):
    real = volume_folder(tmp_path / "real", kind="real")
    for name, worse in (("first", 0.0), ("second", 0.3)):
        evaluation_folder(tmp_path / name, "samples", worse, real)
    report.run([str(tmp_path), "--output", str(tmp_path / "r.html"), "--viewer", "false"])
    heads = [head.text for head in read_page((tmp_path / "r.html").read_text()).of("th")]
    assert {"samples (first)", "samples (second)"} <= set(heads)
    assert "samples" not in heads


def test_extractors_of_other_weights_have_charts_shares_and_definitions_of_their_own(tmp_path):
    for digit in "ab":
        records = [
            replace(r, definition=r.definition | {"extractor": {"name": "classifier", "sha256": digit * 64}})
            if "extractor" in r.definition
            else r
            for r in evaluation_records(f"samples_{digit}")
        ]
        path = tmp_path / digit / "evaluation.json"
        path.parent.mkdir()
        write_results(path, "evaluation", records, inputs={"real": {"folder": "gone"}})
    (part,) = evaluated(find_sources([tmp_path]).evaluations)
    both = {f"MMD², RBF, features (classifier), {digit * 8}" for digit in "ab"}
    assert both <= {name for name, _ in part.charts}
    assert both <= set(part.definitions)
    shares = {row[2].text for row in part.memorisation[0].cells}
    assert shares == {
        "near copies, voxels",
        *(f"near copies, features (classifier), {digit * 8}" for digit in "ab"),
    }


def test_evaluations_against_other_real_data_have_tables_of_their_own(tmp_path):
    for name in ("first", "second"):
        evaluation_folder(tmp_path / name, name, real=Path(f"cohort_{name}"))
    report.run([str(tmp_path), "--output", str(tmp_path / "r.html"), "--viewer", "false"])
    captions = [caption.text for caption in read_page((tmp_path / "r.html").read_text()).of("caption")]
    assert captions.count("All classes pooled: generated against real") == 2


def test_names_cannot_smuggle_markup_or_scripts_into_the_page(tmp_path):
    hostile = "</script><script>alert(1)</script><img src=x onerror=alert(1)>"
    evaluation_folder(tmp_path / "e", hostile)
    folder = run_folder(tmp_path / "runs" / "a" / "b")
    (folder / "config.yaml").write_text(f"system: {{name: '{hostile}'}}\n")
    report.run([str(tmp_path), "--output", str(tmp_path / "r.html"), "--viewer", "false", "--title", hostile])
    parsed = read_page((tmp_path / "r.html").read_text())
    assert len(parsed.of("script")) == 2
    assert all(image.attributes["src"].startswith("data:") for image in parsed.of("img"))
    assert parsed.json("records")
    assert parsed.of("h1")[0].text == hostile


@pytest.mark.parametrize("make", [evaluation_folder, benchmark_folder, run_folder, volume_folder])
def test_each_kind_of_result_makes_a_page_alone(tmp_path, make):
    make(tmp_path / "group" / "alone")
    report.run([str(tmp_path / "group"), "--output", str(tmp_path / "r.html"), "--viewer", "false"])
    parsed = read_page((tmp_path / "r.html").read_text())
    targets = {link.attributes["href"].removeprefix("#") for link in parsed.of("a")}
    assert targets == {section.attributes["id"] for section in parsed.of("section")}


PHANTOMS = "Phantoms are not patients."
REAL = "Contains images of real cases."


def test_phantoms_are_called_phantoms_and_patients_are_protected(tmp_path, page):
    assert REAL in page.read_text()
    assert PHANTOMS not in page.read_text()
    run_folder(tmp_path / "runs" / "a", phantoms=True)
    alone = written(tmp_path)
    assert PHANTOMS in alone
    assert REAL not in alone
    assert "Some of the data" not in alone
    volume_folder(tmp_path / "real", kind="real")
    mixed = written(tmp_path)
    assert REAL in mixed
    assert f"{PHANTOMS}</strong> Some of the data in this report" in mixed
    assert "Nothing here says" not in mixed


def test_patients_below_a_folder_called_phantom_are_protected(tmp_path):
    real = volume_folder(tmp_path / "PhantomStudy" / "real", kind="real")
    evaluation_folder(tmp_path / "PhantomStudy" / "evaluation", real=real)
    text = written(tmp_path / "PhantomStudy")
    assert REAL in text
    assert PHANTOMS not in text


def written(folder):
    """The page of a report on everything in the folder."""
    path = folder / "r.html"
    report.run([str(folder), "--output", str(path), "--viewer", "false", "--overwrite"])
    return path.read_text()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--output", "page.txt"], "no HTML file"),
        (["--output", "there.html"], "is there already"),
        (["--viewer=maybe"], "viewer: expected a value of type bool. Got value: maybe"),
        (["--colour", "red"], "unrecognized arguments"),
    ],
)
def test_options_are_refused_in_one_sentence(tmp_path, monkeypatch, capsys, options, message):
    monkeypatch.chdir(tmp_path)
    benchmark_folder(tmp_path / "benchmark")
    (tmp_path / "there.html").touch()
    assert main(["report", "benchmark", *options]) == 2
    assert message in capsys.readouterr().err


def test_a_picture_that_is_gone_is_named(tmp_path):
    folder = benchmark_folder(tmp_path / "benchmark")
    (folder / "auc_by_share.png").unlink()
    with pytest.raises(InputError, match=r"auc_by_share\.png: is missing or no picture"):
        report.run([str(folder), "--output", str(tmp_path / "r.html"), "--viewer", "false"])


@pytest.mark.parametrize(
    ("gain", "verdict"), [(0.04, "Yes, in this benchmark"), (0.01, "Not shown"), (-0.04, "No: "), (0.0, "Not shown")]
)
def test_help_is_claimed_only_beyond_chance(gain, verdict):
    (answer,) = answers([], benchmark_records(gain))
    assert answer.verdict.startswith(verdict)
    assert any("Control with shuffled labels" in line[0].text for line in answer.lines)


@pytest.mark.parametrize(
    ("change", "verdict"),
    [
        ({}, "It cannot be told: synthetic, then 25% of real (samples) above real data only, but so is the control"),
        ({"generated": "others"}, "Yes, in this benchmark"),
        ({"network": "ResNet3D"}, "Yes, in this benchmark"),
    ],
)
def test_what_the_control_of_the_same_volumes_gains_too_is_no_help(change, verdict):
    """Training longer explains both; the control of other volumes, or of another network, explains nothing here."""
    records = [
        replace(record, group=record.group | change, value=0.03, interval=Interval(0.001, 0.05, "bootstrap"))
        if (record.metric, record.group["arm"]) == ("auc_difference", "shuffled_control")
        else record
        for record in benchmark_records(0.04)
    ]
    (answer,) = answers([], records)
    assert answer.verdict.startswith(verdict)


def test_help_of_some_volumes_is_told_where_the_control_explains_that_of_others():
    both = benchmark_records(0.04)
    both += [replace(r, group=r.group | {"generated": "others"}) for r in both if r.group["generated"]]
    control = next(r for r in both if r.metric == "auc_difference" and r.group["arm"] == "shuffled_control")
    both[both.index(control)] = replace(control, interval=Interval(0.001, 0.05, "bootstrap"))
    (answer,) = answers([], both)
    assert answer.verdict == "Yes, in this benchmark: synthetic, then 25% of real (others) above real data only."


def test_the_control_is_never_the_arm_that_helps():
    records = [record for record in benchmark_records(0.0) if record.group["arm"] != "finetuned_25"]
    assert answers([], records) == []


@pytest.mark.parametrize(("worse", "verdict"), [(0.0, "No sign of it"), (0.3, "Suspicious")])
def test_copies_are_suspected_when_the_interval_leaves_what_is_expected(worse, verdict):
    found = {answer.question: answer.verdict for answer in answers(evaluation_records(worse=worse), [])}
    assert found["Are they copies?"].startswith(verdict)
    assert found["Can one tell them from real ones?"] == ("samples: yes." if worse else "samples: not shown.")


def test_a_class_that_stands_out_alone_is_worth_a_look():
    records = [
        replace(record, interval=Interval(0.06, 0.34, "bootstrap"))
        if record.metric == "memorisation_share_voxels" and record.group["class"] == "HGG"
        else record
        for record in evaluation_records()
    ]
    found = next(answer for answer in answers(records, []) if answer.question == "Are they copies?")
    assert found.verdict.startswith("Look closer")
    assert "samples, HGG" in found.verdict
    assert any("HGG, voxels" in line[0].text for line in found.lines)


def test_large_pictures_become_small_and_small_ones_stay(tmp_path):
    small = picture(tmp_path / "small.png")
    assert embedded(small).startswith("data:image/png")
    large = picture(tmp_path / "large.png", width=8000)
    assert embedded(large).startswith("data:image/webp")
    assert len(embedded(large)) < large.stat().st_size


def test_strips_show_voxels_as_they_are():
    import base64
    import io

    own = volume(16, 0)
    image = np.asarray(Image.open(io.BytesIO(base64.b64decode(strip([own, own]).partition(",")[2]))))
    assert image.shape == (3 * 98, 2 * 98)
    assert set(np.unique(np.rint((np.clip(own, -1, 1) + 1) * 127.5))) | {40} >= set(np.unique(image))
    assert np.array_equal(image[:, :98], image[:, 98:])
