"""Saliency, guided backpropagation, Grad-CAM, integrated gradients and occlusion against Captum."""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import pytest
import torch
from captum.attr import GuidedBackprop, IntegratedGradients, LayerGradCam, Occlusion, Saliency
from torch import Tensor, nn

from pellucid import Graph, capture
from pellucid.errors import UsageError
from pellucid.look.attribution import grad_cam, guided_backpropagation, integrated_gradients, occlusion, saliency
from pellucid.look.projection import Projection
from tests.look.made_nets import SIZE, make, opened, pictures

pytestmark = [
    pytest.mark.filterwarnings("ignore:Setting backward hooks"),
    pytest.mark.filterwarnings("ignore:Input Tensor 0 did not already require gradients"),
    pytest.mark.filterwarnings("ignore:Setting forward, backward hooks"),
]
NETS = ["modules", "lenet", "inception", "resnet", "tokens", "gated"]
CLOSE = {"rtol": 1e-5, "atol": 1e-6}  # a projection is float32


@pytest.mark.parametrize("name", NETS)
def test_saliency(name: str) -> None:
    (net, graph), x = opened(name), pictures()
    found = saliency(graph, x, 3)
    np.testing.assert_allclose(found.image, Saliency(net).attribute(x, target=3).numpy(), **CLOSE)
    np.testing.assert_allclose(found.value, net(x)[:, 3].detach().numpy(), **CLOSE)
    assert found.index == ((3,), (3,))


def test_saliency_of_the_class_that_is_given_the_most() -> None:
    (net, graph), x = opened("modules"), pictures(4)
    best = net(x).argmax(1)
    found = saliency(graph, x)
    assert found.index == tuple((int(i),) for i in best)
    np.testing.assert_allclose(found.image, Saliency(net).attribute(x, target=best).numpy(), **CLOSE)
    named = saliency(graph, x, best.tolist())
    np.testing.assert_array_equal(named.image, found.image)


def test_saliency_of_a_hidden_number() -> None:
    (net, graph), x = opened("lenet"), pictures(1)
    node = graph.shown[0].name
    found = saliency(graph, x, node=node, channel=2, index=(3, 4))
    x = x.requires_grad_()
    (wanted,) = torch.autograd.grad(next(net.children())(x)[0, 2, 3, 4], x)
    np.testing.assert_allclose(found.image, wanted.abs().numpy(), **CLOSE)


def test_saliency_of_a_map_is_that_of_its_sum() -> None:
    (net, graph), x = opened("modules"), pictures(2)
    found = saliency(graph, x, node="relu1", channel=2, keep="map")
    x = x.requires_grad_()
    total = net.relu1(net.bn1(net.conv1(x)))[:, 2].sum((1, 2))
    (wanted,) = torch.autograd.grad(total.sum(), x)
    np.testing.assert_allclose(found.value, total.detach().numpy(), **CLOSE)
    np.testing.assert_allclose(found.image, wanted.abs().numpy(), **CLOSE)


def test_in_training_a_number_is_explained_by_its_own_picture() -> None:
    (net, graph), x = opened("resnet", training=True), pictures(3)
    found = saliency(graph, x, 1)
    x = x.requires_grad_()
    out = copy.deepcopy(net)(x)
    for n in range(3):
        (wanted,) = torch.autograd.grad(out[n, 1], x, retain_graph=True)
        np.testing.assert_allclose(found.image[n], wanted[n].abs().numpy(), **CLOSE)
        assert wanted[(n + 1) % 3].abs().max() > 0


@pytest.mark.parametrize("target", [0, 4])
def test_guided_backpropagation(target: int) -> None:
    (net, graph), x = opened("modules"), pictures()
    found = guided_backpropagation(graph, x, target)
    wanted = GuidedBackprop(copy.deepcopy(net)).attribute(x, target=target)
    assert wanted.abs().max() > 0
    np.testing.assert_allclose(found.image, wanted.numpy(), **CLOSE)


@pytest.mark.parametrize("twin", ["functions", "in place"])
def test_guided_backpropagation_finds_every_relu(twin: str) -> None:
    (_, graph), (net, other), x = opened("modules"), opened(twin), pictures()
    found = guided_backpropagation(other, x, 2)
    np.testing.assert_array_equal(found.image, guided_backpropagation(graph, x, 2).image)
    if twin == "functions":  # what Captum's documentation warns of
        theirs = GuidedBackprop(copy.deepcopy(net)).attribute(x, target=2).numpy()
        assert not np.allclose(theirs, found.image, atol=1e-3)


def layer_of(net: nn.Module, name: str) -> nn.Module:
    return net.get_submodule(name)


@pytest.mark.parametrize(
    ("name", "node"),
    [("modules", "relu1"), ("modules", "conv3"), ("resnet", "3.bn2"), ("resnet", "4.conv1"), ("inception", "2.pool")],
)
def test_grad_cam(name: str, node: str) -> None:
    (net, graph), x = opened(name), pictures()
    found = grad_cam(graph, x, 3, node=node)
    copied = copy.deepcopy(net)
    small = LayerGradCam(copied, layer_of(copied, node)).attribute(x, target=3, relu_attributions=True)
    assert small.max() > 0
    np.testing.assert_allclose(found.facts["map"], small[:, 0].detach().numpy(), **CLOSE)
    wanted = LayerGradCam.interpolate(small, SIZE[1:], interpolate_mode="bilinear")
    np.testing.assert_allclose(found.image, wanted.detach().numpy(), **CLOSE)
    assert found.facts["at"] == node
    assert found.node == graph.outputs[0]


def test_grad_cam_is_of_the_last_maps_where_none_are_named() -> None:
    (_, graph), x = opened("modules"), pictures()
    found = grad_cam(graph, x, 1)
    assert found.facts["at"] == "average"
    np.testing.assert_array_equal(found.image, grad_cam(graph, x, 1, node="average").image)


def test_grad_cam_of_a_transformer_is_of_its_patches() -> None:
    _, graph = opened("tokens")
    assert grad_cam(graph, pictures(), 1).facts["at"] == "patches"


@pytest.mark.parametrize("name", ["modules", "lenet", "resnet", "tokens"])
@pytest.mark.parametrize("baseline", ["zero", "pictures"])
def test_integrated_gradients(name: str, baseline: str) -> None:
    (net, graph), x = opened(name), pictures()
    start = 0.0 if baseline == "zero" else pictures(2, seed=5)
    found = integrated_gradients(graph, x, 2, baseline=start, steps=20, batch=7)
    wanted, gap = IntegratedGradients(net).attribute(
        x, start, target=2, n_steps=20, method="riemann_middle", return_convergence_delta=True
    )
    np.testing.assert_allclose(found.image, wanted.detach().numpy(), **CLOSE)
    np.testing.assert_allclose(found.facts["gap"], gap.detach().numpy(), **CLOSE)


def test_more_steps_bring_integrated_gradients_nearer_to_completeness() -> None:
    (net, graph), x = opened("gated"), pictures(1)
    few, many = (integrated_gradients(graph, x, 0, steps=steps) for steps in (4, 400))
    assert abs(many.facts["gap"][0]) < abs(few.facts["gap"][0]) / 10
    growth = (net(x) - net(torch.zeros_like(x)))[0, 0].item()
    assert many.image.sum() == pytest.approx(growth + many.facts["gap"][0], rel=1e-3)
    assert many.value[0] - many.facts["baseline_value"][0] == pytest.approx(growth, rel=1e-5)


@pytest.mark.parametrize("name", ["modules", "lenet", "tokens"])
@pytest.mark.parametrize(("patch", "stride"), [(4, 2), ((5, 3), (3, 2)), (16, 16)])
def test_occlusion(name: str, patch: int | tuple[int, int], stride: int | tuple[int, int]) -> None:
    (net, graph), x = opened(name), pictures()
    found = occlusion(graph, x, 4, patch=patch, stride=stride, fill=0.25, batch=13)
    window = (3, *((patch, patch) if isinstance(patch, int) else patch))
    moves = (3, *((stride, stride) if isinstance(stride, int) else stride))
    wanted = Occlusion(net).attribute(x, window, moves, baselines=0.25, target=4)
    assert found.image.shape == (2, 1, 16, 16)
    np.testing.assert_allclose(np.broadcast_to(found.image, x.shape), wanted.detach().numpy(), **CLOSE)


def test_the_falls_of_occlusion_by_hand() -> None:
    (net, graph), x = opened("modules"), pictures(1)
    colour = (0.5, -0.25, 1.0)
    found = occlusion(graph, x, 0, patch=6, stride=5, fill=colour)
    assert found.facts["falls"].shape == (1, 3, 3)
    covered = x.clone()
    covered[0, :, 5:11, 10:16] = torch.tensor(colour, dtype=torch.float64)[:, None, None]
    wanted = (net(x) - net(covered))[0, 0].item()
    assert found.facts["falls"][0, 1, 2] == pytest.approx(wanted, rel=1e-5)


def refused(graph: Graph, x: Tensor) -> dict[str, tuple[Callable[[], Projection], str]]:
    return {
        "class": (lambda: saliency(graph, x, 5), "has no channel 5"),
        "both": (lambda: saliency(graph, x, 1, node="relu1"), "a target is a class of the output"),
        "channel alone": (lambda: saliency(graph, x, channel=1), "a channel of which node"),
        "no maps": (lambda: grad_cam(graph, x, 1, node="fc"), "Grad-CAM needs maps"),
        "no steps": (lambda: integrated_gradients(graph, x, 1, steps=0), "steps is 0"),
        "no batch": (lambda: integrated_gradients(graph, x, 1, batch=0), "batch is 0"),
        "baseline": (lambda: integrated_gradients(graph, x, 1, baseline=torch.zeros(3, 3)), "the baseline is"),
        "large patch": (lambda: occlusion(graph, x, 1, patch=17), "the patch is"),
        "gaps": (lambda: occlusion(graph, x, 1, patch=2, stride=3), "the stride is"),
        "axes": (lambda: occlusion(graph, x, 1, patch=(2, 2, 2)), "3 numbers were given for 2 axes"),
        "colour": (lambda: occlusion(graph, x, 1, fill=(0, 0)), "the fill has 2 numbers, the picture 3 channels"),
    }


@pytest.mark.parametrize("case", refused(None, None))  # type: ignore[arg-type]
def test_what_is_refused(case: str) -> None:
    (_, graph), x = opened("modules"), pictures()
    call, message = refused(graph, x)[case]
    with pytest.raises(UsageError, match=message):
        call()


@pytest.mark.parametrize("method", [integrated_gradients, occlusion])
@pytest.mark.parametrize(
    ("name", "why"), [("resnet", "of the other pictures of the batch"), ("tokens", r"of chance \('drop'\)")]
)
def test_what_would_be_measured_against_something_else_is_refused(
    method: Callable[..., Projection], name: str, why: str
) -> None:
    _, graph = opened(name, training=True)
    with pytest.raises(UsageError, match=why):
        method(graph, pictures(), 1)


def test_other_inputs_go_with_their_pictures() -> None:
    class Conditioned(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.head = nn.Conv2d(3, 4, 3), nn.Linear(4, 2)

        def forward(self, x: Tensor, scale: Tensor) -> Tensor:
            return self.head(torch.relu(self.conv(x)).mean((2, 3)) * scale)

    net, x, scale = Conditioned().double().eval(), pictures(3), torch.rand(3, 4, dtype=torch.float64)
    graph = capture(net, inputs=(x, scale))
    wanted = Occlusion(net).attribute(x, (3, 8, 8), (3, 8, 8), target=1, additional_forward_args=(scale,))
    found = occlusion(graph, (x, scale), 1, patch=8, stride=8, batch=5)
    np.testing.assert_allclose(np.broadcast_to(found.image, x.shape), wanted.detach().numpy(), **CLOSE)
    theirs = IntegratedGradients(net).attribute(
        x, target=1, n_steps=9, method="riemann_middle", additional_forward_args=(scale,)
    )
    ours = integrated_gradients(graph, (x, scale), 1, steps=9, batch=4)
    np.testing.assert_allclose(ours.image, theirs.detach().numpy(), **CLOSE)
    np.testing.assert_allclose(saliency(graph, (x, scale), 1).image, Saliency(net).attribute(
        x, target=1, additional_forward_args=(scale,)
    ).numpy(), **CLOSE)  # fmt: skip


@pytest.mark.parametrize("method", [saliency, guided_backpropagation, grad_cam, integrated_gradients, occlusion])
def test_nothing_is_left_in_the_module(method: Callable[..., Projection]) -> None:
    net = make("in place")
    graph, x = capture(net, SIZE), pictures().requires_grad_()
    state, random = copy.deepcopy(net.state_dict()), torch.get_rng_state()
    method(graph, x, 1)
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(state[name], tensor) for name, tensor in net.state_dict().items())
    assert x.grad is None
    assert not [p for p in net.parameters() if p.grad is not None]
    assert not [m for m in net.modules() if m._forward_hooks or m._backward_hooks or m.training]
