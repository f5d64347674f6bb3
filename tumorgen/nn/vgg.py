"""The convolutions of VGG16 with the linear heads of LPIPS (Zhang et al. 2018), for 2D perceptual distances."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

WIDTHS = (64, 128, 256, 512, 512)
# torchvision numbers convolutions, ReLUs and poolings of `features` consecutively; these are the convolutions
TORCHVISION_INDICES = ((0, 2), (5, 7), (10, 12, 14), (17, 19, 21), (24, 26, 28))
SHIFT = (-0.030, -0.088, -0.188)
SCALE = (0.458, 0.448, 0.450)


class LPIPSVGG16(nn.Module):
    """VGG16 up to its last ReLU (relu5_3), read out after each of five blocks; one non-negative weight per channel.

    Input is scaled as LPIPS version 0.1 does: (x - shift) / scale per colour, with x in [-1, 1].
    """

    shift: Tensor
    scale: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList()
        width_in = 3
        for width, indices in zip(WIDTHS, TORCHVISION_INDICES, strict=True):
            layers: list[nn.Module] = []
            for _ in indices:
                layers += [nn.Conv2d(width_in, width, 3, padding=1), nn.ReLU()]
                width_in = width
            self.blocks.append(nn.Sequential(*layers))
        self.heads = nn.ParameterList(torch.ones(width) for width in WIDTHS)
        self.register_buffer("shift", torch.tensor(SHIFT).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("scale", torch.tensor(SCALE).view(1, 3, 1, 1), persistent=False)

    def forward(self, images: Float[Tensor, "images 1 H W"]) -> list[Float[Tensor, "images width h w"]]:
        """Feature maps relu1_2, relu2_2, relu3_3, relu4_3 and relu5_3 of grey images, broadcast over three colours.

        Raises:
            ValueError: An image of fewer than 16 pixels per side, of which four poolings leave nothing.
        """
        if min(images.shape[2:]) < 16:
            raise ValueError(f"VGG16 needs images of at least 16 pixels per side, found {tuple(images.shape[2:])}")
        y = (images - self.shift) / self.scale
        features = []
        for i, block in enumerate(self.blocks):
            y = block(F.max_pool2d(y, 2) if i else y)
            features.append(y)
        return features


def lpips_state_dict(vgg16: dict[str, Tensor], linear: dict[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of `LPIPSVGG16` from torchvision's VGG16 and from the linear heads of the LPIPS authors.

    Args:
        vgg16: torchvision's state dict, `features.0.weight` and so on; the classifier is ignored.
        linear: the heads' state dict, `lin0.model.1.weight` to `lin4.model.1.weight`, each (1, width, 1, 1).

    Raises:
        KeyError: A tensor is missing.
    """
    tensors = {}
    for i, indices in enumerate(TORCHVISION_INDICES):
        tensors[f"heads.{i}"] = linear[f"lin{i}.model.1.weight"].flatten()
        for j, index in enumerate(indices):
            for part in ("weight", "bias"):
                tensors[f"blocks.{i}.{2 * j}.{part}"] = vgg16[f"features.{index}.{part}"]
    return tensors
