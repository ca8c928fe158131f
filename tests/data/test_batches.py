"""Batches are a function of (seed, epoch, step): the same in any order, on any number of threads, prefetched or not."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from pellucid.data import Augment, Batch, Batches, Preprocess, Split
from pellucid.data.prefetch import ahead
from pellucid.errors import ShapeError, UsageError

COUNT = 53
EVERYTHING = Augment(crop=2, resized_crop=0.5, flip=True, rotation=10, scale=0.1, color=0.3, cutout=4, mixup=0.3)
SIMPLE = Augment(crop=2, flip=True, mixup=0.3)


def a_split(images: NDArray[np.uint8] | None = None) -> Split:
    generator = np.random.default_rng(1)
    if images is None:
        images = generator.integers(0, 256, (COUNT, 12, 10, 3), np.uint8)
    return Split(images, generator.integers(0, 5, len(images)), [f"p{i}" for i in range(len(images))])


def make(split: Split | None = None, **settings: Any) -> Batches:
    split = split or a_split()
    prepare = Preprocess(split.image_size, split.channels, (0.5,) * 3, (0.25,) * 3, tuple("abcde"))
    return Batches(split, prepare, **{"batch_size": 8, "seed": 3, "shuffle": True, **settings})


def assert_same(ours: Iterator[Batch] | list[Batch], theirs: Iterator[Batch] | list[Batch]) -> None:
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(a.indices, b.indices)
        for name in ("images", "targets", "labels"):
            assert torch.equal(getattr(a, name), getattr(b, name)), name


@pytest.mark.parametrize("augment", [None, SIMPLE, EVERYTHING], ids=["none", "rows", "resampled"])
@pytest.mark.parametrize("start", [0, 1, 4, 6, 7])
def test_an_epoch_taken_up_in_the_middle_is_the_same(augment: Augment | None, start: int) -> None:
    whole = list(make(augment=augment).epoch(2))
    assert len(whole) == 7
    assert_same(make(augment=augment).epoch(2, start), whole[start:])


@pytest.mark.parametrize("augment", [SIMPLE, EVERYTHING], ids=["rows", "resampled"])
def test_what_was_asked_before_does_not_matter(augment: Augment) -> None:
    fresh = list(make(augment=augment).epoch(5))
    used = make(augment=augment)
    list(used.epoch(0))
    next(used.epoch(9))
    first, second = used.epoch(5), used.epoch(5)  # two at once share nothing
    pairs = list(zip(first, second, strict=True))
    assert_same([a for a, _ in pairs], fresh)
    assert_same([b for _, b in pairs], fresh)


@pytest.mark.parametrize("prefetch", [1, 2, 5])
def test_prefetching_changes_nothing(prefetch: int) -> None:
    plain = make(augment=EVERYTHING, prefetch=0)
    helped = make(augment=EVERYTHING, prefetch=prefetch)
    for epoch in range(2):
        assert_same(helped.epoch(epoch), plain.epoch(epoch))


def test_the_number_of_threads_changes_nothing() -> None:
    code = (
        "import sys, hashlib, numpy, torch; torch.set_num_threads(int(sys.argv[1]))\n"
        "from pellucid.data import *\n"
        "g = numpy.random.default_rng(1); x = g.integers(0, 256, (40, 61, 59, 3), numpy.uint8)\n"
        "s = Split(x, g.integers(0, 5, 40), list('x' * 40))\n"
        "p = Preprocess((61, 59), 3, (.5, .4, .3), (.2, .3, .4), tuple('abcde'))\n"
        "for a in (Augment(crop=4, flip=True, mixup=.2), Augment(resized_crop=.3, rotation=9, color=.4, cutout=9)):\n"
        "    for b in Batches(s, p, batch_size=17, seed=1, shuffle=True, augment=a).epoch(1):\n"
        "        print(hashlib.sha256(b.images.numpy().tobytes() + b.targets.numpy().tobytes()).hexdigest())\n"
    )
    outputs = {
        subprocess.run([sys.executable, "-c", code, count], capture_output=True, text=True, check=True).stdout
        for count in ("1", "2", "3")
    }
    assert len(outputs) == 1
    assert len(outputs.pop().splitlines()) == 6


def test_an_epoch_visits_every_picture_once_in_a_new_order() -> None:
    batches = make()
    orders = [np.concatenate([batch.indices for batch in batches.epoch(epoch)]).tolist() for epoch in range(2)]
    assert all(sorted(order) == list(range(COUNT)) for order in orders)
    assert orders[0] != orders[1] != list(range(COUNT))


def test_without_shuffling_the_order_is_the_splits() -> None:
    indices = np.concatenate([batch.indices for batch in make(shuffle=False).epoch(4)])
    np.testing.assert_array_equal(indices, np.arange(COUNT))


@pytest.mark.parametrize(("drop_last", "sizes"), [(False, [8] * 6 + [5]), (True, [8] * 6)])
def test_the_last_batch(drop_last: bool, sizes: list[int]) -> None:
    batches = make(drop_last=drop_last, augment=SIMPLE)
    assert [len(batch) for batch in batches.epoch(0)] == sizes
    assert len(batches) == len(sizes)


def test_a_batch_larger_than_the_split() -> None:
    (batch,) = make(batch_size=100, augment=SIMPLE).epoch(0)
    assert len(batch) == COUNT


def test_labels_go_with_their_pictures() -> None:
    split = a_split()
    for batch in make(split, augment=Augment(flip=True)).epoch(0):
        np.testing.assert_array_equal(batch.labels.numpy(), split.labels[batch.indices])
        assert batch.targets is batch.labels


@pytest.mark.parametrize("kind", ["planes", "mapped", "read-only", "strided"])
def test_where_the_pixels_lie_does_not_matter(kind: str, tmp_path: Path) -> None:
    plain = a_split()
    planes = np.ascontiguousarray(plain.images.transpose(0, 3, 1, 2))
    if kind == "mapped":
        (tmp_path / "pixels").write_bytes(planes.tobytes())
        planes = np.memmap(tmp_path / "pixels", np.uint8, "r", shape=planes.shape)
    images = planes.transpose(0, 2, 3, 1)
    if kind == "strided":
        images = np.repeat(plain.images, 2, axis=0)[::2]
    if kind == "read-only":
        images.flags.writeable = False
    other = Split(images, plain.labels, plain.names)
    assert_same(make(other, augment=EVERYTHING).epoch(1), make(plain, augment=EVERYTHING).epoch(1))


def test_a_batch_is_the_users_own() -> None:
    batches = make(augment=SIMPLE)
    kept = next(batches.epoch(0))
    before = kept.images.clone()
    for batch in batches.epoch(0):
        batch.images.zero_()
    assert torch.equal(kept.images, before)


def test_the_random_state_of_the_program_is_left_alone() -> None:
    torch.manual_seed(0)
    np.random.seed(0)
    before, numpy_before = torch.get_rng_state(), np.random.get_state()[1]
    list(make(augment=EVERYTHING).epoch(0))
    assert torch.equal(torch.get_rng_state(), before)
    np.testing.assert_array_equal(np.random.get_state()[1], numpy_before)


def prefetching_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "pellucid-prefetch"]


def test_dropping_an_epoch_ends_its_thread() -> None:
    epoch = make(prefetch=2).epoch(0)
    next(epoch)
    assert len(prefetching_threads()) == 1
    del epoch
    gc.collect()
    assert not prefetching_threads()


def test_leaving_a_loop_by_an_exception_ends_the_thread() -> None:
    def leave() -> None:
        for _ in make(prefetch=2).epoch(0):
            raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        leave()
    gc.collect()
    assert not prefetching_threads()


def test_an_error_in_the_thread_arrives_in_its_place() -> None:
    def failing() -> Iterator[int]:
        yield 1
        yield 2
        raise ValueError("the third is missing")

    items = ahead(failing(), depth=4)
    assert [next(items), next(items)] == [1, 2]
    with pytest.raises(ValueError, match="the third is missing"):
        next(items)
    assert not prefetching_threads()


def test_the_thread_runs_ahead_but_no_further_than_asked() -> None:
    made: list[int] = []

    def count() -> Iterator[int]:
        for i in range(100):
            made.append(i)
            yield i

    items = ahead(count(), depth=3)
    next(items)
    for _ in range(100):
        if len(made) >= 4:
            break
        time.sleep(0.01)
    time.sleep(0.05)
    assert 4 <= len(made) <= 5  # one taken, three waiting, one in hand
    items.close()  # type: ignore[attr-defined]


def test_pictures_of_another_size_are_refused() -> None:
    prepare = Preprocess((32, 32), 3, (0.5,) * 3, (0.25,) * 3)
    with pytest.raises(ShapeError, match=r"pictures are 12 x 10 x 3, the network was made for 32 x 32 x 3"):
        Batches(a_split(), prepare, batch_size=8, seed=0)


def test_a_batch_size_of_nothing_is_refused() -> None:
    with pytest.raises(UsageError, match="batch_size is 0"):
        make(batch_size=0)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("fits", [True, False])
def test_on_a_gpu_as_on_the_cpu(fits: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not fits:
        monkeypatch.setattr("pellucid.data.batches._SHARE_OF_DEVICE", 0.0)
    for augment in (SIMPLE, EVERYTHING):
        for ours, theirs in zip(
            make(augment=augment, device="cuda").epoch(0), make(augment=augment).epoch(0), strict=True
        ):
            assert ours.images.is_cuda
            np.testing.assert_array_equal(ours.indices, theirs.indices)
            torch.testing.assert_close(ours.images.cpu(), theirs.images, atol=2e-3, rtol=0)
            torch.testing.assert_close(ours.targets.cpu(), theirs.targets)
