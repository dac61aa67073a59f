"""report.html in a real browser, from a file: silent, offline, and it answers to mouse and keys."""

from __future__ import annotations

import base64
import gzip
import shutil
from importlib.resources import files
from io import BytesIO

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from playwright.sync_api import sync_playwright
from support.samples import LEFT, MASK, RIGHT, sample

from ale_dask.analyses.api_contrasts import contrast
from ale_dask.analyses.api_main_effect import conjunction, main_effect
from ale_dask.reporting.figures.viewer_layers import sparse
from ale_dask.reporting.tables.clusters import cluster_table
from ale_dask.reporting.tables.study import study_table
from ale_dask.reporting.write import write_report

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
EXECUTABLE = next(filter(None, map(shutil.which, BROWSERS)), None)
QUIET = (
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
in_browser = pytest.mark.skipif(EXECUTABLE is None, reason=f"none of {', '.join(BROWSERS)} is installed")
DRUG, CONTRAST = 0, 3
RUN_OFF = """() => [...document.querySelectorAll("body *")].filter((e) => {
    const box = e.getBoundingClientRect();
    return box.width && !e.matches(".skip") && (box.left < -1 || box.right > innerWidth + 1
        || (e.matches(".wide") && e.scrollWidth > e.clientWidth));
}).map((e) => e.outerHTML.slice(0, 80))"""


@pytest.fixture(scope="module")
def results():
    settings = {"mask": MASK, "iterations": 200, "seed": 1}
    drug = main_effect(sample("drug", [LEFT]), name="drug", **settings)
    therapy = main_effect(sample("therapy", [RIGHT]), name="therapy", **settings)
    both = main_effect(sample("affect", [LEFT, RIGHT]), name="affect", **settings)
    return [drug, therapy, both, contrast(drug, therapy, name="contrast"), conjunction([both, drug], name="overlap")]


@pytest.fixture(scope="module")
def report(results, tmp_path_factory):
    return write_report(results, tmp_path_factory.mktemp("report"), title="Two <i>samples</i>") / "report.html"


@pytest.fixture(scope="module")
def plain(results, tmp_path_factory):
    """A page without pictures, for which nilearn is not asked: the mask stands behind the slices."""
    return write_report(results, tmp_path_factory.mktemp("plain"), pictures=False) / "report.html"


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=EXECUTABLE, args=QUIET)
        yield opened
        opened.close()


@pytest.fixture
def opened(browser, report):
    """Open the page at a width; whatever it says or asks for that it should not fails the test in the end."""
    contexts, wrong, asked = [], [], []

    def open_at(width=1200, *, path=report, **options):
        context = browser.new_context(viewport={"width": width, "height": 900}, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: wrong.append(message.text))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("request", lambda request: asked.append((request.url, path.as_uri())))
        page.goto(path.as_uri())
        return page

    yield open_at
    for context in contexts:
        context.close()
    assert wrong == []
    assert asked
    assert all(url == own or url.startswith("data:") for url, own in asked)


def viewer(page, number=DRUG, *, map_number=None):
    """Return a viewer that has drawn a map."""
    found = page.locator(f'[data-viewer="{number}"]')
    found.scroll_into_view_if_needed()
    page.locator(f'[data-viewer="{number}"][data-ready]').wait_for()
    if map_number is not None:
        found.locator("select").select_option(str(map_number))
        page.locator(f'[data-viewer="{number}"][data-ready="{map_number}"]').wait_for()
    settle(page)
    return found


def settle(page):
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


def where(found):
    return tuple(float(found.locator(".at input").nth(axis).input_value()) for axis in range(3))


def value(found):
    return float(found.locator("output.value").inner_text().split(": ")[1].replace("−", "-"))


def pixels(found, plane=2):
    """Return the pixels (row, column, colour) of a slice."""
    url = found.locator("canvas").nth(plane).evaluate("c => c.toDataURL()")
    image = Image.open(BytesIO(base64.b64decode(url.partition(",")[2])))
    return np.asarray(image.convert("RGB")).astype(np.int16)


def coloured(found, plane=2):
    """Return which pixels of a slice (row, column) are not grey."""
    shown = pixels(found, plane)
    return np.ptp(shown, axis=-1) > 30


@in_browser
def test_nothing_is_unpacked_before_it_comes_into_view(opened):
    page = opened()
    viewer(page)
    ready = page.locator("[data-viewer][data-ready]").count()
    assert 1 <= ready < page.locator("[data-viewer]").count() == 5
    for number in range(5):
        viewer(page, number)
    assert page.locator("[data-viewer][data-ready]").count() == 5


@in_browser
def test_a_click_moves_the_crosshair_and_a_drag_takes_it_along(opened):
    page = opened()
    found = viewer(page)
    before, drawn = where(found), pixels(found, 0)
    assert found.locator("canvas").count() == 3
    box = found.locator("canvas").nth(2).bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.7, box["y"] + box["height"] * 0.3)
    page.mouse.down()
    settle(page)
    clicked = where(found)
    assert clicked[0] > before[0]
    assert clicked[2] == before[2]
    assert (pixels(found, 0) != drawn).any()
    page.mouse.move(box["x"] + box["width"] * 0.2, box["y"] + box["height"] * 0.3)
    page.mouse.up()
    settle(page)
    assert where(found)[0] < 0 < clicked[0]


@in_browser
def test_keys_move_the_crosshair_and_focus_is_seen(opened):
    page = opened()
    found = viewer(page)
    peak = where(found)
    axial = found.locator("canvas").nth(2)
    page.keyboard.press("Tab")
    axial.focus()
    assert axial.evaluate("c => getComputedStyle(c).outlineStyle") == "solid"
    steps = {"ArrowRight": (4, 0, 0), "ArrowUp": (0, 4, 0), "PageDown": (0, 0, -4), "Shift+ArrowLeft": (-20, 0, 0)}
    for key, step in steps.items():
        before, drawn = where(found), pixels(found)
        page.keyboard.press(key)
        settle(page)
        np.testing.assert_allclose(where(found), np.add(before, step))
        assert (pixels(found) != drawn).any()
    page.keyboard.press("Home")
    settle(page)
    assert where(found) == peak


@in_browser
def test_left_is_left_and_radiological_turns_it(opened):
    page = opened()
    found = viewer(page)
    assert where(found)[0] < 0
    columns = np.flatnonzero(coloured(found).any(axis=0))
    width = pixels(found).shape[1]
    assert columns.size
    assert columns.max() < width / 2
    found.locator("input[type=checkbox]").check()
    settle(page)
    assert np.flatnonzero(coloured(found).any(axis=0)).min() > width / 2


@in_browser
def test_the_slider_shows_less_of_an_unthresholded_map(opened):
    page = opened()
    words = page.locator('[data-viewer="0"] option').all_inner_texts()
    found = viewer(page, map_number=words.index("Unthresholded z"))
    slider = found.locator("input[type=range]")
    assert slider.is_visible()
    shown = []
    for cut in ("0", "3", "5"):
        slider.fill(cut)
        settle(page)
        shown.append(int(coloured(found).sum()))
        assert float(found.locator("output.cut").inner_text()) == float(cut)
    assert shown[0] > shown[1] > shown[2] > 0
    found.locator("select").select_option("0")
    assert slider.is_hidden()


@in_browser
@pytest.mark.parametrize("by", ["click", "key"])
def test_a_row_of_a_table_goes_to_its_peak(opened, results, by):
    page = opened()
    expected = cluster_table(results[2]).iloc[1]
    found = viewer(page, 2)
    row = page.locator('tr[data-at^="2 0 "]').nth(1)
    if by == "click":
        row.locator("td").nth(3).click()
    else:
        row.get_by_role("button").focus()
        page.keyboard.press("Enter")
    page.wait_for_function("() => document.querySelector('tr[aria-current]')")
    settle(page)
    np.testing.assert_allclose(where(found), expected[["X", "Y", "Z"]].astype(float), atol=0.06)
    assert value(found) == pytest.approx(expected["Peak Stat"], abs=0.0051)
    assert found.locator("canvas").nth(2).evaluate("c => c.getBoundingClientRect().bottom") > 0


@in_browser
def test_a_row_of_the_studys_table_shows_its_own_map(opened, results):
    page = opened()
    rows = study_table({r.attrs["name"]: r for r in results})
    rows = rows[(rows["level"] == "voxel-fwe") & (rows["input"] == "cluster-fwe") & (rows["cluster"] != "none")]
    assert len(rows)
    page.locator("summary", has_text="Every cluster of the contrasts").click()
    row = page.locator("#overlap ~ details tr[data-at]", has_text="voxel-fwe").first
    assert row.locator("td").nth(2).inner_text() == "voxel-fwe"
    row.get_by_role("button").click()
    found = viewer(page, CONTRAST)
    assert "Voxel FWE" in found.locator("option:checked").inner_text()
    np.testing.assert_allclose(where(found), rows.iloc[0][["x", "y", "z"]].astype(float), atol=0.06)
    assert abs(value(found)) == pytest.approx(rows.iloc[0]["Z"], abs=0.0051)


@in_browser
def test_every_image_has_a_text_and_every_control_a_name(opened):
    page = opened()
    nameless = page.evaluate(
        """() => [...document.querySelectorAll("img, canvas, input, select, svg, .wide")].filter((e) => !(
            e.alt || e.ariaLabel || e.labels?.[0]?.textContent.trim()
            || document.getElementById(e.getAttribute("aria-labelledby"))?.textContent.trim()
        )).map((e) => e.outerHTML.slice(0, 80))"""
    )
    assert nameless == []
    assert page.locator("img").count() > 10
    assert page.evaluate("() => [...document.images].every((i) => i.complete && i.naturalWidth)")


@in_browser
def test_ten_columns_are_shown_and_all_at_a_press(opened, results):
    page = opened()
    tools = page.locator(".tools", has=page.get_by_role("button", name="columns")).first
    table = page.locator(".tools + .wide table").first
    assert table.locator("th:visible").count() == 10
    assert page.evaluate("() => [...document.querySelectorAll('th')].every((h) => h.title.length > 5)")
    button = tools.get_by_role("button", name="columns")
    number = table.locator("th").count()
    assert 30 < number <= len(cluster_table(results[0]).columns)
    assert button.inner_text() == f"All {number} columns"
    for pressed, shown in (("true", number), ("false", 10)):
        button.focus()
        page.keyboard.press("Enter")
        assert button.get_attribute("aria-pressed") == pressed
        assert table.locator("th:visible").count() == shown


@in_browser
def test_a_table_is_searched_and_filtered(opened):
    page = opened()
    page.locator("summary", has_text="18 experiments").first.click()
    box = page.locator("details[open]", has=page.locator("caption, .caption", has_text="Experiments in this")).first
    rows = box.locator("tbody tr:visible")
    subjects = sorted(int(text) for text in box.locator("tbody td:nth-child(2)").all_inner_texts())
    assert len(subjects) == 18
    texts = box.locator("tbody tr").all_inner_texts()
    # Every word is looked for by itself.
    box.get_by_label("Search this table").fill("DRUG 13")
    assert rows.all_inner_texts() == [text for text in texts if "drug" in text and "13" in text]
    assert 0 < rows.count() < 18
    assert box.locator(".tools output").inner_text() == f"{rows.count()} of 18"
    box.get_by_label("Search this table").fill("")
    box.get_by_label("Filter by a column").select_option(label="Subjects")
    box.get_by_label("from").fill(str(subjects[9]))
    assert rows.count() == sum(n >= subjects[9] for n in subjects)
    box.get_by_label("Filter by a column").select_option(label="Filter by …")
    assert rows.count() == 18


@in_browser
def test_the_navigation_stays_in_view(opened):
    for width, shown in ((1600, True), (400, False)):
        page = opened(width)
        link = page.locator("nav a", has_text="Provenance")
        assert link.is_visible() == shown
        if not shown:
            page.locator("nav summary").click()
        link.click()
        assert page.evaluate("() => scrollY") > 1000
        assert page.locator("nav").bounding_box()["y"] >= 0
        assert link.is_visible() == shown


@in_browser
def test_every_link_to_a_file_leads_to_one(opened, report):
    page = opened()
    addresses = page.locator("a.file").evaluate_all("all => all.map((a) => a.getAttribute('href'))")
    assert all((report.parent / address).is_file() for address in addresses)
    assert {address.rpartition(".")[2] for address in addresses} >= {"tsv", "gz", "png", "svg", "html"}


@in_browser
def test_tables_sort_by_their_headers(opened, results):
    page = opened()
    page.locator("summary", has_text="18 experiments").first.click()
    table = page.locator("details[open] table", has_text="Subjects").first
    header = table.locator("th", has_text="Subjects")
    rows = table.locator("tbody tr")
    listed = rows.all_inner_texts()
    for way, sign in (("ascending", 1), ("descending", -1)):
        header.get_by_role("button").press("Enter")
        assert header.get_attribute("aria-sort") == way
        numbers = [int(text.split("\t")[1]) for text in rows.all_inner_texts()]
        assert numbers == sorted(numbers, key=lambda n: sign * n)
        assert sorted(rows.all_inner_texts()) == sorted(listed)
    assert table.locator("th[aria-sort]").count() == 1


@in_browser
def test_sub_peaks_stay_with_their_cluster_and_what_is_empty_comes_last(browser):
    rows = [("1", "3", "1,000"), ("1a", "9", ""), ("2", "10", "20"), ("2a", "1", ""), ("2b", "2", ""), ("3", "", "")]
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    head = "<tr><th>Cluster ID</th><th>Peak</th><th>Size</th></tr>"
    script = (files("ale_dask.reporting") / "templates" / "tables.js").read_text()
    page = browser.new_page()
    page.set_content(f"<table><thead>{head}</thead><tbody>{body}</tbody></table><script>{script}</script>")
    first = page.locator("tbody td:first-child")
    for column, expected in (("Size", "2 2a 2b 1 1a 3"), ("Size", "1 1a 2 2a 2b 3"), ("Peak", "1 1a 2 2a 2b 3")):
        page.get_by_role("button", name=column).click()
        assert first.all_inner_texts() == expected.split()
    page.close()


@in_browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 1600])
def test_nothing_is_wider_than_the_window_and_no_table_than_its_box(opened, width, scheme):
    page = opened(width, color_scheme=scheme)
    page.evaluate("() => document.querySelectorAll('details').forEach((d) => { d.open = true; })")
    viewer(page)
    viewer(page, CONTRAST)
    for tables_with_every_column in (0, 10):
        settle(page)
        assert page.locator("table.all").count() >= tables_with_every_column
        assert page.evaluate("() => document.documentElement.scrollWidth") <= width
        assert page.evaluate(RUN_OFF) == []
        page.evaluate("() => document.querySelectorAll('.tools button').forEach((b) => b.click())")
    dark = page.evaluate("() => getComputedStyle(document.body).backgroundColor") == "rgb(20, 24, 28)"
    assert dark == (scheme == "dark")


@in_browser
def test_paper_gets_pictures_and_what_is_folded(opened):
    # A4 at 96 dots an inch.
    page = opened(794)
    page.get_by_role("button", name="columns").first.click()
    viewer(page)
    page.emulate_media(media="print")
    assert page.locator(".viewer").first.is_hidden()
    assert page.locator("details.picture img").first.bounding_box()["height"] > 100
    assert page.locator("table.all").first.locator("th:visible").count() == 10
    assert page.locator("td", has_text="therapy 3").first.bounding_box()["height"] > 5
    assert page.evaluate("() => document.documentElement.scrollWidth") <= 794
    page.emulate_media(media="screen")
    page.evaluate("() => dispatchEvent(new Event('beforeprint'))")
    assert page.locator("details:not([open])").count() == 0
    page.evaluate("() => dispatchEvent(new Event('afterprint'))")
    assert page.locator("details[open]").count() == 0


@in_browser
def test_without_scripts_the_pictures_stand_open(opened):
    page = opened(java_script_enabled=False)
    assert page.locator(".viewer").first.is_hidden()
    assert page.locator("details.picture img").first.is_visible()
    assert page.locator("button").count() == 0


@in_browser
def test_without_pictures_the_mask_stands_behind_the_slices(opened, plain):
    page = opened(path=plain)
    shown = pixels(viewer(page))
    grey = (np.ptp(shown, axis=-1) == 0) & (shown[..., 0] > 40) & (shown[..., 0] < 100)
    assert 0.2 < grey.mean() < 0.9
    assert coloured(viewer(page)).any()
    assert page.locator("details.picture").count() == 0


@in_browser
def test_where_slices_cannot_be_unpacked_the_pictures_stand_open(browser, report):
    page = browser.new_page()
    page.add_init_script("delete self.DecompressionStream")
    page.goto(report.as_uri())
    assert page.locator(".viewer").first.is_hidden()
    assert page.locator("details.picture img").first.is_visible()
    assert page.locator("th button").count() > 10
    page.close()


def test_a_page_without_a_run_says_why_it_has_no_methods(report):
    text = report.read_text()
    assert "generated from the record of a run" in text
    assert "Two &lt;i&gt;samples" in text
    assert "'sha256-" in text
    assert text.index("What was found") < text.index("Diagnostics</h2>") < text.index("Provenance</h2>")


@given(st.lists(st.floats(-40, 40, width=32), min_size=1, max_size=200), st.sampled_from([0.01, 0.5]))
def test_a_packed_map_holds_each_voxel_at_its_place(listed, step):
    values = np.zeros(MASK.n_voxels, dtype=np.float32)
    values[:: len(values) // len(listed)][: len(listed)] = listed
    raw = gzip.decompress(base64.b64decode(sparse(values, mask=MASK, step=step)))
    n = len(raw) // 6
    assert n == np.count_nonzero(values)
    places = np.cumsum(np.frombuffer(raw, "<u4", count=n).astype(np.int64))
    volume = np.zeros(MASK.volume.shape)
    volume.flat[places] = np.frombuffer(raw, "<i2", offset=4 * n) * step
    np.testing.assert_allclose(volume[MASK.volume], values, atol=1.001 * step)
    assert not volume[~MASK.volume].any()
