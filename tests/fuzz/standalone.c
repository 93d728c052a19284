// standalone.c: runs a fuzz target without libFuzzer, from a seed: `target SEED COUNT`.
//
// Each input is a sequence of the target's own samples (whole, plausible inputs), cut, joined and
// with some bytes changed. A failure prints the seed and the input's number, which replay it.
#include "tests/fuzz/samples.h"

enum { INPUT_MAX = 16384 };

static uint64_t state;

static uint32_t chance(uint32_t below)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (uint32_t)(state >> 16) % below;
}

static size_t append_sample(uint8_t *input, size_t size)
{
    uint8_t sample[FUZZ_SAMPLE_MAX];
    size_t len = fuzz_sample(chance(1u << 30), sample);
    if (chance(4) == 0)
        len = chance((uint32_t)len + 1);
    if (len + 2 > INPUT_MAX - size)
        return size;
    input[size++] = (uint8_t)(len >> 8);
    input[size++] = (uint8_t)len;
    memcpy(input + size, sample, len);
    for (uint32_t flips = chance(3) == 0 ? chance(6) : 0; flips != 0 && len != 0; flips--)
        input[size + chance((uint32_t)len)] = (uint8_t)chance(256);
    return size + len;
}

static void run(uint64_t seed, uint32_t number)
{
    static uint8_t input[INPUT_MAX];
    size_t size = 0;
    state = (seed + 1) * UINT64_C(0x9e3779b97f4a7c15) + number * UINT64_C(0xbf58476d1ce4e5b9) + 1;
    for (uint32_t left = 1 + chance(24); left != 0; left--)
        size = append_sample(input, size);
    (void)LLVMFuzzerTestOneInput(input, size);
}

int main(int argc, char **argv)
{
    uint64_t seed = argc > 1 ? strtoull(argv[1], NULL, 10) : 1;
    uint32_t count = argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 10) : 1000;
    uint32_t first = argc > 3 ? (uint32_t)strtoul(argv[3], NULL, 10) : 0;
    for (uint32_t number = first; number < first + count; number++) {
        // Written before, because what is to be told of does not come back.
        char line[64];
        int len =
            snprintf(line, sizeof line, "seed %llu input %u\n", (unsigned long long)seed, number);
        if (number % 1000 == 0 && fwrite(line, 1, (size_t)len, stdout) == 0)
            return 1;
        fuzz_current(seed, number);
        run(seed, number);
    }
    return 0;
}
