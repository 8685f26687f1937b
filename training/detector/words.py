"""The vocabulary of the tiny detector, and the wordings of prompts."""

from dataclasses import dataclass

COLOURS = ("red", "green", "blue", "yellow", "orange", "purple", "black", "white")
SHAPES = ("circle", "square", "rectangle", "triangle", "star")
SIZES = {"small": ("small", "little", "tiny"), "large": ("large", "big", "huge")}
SYNONYMS = {
    "circle": ("circle", "circle", "circle", "disc", "ball"),
    "nucleus": ("nucleus", "nucleus", "cell", "cell nucleus"),
}
PLURALS = {
    "nucleus": "nuclei",
    "cell": "cells",
    "cell nucleus": "cell nuclei",
    "shape": "shapes",
    "object": "objects",
    "thing": "things",
}
ONE = (
    "{}",
    "{}",
    "{}",
    "a {}",
    "a {}",
    "the {}",
    "one {}",
    "a photo of a {}",
    "a photo of a {}",
    "a photo of the {}",
    "a picture of a {}",
    "an image of a {}",
    "there is a {} in the image",
    "find the {}",
    "this is a {}",
    "a {} in the picture",
    "photo of {}",
    "the {}.",
)
MANY = (
    "{}",
    "the {}",
    "all {}",
    "all the {}",
    "some {}",
    "many {}",
    "a photo of {}",
    "an image of {}",
    "a picture of some {}",
    "find all {}",
)
# Words for which the model must learn to find nothing. Every fifth word is kept out of training for
# the evaluation.
OTHERS = """cat dog car house tree bird person man woman child face hand table chair bottle cup book
phone computer keyboard mouse screen lamp door window wall floor road street bridge boat ship plane
train bus truck bicycle motorcycle wheel horse cow sheep pig chicken duck fish shark whale bear lion
tiger elephant giraffe zebra monkey snake frog spider bee butterfly flower rose grass leaf forest
mountain river lake sea beach sand snow ice cloud sky sun moon planet rocket apple banana lemon
grape strawberry cherry peach tomato potato carrot onion bread cheese pizza cake cookie egg meat
rice soup coffee tea water milk juice wine beer knife fork spoon plate bowl pan oven fridge sofa bed
pillow blanket curtain mirror clock watch ring necklace hat shirt shoe sock glove coat dress skirt
trousers belt bag wallet key lock umbrella pen pencil paper scissors hammer screw nail drill saw
rope ladder bucket broom brush soap towel tooth hair eye nose mouth ear finger leg foot heart brain
bone skull guitar piano drum violin trumpet camera television radio battery cable robot engine wing
tail feather fur stone brick wood metal glass plastic rubber letter number arrow line cross oval
diamond pentagon hexagon crescent spiral cube cone cylinder pyramid tower castle church school
hospital station airport market garden park fence gate sign flag map coin money ticket stamp toy
doll kite balloon candle fire smoke rain wind storm pink brown gray cyan""".split()


@dataclass(frozen=True)
class Thing:
    """A thing in a picture. shape is one of SHAPES, "nucleus", or another word; colour and size may
    be None, which is no class."""

    shape: str
    colour: str | None = None
    size: str | None = None


@dataclass(frozen=True)
class Query:
    """The attributes asked for; the shape "object" is any shape. other: a word without meaning
    here, which matches nothing."""

    shape: str | None = None
    colour: str | None = None
    size: str | None = None
    other: str | None = None

    def matches(self, thing):
        """True, False, or None where the question does not apply to this thing, so that it does not
        count."""
        if self.other:
            return False
        if thing.shape == "nucleus":
            if self.shape == "nucleus" and not self.colour and not self.size:
                return True
            return False if self.shape in ("square", "rectangle", "triangle", "star") else None
        if self.shape not in (None, "object", thing.shape):
            return False
        if self.colour and self.colour != thing.colour:
            return False
        if self.size and self.size != thing.size:
            return None if thing.size is None else False
        return True


def plural(noun):
    """The phrase with its last word in the plural."""
    return PLURALS.get(noun, noun + "s")


def phrase(rng, query):
    """A wording of the query."""

    def pick(options):
        return str(options[rng.integers(len(options))])

    if query.other and not query.shape:
        noun = query.other
    elif query.shape in (None, "object"):
        noun = pick(("object", "shape", "thing")) if query.shape or rng.random() < 0.6 else ""
    else:
        noun = pick(SYNONYMS.get(query.shape, (query.shape,)))
    many = bool(noun) and rng.random() < (0.5 if query.shape == "nucleus" else 0.25)
    words = [
        pick(SIZES[query.size]) if query.size else "",
        query.other if query.other and query.shape else "",
        query.colour or "",
        plural(noun) if many else noun,
    ]
    text = pick(MANY if many else ONE).format(" ".join(w for w in words if w))
    for vowel in "aeio":
        text = text.replace(f" a {vowel}", f" an {vowel}")
    if text.startswith("a ") and text[2:3] in "aeio":
        text = "an" + text[1:]
    kind = rng.random()
    return text.capitalize() if kind < 0.08 else text.upper() if kind < 0.1 else text


def gibberish(rng):
    """A pronounceable word that means nothing."""
    sounds = ("bcdfghjklmnprstvwz", "aeiou", "bdgklmnprstx")
    return "".join(
        str(rng.choice(list(letters))) for _ in range(int(rng.integers(1, 4))) for letters in sounds
    )


def other(rng, kept_out=False):
    """A word that training uses as an unknown word, or a word that training never sees."""
    words = [w for i, w in enumerate(OTHERS) if (i % 5 == 0) == kept_out]
    return words[rng.integers(len(words))] if kept_out or rng.random() < 0.7 else gibberish(rng)


def queries(rng, things, count, kept_out=False):
    """`count` queries for a picture: things that are there (fully or partly described), things that
    differ in one attribute, and things that are not there."""

    def of(thing):
        if thing.shape == "nucleus":
            return Query("nucleus")
        parts = rng.random(3) < (0.85, 0.65, 0.15)
        shape = thing.shape if thing.shape in SHAPES else "object"
        query = Query(
            shape if parts[0] else "object" if rng.random() < 0.7 else None,
            thing.colour if parts[1] else None,
            thing.size if parts[2] else None,
        )
        return query if query.shape or query.colour else Query("object")

    def wrong():
        kind = rng.random()
        if kind < 0.3:
            return Query(other=other(rng, kept_out))
        if kind < 0.45:
            return Query(
                shape=str(rng.choice(SHAPES)) if rng.random() < 0.3 else None,
                colour=str(rng.choice(COLOURS)),
                other=other(rng, kept_out),
            )
        if kind < 0.55:
            return Query("nucleus")
        colour = str(rng.choice(COLOURS)) if rng.random() < 0.7 else None
        shape = str(rng.choice(SHAPES)) if rng.random() < 0.85 or not colour else "object"
        return Query(shape, colour, str(rng.choice(list(SIZES))) if rng.random() < 0.15 else None)

    known = list(things)
    out = []
    for _ in range(count):
        if known and rng.random() < 0.5:
            thing = known[rng.integers(len(known))]
            query = of(thing)
            if rng.random() < 0.45 and thing.shape in SHAPES:  # One attribute is changed.
                if rng.random() < 0.65:
                    query = Query(str(rng.choice(SHAPES)), query.colour, query.size)
                else:
                    query = Query(query.shape, str(rng.choice(COLOURS)), query.size)
            out.append(query)
        else:
            out.append(wrong())
    return out
