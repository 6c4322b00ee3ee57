"""The library's encoder in PyTorch: ResNets with its stems and width factor, parameters under torchvision's names."""

import torch.nn.functional as F
from torch import nn

#: Blocks of each stage, and whether they are bottlenecks.
RESNETS = {"resnet18": ([2, 2, 2, 2], False), "resnet34": ([3, 4, 6, 3], False), "resnet50": ([3, 4, 6, 3], True)}


class Block(nn.Module):
    """A residual block: two 3x3 convolutions, or 1x1, 3x3, 1x1 with four times the channels at the end."""

    def __init__(self, inputs, channels, stride, bottleneck):
        super().__init__()
        outputs = channels * 4 if bottleneck else channels
        widths = (
            [(inputs, channels, 1, 1), (channels, channels, 3, stride), (channels, outputs, 1, 1)]
            if bottleneck
            else [(inputs, channels, 3, stride), (channels, channels, 3, 1)]
        )
        self.depth = len(widths)
        for place, (before, after, kernel, step) in enumerate(widths, 1):
            self.add_module(f"conv{place}", nn.Conv2d(before, after, kernel, step, kernel // 2, bias=False))
            self.add_module(f"bn{place}", nn.BatchNorm2d(after))
        self.downsample = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x):
        y = x
        for place in range(1, self.depth + 1):
            y = getattr(self, f"bn{place}")(getattr(self, f"conv{place}")(y))
            if place < self.depth:
                y = F.relu(y, inplace=True)
        return F.relu(y + (x if self.downsample is None else self.downsample(x)), inplace=True)


class ResNet(nn.Module):
    """(B, C, H, W) to pooled features (B, `features`). Weights start as PyTorch's layers do."""

    def __init__(self, name, stem, width, channels):
        super().__init__()
        self.arguments = (name, stem, width, channels)  # to build another of the same shape
        blocks, bottleneck = RESNETS[name]
        base = max(1, round(64 * width))
        small = stem == "small"
        self.conv1 = nn.Conv2d(channels, base, 3 if small else 7, 1 if small else 2, 1 if small else 3, bias=False)
        self.bn1 = nn.BatchNorm2d(base)
        self.pool = nn.Identity() if small else nn.MaxPool2d(3, 2, 1)
        inputs = base
        for stage, count in enumerate(blocks):
            layers = []
            for place in range(count):
                layers.append(Block(inputs, base << stage, 2 if stage and not place else 1, bottleneck))
                inputs = (base << stage) * (4 if bottleneck else 1)
            self.add_module(f"layer{stage + 1}", nn.Sequential(*layers))
        self.features = inputs

    def forward(self, x):
        x = self.pool(F.relu(self.bn1(self.conv1(x)), inplace=True))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return F.adaptive_avg_pool2d(x, 1).flatten(1)


def resnet(name="resnet18", stem="small", width=1.0, channels=3):
    """stem: "small", a 3x3 convolution of stride 1 and no pooling; or "imagenet"."""
    return ResNet(name, stem, width, channels)
