"""Attention over a picture: the heat is where the weights are."""

from __future__ import annotations

import numpy as np

from pellucid.draw.attention_map import heads_over_picture, heat


def test_heat_lies_on_the_patch_that_is_looked_at() -> None:
    picture = np.full((20, 20, 3), 100, np.uint8)
    weights = np.zeros((2, 2))
    weights[0, 1] = 0.3
    drawn = heat(picture, weights)
    assert drawn.shape == (300, 300, 3)
    grey = drawn[200, 50]
    assert grey[0] == grey[1] == grey[2] == 140
    red = drawn[50, 200].astype(int)
    assert red[0] > red[1] + 80
    assert (drawn[:150, 150:] == drawn[50, 200]).all()


def test_a_grid_of_other_sides_covers_the_whole_picture() -> None:
    drawn = heat(np.zeros((300, 600, 1), np.uint8), np.eye(3, 6))
    assert drawn.shape == (300, 600, 3)
    assert (drawn[250, 250] != drawn[250, 550]).any()


def test_a_caption_is_text() -> None:
    found = heads_over_picture(np.zeros((4, 4, 3), np.uint8), [("<b>head</b>", np.ones((2, 2)))])
    assert "&lt;b&gt;head&lt;/b&gt;" in found
    assert "<b>" not in found
