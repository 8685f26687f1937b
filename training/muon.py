"""The optimiser: Muon (orthogonalised momentum) for the hidden matrices, AdamW for everything else,
on fp32 masters."""

import torch


def orthogonalise(x, steps=5):
    """Newton-Schulz iteration towards the nearest orthogonal matrices of (N, r, c)."""
    a, b, c = 3.4445, -4.7750, 2.0315
    tall = x.shape[-2] > x.shape[-1]
    x = x.mT if tall else x
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(steps):
        y = x @ x.mT
        x = a * x + (b * y + c * (y @ y)) @ x
    return x.mT if tall else x


class Optimiser:
    """Keeps fp32 masters and an EMA of them beside a working model of any dtype; `step` reads the
    model's gradients and writes the model's weights. One dict of tensors holds its whole state."""

    def __init__(self, model, ema=0.997, decay=0.02, clip=1.0, products=torch.float32):
        """products: the dtype in which Muon makes momentum orthogonal."""
        self.model, self.ema_rate, self.decay, self.clip = model, ema, decay, clip
        self.products = products
        self.named = dict(model.named_parameters())
        self.state = {}
        for name, p in self.named.items():
            master = p.detach().float().clone()
            self.state |= {
                f"master/{name}": master,
                f"ema/{name}": master.clone(),
                f"m/{name}": torch.zeros_like(master),
            }
            if not self.hidden(name):
                self.state[f"v/{name}"] = torch.zeros_like(master)
        self.count = 0
        groups = {}
        for name, p in self.named.items():
            if self.hidden(name):
                groups.setdefault(tuple(p.shape), []).append(name)
        self.groups = list(groups.values())

    def hidden(self, name):
        """True for parameters that Muon updates: matrices between hidden activations."""
        p = self.named[name]
        outside = ("embed", "iou_token", "mask_tokens", "score_token", "no_object") + (
            "head.proj_out",
            "positional",
            "rel_pos",
        )
        return p.ndim == 2 and not any(part in name for part in outside)

    @torch.no_grad()
    def step(self, muon_rate, adam_rate):
        """One update; returns the norm of the gradient before clipping. Non-finite gradients skip
        the update."""
        grads = {n: p.grad.float() for n, p in self.named.items() if p.grad is not None}
        norm = torch.stack([g.norm() for g in grads.values()]).norm()
        for p in self.named.values():
            p.grad = None
        if not torch.isfinite(norm):
            return float(norm)
        scale = min(1.0, self.clip / (float(norm) + 1e-6))
        self.count += 1
        s = self.state
        for names in self.groups:
            names = [n for n in names if n in grads]
            if not names:
                continue
            g = torch.stack([grads[n] for n in names]) * scale
            m = torch.stack([s[f"m/{n}"] for n in names]).mul_(0.95).add_(g)
            update = orthogonalise((g + 0.95 * m).to(self.products)).float()
            update *= 0.2 * max(g.shape[-2:]) ** 0.5
            for name, mm, u in zip(names, m, update, strict=True):
                s[f"m/{name}"].copy_(mm)
                s[f"master/{name}"].mul_(1 - muon_rate * self.decay).add_(u, alpha=-muon_rate)
        for name, g in grads.items():
            if f"v/{name}" not in s:
                continue
            m = s[f"m/{name}"].mul_(0.9).add_(g, alpha=0.1 * scale)
            v = s[f"v/{name}"].mul_(0.98).addcmul_(g, g, value=0.02 * scale**2)
            root = (v / (1 - 0.98**self.count)).sqrt_().add_(1e-8)
            master = s[f"master/{name}"]
            if master.ndim > 1 and "positional" not in name:
                master.mul_(1 - adam_rate * self.decay)
            master.addcdiv_(m, root, value=-adam_rate / (1 - 0.9**self.count))
        keep = min(self.ema_rate, (1 + self.count) / (10 + self.count))
        for name, p in self.named.items():
            p.copy_(s[f"master/{name}"])
            s[f"ema/{name}"].lerp_(s[f"master/{name}"], 1 - keep)
        return float(norm)

    def load(self, state, count):
        """Restores `state` and `count` of an earlier optimiser, and the model's weights from it."""
        with torch.no_grad():
            for name, value in state.items():
                self.state[name].copy_(value)
            for name, p in self.named.items():
                p.copy_(self.state[f"master/{name}"])
        self.count = count

    def averaged(self):
        """The EMA weights by parameter name."""
        return {name: self.state[f"ema/{name}"] for name in self.named}
