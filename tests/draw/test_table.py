"""The table of a network in text, terminal and HTML: every row and number is there, whatever the width."""

from __future__ import annotations

import io

import pytest
from torch import nn

import pellucid
from pellucid import nets
from pellucid.draw import table_html, table_rich, table_text


@pytest.fixture(scope="module")
def account() -> pellucid.graph.Account:
    return pellucid.capture(nets.make("resnet18", classes=10, image_size=32), (3, 32, 32), training=False).account(2)


@pytest.mark.parametrize("width", [80, 100, 140, 200])
def test_lines_stay_within_the_width_and_no_row_is_lost(account: pellucid.graph.Account, width: int) -> None:
    lines = table_text("ResNet", account, width).splitlines()
    rows = lines[3 : 3 + len(account.rows)]
    assert max(map(len, lines)) <= width
    assert len(rows) == len(account.rows)
    for line, row in zip(rows, account.rows, strict=True):
        assert row.name.startswith(line.split()[0].removesuffix("…"))
        assert "x".join(map(str, row.shape)) in line
        assert not row.parameters or f"{row.parameters:,}" in line
        assert not row.macs or f"{row.macs:,}" in line


def test_totals_are_the_sums(account: pellucid.graph.Account) -> None:
    text = table_text("ResNet", account, 140)
    assert f"parameters   {sum(row.parameters for row in account.rows):,}" in text
    assert f"MACs         {sum(row.macs or 0 for row in account.rows):,} for 2 pictures" in text


def test_in_a_terminal_with_colour(account: pellucid.graph.Account, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "160")

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    out = Terminal()
    table_rich("ResNet", account, out)
    assert all(row.name in out.getvalue() for row in account.rows)


def test_html_escapes_what_a_user_may_have_named() -> None:
    module = nn.Sequential()
    module.add_module("<script>alert(1)</script>", nn.Linear(4, 2))
    html = table_html("<b>", pellucid.capture(module, (4,)).account())
    assert "<script>alert" not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html
    assert "<h1>&lt;b&gt;</h1>" in html


def test_a_notebook_gets_html_and_str_is_plain(account: pellucid.graph.Account) -> None:
    made = pellucid.summary(nets.make("lenet"), (1, 28, 28), show=False)
    assert made._repr_html_().count("<tr>") == len(made.account.rows) + 1
    assert "parameters   61,706" in str(made)
    assert "</html>" in made.page()


def test_frozen_and_unknown_are_said() -> None:
    import torch

    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 4)
            self.layer.bias.requires_grad_(False)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.linalg.svdvals(self.layer(x))

    text = table_text("Odd", pellucid.capture(Odd(), (4, 4)).account(), 140)
    assert "parameters   20 (4 of them frozen)" in text
    assert "not counted" in text
    assert "linalg_svd" in text
