"""From a scan and its segmentation to a region of interest in the cache."""
