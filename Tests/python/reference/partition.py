"""The random partition: Philox4x32-10 (Salmon et al., SC 2011), bounded integers without bias (Lemire, arXiv
1805.10941), Fisher and Yates."""

MASK = 0xFFFFFFFF
#: What numbers are drawn for is part of the counter.
PARTITION = 3


def philox(counter, key):
    """Ten rounds on four 32-bit words with a key of two."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        a, b = 0xD2511F53 * c0, 0xCD9E8D57 * c2
        c0, c1, c2, c3 = (b >> 32) ^ c1 ^ k0, b & MASK, (a >> 32) ^ c3 ^ k1, a & MASK
        k0, k1 = (k0 + 0x9E3779B9) & MASK, (k1 + 0xBB67AE85) & MASK
    return c0, c1, c2, c3


def words(seed, step):
    """32-bit numbers of the stream of one step: counter (block, step, high bits of the step, purpose)."""
    block = 0
    while True:
        counter = (block, step & MASK, (step >> 32) & 0xFF, PARTITION << 16)
        yield from philox(counter, (seed & MASK, seed >> 32))
        block += 1


def below(stream, bound):
    """Uniform in 0 .. bound - 1: the high word of a product, drawn again where the low word would make some numbers
    likelier."""
    while True:
        product = next(stream) * bound
        if product & MASK >= (1 << 32) % bound:
            return product >> 32


def permutation(count, seed, step=0):
    """The order of `count` prototypes in a step; block i is its places i * size .. (i + 1) * size - 1."""
    stream, order = words(seed, step), list(range(count))
    for place in range(count - 1, 0, -1):
        other = below(stream, place + 1)
        order[place], order[other] = order[other], order[place]
    return order
