"""Texts to token ids, with the tokenizer of a detector's folder."""

from __future__ import annotations

import json
import os
import warnings
from pathlib import Path
from typing import Any

from segrid._native import CorruptFileError

MAX_BYTES = 64 << 20  # the largest tokenizer file that is read
MAX_CHARACTERS = 10_000  # the longest prompt


class Tokenizer:
    """CLIP's tokenizer, from tokenizer.json, else from vocab.json and merges.txt.

    It uses the `tokenizers` library; transformers is not needed.

    folder : the folder with the files
    length : the largest number of tokens of a text, with its begin and end tokens; longer texts are
        cut, with a warning

    Raises FileNotFoundError naming the missing file, CorruptFileError for files of another kind.
    """

    def __init__(self, folder: str | os.PathLike[str], length: int) -> None:
        self.length = length
        self._folder = Path(folder)
        try:
            self._tokenizer = self._load()
        except (FileNotFoundError, CorruptFileError):
            raise
        except Exception as error:  # the library raises bare Exceptions
            raise CorruptFileError(
                f"{self._folder}: its tokenizer files cannot be read ({error})"
            ) from error
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()

    def _load(self) -> Any:
        import tokenizers

        single_file, vocab, merges = (
            self._folder / name for name in ("tokenizer.json", "vocab.json", "merges.txt")
        )
        for path in (single_file, vocab, merges):
            if path.exists() and path.stat().st_size > MAX_BYTES:
                raise CorruptFileError(
                    f"{path}: {path.stat().st_size} bytes; a tokenizer has at most {MAX_BYTES} "
                    "(MAX_BYTES)"
                )
        if single_file.exists():
            return tokenizers.Tokenizer.from_file(str(single_file))
        if not vocab.exists() or not merges.exists():
            raise FileNotFoundError(
                f"{self._folder}: has neither tokenizer.json nor vocab.json with merges.txt, which "
                "words need"
            )
        return _clip(
            json.loads(vocab.read_text(encoding="utf-8")), merges.read_text(encoding="utf-8")
        )

    def __call__(self, texts: list[str]) -> list[list[int]]:
        """Ids of each text, at most `length` of them.

        Raises ValueError for texts that are not text, empty or above MAX_CHARACTERS.
        """
        for i, text in enumerate(texts):
            if not isinstance(text, str):
                raise ValueError(f"prompts[{i}]: expected text, got {type(text).__name__}")
            if not text.strip():
                raise ValueError(f"prompts[{i}]: empty; say what to look for")
            if len(text) > MAX_CHARACTERS:
                raise ValueError(
                    f"prompts[{i}]: {len(text)} characters; the limit is {MAX_CHARACTERS} "
                    "(MAX_CHARACTERS)"
                )
            try:
                text.encode("utf-8")
            except UnicodeEncodeError as error:
                raise ValueError(
                    f"prompts[{i}]: holds half a character (a lone surrogate) at {error.start}"
                ) from None
        out = []
        for text in texts:  # one by one, because a batch would start threads of the library
            ids = self._tokenizer.encode(text).ids
            if len(ids) > self.length:
                warnings.warn(
                    f"prompt {text[:60]!r}: {len(ids)} tokens, the model reads {self.length}; the "
                    "rest is cut off",
                    UserWarning,
                    stacklevel=4,
                )
                ids = ids[: self.length - 1] + ids[-1:]
            out.append(ids)
        return out


def _clip(vocab: dict[str, int], merges: str) -> Any:
    """The tokenizer that transformers' CLIPTokenizer builds from the two files."""
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

    pairs: Any = [
        tuple(line.split())
        for line in merges.splitlines()
        if line and not line.startswith("#version")
    ]
    begin, end = "<|startoftext|>", "<|endoftext|>"
    tokenizer: Any = Tokenizer(
        models.BPE(
            vocab=vocab,
            merges=pairs,
            continuing_subword_prefix="",
            end_of_word_suffix="</w>",
            fuse_unk=False,
            unk_token=end,
        )
    )
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    words = Regex(
        r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|"
        r"[^\s\p{L}\p{N}]+"
    )
    split = pre_tokenizers.Split(words, behavior="removed", invert=True)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [split, pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.post_processor = processors.RobertaProcessing(
        (end, vocab[end]), (begin, vocab[begin]), trim_offsets=False, add_prefix_space=False
    )
    tokenizer.add_special_tokens([begin, end])
    return tokenizer
