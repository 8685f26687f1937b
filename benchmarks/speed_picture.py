"""The picture of docs/speed.md: bars of seconds for each stage, ours and the peers'."""

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402


def draw(results, titles, names, target):
    """Writes the picture.

    results : {precision: {subject: its row}}; titles : {stage: text}; names : {subject: text}
    """
    figure, axes = plt.subplots(1, len(titles), figsize=(10, 3.6))
    for ax, stage in zip(axes, titles, strict=True):
        bars = [
            (f"{names.get(s, s)}, {p}", row["stages"][stage], s == "segrid")
            for p, rows in results.items()
            for s, row in rows.items()
        ]
        bars.sort(key=lambda b: b[1])
        ax.barh(
            [b[0] for b in bars],
            [b[1] for b in bars],
            color=["#d1495b" if b[2] else "#9aa5b1" for b in bars],
        )
        ax.bar_label(ax.containers[0], fmt="%.2f s", padding=3)
        ax.invert_yaxis()
        ax.margins(x=0.18)
        ax.set_title(titles[stage])
        ax.spines[["top", "right"]].set_visible(False)
        ax.set_xlabel("seconds")
    figure.tight_layout(w_pad=2.5)
    figure.savefig(target, dpi=110)
