"""The paper's synthetic tests (section 5.1), vectorised: what suites/synthetic.h says, drawn on the GPU.

Ids: 1 is the separator, 2 push, 3 pop; the tasks use 4 and above. `targets` holds the token to predict at a
position, or
-1 where nothing is asked. tests/data/synthetic_tasks.json holds samples of these generators; the C++ suite must find
the
same targets in them.
"""

import random

import torch

SEPARATOR, PUSH, POP, FIRST = 1, 2, 3, 4
STACKS = 64
TASKS = ("palindrome", "mqar", "mqar-zoology", "stack")


def palindrome(n, length, vocabulary, generator, device):
    """x1 .. xm <sep> xm .. x1 with m = (length - 1) / 2; x(m-1) .. x1 are asked, each at the position before it."""
    half = (length - 1) // 2
    x = torch.randint(FIRST, vocabulary, (n, half), generator=generator, device=device)
    ids = torch.cat([x, torch.full((n, 1), SEPARATOR, device=device), x.flip(1)], 1)
    targets = torch.full_like(ids, -1)
    targets[:, half + 1 : -1] = ids[:, half + 2 :]
    return ids, targets


def distinct(n, count, low, high, generator, device):
    """[n, count] ids of [low, high), no id twice in a row."""
    return torch.rand(n, high - low, generator=generator, device=device).argsort(1)[:, :count] + low


def key_end(vocabulary):
    return FIRST + (vocabulary - FIRST) // 2


def mqar(n, length, vocabulary, generator, device, pairs=None):
    """k1 v1 .. km vm <sep> then queries: each a key drawn anew, its value asked at its position. m = length / 4 unless
    training asks for fewer `pairs`."""
    pairs = pairs or length // 4
    middle = key_end(vocabulary)
    keys = distinct(n, pairs, FIRST, middle, generator, device)
    values = torch.randint(middle, vocabulary, (n, pairs), generator=generator, device=device)
    asked = torch.randint(pairs, (n, length - 2 * pairs - 1), generator=generator, device=device)
    context = torch.stack([keys, values], 2).flatten(1)
    ids = torch.cat([context, torch.full((n, 1), SEPARATOR, device=device), keys.gather(1, asked)], 1)
    targets = torch.full_like(ids, -1)
    targets[:, 2 * pairs + 1 :] = values.gather(1, asked)
    return ids, targets


def mqar_zoology(n, length, vocabulary, generator, device):
    """HazyResearch/zoology's layout: m = length / 4 pairs, then every key once, at gaps drawn without replacement
    from
    p(i) ~ i^-0.99, and random tokens between. Keys are [1, V/2), values [V/2, V)."""
    pairs = length // 4
    keys = distinct(n, pairs, 1, vocabulary // 2, generator, device)
    values = distinct(n, pairs, vocabulary // 2, vocabulary, generator, device)
    slots = (length - 2 * pairs) // 2
    weight = torch.arange(1, slots + 1, device=device).double().pow(0.01 - 1).log()
    noise = torch.rand(n, slots, generator=generator, device=device, dtype=torch.float64).clamp_min(1e-300)
    at = 2 * pairs + 2 * (weight - (-noise.log()).log()).topk(pairs, 1).indices  # Gumbel: without replacement
    rest = torch.randint(vocabulary, (n, length - 2 * pairs), generator=generator, device=device)
    ids = torch.cat([torch.stack([keys, values], 2).flatten(1), rest], 1)
    ids.scatter_(1, at, keys)
    return ids, torch.full_like(ids, -1).scatter_(1, at, values)


def stack(n, length, vocabulary, generator, device):
    """<push> id x and <pop> id x on 64 stacks, length / 3 of them: a coin pops, if there is something; x is asked of
    a pop."""
    steps = length // 3
    which = torch.randint(STACKS, (n, steps), generator=generator, device=device)
    element = torch.randint(FIRST + STACKS, vocabulary, (n, steps), generator=generator, device=device)
    coin = torch.rand(n, steps, generator=generator, device=device) < 0.5
    pops = torch.zeros_like(coin)
    below = torch.full_like(which, -1)  # of the push at this step: the push under it on its stack
    top = torch.full((n, STACKS), -1, dtype=which.dtype, device=device)
    for i in range(steps):
        s = which[:, i : i + 1]
        t = top.gather(1, s)
        pop = coin[:, i : i + 1] & (t >= 0)
        last = t.clamp_min(0)
        element[:, i : i + 1] = torch.where(pop, element.gather(1, last), element[:, i : i + 1])
        below[:, i : i + 1] = t
        pops[:, i : i + 1] = pop
        top.scatter_(1, s, torch.where(pop, below.gather(1, last), torch.full_like(t, i)))
    ids = torch.stack([torch.where(pops, POP, PUSH), which + FIRST, element], 2).flatten(1)
    targets = torch.full_like(ids, -1)
    targets[:, 1::3] = torch.where(pops, element, torch.full_like(element, -1))
    return ids, targets


def easier(length, seed):
    """How many pairs MQAR has in one training batch: length / 4, as in the test, or 2, 4, 8 or 16 times fewer. With the
    test's number alone neither KDA nor GDN leaves chance in thousands of steps; zoology mixes numbers, too."""
    return max(1, length // (4 << random.Random(seed).randrange(5)))


def draw(task, n, length, vocabulary, generator, **options):
    """n sequences of about `length` tokens: (ids, targets), int64 [n, T] on the generator's device.
    Sequences without a question (a stack that never pops) are possible only at lengths of a few tokens."""
    make = {"palindrome": palindrome, "mqar": mqar, "mqar-zoology": mqar_zoology, "stack": stack}[task]
    return make(n, length, vocabulary, generator, generator.device, **options)


def accuracy(right, targets):
    """right [B, T] -> (share of asked tokens that are right, share of sequences without a mistake)."""
    asked = targets >= 0
    tokens = (right & asked).sum() / asked.sum()
    return tokens.item(), (right | ~asked).all(1).float().mean().item()
