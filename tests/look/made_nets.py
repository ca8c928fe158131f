"""Small networks that the tests of projections, fields and maps share; in float64, with weights that do not vanish."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor, nn

from pellucid import Graph, capture, nets


class Modules(nn.Module):
    """A residual block, two branches concatenated and a classifier, with a module for every ReLU."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1, self.relu1 = nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU()
        self.pool = nn.MaxPool2d(3, 2, 1)
        self.conv2, self.relu2 = nn.Conv2d(6, 6, 3, padding=1), nn.ReLU()
        self.conv3, self.relu3 = nn.Conv2d(6, 6, 3, padding=1), nn.ReLU()
        self.one, self.relu4 = nn.Conv2d(6, 4, 1), nn.ReLU()
        self.three, self.relu5 = nn.Conv2d(6, 4, 3, padding=1, groups=2), nn.ReLU()
        self.average, self.flatten, self.fc = nn.AdaptiveAvgPool2d(3), nn.Flatten(), nn.Linear(8 * 9, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(self.relu1(self.bn1(self.conv1(x))))
        x = self.relu3(self.conv3(self.relu2(self.conv2(x))) + x)
        x = torch.cat([self.relu4(self.one(x)), self.relu5(self.three(x))], 1)
        return self.fc(self.flatten(self.average(x)))


class Functions(Modules):
    """The same network with ``F.relu``."""

    def forward(self, x: Tensor) -> Tensor:
        relu = nn.functional.relu
        x = self.pool(relu(self.bn1(self.conv1(x))))
        x = relu(self.conv3(relu(self.conv2(x))) + x)
        x = torch.cat([relu(self.one(x)), relu(self.three(x))], 1)
        return self.fc(self.flatten(self.average(x)))


class InPlace(Modules):
    """The same network with ReLUs in place: on a tensor, and by one module that is used again and again."""

    def __init__(self) -> None:
        super().__init__()
        self.relu1 = self.relu2 = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(self.relu1(self.bn1(self.conv1(x))))
        y = self.conv3(self.relu1(self.conv2(x)))
        y += x
        y.relu_()
        x = torch.cat([self.one(y).relu_(), torch.clamp(self.three(y), min=0)], 1)
        return self.fc(self.flatten(self.average(x)))


class Tokens(nn.Module):
    """Patches that attend to one another, as a vision transformer has them, with dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.patches, self.norm = nn.Conv2d(3, 8, 4, 4), nn.LayerNorm(8)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.first, self.second, self.drop = nn.Linear(8, 16), nn.Linear(16, 8), nn.Dropout(0.3)
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patches(x).flatten(2).transpose(1, 2)
        y = self.norm(tokens)
        tokens = tokens + self.attention(y, y, y, need_weights=False)[0]
        tokens = tokens + self.drop(self.second(nn.functional.gelu(self.first(tokens))))
        return self.head(tokens.mean(1))


class Gated(nn.Module):
    """Squeeze and excitation, a split into halves, a maximum of two, and a mean over places."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.squeeze = nn.Conv2d(3, 8, 3, dilation=2), nn.Linear(8, 8)
        self.mix = nn.Conv2d(8, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = nn.functional.silu(self.conv(x))
        x = x * torch.sigmoid(self.squeeze(x.mean((2, 3))))[:, :, None, None]
        a, b = x.chunk(2, 1)
        x = self.mix(torch.cat([torch.maximum(a, b), a - b], 1))
        return nn.functional.adaptive_max_pool2d(x, 2).flatten(1)


class TinyResNet(nn.Sequential):
    """Two residual blocks of the project's own, the second of stride 2."""

    def __init__(self) -> None:
        from pellucid.nets.resnet import BasicBlock

        stem = [nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.ReLU(inplace=True)]
        blocks = [BasicBlock(4, 4, 1), BasicBlock(4, 8, 2)]
        super().__init__(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5))


def lenet() -> nn.Module:
    return nets.make("lenet", classes=5, in_channels=3, image_size=16)


def inception_block() -> nn.Module:
    """Two blocks of the small Inception."""
    from pellucid.nets.inception import ConvolutionNormRelu, Halved, Mixed

    blocks = [ConvolutionNormRelu(3, 6, 3, padding=1), Mixed(6, 3, 4), Halved(7, 5)]
    return nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2), nn.Linear(12, 5))


MAKERS: dict[str, Callable[[], nn.Module]] = {
    "modules": Modules,
    "functions": Functions,
    "in place": InPlace,
    "lenet": lenet,
    "inception": inception_block,
    "resnet": TinyResNet,
    "tokens": Tokens,
    "gated": Gated,
}
SIZE = (3, 16, 16)


def make(name: str, *, training: bool = False, seed: int = 0) -> nn.Module:
    """A network by name, in float64; its batch normalisations have seen pictures."""
    with torch.random.fork_rng(()):
        torch.manual_seed(seed)
        net = MAKERS[name]().double()
        for part in net.modules():
            if isinstance(part, nn.BatchNorm2d):
                nn.init.uniform_(part.weight, 0.5, 1.5)
                nn.init.normal_(part.bias, 0, 0.3)
                nn.init.normal_(part.running_mean, 0, 0.3)  # type: ignore[arg-type]
                nn.init.uniform_(part.running_var, 0.5, 2)  # type: ignore[arg-type]
    return net.train(training)


@cache
def opened(name: str, *, training: bool = False) -> tuple[nn.Module, Graph]:
    """A network and its graph, captured once for all tests: they change neither."""
    net = make(name, training=training)
    return net, capture(net, SIZE)


def pictures(count: int = 2, seed: int = 1) -> Tensor:
    """(N, 3, 16, 16), float64."""
    return torch.randn(count, *SIZE, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
