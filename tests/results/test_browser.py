"""The page in a browser: a volume is scrolled, figures open their records, nothing is fetched and nothing complains."""

import gzip
import io
from base64 import b64decode

import browser as chromium
import nibabel as nib
import numpy as np
import pytest
from html_page import read_page
from results import everything

from data_modules.errors import InputError
from tumorgen.commands import report
from tumorgen.pretrained.pypi import NIIVUE, download_wheel, read_pinned
from tumorgen.pretrained.weights import cache_folder

pytestmark = pytest.mark.skipif(chromium.missing() is not None, reason=str(chromium.missing()))

# how many pixels of a pane are brighter than nothing: the canvas is read in the turn in which it was drawn
AREA = """
  const {nv} = reportViewer.panes[arguments[0]];
  nv.drawScene();
  const {drawingBufferWidth: width, drawingBufferHeight: height} = nv.gl;
  const pixels = new Uint8Array(4 * width * height);
  nv.gl.readPixels(0, 0, width, height, nv.gl.RGBA, nv.gl.UNSIGNED_BYTE, pixels);
  let count = 0;
  for (let i = 0; i < pixels.length; i += 4) count += pixels[i] > 60;
  return count / (width * height);
"""


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """A report with everything in it, also the viewer: from the cache, otherwise fetched for this test."""
    folder = tmp_path_factory.mktemp("browser")
    with pytest.MonkeyPatch.context() as patch:
        try:
            read_pinned(cache_folder() / NIIVUE.wheel_name, NIIVUE)
        except InputError:
            patch.setenv("TUMORGEN_CACHE", str(folder))
            try:
                download_wheel(NIIVUE, folder)
            except InputError as error:
                pytest.skip(f"the viewer's package is neither in the cache nor to be had: {error}")
        paths = [str(path) for path in everything(folder / "results")]
        report.run([*paths, "--output", str(folder / "report.html")])
    return folder / "report.html"


@pytest.fixture(scope="module")
def window(page, tmp_path_factory):
    with chromium.browser(tmp_path_factory.mktemp("profile"), width=900, height=700) as window:
        window.open(page)
        window.run("document.documentElement.style.scrollBehavior = 'auto'")
        window.run("document.getElementById('viewer').scrollIntoView()")
        window.wait("return document.getElementById('viewer').dataset.state")
        yield window


def position(window):
    return window.run("return document.getElementById('where').textContent")


def slide(window, number):
    script = "const s = document.getElementById('slice'); s.value = arguments[0]; s.dispatchEvent(new Event('input'))"
    window.run(script, number)


def test_the_viewer_starts(window):
    assert window.run("return document.getElementById('viewer').dataset.state") == "ready"
    assert position(window) == "9 of 16"


def test_the_slider_shows_the_slices_that_are_in_the_file(window, page):
    """Areas in the picture against voxels of the volume, counted independently, from the first slice to the last."""
    scene = read_page(page.read_text()).json("volumes")[0]
    image = nib.Nifti1Image.from_stream(io.BytesIO(gzip.decompress(b64decode(scene["nifti"]))))
    numbers = [0, 3, 6, 8, 11, 15]
    inside = (np.asarray(image.dataobj) > 60).mean(axis=(0, 1))[numbers]
    assert inside.max() > 0.1
    shown = []
    for number in numbers:
        slide(window, number)
        assert position(window) == f"{number + 1} of 16"
        shown.append(window.run(AREA, 0))
    scale = inside.max() / max(shown)
    assert np.allclose(np.array(shown) * scale, inside, atol=0.03)
    assert shown[0] < 0.02  # nothing but letters


def test_the_wheel_scrolls_both_volumes(window):
    slide(window, 8)
    before = [window.run(AREA, side) for side in (0, 1)]
    window.scroll("#left-canvas", by=-120)
    window.scroll("#left-canvas", by=-120)
    window.wait("return document.getElementById('where').textContent !== '9 of 16'")
    fractions = window.run("return reportViewer.panes.map(({nv}) => nv.scene.crosshairPos[2])")
    assert fractions[0] == pytest.approx(fractions[1])
    assert fractions[0] != pytest.approx(8.5 / 16)
    assert [window.run(AREA, side) for side in (0, 1)] != before


def test_planes_and_volumes_can_be_chosen(window):
    change = (
        "const s = document.getElementById(arguments[0]); s.value = arguments[1]; s.dispatchEvent(new Event('change'))"
    )
    for plane in ("1", "2", "3", "0"):
        window.run(change, "plane", plane)
        slide(window, 8)
        assert position(window) == "9 of 16"
        assert window.run(AREA, 1) > 0.02
    titles = window.run("return [...document.querySelectorAll('#right option')].map((o) => o.textContent)")
    assert titles == [f"{g}: {n}/{n}_{i:04d}" for g in ("real", "samples") for i in (1, 2) for n in ("LGG", "HGG")]
    before = window.run(AREA, 1)
    window.run(change, "right", 7)
    window.wait(
        "return reportViewer.panes[1].volume.title === 'HGG/HGG_0002' && reportViewer.panes[1].nv.volumes.length === 1"
    )
    window.wait("return reportViewer.panes[1].nv.volumes[0].cal_max === 255")
    assert window.run(AREA, 1) != before


def test_a_figure_opens_its_record(window):
    shown = "return document.getElementById('record').open"
    assert not window.run(shown)
    record = window.run(
        "const cell = document.querySelector('td[data-record]'); cell.click(); return cell.dataset.record"
    )
    assert window.run(shown)
    text = window.run("return document.getElementById('record').innerText")
    assert record in text
    assert "definition" in text
    window.run("document.getElementById('record').close()")


def test_nothing_is_fetched_and_nothing_complains(window):
    fetched = window.run("return performance.getEntriesByType('resource').map((entry) => entry.name.slice(0, 5))")
    assert {name for name in fetched if name not in ("data:", "blob:")} == set()
    complaints = [entry for entry in window.console() if entry["level"] in ("SEVERE", "WARNING")]
    assert complaints == []


def test_the_page_refuses_the_network(window):
    """That the policy works is seen when something tries."""
    script = "return fetch('https://example.org/').then(() => 'fetched', () => 'refused')"
    assert window.run(script) == "refused"
    assert any("Content Security Policy" in entry["message"] for entry in window.console())


def test_a_narrow_window_needs_no_sideways_scrolling(window):
    window.command("Emulation.setDeviceMetricsOverride", width=420, height=900, deviceScaleFactor=1, mobile=True)
    assert window.run("return document.documentElement.scrollWidth") <= 421
    window.command("Emulation.clearDeviceMetricsOverride")
