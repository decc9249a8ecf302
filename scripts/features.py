"""Writes a network in whose features images can be compared as a TorchScript file: python scripts/features.py dinov2 out.pt

dinov2: ViT-L/14, 1024 features (the normalised class token), as for the FD-DINOv2 of Stein et al. 2023. Apache License 2.0.
clip: ViT-L/14 at 336 pixels, 768 features (the normalised image embedding), as for the CMMD of Jayasumana et al. 2024. MIT licence.

Needs torch and transformers; downloads the weights. The file takes images of any size in 0 … 255 with three channels.
"""

import argparse

import torch
from torch import Tensor


class Features(torch.nn.Module):
    """Resizes as the papers do, bicubic and antialiased, and gives one row of features for each image."""

    def __init__(self, model: torch.nn.Module, side: int, mean: tuple, std: tuple, output: str, unit: bool) -> None:
        super().__init__()
        self.model, self.side, self.output, self.unit = model, side, output, unit
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        size = [self.side, self.side]
        x = torch.nn.functional.interpolate(images / 255, size=size, mode="bicubic", antialias=True, align_corners=False)
        features = getattr(self.model(pixel_values=(x - self.mean) / self.std), self.output)
        return torch.nn.functional.normalize(features, dim=1) if self.unit else features


def dinov2() -> Features:
    from transformers import Dinov2Model

    model = Dinov2Model.from_pretrained("facebook/dinov2-large")
    return Features(model, 224, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), "pooler_output", unit=False)


def clip() -> Features:
    from transformers import CLIPVisionModelWithProjection

    model = CLIPVisionModelWithProjection.from_pretrained("openai/clip-vit-large-patch14-336")
    mean, std = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
    return Features(model, 336, mean, std, "image_embeds", unit=True)


def export(network: Features, file: str) -> None:
    """Writes the network, and checks that the file gives the same features for other numbers and sizes of images."""
    network = network.eval()
    with torch.no_grad():
        traced = torch.jit.trace(network, torch.rand(2, 3, 64, 64) * 255)
        torch.jit.save(traced, file)
        opened = torch.jit.load(file)
        for shape in [(1, 3, 28, 28), (3, 3, 32, 32), (5, 3, 256, 200)]:
            images = torch.rand(shape) * 255
            torch.testing.assert_close(opened(images), network(images), rtol=1e-4, atol=1e-4)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    networks = {"dinov2": dinov2, "clip": clip}
    parser.add_argument("network", choices=networks)
    parser.add_argument("file", help="the file to write, e.g. dinov2-vitl14.pt")
    given = parser.parse_args()
    export(networks[given.network](), given.file)
