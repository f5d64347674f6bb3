"""The form `paper` of MS-SSIM, stated in SciPy from its definition."""

import numpy as np
from scipy import ndimage

WEIGHTS = np.array([0.0448, 0.2856, 0.3001, 0.2363, 0.1333])
C1, C2 = 0.01**2, 0.03**2


def halved(x):
    """Means of blocks of 2x2x2."""
    d, h, w = (n // 2 for n in x.shape)
    return x[: 2 * d, : 2 * h, : 2 * w].reshape(d, 2, h, 2, w, 2).mean(axis=(1, 3, 5))


def ssim_and_contrast(x, y):
    """Means over all voxels; SciPy's Gaussian has 13 taps at sigma 1.5 and a reflected border by default."""

    def blur(z):
        return ndimage.gaussian_filter(z, 1.5)

    mu_x, mu_y = blur(x), blur(y)
    contrast = (2 * (blur(x * y) - mu_x * mu_y) + C2) / (blur(x * x) - mu_x**2 + blur(y * y) - mu_y**2 + C2)
    luminance = (2 * mu_x * mu_y + C1) / (mu_x**2 + mu_y**2 + C1)
    return (luminance * contrast).mean(), contrast.mean()


def ms_ssim_paper(x, y):
    """Of two arrays (D, H, W) in [-1, 1], in double precision."""
    x, y = x.astype(np.float64), y.astype(np.float64)
    ssim, contrast = [], []
    for _ in WEIGHTS:
        both = ssim_and_contrast(x, y)
        ssim.append(both[0])
        contrast.append(both[1])
        x, y = halved(x), halved(y)
    return np.prod(np.array(contrast)[:-1] ** WEIGHTS[:-1] * ssim[-1] ** WEIGHTS[-1])
