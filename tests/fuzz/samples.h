// samples.h: what a target offers standalone.c to make inputs from.
#ifndef NT_TESTS_FUZZ_SAMPLES_H
#define NT_TESTS_FUZZ_SAMPLES_H

#include "tests/fuzz/fuzz.h"

enum { FUZZ_SAMPLE_MAX = 2048 };

// A plausible piece of input, chosen by `number`; its length.
size_t fuzz_sample(uint32_t number, uint8_t out[FUZZ_SAMPLE_MAX]);

// Says on abort which input it was.
void fuzz_current(uint64_t seed, uint32_t number);

#endif
