"""Window arithmetic and receptive fields against a walk through every tap."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pellucid.ops import Axis, Window
from tests.oracles import windows as oracle

layer = st.tuples(st.integers(1, 5), st.integers(1, 3), st.integers(0, 3), st.integers(1, 3))


@given(size=st.integers(1, 60), shape=layer, after=st.integers(0, 3))
def test_output_size_counts_the_places(size: int, shape: tuple[int, int, int, int], after: int) -> None:
    kernel, stride, before, dilation = shape
    window = Window(kernel, stride, before, after, dilation)
    wanted = oracle.outputs(size, kernel, stride, before, after, dilation)
    if size + before + after >= window.span:
        assert window.outputs(size) == wanted == (size + before + after - window.span) // stride + 1


@given(layers=st.lists(layer, min_size=1, max_size=5), index=st.integers(0, 20))
def test_a_field_is_the_hull_of_what_is_read(layers: list[tuple[int, int, int, int]], index: int) -> None:
    axis = Axis(0)
    for kernel, stride, before, dilation in layers:
        axis = axis.through(Window(kernel, stride, before, before, dilation))
    seen = oracle.reads(layers, index)
    assert axis.box(index) == (min(seen), max(seen))


@given(shape=layer, index=st.integers(0, 30))
def test_a_transposed_field_is_what_lays_a_kernel_there(shape: tuple[int, int, int, int], index: int) -> None:
    kernel, stride, before, dilation = shape
    first, last = Axis(0).spread(Window(kernel, stride, before, before, dilation)).box(index)
    writers = {i for i in range(-40, 80) if any(i * stride - before + t * dilation == index for t in range(kernel))}
    assert all(first <= i <= last for i in writers)
    assert not writers or (first, last) == (min(writers), max(writers)) or dilation > 1
