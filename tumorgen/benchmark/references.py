"""Published figures to hold one's own against: of other data and another classifier, so never to be tested against.

Zhou and Khalvati, Conditional Generation of 3D Brain Tumor Regions via VQGAN and Temporal-Agnostic Masked Transformer, MIDL
2024 (poster): classification of LGG and HGG on BraTS 2019, the classifier pre-trained on synthetic regions and fine-tuned on
a small amount of real ones.
"""

from typing import Any

SOURCE = "Zhou and Khalvati, MIDL 2024 (poster), BraTS 2019; what its +- is taken over is not stated"

# method: mean and spread of AUC, F1, accuracy, precision, recall, as printed
_POSTER = {
    "3D-alpha-WGAN": ((0.71, 0.04), (0.65, 0.02), (0.64, 0.06), (0.65, 0.08), (0.68, 0.10)),
    "3D-Med-DDPM": ((0.71, 0.09), (0.69, 0.02), (0.65, 0.03), (0.62, 0.04), (0.77, 0.04)),
    "Med-Diffusion": ((0.73, 0.04), (0.67, 0.02), (0.61, 0.02), (0.55, 0.04), (0.84, 0.11)),
    "Med-Diffusion-C": ((0.75, 0.03), (0.68, 0.02), (0.66, 0.03), (0.64, 0.04), (0.73, 0.04)),
    "3D-VQGAN, one per class": ((0.78, 0.04), (0.71, 0.06), (0.70, 0.06), (0.69, 0.06), (0.72, 0.07)),
    "3D-VQGAN + masked transformer": ((0.80, 0.02), (0.74, 0.02), (0.70, 0.01), (0.66, 0.05), (0.87, 0.13)),
}


def references() -> list[dict[str, Any]]:
    """The poster's table as plain data: per method its name, source, and mean and spread of every figure."""
    names = ("auc", "f1", "accuracy", "precision", "recall")
    return [
        {
            "method": method,
            "source": SOURCE,
            "figures": {
                name: {"value": value, "spread": spread} for name, (value, spread) in zip(names, row, strict=True)
            },
        }
        for method, row in _POSTER.items()
    ]
