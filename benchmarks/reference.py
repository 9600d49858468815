"""Reference implementations on Hugging Face transformers: the published training step, and sampling with `generate`.

The step follows the authors' code of Diffusion-LM (Li et al. 2022, https://arxiv.org/abs/2205.14217): the encoder of
Hugging Face's BERT with eager attention in single precision, AdamW with its default settings, and an average of the
weights that is updated parameter by parameter. It shares no layer with `replication`, so the training step there can be
checked against it in value as well as in speed.
"""

from __future__ import annotations

import copy
import math
from importlib.util import find_spec
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.models import steps_per_wait
from benchmarks.race import repeat
from replication.tokens.protocol import CLS, PAD, SEP
from replication.training.backbones import Bert
from replication.training.neural_model import CHUNK
from replication.util.generators import generator, seeded

if TYPE_CHECKING:
    from benchmarks.race import Lap
    from replication.training.scales import Scale

MISSING = "no reference rows: transformers is not installed; run `nox -s bench`, or install the dependency group bench"
BATCH = 64  # windows per step, as published
TIME_WIDTH = 128


def available() -> bool:
    """Return whether transformers is installed."""
    return find_spec("transformers") is not None


class Published(nn.Module):
    """The network and loss of Diffusion-LM on transformers' `BertEncoder`; 87,129,749 parameters at V 821 and d 16.

    Args:
        backbone: Backbone that gives the sizes.
        vocabulary: Vocabulary size V.
        dimension: Dimension d of the embeddings.
        alpha_bar: (T,) Share of the signal's variance at each timestep.
    """

    alpha_bar: Tensor

    def __init__(self, backbone: Bert, *, vocabulary: int, dimension: int, alpha_bar: Tensor) -> None:
        super().__init__()
        from transformers import BertConfig
        from transformers.models.bert.modeling_bert import BertEncoder

        config = BertConfig(
            hidden_size=backbone.width,
            num_hidden_layers=backbone.layers,
            num_attention_heads=backbone.heads,
            intermediate_size=backbone.feedforward,
            hidden_dropout_prob=backbone.dropout,
            attention_probs_dropout_prob=backbone.dropout,
            attn_implementation="eager",
        )
        width = backbone.width
        self.word_embedding = nn.Embedding(vocabulary, dimension)
        self.lm_head = nn.Linear(dimension, vocabulary)
        self.lm_head.weight = self.word_embedding.weight
        self.time_embed = nn.Sequential(
            nn.Linear(TIME_WIDTH, 4 * TIME_WIDTH), nn.SiLU(), nn.Linear(4 * TIME_WIDTH, width)
        )
        self.input_up_proj = nn.Sequential(nn.Linear(dimension, width), nn.Tanh(), nn.Linear(width, width))
        self.position_embeddings = nn.Embedding(backbone.positions, width)
        self.norm = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(backbone.dropout)
        self.encoder = BertEncoder(config)
        self.output_down_proj = nn.Sequential(nn.Linear(width, width), nn.Tanh(), nn.Linear(width, dimension))
        self.register_buffer("alpha_bar", alpha_bar.float(), persistent=False)

    def forward(self, x: Tensor, index: Tensor) -> Tensor:
        """Predict x_0 (B, L, d) from x_i (B, L, d) and i (B,)."""
        half = TIME_WIDTH // 2
        frequency = torch.exp(torch.arange(half, device=x.device) * (-math.log(10_000) / half))
        angle = (index * 1000 / len(self.alpha_bar))[:, None] * frequency
        time = self.time_embed(torch.cat((angle.cos(), angle.sin()), dim=1))
        positions = self.position_embeddings(torch.arange(x.shape[1], device=x.device))
        hidden = self.dropout(self.norm(self.input_up_proj(x) + positions + time[:, None]))
        return torch.as_tensor(self.output_down_proj(self.encoder(hidden).last_hidden_state))

    def loss(self, tokens: Tensor, index: Tensor, first: Tensor, second: Tensor) -> Tensor:
        """Return the mean loss of windows: the squared error of x_0, rounding and prior, each with weight 1.

        Args:
            tokens: (B, L) Token ids.
            index: (B,) Timesteps.
            first: (B, L, d) Standard normal noise of x_0 around the embeddings.
            second: (B, L, d) Standard normal noise of x_i around x_0.
        """
        embedded = self.word_embedding(tokens)
        start = embedded + (1 - self.alpha_bar[0]).sqrt() * first
        signal = self.alpha_bar[index][:, None, None]
        predicted = self(signal.sqrt() * start + (1 - signal).sqrt() * second, index)
        squares = ((start - predicted) ** 2).mean((1, 2))
        squares_at_0 = ((embedded - predicted) ** 2).mean((1, 2))
        rounding = F.cross_entropy(self.lm_head(start).transpose(1, 2), tokens, reduction="none").mean(1)
        prior = (self.alpha_bar[-1] * start**2).mean((1, 2))
        return torch.as_tensor((torch.where(index == 0, squares_at_0, squares) + rounding + prior).mean())


def bert(scale: Scale) -> Bert:
    """Return the published backbone with the sizes of a scale and the published dropout."""
    sizes = scale.backbone
    return Bert(layers=sizes.layers, width=sizes.width, heads=sizes.heads, feedforward=sizes.feedforward)


def published_step(lap: Lap, *, scale: Scale, vocabulary: int, batch: int) -> None:
    """Train with the published step; amounts are in tokens."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    alpha_bar = torch.from_numpy(scale.schedule.alpha_bar(scale.timesteps))
    with seeded("model", 0):
        model = Published(bert(scale), vocabulary=vocabulary, dimension=scale.dimension, alpha_bar=alpha_bar)
    model.to(device).train()
    averages = [copy.deepcopy(parameter.detach()) for parameter in model.parameters()]
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.0)
    tokens = torch.randint(SEP + 1, vocabulary, (batch, scale.length), generator=generator("bench")).to(device)
    steps, every = 0, steps_per_wait(scale)

    def step() -> None:
        nonlocal steps
        index = torch.randint(scale.timesteps, (batch,), device=device)
        first, second = torch.randn(2, batch, scale.length, scale.dimension, device=device)
        optimiser.zero_grad()
        model.loss(tokens, index, first, second).backward()  # type: ignore[no-untyped-call]  # torch does not annotate it
        for group in optimiser.param_groups:
            group["lr"] = 1e-4 * (1 - steps / 200_000)
        optimiser.step()
        with torch.no_grad():
            for average, parameter in zip(averages, model.parameters(), strict=True):
                average.mul_(0.9999).add_(parameter, alpha=1 - 0.9999)
        steps += 1

    def steps_to_wait() -> None:
        for _ in range(every):
            step()

    repeat(steps_to_wait, every * batch * scale.length, lap)


def generate(lap: Lap, *, scale: Scale, vocabulary: int) -> None:
    """Sample from a GPT-2 of the same size with transformers' `generate` and its cache; amounts are in tokens."""
    from transformers import GPT2Config, GPT2LMHeadModel, logging

    logging.set_verbosity_error()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    config = GPT2Config(
        vocab_size=vocabulary,
        n_positions=scale.length,
        n_embd=scale.backbone.width,
        n_layer=scale.backbone.layers,
        n_head=scale.backbone.heads,
        n_inner=scale.backbone.feedforward,
        bos_token_id=CLS,
        eos_token_id=SEP,
        pad_token_id=PAD,
    )
    with seeded("model", 0):
        model = GPT2LMHeadModel(config).to(device).eval()
    new = scale.length - 1
    begin = torch.full((CHUNK, 1), CLS, device=device)
    options = {"do_sample": True, "top_k": 0, "use_cache": True, "min_new_tokens": new, "max_new_tokens": new}
    mask = torch.ones_like(begin)
    repeat(lambda: model.generate(begin, attention_mask=mask, **options), CHUNK * new, lap)
