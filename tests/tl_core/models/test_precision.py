import torch
from torch import nn

from tl_core.models.precision import run_network

CPU = torch.device("cpu")


def test_features_are_float32_and_weights_stay_so() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten())
    images = torch.randn(2, 3, 8, 8)
    exact, rough = run_network(network, images, "fp32"), run_network(network, images, "bf16")
    assert torch.equal(exact, network(images))
    assert rough.dtype == torch.float32
    assert not torch.equal(rough, exact)
    torch.testing.assert_close(rough, exact, atol=0.05, rtol=0.05)
    rough.sum().backward()  # type: ignore[no-untyped-call]
    for parameter in network.parameters():
        assert parameter.grad is not None
        assert parameter.dtype == parameter.grad.dtype == torch.float32


def test_depthwise_convolutions_that_learn_on_a_cpu_are_float32() -> None:
    images = torch.randn(2, 3, 8, 8)
    network = nn.Sequential(nn.Conv2d(3, 3, 3, groups=3), nn.Flatten())
    exact, rough = (run_network(network, images, precision) for precision in ("fp32", "bf16"))
    assert torch.equal(rough, exact)
    with torch.inference_mode():
        assert not torch.equal(run_network(network, images, "bf16"), exact)
