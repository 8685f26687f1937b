"""The tiny detector's tokenizer, of CLIP's kind (byte-level BPE, lower case). Every word of the
vocabulary is one token."""

from collections import Counter
from itertools import pairwise
from pathlib import Path

from tokenizers import pre_tokenizers
from transformers import CLIPTokenizer

from . import words

FILES = "tokenizer.json", "vocab.json", "merges.txt", "tokenizer_config.json"
LENGTH = 16  # Tokens of a prompt, with the first and the last token.


def build(folder):
    """The CLIPTokenizer of a folder. A folder without tokenizer gets tokenizer.json, vocab.json,
    merges.txt and tokenizer_config.json. An existing one is kept, because a model needs the order
    of merges with which it was trained."""
    known = {
        *words.COLOURS,
        *words.SHAPES,
        *(w for s in words.SIZES.values() for w in s),
        *(w for s in words.SYNONYMS.values() for t in s for w in t.split()),
    }
    known |= {words.plural(w) for w in known} | set(words.PLURALS.values()) | set(words.PLURALS)
    known |= {
        w.strip(".") for form in (*words.ONE, *words.MANY) for w in form.replace("{}", "").split()
    }
    known = {w for phrase in known for w in phrase.split() if w}
    folder = Path(folder)
    tokenizer = (
        CLIPTokenizer.from_pretrained(folder)
        if (folder / "tokenizer.json").exists()
        else _made(known, folder)
    )
    for word in known:
        if len(tokenizer(word).input_ids) != 3:
            raise ValueError(f"{word!r} is not one token: {tokenizer.tokenize(word)}")
    return tokenizer


def _merges(known):
    """Pairs that make one token of every word: the most frequent pair first, among equal pairs the
    first in the alphabet. The trainer of `tokenizers` is not used, because its order of equal pairs
    changes from run to run."""
    split = [[*word[:-1], word[-1] + "</w>"] for word in sorted(known)]
    merges = []
    while counts := Counter(pair for word in split for pair in pairwise(word)):
        best = min(counts, key=lambda pair: (-counts[pair], pair))
        merges.append(best)
        for word in split:
            for at in reversed(range(len(word) - 1)):
                if tuple(word[at : at + 2]) == best:
                    word[at : at + 2] = ["".join(best)]
    return merges


def _made(known, folder):
    merges = _merges(known)
    # "!" is the padding, which has id 0 in CLIP.
    letters = sorted(pre_tokenizers.ByteLevel.alphabet(), key=lambda c: (c != "!", c))
    names = [
        *letters,
        *(c + "</w>" for c in letters),
        *dict.fromkeys(a + b for a, b in merges),
        "<|startoftext|>",
        "<|endoftext|>",
    ]
    tokenizer = CLIPTokenizer(
        vocab={name: i for i, name in enumerate(names)},
        merges=merges,
        pad_token="!",
        model_max_length=LENGTH,
    )
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save_pretrained(folder)
    tokenizer.backend_tokenizer.model.save(str(folder))
    return tokenizer
