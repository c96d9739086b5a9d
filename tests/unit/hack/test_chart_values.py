"""values.yaml as documented values: what the schema and the table of the chart's README are made of."""

from __future__ import annotations

import json

import chart_values
import pytest

TEXT = """
# About the file.

# -- An image.
image:
  # -- Where it is.
  # Without a tag.
  repository: example.test/a
  # -- When it is pulled.
  # @schema {enum: [Always, Never]}
  pullPolicy: Never
# -- Replicas.
# @schema {minimum: 1, maximum: 5}
replicas: 2
# -- Requests and limits.
# @schema {additionalProperties: true}
resources:
  requests: {cpu: 1}
# -- Any labels.
labels: {}
"""


def test_types_come_from_defaults_and_unknown_names_are_refused_beside_known_ones() -> None:
    document = json.loads(chart_values.schema_document(chart_values.read(TEXT), subcharts=()))
    assert document["additionalProperties"] is False
    properties = document["properties"]
    assert properties["replicas"] == {
        "type": "integer",
        "description": "Replicas.",
        "minimum": 1,
        "maximum": 5,
    }
    image = properties["image"]
    assert (image["description"], image["additionalProperties"]) == ("An image.", False)
    assert image["properties"]["repository"]["description"] == "Where it is. Without a tag."
    assert image["properties"]["pullPolicy"]["enum"] == ["Always", "Never"]
    assert "properties" not in properties["resources"]
    assert properties["labels"] == {"type": "object", "description": "Any labels."}


def test_a_subchart_takes_the_values_that_helm_passes_to_every_chart() -> None:
    document = json.loads(chart_values.schema_document(chart_values.read(TEXT), subcharts={"image"}))
    assert "global" in document["properties"]
    assert "global" in document["properties"]["image"]["properties"]


def test_the_table_has_a_row_for_each_value_that_is_set_with_its_limits() -> None:
    assert chart_values.table(chart_values.read(TEXT)).splitlines()[2:] == [
        '| `image.repository` | `"example.test/a"` | Where it is. Without a tag. |',
        '| `image.pullPolicy` | `"Never"` | When it is pulled. One of Always, Never. |',
        "| `replicas` | `2` | Replicas. 1 to 5. |",
        '| `resources` | `{"requests": {"cpu": 1}}` | Requests and limits. |',
        "| `labels` | `{}` | Any labels. |",
    ]


def test_a_value_without_a_description_is_named() -> None:
    with pytest.raises(chart_values.UndocumentedValueError, match=r"envoy\.replicas has no comment"):
        chart_values.read("envoy:\n  # of nothing\n  replicas: 2\n")
