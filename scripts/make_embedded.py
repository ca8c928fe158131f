"""Make the embedded data set: 5,000 training and 1,000 test pictures of Fashion-MNIST, balanced and seeded.

    python scripts/make_embedded.py /usr/share/datasets/fashion-mnist src/pellucid/data/embedded/fashion-mnist-small

The folder given must hold the four original files. The same pictures are chosen each time, and a test makes the set
again and compares.
"""

from __future__ import annotations

import argparse
import gzip
import struct
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

PARTS = {"train": 5000, "t10k": 1000}  # pictures to take of each part
CLASSES = ["T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"]
SEED = 2017  # the year of the paper
LICENCE = """\
Fashion-MNIST, a part: 5,000 of its 60,000 training and 1,000 of its 10,000 test pictures, chosen at random, the same
number of each class, in the original's file format. Made by scripts/make_embedded.py.

Han Xiao, Kashif Rasul, Roland Vollgraf: Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning
Algorithms. arXiv:1708.07747 (2017). https://github.com/zalandoresearch/fashion-mnist

The MIT License (MIT)

Copyright (c) 2017 Zalando SE, https://tech.zalando.com

Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated
documentation files (the "Software"), to deal in the Software without restriction, including without limitation the
rights to use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies of the Software, and to permit
persons to whom the Software is furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all copies or substantial portions of the
Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE
WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR
COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR
OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.
"""


def read_idx(file: Path) -> NDArray[np.uint8]:
    """The unsigned bytes of a gzipped IDX file, in its own shape."""
    content = gzip.decompress(file.read_bytes())
    dimensions = content[3]
    shape = struct.unpack(f">{dimensions}I", content[4 : 4 + 4 * dimensions])
    return np.frombuffer(content, np.uint8, offset=4 + 4 * dimensions).reshape(shape)


def write_idx(file: Path, values: NDArray[np.uint8]) -> None:
    header = b"\0\0\x08" + bytes([values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape)
    file.write_bytes(gzip.compress(header + values.tobytes(), compresslevel=9, mtime=0))


def choose(labels: NDArray[np.uint8], count: int) -> NDArray[np.int64]:
    """`count` pictures, the same number of each class, in random order."""
    generator = np.random.Generator(np.random.Philox(SEED))
    classes = np.unique(labels)
    share = count // len(classes)
    of_each = [generator.permutation(np.flatnonzero(labels == label))[:share] for label in classes]
    return generator.permutation(np.concatenate(of_each))


def make(originals: Path, to: Path) -> None:
    """Write the four files, the classes' names and the licence into the folder `to`."""
    to.mkdir(parents=True, exist_ok=True)
    for part, count in PARTS.items():
        labels = read_idx(originals / f"{part}-labels-idx1-ubyte.gz")
        chosen = choose(labels, count)
        write_idx(to / f"{part}-images-idx3-ubyte.gz", read_idx(originals / f"{part}-images-idx3-ubyte.gz")[chosen])
        write_idx(to / f"{part}-labels-idx1-ubyte.gz", labels[chosen])
    (to / "classes.txt").write_text("\n".join(CLASSES) + "\n", "utf-8")
    (to / "LICENCE").write_text(LICENCE, "utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("originals", type=Path, help="the folder of the four original files")
    parser.add_argument("to", type=Path, help="the folder to write")
    arguments = parser.parse_args()
    make(arguments.originals, arguments.to)
