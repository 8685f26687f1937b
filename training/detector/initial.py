"""The tiny detector's network and its initial weights."""

import math

import torch
from transformers import Owlv2Config, Owlv2ForObjectDetection

from . import tokens


def config(vocabulary):
    """The configuration of a network of about 3.8 million parameters."""
    return Owlv2Config(
        text_config=dict(
            vocab_size=vocabulary,
            hidden_size=128,
            intermediate_size=512,
            num_hidden_layers=3,
            num_attention_heads=4,
            max_position_embeddings=tokens.LENGTH,
            bos_token_id=vocabulary - 2,
            eos_token_id=vocabulary - 1,
            pad_token_id=0,
        ),
        vision_config=dict(
            hidden_size=192,
            intermediate_size=768,
            num_hidden_layers=6,
            num_attention_heads=6,
            image_size=256,
            patch_size=16,
        ),
        projection_dim=128,
    )


def fresh(vocabulary, seed):
    """The network with initial weights. Scores begin low, with gradients large enough to learn at
    once."""
    torch.manual_seed(seed)
    net = Owlv2ForObjectDetection(config(vocabulary))
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, torch.nn.Linear):
                torch.nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    module.bias.zero_()
        for last in (
            net.class_head.logit_scale,
            net.class_head.logit_shift,
            net.box_head.dense2,
            net.objectness_head.dense2,
        ):
            last.weight.mul_(0.1)
        net.class_head.logit_scale.bias.fill_(9.0)  # elu(9) + 1 is 10.
        net.class_head.logit_shift.bias.fill_(-0.45)
        net.objectness_head.dense2.bias.fill_(-4.0)
        net.owlv2.text_model.embeddings.token_embedding.weight.normal_(0, 0.1)
        _look_around(net.owlv2.vision_model, net.config.vision_config)
    return net


def _look_around(tower, config):
    """Half of the channels begin as positions: sines and cosines of several rates along x and y. In
    each layer heads begin by attending to the patch itself, to its four sides and to a wide
    neighbourhood, as convolutions do. With such positions a shift is a rotation, so the weights of
    keys are those of queries rotated by the offset. Without this start a small run spends its time
    on learning which patches are near."""
    grid, dim = config.image_size // config.patch_size, config.hidden_size
    pairs = dim // 8  # Pairs of sine and cosine, as many for x as for y.
    own = 4 * pairs  # The channels of positions.
    rates = torch.exp(torch.linspace(math.log(math.pi / grid), math.log(math.pi / 2), pairs))
    y, x = torch.meshgrid(torch.arange(grid).float(), torch.arange(grid).float(), indexing="ij")
    # (patches, 2 * pairs)
    angles = torch.cat([x.reshape(-1, 1) * rates, y.reshape(-1, 1) * rates], 1)
    table = tower.embeddings.position_embedding.weight
    table.zero_()
    table[1:, 0:own:2], table[1:, 1:own:2] = angles.sin(), angles.cos()
    torch.nn.init.xavier_uniform_(tower.embeddings.patch_embedding.weight.view(dim, -1))
    tower.embeddings.patch_embedding.weight[:own] = 0
    heads = config.num_attention_heads
    each = dim // heads
    for layer, block in enumerate(tower.encoder.layers):
        radius = (1, 1, 2, 2, 4, 4)[layer % 6]
        offsets = [(0, 0), (radius, 0), (-radius, 0), (0, radius), (0, -radius), (0, 0)]
        block.self_attn.out_proj.weight[:own] = 0
        block.mlp.fc2.weight[:own] = 0
        q, k = block.self_attn.q_proj.weight, block.self_attn.k_proj.weight
        q.mul_(0.3)
        k.mul_(0.3)
        for head in range(heads):
            dx, dy = offsets[head % 6]
            chosen = (
                torch.linspace(0, (pairs - 1) * (0.5 if head % 6 == 5 else 1.0), each // 4)
                .round()
                .long()
            )
            for row, pair in enumerate(torch.cat([chosen, chosen + pairs]).tolist()):
                turn = float(rates[pair % pairs]) * (dx if pair < pairs else dy)
                rows = slice(head * each + 2 * row, head * each + 2 * row + 2)
                columns = slice(2 * pair, 2 * pair + 2)
                # The angle of a key at the offset is larger by `turn`. Rotated back, it equals the
                # query's.
                c, s = math.cos(turn), math.sin(turn)
                q[rows, columns] += 1.2 * torch.eye(2)
                k[rows, columns] += 1.2 * torch.tensor([[c, -s], [s, c]])
