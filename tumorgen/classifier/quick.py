"""A small classifier in seconds: what evaluation and callbacks ask for a second opinion."""

import torch
from torch.nn import functional as F

from tumorgen.classifier.networks import Classifier, NetworkFactory, SmallCNN
from tumorgen.types import Labels, Volume

LEARNING_RATE = 2e-3
BATCH_SIZE = 20


def train_quickly(
    volumes: Volume,
    labels: Labels,
    num_classes: int,
    seed: int,
    epochs: int = 40,
    network: NetworkFactory = SmallCNN,
) -> Classifier:
    """Trains a network to tell classes apart: random flips along all axes, Adam, half a cosine of learning rate.

    Random numbers are drawn from `seed`; the caller's generators stay where they were. It can be called from within
    validation (no gradients, autocast): neither reaches in here.

    Args:
        volumes: (N, C, D, H, W) in [-1, 1]; training runs on their device.
        labels: (N,) class indices.
        num_classes: Number of classes, also of those that no volume is of.
        seed: The same seed gives the same network on the same machine.
        epochs: Passes over the volumes.
        network: Builds the network from the number of classes and of channels.

    Returns:
        The network in evaluation mode.
    """
    device = volumes.device
    with (
        torch.random.fork_rng([device] if device.type == "cuda" else []),
        torch.inference_mode(False),
        torch.enable_grad(),
        torch.autocast(device.type, enabled=False),
    ):
        # torch.manual_seed would also seed the GPUs that are none of our business
        torch.default_generator.manual_seed(seed)
        if device.type == "cuda":
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        model = network(num_classes, volumes.shape[1]).to(device)
        optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
        for _ in range(epochs):
            for batch in torch.randperm(len(volumes)).split(BATCH_SIZE):
                flips = [axis for axis in (2, 3, 4) if torch.rand(()) < 0.5]
                loss = F.cross_entropy(model(volumes[batch].flip(flips)), labels[batch])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            schedule.step()
    return model.eval()
