"""Adapt the bundled encoder to a task of your own in a plain PyTorch loop; no YAML, no Brain.

python examples/minimal.py

The task: does a tone rise or fall? Order in time decides, which the mean of the frozen frames barely shows.
"""

import argparse

import torch
import torch.nn.functional as F
from torch import Tensor

import mambadapter as ma

RATE, SECONDS = 16_000, 0.6


def sweeps(clips: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """(clips, samples) tones in noise that rise (label 1) or fall (0) by half an octave, and their labels."""
    labels = torch.arange(clips) % 2
    low = 200 + 300 * torch.rand(clips, 1, generator=generator)
    time = torch.linspace(0, 1, int(RATE * SECONDS))
    progress = torch.where(labels[:, None] == 1, time, 1 - time)
    phase = 2 * torch.pi * torch.cumsum(low * 2 ** (progress / 2), dim=1) / RATE
    noise = torch.randn(phase.shape, generator=generator)
    return torch.sin(phase) + 0.1 * noise, labels


def accuracy(encoder: ma.AdaptedEncoder, head: ma.PooledClassifier, data: tuple) -> float:
    """Of the head's likeliest class."""
    encoder.eval()
    with torch.inference_mode():
        return (head(*encoder(data[0])).argmax(-1) == data[1]).float().mean().item()


def main(steps: int) -> float:
    """Train, test, save, load; returns the accuracy on held-out clips."""
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    encoder = ma.adapt("mambadapter/box", ma.MambAdapters(rank=12))
    head = ma.PooledClassifier(encoder.width, classes=2)
    print(ma.count_parameters(encoder, head))

    learning = [p for p in (*encoder.parameters(), *head.parameters()) if p.requires_grad]
    optimiser = torch.optim.AdamW(learning, lr=0.005)
    for step in range(1, steps + 1):
        encoder.train()
        wavs, labels = sweeps(16, generator)
        loss = F.cross_entropy(head(*encoder(wavs)), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if step % 10 == 0:
            print(f"step {step}: loss {loss.item():.3f}")

    held_out = sweeps(64, generator)
    before = accuracy(encoder, head, held_out)
    ma.save("adapter.safetensors", encoder=encoder, head=head)
    fresh = ma.adapt("mambadapter/box", ma.MambAdapters(rank=12))
    fresh_head = ma.PooledClassifier(fresh.width, classes=2)
    ma.load("adapter.safetensors", encoder=fresh, head=fresh_head)
    assert accuracy(fresh, fresh_head, held_out) == before
    print(f"accuracy on held-out tones: {100 * before:.1f} %")
    return before


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=60)
    main(parser.parse_args().steps)
