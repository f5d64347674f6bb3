"""VGG16 and its LPIPS heads against a restatement on the names of the original files."""

import pytest
import torch
from vgg_reference import published_files, restated_features

from tumorgen.nn.vgg import LPIPSVGG16, lpips_state_dict


@pytest.mark.parametrize("size", [(32, 32), (48, 17)])
def test_features_equal_the_restatement(size):
    vgg16, linear = published_files()
    network = LPIPSVGG16()
    network.load_state_dict(lpips_state_dict(vgg16, linear))
    grey = torch.rand(2, 1, *size) * 2 - 1
    with torch.no_grad():
        found, expected = network(grey), restated_features(vgg16, grey)
    for f, e in zip(found, expected, strict=True):
        torch.testing.assert_close(f, e, atol=1e-4, rtol=1e-4)


def test_small_images_are_refused():
    with pytest.raises(ValueError, match="at least 16 pixels"):
        LPIPSVGG16()(torch.zeros(1, 1, 15, 32))
