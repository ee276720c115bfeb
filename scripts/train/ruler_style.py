"""Training documents in the form of RULER's tasks (NVIDIA/RULER's templates), with other words, seeds and haystacks
than the
tests: keys come from corpus.py's words, essays are books. A document is a list of (text, is_answer).

What differs from the tests on purpose: many documents are short, and a haystack with several needles may be asked
about
several of them, one question after another, so that a document holds more answers to learn from.
"""

NOISE = "The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again."
CAPITALS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
KINDS = ("niah_single", "niah_multikey", "niah_multivalue", "niah_multiquery", "vt", "cwe", "fwe")


class Maker:
    """rng: random.Random; words: list of str; text: the books, as bytes."""

    def __init__(self, rng, words, text):
        self.rng, self.words, self.text = rng, words, text

    def key(self, kind):
        if kind == "uuid":
            return self.value("uuid")
        return self.rng.choice(self.words) + "-" + self.rng.choice(self.words)

    def value(self, kind):
        if kind == "number":
            return str(self.rng.randint(1000000, 9999999))
        h = f"{self.rng.getrandbits(128):032x}"
        return f"{h[:8]}-{h[8:12]}-{h[12:16]}-{h[16:20]}-{h[20:]}"

    def book_text(self, size):
        at = self.rng.randrange(len(self.text) - 2 * size - 1000)
        text = " ".join(self.text[at : at + 2 * size + 1000].decode("utf-8", "ignore").replace("\0", " ").split())
        return text[text.find(" ") + 1 :][:size]

    def haystack(self, kind, needles, size):
        """About `size` characters of noise or of a book, the needles between its sentences."""
        room = max(0, size - sum(len(n) + 1 for n in needles))
        if kind == "noise":
            pieces, joint = [NOISE] * (room // (len(NOISE) + 1)), "\n"
        else:
            pieces, joint = [s + "." for s in self.book_text(room).split(". ")], " "
        for needle in needles:
            pieces.insert(self.rng.randint(0, len(pieces)), needle)
        return joint.join(pieces)

    def niah(self, kind, size):
        rng = self.rng
        keys, values, asked = {
            "niah_single": (1, 1, 1),
            "niah_multikey": (4, 1, 1),
            "niah_multivalue": (1, 4, 1),
            "niah_multiquery": (4, 1, 4),
        }[kind]
        hay = rng.choice(["noise", "noise", "book"])
        key_kind, value_kind = "words", rng.choice(["number", "number", "number", "uuid"])
        if kind == "niah_multikey" and rng.random() < 0.6:  # the haystack is made of needles
            hay = "needles"
            key_kind = "uuid" if value_kind == "uuid" else "words"
            each = 100 if key_kind == "words" else 125
            keys = max(2, (size - 350) // each)
        pairs = {self.key(key_kind): [self.value(value_kind) for _ in range(values)] for _ in range(keys)}
        needles = [f"One of the special magic {value_kind}s for {k} is: {v}." for k, vs in pairs.items() for v in vs]
        rng.shuffle(needles)
        several = values * asked > 1
        context = "\n".join(needles) if hay == "needles" else self.haystack(hay, needles, size - 330)
        names = list(pairs)
        rng.shuffle(names)
        kinds = value_kind + "s" if several else value_kind
        some, are = ("Some", "are") if several else ("A", "is")
        intro = (
            f"{some} special magic {kinds} {are} hidden within the following text. Make sure to memorize it. I will "
            f"quiz you about the {kinds} afterwards.\n{context}\n"
        )
        parts = [(intro, False)]
        more = 0 if asked > 1 else min(len(names) - 1, rng.choice([0, 1, 3, 6]))
        for turn in range(1 + more):
            queried = names[turn * asked : turn * asked + asked]
            query = queried[0] if asked == 1 else ", ".join(queried[:-1]) + ", and " + queried[-1]
            answers = [v for k in queried for v in pairs[k]]
            if asked == 1 and several:  # in the order of the text
                answers.sort(key=context.find)
            all_of = "are all" if several else "is"
            what = f"What {all_of} the special magic {kinds} for {query} mentioned in the provided text?"
            prefix = f" The special magic {kinds} for {query} mentioned in the provided text {are}"
            parts += [(what + prefix, False), (" " + ", ".join(answers) + ".", True), ("\n", False)]
        return parts

    def vt_once(self, size, names):
        rng = self.rng
        value = str(rng.randint(10000, 99999))
        chain = [f"VAR {names[0]} = {value}"] + [f"VAR {b} = VAR {a} " for a, b in zip(names, names[1:])]
        lines = [NOISE] * max(1, (size - 420 - 20 * len(chain)) // (len(NOISE) + 1))
        for place, line in zip(sorted(rng.sample(range(len(lines) + len(chain)), len(chain))), chain):
            lines.insert(place, line)
        question = (
            f"Question: Find all variables that are assigned the value {value} in the text above. Answer: "
            f"According to "
            f"the chain(s) of variable assignment in the text above, {len(names)} variables are assigned the value "
            f"{value}, they are: "
        )
        return [
            (
                "Memorize and track the chain(s) of variable assignment hidden in the following text.\n\n"
                + "\n".join(lines)
                + "\n"
                + question,
                False,
            ),
            (" " + " ".join(names), True),
            ("\n\n", False),
        ]

    def vt(self, size):
        def names(letters):
            return ["".join(self.rng.choice(CAPITALS) for _ in range(letters)) for _ in range(5)]

        if size > 2000 and self.rng.random() < 0.7:  # RULER shows one worked example
            return self.vt_once(1300, names(3)) + self.vt_once(size - 1300, names(5))
        return self.vt_once(size, names(self.rng.choice([3, 5])))

    def cwe_once(self, size, common, often, seldom):
        rng = self.rng
        words = rng.sample(self.words, common + max(3, (size - 260 - common * often * 12) // (12 * seldom)))
        bag = words[:common] * often + words[common:] * seldom
        rng.shuffle(bag)
        listed = " ".join(f"{i}. {w}" for i, w in enumerate(bag, 1))
        answer = " ".join(f"{i}. {w}" for i, w in enumerate(words[:common], 1))
        return [
            (
                "Below is a numbered list of words. In these words, some appear more often than others. "
                "Memorize the ones that "
                f"appear most often.\n{listed}\nQuestion: What are the 10 most common words in the above list? "
                f"Answer: The top "
                "10 words that appear most often in the list are:",
                False,
            ),
            (" " + answer, True),
            ("\n", False),
        ]

    def cwe(self, size):
        if size < 1500:
            return self.cwe_once(size, 10, 4, 1)
        return self.cwe_once(size // 3, 10, 6, 1) + self.cwe_once(size - size // 3, 10, 6 if size < 3000 else 10, 1)

    def fwe(self, size):
        rng = self.rng
        vocabulary = ["".join(rng.choice(CAPITALS.lower()) for _ in range(6)) for _ in range(max(8, size // 120))]
        total, weights = (size - 380) // 6, [(i + 1) ** -2.0 for i in range(len(vocabulary))]
        counts = [max(1, int(total * w / 1.645)) for w in weights]
        bag = [w for w, n in zip(["..."] + vocabulary[1:], counts) for _ in range(n)]
        rng.shuffle(bag)
        return [
            (
                "Read the following coded text and track the frequency of each coded word. Find the three most "
                "frequently "
                f"appeared coded words. {' '.join(bag)}\nQuestion: Do not provide any explanation. Please "
                f"ignore the dots "
                "'....'. What are the three most frequently appeared words in the above coded text? Answer: "
                "According to the "
                "coded text above, the three most frequently appeared words are:",
                False,
            ),
            (" " + " ".join(vocabulary[1:4]) + ".", True),
            ("\n", False),
        ]

    def document(self, size, kind=None):
        """About `size` characters; a few tasks need more than they are given when it is small."""
        kind = kind or self.rng.choices(KINDS, [3, 4, 1, 2, 2, 1, 1])[0]
        return self.niah(kind, size) if kind.startswith("niah") else getattr(self, kind)(size)
