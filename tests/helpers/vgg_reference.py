"""VGG16 and LPIPS restated on the tensor names of the original files, with random tensors."""

import torch
import torch.nn.functional as F

# the widths and poolings of VGG16's configuration D, as torchvision writes it
LAYERS = (64, 64, "M", 128, 128, "M", 256, 256, 256, "M", 512, 512, 512, "M", 512, 512, 512)


def published_files(seed=0):
    """State dicts with the names and shapes of torchvision's VGG16 (convolutions) and of the LPIPS heads, random."""
    generator = torch.Generator().manual_seed(seed)
    vgg16, index, width_in = {}, 0, 3
    for layer in LAYERS:
        if layer == "M":
            index += 1
            continue
        scale = (2 / (9 * width_in)) ** 0.5
        vgg16[f"features.{index}.weight"] = torch.randn(layer, width_in, 3, 3, generator=generator) * scale
        vgg16[f"features.{index}.bias"] = torch.randn(layer, generator=generator) * 0.1
        index, width_in = index + 2, layer
    vgg16["classifier.0.weight"] = torch.zeros(2, 2)
    widths = (64, 128, 256, 512, 512)
    linear = {f"lin{i}.model.1.weight": torch.rand(1, w, 1, 1, generator=generator) for i, w in enumerate(widths)}
    return vgg16, linear


def restated_features(vgg16, grey):
    """relu1_2, relu2_2, relu3_3, relu4_3 and relu5_3 by walking through torchvision's numbering."""
    colours = grey.expand(-1, 3, -1, -1)
    shift, scale = torch.tensor([-0.030, -0.088, -0.188]), torch.tensor([0.458, 0.448, 0.450])
    y = (colours - shift[:, None, None]) / scale[:, None, None]
    found, index = [], 0
    for layer in LAYERS:
        if layer == "M":
            found.append(y)
            y, index = F.max_pool2d(y, 2, 2), index + 1
        else:
            name = f"features.{index}"
            y, index = F.relu(F.conv2d(y, vgg16[f"{name}.weight"], vgg16[f"{name}.bias"], padding=1)), index + 2
    return [*found, y]


def restated_lpips(vgg16, linear, a, b):
    """The LPIPS distance of each image pair, as its authors define it."""
    total = 0
    for i, (f, g) in enumerate(zip(restated_features(vgg16, a), restated_features(vgg16, b), strict=True)):
        f = f / (f.square().sum(1, keepdim=True).sqrt() + 1e-10)
        g = g / (g.square().sum(1, keepdim=True).sqrt() + 1e-10)
        total = total + F.conv2d((f - g) ** 2, linear[f"lin{i}.model.1.weight"]).mean((1, 2, 3))
    return total
