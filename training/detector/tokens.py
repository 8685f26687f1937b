"""The tiny detector's tokenizer: CLIP's kind (byte-level BPE, lower case), in which every word of the vocabulary is one token."""

from pathlib import Path

from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import CLIPTokenizer

from . import words

LENGTH = 16  # tokens of a prompt, begin and end included


def build(folder):
    """The CLIPTokenizer of a folder, which gets tokenizer.json, vocab.json, merges.txt and tokenizer_config.json where it has none yet: merges of equal
    frequency come in another order each time, and what was trained with one order must go on with it."""
    known = {*words.COLOURS, *words.SHAPES, *(w for s in words.SIZES.values() for w in s), *(w for s in words.SYNONYMS.values() for t in s for w in t.split())}
    known |= {words.plural(w) for w in known} | set(words.PLURALS.values()) | set(words.PLURALS)
    known |= {w.strip(".") for form in (*words.ONE, *words.MANY) for w in form.replace("{}", "").split()}
    known = {w for phrase in known for w in phrase.split() if w}
    folder = Path(folder)
    tokenizer = CLIPTokenizer.from_pretrained(folder) if (folder / "tokenizer.json").exists() else _made(known, folder)
    for word in known:
        if len(tokenizer(word).input_ids) != 3:
            raise ValueError(f"{word!r} is not one token: {tokenizer.tokenize(word)}")
    return tokenizer


def _made(known, folder):
    trained = Tokenizer(models.BPE(end_of_word_suffix="</w>", unk_token=None))
    trained.pre_tokenizer = pre_tokenizers.Whitespace()
    trained.train_from_iterator(sorted(known), trainers.BpeTrainer(vocab_size=4096, min_frequency=1, end_of_word_suffix="</w>", show_progress=False))
    folder.mkdir(parents=True, exist_ok=True)
    trained.model.save(str(folder))
    merges = [tuple(line.split(" ")) for line in (folder / "merges.txt").read_text().splitlines() if line and not line.startswith("#")]
    letters = sorted(pre_tokenizers.ByteLevel.alphabet(), key=lambda c: (c != "!", c))  # "!" pads, as CLIP's id 0 does
    names = [*letters, *(c + "</w>" for c in letters), *dict.fromkeys(a + b for a, b in merges), "<|startoftext|>", "<|endoftext|>"]
    tokenizer = CLIPTokenizer(vocab={name: i for i, name in enumerate(names)}, merges=merges, pad_token="!", model_max_length=LENGTH)
    tokenizer.save_pretrained(folder)
    tokenizer.backend_tokenizer.model.save(str(folder))
    return tokenizer
