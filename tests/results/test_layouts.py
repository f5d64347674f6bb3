"""Which table says what: every record in its row and column, floors beside figures, published figures apart."""

from dataclasses import replace

from results import benchmark_records, evaluation_records

from tumorgen.benchmark.references import references
from tumorgen.results.layouts import benchmark_tables, evaluation_tables, published_table
from tumorgen.results.records import Floor
from tumorgen.results.tables import floor, p_value, value_cell


def rows(table):
    return {row[0].text: dict(zip(table.columns, row, strict=True)) for row in table.cells}


def test_one_table_per_class_pooled_first():
    tables = evaluation_tables(reversed(evaluation_records()))
    assert [table.title.split(":")[0] for table in tables] == ["All classes pooled", "Class HGG", "Class LGG"]


def test_every_figure_stands_in_its_row_beside_its_floor():
    records = evaluation_records("samples")
    table = evaluation_tables(records)[0]
    found = rows(table)
    kid = next(record for record in records if record.metric == "kid" and record.group["class"] == "pooled")
    assert found["KID (mri)"]["samples"] == value_cell(kid)
    assert found["KID (mri)"]["real against real"] == floor(kid)
    assert found["KID (mri)"]["p"] == p_value(kid)
    assert found["KID (mri)"]["better"].text == "lower"
    assert found["volumes, most metrics"]["samples"].text == "24"
    assert found["volumes, most metrics"]["real against real"].text == "60"
    assert {record.id for record in records if record.group["class"] == "pooled"} == set(table.records)


def test_the_counts_are_those_of_most_figures():
    """Shapes are compared with all real volumes, everything else with those held out: 240 would be wrong for the rest."""
    records = [record for record in evaluation_records() if record.group["class"] == "pooled"]
    records.append(replace(records[0], metric="shape_volume_share", counts={"real": 240, "generated": 24}))
    (table,) = evaluation_tables(records)
    assert rows(table)["volumes, most metrics"]["real against real"].text == "60"


def test_methods_stand_side_by_side():
    both = [*evaluation_records("a"), *evaluation_records("b", worse=0.3)]
    table = evaluation_tables(both)[0]
    assert table.columns == ["metric", "better", "a", "p, a", "b", "p, b", "real against real"]
    assert rows(table)["MMD², RBF, block means"]["p, b"].text == "< 0.001"


def test_floors_that_differ_are_told_apart():
    """Floors of other numbers of volumes are other floors: one column would give one of them to both methods."""
    first, second = evaluation_records("a"), evaluation_records("b")
    other = Floor(0.1, 0.05, 0.2, splits=200, size=7)
    second = [replace(record, floor=other) if record.floor else record for record in second]
    table = evaluation_tables([*first, *second])[0]
    assert "real against real" not in table.columns
    assert rows(table)["KID (mri)"]["floor of a"].text.startswith("0.004")
    assert rows(table)["KID (mri)"]["floor of b"].text.startswith("0.100")
    assert rows(table)["volumes, most metrics"]["floor of b"].text == "60"


def test_the_batch_size_is_part_of_the_published_mmd():
    """Its bias is the variance over B: figures of another B are others, and do not stand in one row."""
    own = next(record for record in evaluation_records() if record.metric == "mmd_paper")
    records = [
        replace(
            own,
            definition=own.definition | {"title": f"MMD, published, B = {size}"},
            group=own.group | {"generated": label},
        )
        for size, label in ((4, "a"), (8, "b"))
    ]
    found = rows(evaluation_tables(records)[0])
    four, eight = (found[f"MMD, published, B = {size}"] for size in (4, 8))
    assert (four["a"].record, four["b"].text) == (records[0].id, "–")
    assert (eight["a"].text, eight["b"].record) == ("–", records[1].id)


def test_extractors_of_one_name_and_other_weights_have_rows_of_their_own():
    kid = next(record for record in evaluation_records() if record.metric == "kid")
    records = [
        replace(
            kid,
            definition=kid.definition | {"extractor": {"name": "classifier", "sha256": digest * 64}},
            group=kid.group | {"generated": label},
        )
        for digest, label in (("a", "first"), ("b", "second"), ("a", "third"))
    ]
    found = rows(evaluation_tables(records)[0])
    assert {"KID (classifier), aaaaaaaa", "KID (classifier), bbbbbbbb"} < set(found)
    row = found["KID (classifier), aaaaaaaa"]
    assert [row[label].record for label in ("first", "second", "third")] == [records[0].id, None, records[2].id]
    assert "KID (classifier)" in rows(evaluation_tables(records[::2])[0]), "one extractor needs no digits"


def test_equal_floors_without_a_value_are_equal():
    nothing = [Floor(*[float("nan")] * 3, splits=200, size=10) for _ in range(2)]
    records = [replace(evaluation_records(label)[0], floor=own) for label, own in zip("ab", nothing, strict=True)]
    assert "real against real" in evaluation_tables(records)[0].columns


def test_a_benchmark_has_a_row_per_arm_in_the_posters_columns():
    records = benchmark_records(gain=0.04)
    (table,) = benchmark_tables(records)
    assert table.columns[:7] == ["arm", "generated", "AUC", "F1", "accuracy", "precision", "recall"]
    found = rows(table)
    assert list(found)[:2] == ["real only", "synthetic, then 25% of real"]
    assert found["real only"]["AUC"].text == "0.810 ± 0.020 [0.750, 0.860]"
    assert found["real only"]["AUC − real only"].text == "–"
    assert found["synthetic, then 25% of real"]["AUC − real only"].text == "0.040 [0.020, 0.060]"
    assert found["synthetic, then 25% of real"]["p (Holm)"].text == "0.010"
    assert set(table.records) == {record.id for record in records}
    assert "Positive class: HGG." in table.notes


def test_networks_have_tables_of_their_own():
    records = benchmark_records()
    others = [replace(record, group={**record.group, "network": "ResNet3D"}) for record in records]
    assert [table.title for table in benchmark_tables([*records, *others])] == [
        "Downstream classifier SmallCNN",
        "Downstream classifier ResNet3D",
    ]


def test_published_figures_become_records_that_name_their_source():
    table, records = published_table(references())
    assert {record.id for record in records} == set(table.records)
    ours = rows(table)["3D-VQGAN + masked transformer"]
    assert ours["AUC"].text == "0.80 ± 0.02"  # with the digits of the poster
    assert all("poster" in record.definition["source"] for record in records)
    assert published_table([]) is None
