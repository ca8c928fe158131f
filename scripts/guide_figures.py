"""Draws the figures of docs/guide/course into docs/pictures, from the numbers that the networks there really compute.

python scripts/guide_figures.py               # all of them, about a minute
python scripts/guide_figures.py pooling why   # these alone
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import nn

import pellucid
from pellucid import data, look, nets

sys.path.insert(0, str(Path(__file__).parent))
from guide_svg import BLUE, CARD, GREEN, GREY, INK, ORANGE, SOFT, VIOLET, Drawing

FOLDER = Path(__file__).parents[1] / "docs" / "pictures"
COLOURS = ["#1f6feb", "#d1690e", "#1a7f4b", "#8250df", "#c2317e", "#0d8390"]
LINES = "#c9d2dd"
KERNEL = torch.tensor([[[[0.0, 1], [2, 3]]]])
PICTURE = torch.arange(9.0).reshape(1, 1, 3, 3)
Floats = NDArray[Any]


def convolution(weight: torch.Tensor, **options: Any) -> nn.Conv2d:
    """A layer without a bias that has these weights (K, C, R, S)."""
    layer = nn.Conv2d(weight.shape[1], weight.shape[0], tuple(weight.shape[2:]), bias=False, **options)
    layer.weight.data = weight
    return layer


def shift(file: Path) -> None:
    """A bag and the same moved: what a convolution and a dense layer make of both."""
    bag = data.load("fashion-mnist-small").test.images[6, :, :, 0] / 255.0
    picture = torch.tensor(bag, dtype=torch.float32)[None, None]
    moved = torch.zeros_like(picture)
    moved[..., 3:] = picture[..., :-3]
    torch.manual_seed(0)
    edge = convolution(torch.tensor([[[[1.0, 0, -1]] * 3]]), padding=1)
    dense = nn.Sequential(nn.Flatten(), nn.Linear(784, 784), nn.Unflatten(1, (1, 28, 28)))
    figure = Figure((6.2, 4.2), layout="constrained")
    with torch.no_grad():
        for row, image in enumerate((picture, moved)):
            shown = {"picture": image, "convolution": edge(image), "dense layer": dense(image)}
            for column, (name, values) in enumerate(shown.items()):
                axes = figure.add_subplot(2, 3, 3 * row + column + 1)
                _image(axes, values[0, 0].numpy(), signed=column > 0)
                axes.set_title("" if row else name, fontsize=10)
    _save(figure, file)


def cross_correlation(file: Path) -> None:
    """The four places of a 2x2 kernel on 0..8."""
    scene = look.open(convolution(KERNEL), PICTURE)
    drawing = Drawing(760, 232)
    _labelled(drawing, 30, 62, KERNEL, "K", fill=ORANGE)
    for place, (i, j) in enumerate([(0, 0), (0, 1), (1, 0), (1, 1)]):
        x, y = 150 + 152 * place, 45
        window = {(i + a, j + b): ORANGE for a in range(2) for b in range(2)}
        _labelled(drawing, x, y, PICTURE, "X" if place == 0 else "", fill=window)
        drawing.frame(x + 34 * j, y + 34 * i, 68, 68, "#d1690e")
        number = scene.at("convolution", channel=0, y=i, x=j)
        drawing.text(x + 51, 180, " + ".join(str(term) for term in number.terms()), size=12)
        drawing.text(x + 51, 208, f"= {number.value:g}", size=17, bold=True)
    drawing.save(file)


def padding_stride(file: Path) -> None:
    """The padded picture, the places of stride 3 down and 2 across, and both maps."""
    all_places = look.open(convolution(KERNEL, padding=1), PICTURE).values("convolution")[0, 0]
    some = look.open(convolution(KERNEL, padding=1, stride=(3, 2)), PICTURE).values("convolution")[0, 0]
    padded = nn.functional.pad(PICTURE, (1, 1, 1, 1))[0, 0].tolist()
    colours = {(0, 0): BLUE, (0, 1): ORANGE, (1, 0): GREEN, (1, 1): VIOLET}
    windows = {(3 * i + a, 2 * j + b): c for (i, j), c in colours.items() for a in range(2) for b in range(2)}
    zeros = [(i, j) for i in range(5) for j in range(5) if not (1 <= i <= 3 and 1 <= j <= 3)]
    drawing = Drawing(640, 240)
    drawing.grid(40, 48, padded, fill=windows, soft=zeros)
    drawing.frame(74, 82, 102, 102)
    drawing.text(125, 32, "X, padding 1")
    drawing.grid(280, 65, all_places.tolist(), fill={(3 * i, 2 * j): c for (i, j), c in colours.items()})
    drawing.text(348, 32, "stride 1")
    drawing.grid(500, 99, some.tolist(), fill=colours, bold=list(colours))
    drawing.text(534, 32, "stride 3, 2")
    drawing.arrow(222, 133, 268, 133)
    drawing.arrow(428, 133, 488, 133)
    drawing.save(file)


def channels(file: Path) -> None:
    """Two channels in, one out: 37 + 19 = 56."""
    picture = torch.stack([torch.arange(1.0, 10), torch.arange(9.0)]).reshape(1, 2, 3, 3)
    kernel = torch.tensor([[[[1.0, 2], [3, 4]], [[0, 1], [2, 3]]]])
    scene = look.open(convolution(kernel), picture)
    drawing = Drawing(700, 292)
    corner = {(a, b): ORANGE for a in range(2) for b in range(2)}
    for channel in range(2):
        y = 38 + 134 * channel
        alone = look.open(convolution(kernel[:, channel : channel + 1]), picture[:, channel : channel + 1])
        drawing.grid(30, y, picture[0, channel].tolist(), fill=corner)
        drawing.text(161, y + 58, "⋆", size=24)
        drawing.grid(190, y + 17, kernel[0, channel].tolist(), fill=ORANGE)
        drawing.text(283, y + 57, "=", size=22)
        drawing.grid(310, y + 17, alone.values("convolution")[0, 0].tolist(), fill={(0, 0): BLUE}, cell=34)
        drawing.line(388, y + 51, 430, y + 51)
    drawing.line(430, 89, 430, 223)
    drawing.arrow(430, 156, 468, 156)
    drawing.text(449, 146, "+", size=20)
    drawing.grid(480, 116, scene.values("convolution")[0, 0].tolist(), fill={(0, 0): BLUE}, cell=40, bold=[(0, 0)])
    total = scene.at("convolution", channel=0, y=0, x=0)
    halves = [sum(term.product for term in total.terms()[4 * i : 4 * i + 4]) for i in range(2)]
    drawing.text(520, 226, f"{halves[0]:g} + {halves[1]:g} = {total.value:g}")
    drawing.save(file)


def pooling(file: Path) -> None:
    """2x2 windows of a 4x4 map: winners and averages."""
    values = torch.tensor([[[[1.0, 3, 0, 2], [2, 0, 5, 1], [0, 4, 1, 1], [1, 2, 3, 0]]]])
    colours = {(0, 0): BLUE, (0, 1): ORANGE, (1, 0): GREEN, (1, 1): VIOLET}
    windows = {(2 * i + a, 2 * j + b): c for (i, j), c in colours.items() for a in range(2) for b in range(2)}
    largest = look.open(nn.MaxPool2d(2), values)
    winners = []
    for i, j in colours:
        terms = largest.at(largest.nodes[0], channel=0, y=i, x=j).terms()
        winners += [term.open().index[2:] for term in terms if term.role == "winner"]
    average = look.open(nn.AvgPool2d(2), values)
    drawing = Drawing(520, 222)
    drawing.grid(30, 30, values[0, 0].tolist(), cell=40, fill=windows, bold=winners)
    for i, j in winners:
        drawing.frame(30 + 40 * j + 2, 30 + 40 * i + 2, 36, 36)
    drawing.arrow(210, 110, 262, 110)
    drawing.grid(280, 70, largest.values(largest.nodes[0])[0, 0].tolist(), cell=40, fill=colours, bold=list(colours))
    drawing.text(320, 50, "max")
    drawing.grid(400, 70, average.values(average.nodes[0])[0, 0].tolist(), cell=40, fill=colours)
    drawing.text(440, 50, "average")
    drawing.save(file)


def fields(file: Path) -> None:
    """What a number behind three 3x3 layers, the second with stride 2, sees of one row of pixels."""
    layers = [nn.Conv2d(1, 1, 3, padding=1, stride=stride, bias=False) for stride in (1, 2, 1)]
    scene = look.open(nn.Sequential(*layers), torch.zeros(1, 1, 17, 17))
    numbers = {4: scene.at("2", channel=0, y=4, x=4)}
    cell, left, orange = 36, 150, "#d1690e"
    drawing = Drawing(left + 17 * cell + 30, 322)
    ends: tuple[float, float] | None = None
    for row, (name, step) in enumerate([("3×3", 2), ("3×3, stride 2", 2), ("3×3", 1), ("pixels", 1)]):
        y = 24 + 76 * row
        for x in range(9 if step == 2 else 17):
            drawing.grid(left + step * x * cell, y, [[""]], cell=cell, fill=ORANGE if x in numbers else CARD)
        drawing.text(left - 16, y + 23, name, at="end", size=14)
        first, last = left + step * min(numbers) * cell, left + (step * max(numbers) + 1) * cell
        drawing.frame(first, y, last - first, cell, orange)
        if ends is not None:
            drawing.line(ends[0], y - 76 + cell, first, y, colour=orange)
            drawing.line(ends[1], y - 76 + cell, last, y, colour=orange)
        ends = (first, last)
        behind = [term.open() for number in numbers.values() for term in number.terms() if term.source is not None]
        numbers = {number.index[3]: number for number in behind}
    size = scene.account["2"].field.size[0]
    drawing.text(left + 8.5 * cell, 310, f"r = 1 + 2 + 2 + 2·2 = {size}", size=15, bold=True)
    drawing.save(file)


def effective_field(file: Path) -> None:
    """Energy of the gradient in the picture, for stacks of 3x3 layers."""
    figure = Figure((8, 2.5), layout="constrained")
    for at, depth in enumerate((3, 6, 12, 24)):
        torch.manual_seed(0)
        stack = nn.Sequential()
        for i in range(depth):
            stack += nn.Sequential(nn.Conv2d(8 if i else 1, 8, 3, padding=1, bias=False), nn.ReLU())
        for weight in stack.parameters():
            nn.init.kaiming_normal_(weight)
        scene = look.open(stack, torch.randn(20, 1, 64, 64))
        field = scene.effective_field(scene.at(scene.nodes[-2], channel=0, y=32, x=32))
        axes = figure.add_subplot(1, 4, at + 1)
        _image(axes, np.sqrt(field.energy))
        (top, bottom), (left, right) = field.theoretical.inside
        box = matplotlib.patches.Rectangle(
            (left - 0.5, top - 0.5), right - left + 1, bottom - top + 1, fill=False, edgecolor=COLOURS[1], linewidth=1.5
        )
        axes.add_patch(box)
        axes.set_title(f"{depth} × (3×3)", fontsize=10)
    _save(figure, file)


@cache
def clothes() -> data.Data:
    """The embedded pictures."""
    return data.load("fashion-mnist-small")


@cache
def trained(net: str = "lenet", epochs: int = 4, flip: bool = True) -> pellucid.Model:
    """A network as the guide trains it."""
    options = {"activation": "relu", "pool": "max"} if net == "lenet" else {}
    model = pellucid.Model(net, **options)
    model.compile(optimizer="adamw", flip=flip)
    model.fit(clothes(), epochs=epochs, progress=False)
    return model


def lenet_shift(file: Path) -> None:
    """Accuracy on moved pictures."""
    figure = Figure((5.6, 3.3), layout="constrained")
    axes = figure.add_subplot()
    pixels = np.arange(-6, 7)
    for colour, (net, name) in zip(COLOURS, {"lenet": "LeNet", "mlp": "MLP"}.items(), strict=False):
        model = trained(net, 5, flip=False)
        shares = []
        for by in pixels:
            images = np.roll(np.pad(clothes().test.images, ((0, 0), (0, 0), (6, 6), (0, 0))), by, 2)[:, :, 6:-6]
            shares.append((model.predict(images).probabilities.argmax(1) == clothes().test.labels).mean())
        axes.plot(pixels, shares, marker="o", markersize=4, color=colour, label=name)
    axes.axhline(0.1, color=SOFT, linestyle=":", linewidth=1)
    axes.set(xlabel="pixels", ylabel="accuracy", ylim=(0, 1), xticks=pixels[::2])
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    _save(figure, file)


def back_propagation(file: Path) -> None:
    """The small network of chapter 8: numbers above, gradients below."""
    x = torch.tensor([[[[1.0, 2, 0], [0, 1, 3], [2, 0, 1]]]])
    net = nn.Sequential(
        convolution(torch.tensor([[[[1.0, 0], [-1, 1]]]])), nn.ReLU(), nn.Flatten(), nn.Linear(4, 1, False)
    )
    net[3].weight.data = torch.tensor([[1.0, -1, 2, 1]])
    scene = look.open(net, x, label=torch.tensor([[1.0]]), loss=nn.MSELoss())
    places = {
        "x": ("input", 30, 3),
        "K": ("0.weight", 178, 2),
        "Y = x ⋆ K": ("0", 290, 2),
        "H = ReLU(Y)": ("1", 408, 2),
        "v": ("3.weight", 526, 4),
        "y = v · H": ("3", 706, 1),
        "L": ("", 800, 1),
    }
    drawing = Drawing(860, 330)
    for name, (path, left, _) in places.items():
        values = scene.values(path).reshape(_rows(path)) if path else np.array([[scene.loss.value]])
        slopes = scene.gradients(path).reshape(_rows(path)) if path else np.array([[1.0]])
        height, width = values.shape
        top = 92 - 17 * height
        drawing.text(left + 17 * width, 30, name)
        drawing.grid(left, top, values.tolist(), fill=ORANGE if name in ("K", "v") else CARD)
        blocked = {(1, 0): GREY} if path in ("0", "1") else {}
        below = {(i, j): blocked.get((i, j), BLUE) for i in range(height) for j in range(width)}
        drawing.grid(left, top + 150, slopes.tolist(), fill=below)
    for at in (142, 256, 370, 488, 672, 752):
        drawing.arrow(at, 92, at + 26, 92)
        drawing.arrow(at + 26, 242, at, 242)
    drawing.text(430, 172, "→  x, Y, H, y, L", size=13, colour=SOFT)
    drawing.text(430, 318, "←  dL/dx, dL/dK, dL/dY, dL/dH, dL/dv, dL/dy, dL/dL", size=13, colour=SOFT)
    drawing.save(file)


def _rows(path: str) -> tuple[int, int]:
    return {"input": (3, 3), "0.weight": (2, 2), "0": (2, 2), "1": (2, 2), "3.weight": (1, 4), "3": (1, 1)}[path]


def optimizers(file: Path) -> None:
    """Twenty steps of each in a narrow valley."""
    makers: dict[str, Callable[[Any], torch.optim.Optimizer]] = {
        "SGD 0.07": lambda w: torch.optim.SGD(w, lr=0.07),
        "momentum 0.02": lambda w: torch.optim.SGD(w, lr=0.02, momentum=0.7),
        "Adagrad 0.8": lambda w: torch.optim.Adagrad(w, lr=0.8),
        "RMSProp 0.25": lambda w: torch.optim.RMSprop(w, lr=0.25, alpha=0.9),
        "Adam 0.3": lambda w: torch.optim.Adam(w, lr=0.3),
    }
    figure = Figure((8, 3.4), layout="constrained")
    axes = figure.add_subplot()
    across, up = np.meshgrid(np.linspace(-1.5, 4.4, 200), np.linspace(-1.2, 1.2, 120))
    axes.contour(
        across, up, 0.5 * (across**2 + 25 * up**2), levels=[0.1, 0.5, 2, 5, 10, 16], colors=LINES, linewidths=0.8
    )
    for colour, (name, make) in zip(COLOURS, makers.items(), strict=False):
        w = torch.tensor([4.0, 1.0], requires_grad=True)
        optimizer, path = make([w]), [w.tolist()]
        for _ in range(20):
            optimizer.zero_grad()
            (0.5 * (w[0] ** 2 + 25 * w[1] ** 2)).backward()
            optimizer.step()
            path.append(w.tolist())
        size, line = (6, 3.5) if name.startswith("Adagrad") else (3, 1.2)  # RMSProp goes the same way, at another speed
        axes.plot(*zip(*path, strict=True), marker="o", markersize=size, linewidth=line, color=colour, label=name)
    axes.plot([0], [0], marker="*", markersize=11, color=INK, linestyle="")
    axes.set(xlabel="w₁", ylabel="w₂", xlim=(-1.5, 4.4), ylim=(-1.15, 1.15))
    axes.legend(frameon=False, fontsize=8, loc="lower left")
    _save(figure, file)


class Layer(nn.Module):
    """Convolution, perhaps batch normalisation, ReLU; with a shortcut, x is added to what they give."""

    def __init__(self, norm: bool = False, shortcut: bool = False) -> None:
        super().__init__()
        self.conv = nn.Conv2d(16, 16, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(16) if norm else nn.Identity()
        self.shortcut = shortcut

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, 16, H, W) -> the same"""
        y = self.norm(self.conv(x)).relu()
        return x + y if self.shortcut else y


def depth(file: Path) -> None:
    """Deviation of activations and of gradients, layer by layer."""
    kinds: dict[str, tuple[float | None, dict[str, bool]]] = {
        "0.01": (0.01, {}),
        "0.2": (0.2, {}),
        "He": (None, {}),
        "0.01 + batch norm": (0.01, {"norm": True}),
        "0.01 + shortcut": (0.01, {"shortcut": True}),
    }
    figure = Figure((8, 3.2), layout="constrained")
    forward, back = figure.subplots(1, 2)
    for colour, (name, (std, options)) in zip(COLOURS, kinds.items(), strict=False):
        torch.manual_seed(0)
        layers = [Layer(**options) for _ in range(30)]
        for layer in layers:
            nn.init.kaiming_normal_(layer.conv.weight) if std is None else nn.init.normal_(layer.conv.weight, std=std)
        values = [torch.randn(8, 16, 12, 12, requires_grad=True)]
        for layer in layers:
            values.append(layer(values[-1]))
            values[-1].retain_grad()
        (values[-1] * torch.randn_like(values[-1])).sum().backward()
        forward.semilogy([v.std().item() for v in values], color=colour, label=name)
        back.semilogy([v.grad.std().item() for v in values], color=colour, label=name)
    forward.set(title="activations →", xlabel="layer")
    back.set(title="← gradients", xlabel="layer")
    for axes in (forward, back):
        axes.grid(alpha=0.3)
    forward.legend(frameon=False, fontsize=8, loc="lower left")
    _save(figure, file)


def networks(file: Path) -> None:
    """Parameters against multiply-accumulates; the dashes join equal numbers of products for each parameter."""
    figure = Figure((5.8, 4), layout="constrained")
    axes = figure.add_subplot()
    points = {}
    for name in ("mlp", "lenet", "alexnet", "vgg11", "inception", "resnet18"):
        with torch.device("meta"):
            net = nets.make(name)
        size = (1, 28, 28) if name in ("mlp", "lenet") else (3, 224, 224)
        account = pellucid.summary(net, size, show=False).account
        points[name] = (account.parameters, account.macs)
    for each in (1, 10, 100):
        ends = np.array([2e4, 5e8])
        axes.plot(ends, each * ends, color=LINES, linestyle="--", linewidth=0.9)
        axes.text(
            4e8 / each**0.3, each * 4e8 / each**0.3 / 1.9, f"× {each}", fontsize=8, color=SOFT, ha="right", va="top"
        )
    for colour, (name, (parameters, macs)) in zip(COLOURS, points.items(), strict=True):
        axes.plot([parameters], [macs], "o", color=colour, markersize=9)
        beside = (-8, 8) if name == "inception" else (8, -12)
        at = "right" if name == "inception" else "left"
        axes.annotate(name, (parameters, macs), xytext=beside, textcoords="offset points", fontsize=10, ha=at)
    axes.set(xscale="log", yscale="log", xlim=(2e4, 5e8), ylim=(1e5, 3e10))
    axes.set(xlabel="parameters", ylabel="multiply-accumulates")
    _save(figure, file)


def kernels(file: Path) -> None:
    """The first layer of a trained LeNet: each kernel, and its map of a bag and of a boot."""
    model = trained()
    weights = model.net[0].weight.detach().numpy()[:, 0]
    most = float(np.abs(weights).max())
    figure = Figure((8.4, 4.1), layout="constrained")
    images = [clothes().test.images[i] for i in (6, 3)]
    scenes = [look.open(model, image).values("1")[0] for image in images]
    for i in range(6):
        axes = figure.add_subplot(3, 7, 2 + i)
        _image(axes, weights[i], signed=True, most=most)
        for row, maps in enumerate(scenes):
            _image(figure.add_subplot(3, 7, 7 * (row + 1) + 2 + i), maps[i])
    for row, image in enumerate(images):
        _image(figure.add_subplot(3, 7, 7 * (row + 1) + 1), image[..., 0] / 255)
    _save(figure, file)


def atlas(file: Path) -> None:
    """Nine strongest patches of six channels of the second convolution, and their projections."""
    found = look.atlas(trained(), clothes(), k=9, layers=["3"])
    strongest = np.argsort([-found["3"][i][0].value for i in range(16)], kind="stable")[:6]
    figure = Figure((8.4, 3.2), layout="constrained")
    for at, channel in enumerate(strongest):
        own = found["3"][int(channel)]
        for half, tile in enumerate((own.crop, own.projection)):
            tiles = [np.pad(_grey(tile(rank)), 1, constant_values=1.0) for rank in range(9)]
            block = np.block([[tiles[3 * i + j] for j in range(3)] for i in range(3)])
            axes = figure.add_subplot(2, 6, 6 * half + at + 1)
            _image(axes, block)
            axes.set_title(str(channel) if not half else "", fontsize=9)
    _save(figure, file)


def _grey(tile: Floats) -> Floats:
    """(H, W, 4) uint8 -> (H, W) from 0 to 1, white outside of the picture."""
    shares = tile.astype(np.float64) / 255
    if shares.shape[-1] < 4:
        return shares[..., :3].mean(-1)
    return np.where(shares[..., 3] > 0, shares[..., :3].mean(-1), 1.0)


def why(file: Path) -> None:
    """What speaks for a bag, by five methods."""
    model = trained()
    picture = clothes().test.images[6]
    scene = look.open(model, picture, label="Bag")
    black = look.open(model, picture * 0).at("input", channel=0, y=0, x=0).value
    shown = {
        "saliency": scene.saliency("Bag").map[0],
        "guided": scene.guided_backpropagation("Bag").map[0],
        "Grad-CAM": scene.grad_cam("Bag", path="4").image[0, 0],
        "integrated": scene.integrated_gradients("Bag", baseline=black).image[0, 0],
        "occlusion": scene.occlusion("Bag").image[0, 0],
    }
    figure = Figure((9.6, 1.95), layout="constrained")
    _image(figure.add_subplot(1, 6, 1), picture[..., 0] / 255)
    for at, (name, values) in enumerate(shown.items()):
        axes = figure.add_subplot(1, 6, at + 2)
        _image(axes, values, signed=name in ("integrated", "occlusion"))
        axes.set_title(name, fontsize=10)
    _save(figure, file)


def _labelled(drawing: Drawing, x: float, y: float, values: torch.Tensor, name: str, **options: Any) -> None:
    drawing.grid(x, y, values[0, 0].tolist(), **options)
    drawing.text(x + 17 * values.shape[-1], y - 14, name)


def _image(axes: Axes, values: Floats, *, signed: bool = False, most: float | None = None) -> None:
    """Numbers as shades: grey from the smallest to the largest, or blue below 0 and red above."""
    if signed:
        most = most or float(np.abs(values).max()) or 1.0
        axes.imshow(values, cmap="RdBu_r", vmin=-most, vmax=most, interpolation="nearest")
    else:
        axes.imshow(values, cmap="gray", interpolation="nearest")
    axes.set_xticks([])
    axes.set_yticks([])


def _save(figure: Figure, file: Path) -> None:
    """On white, without a date, so that the same numbers give the same file."""
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "guide"}):
        metadata = {"Date": None} if file.suffix == ".svg" else {"Software": None}
        figure.savefig(file, dpi=96, facecolor="white", metadata=metadata)


FIGURES: dict[str, tuple[Callable[[Path], None], str]] = {
    "shift": (shift, "png"),
    "cross-correlation": (cross_correlation, "svg"),
    "padding-stride": (padding_stride, "svg"),
    "channels": (channels, "svg"),
    "pooling": (pooling, "svg"),
    "fields": (fields, "svg"),
    "effective-field": (effective_field, "png"),
    "lenet-shift": (lenet_shift, "svg"),
    "back-propagation": (back_propagation, "svg"),
    "optimizers": (optimizers, "svg"),
    "depth": (depth, "svg"),
    "networks": (networks, "svg"),
    "kernels": (kernels, "png"),
    "atlas": (atlas, "png"),
    "why": (why, "png"),
}


def draw(names: list[str], folder: Path = FOLDER) -> list[Path]:
    """Draw some figures, or all, and say where each is."""
    files = []
    for name in names or FIGURES:
        make, suffix = FIGURES[name]
        files.append(folder / f"guide-{name}.{suffix}")
        make(files[-1])
    return files


if __name__ == "__main__":
    torch.set_num_threads(1)
    for written in draw(sys.argv[1:]):
        print(written.relative_to(FOLDER.parents[1]), f"{written.stat().st_size:,} bytes")
