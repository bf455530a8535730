"""Markup that words from data cannot break."""

import json
import xml.etree.ElementTree as ElementTree

from controller.reporting.markup import Html, escape_text, joined, json_island, tag


def test_plain_text_and_attributes_are_escaped() -> None:
    """Text from data never becomes an element or ends an attribute."""
    element = tag("p", {"title": '"><b>'}, "<script>&", tag("b", None, "kept"))
    assert element == '<p title="&quot;&gt;&lt;b&gt;">&lt;script&gt;&amp;<b>kept</b></p>'


def test_characters_that_no_document_may_hold_are_replaced() -> None:
    """A control character or a lone surrogate becomes the replacement character."""
    text = escape_text("a\x00b\x1bc\ud800d\n")
    assert text == "a\ufffdb\ufffdc\ufffdd\n"
    ElementTree.fromstring(tag("p", None, text))


def test_missing_parts_and_attributes_are_left_out() -> None:
    """None is left out and 0 is not."""
    assert tag("line", {"x1": 0, "x2": None, "dx": 1.25}) == '<line x1="0" dx="1.25"/>'
    assert joined(["a", None, Html("<i/>")]) == "a<i/>"


def test_elements_that_a_browser_would_leave_open_are_closed() -> None:
    """An empty div is written with its end, because HTML does not know self-closing ones."""
    assert tag("div", {"id": "x"}) == '<div id="x"></div>'


def test_data_island_cannot_be_left() -> None:
    """A script end inside of the data does not end the element, and the data comes back unchanged."""
    document = {"label": "</script><!-- & "}
    island = json_island("data", document)
    element = ElementTree.fromstring(island)
    assert island.count("</script>") == 1
    assert json.loads(element.text or "") == document
