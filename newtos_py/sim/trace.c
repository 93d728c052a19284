// trace.c: see trace.h. Why C: with all steps traced it is written millions of times.
#include "newtos_py/sim/trace.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    LINE_BYTES = 512,
    FIRST_BYTES = 65536,
};

static void append(struct nt_world_trace *trace, const char *line, uint64_t bytes)
{
    if (trace->bytes + bytes > trace->capacity) {
        uint64_t capacity = trace->capacity == 0 ? FIRST_BYTES : trace->capacity * 2;
        char *text = realloc(trace->text, capacity);
        nt_assert(text != NULL);
        trace->text = text;
        trace->capacity = capacity;
    }
    memcpy(trace->text + trace->bytes, line, bytes);
    trace->bytes += bytes;
}

void nt_world_trace_line(struct nt_world_trace *trace, uint64_t now_ns, const char *format, ...)
{
    char line[LINE_BYTES];
    uint64_t past_ns = now_ns - trace->start_ns;
    int at = snprintf(line, sizeof(line), "%6" PRIu64 ".%09" PRIu64 " ", past_ns / 1000000000u,
                      past_ns % 1000000000u);
    va_list arguments;
    va_start(arguments, format);
    // NOLINTNEXTLINE(clang-analyzer-valist.Uninitialized): two lines above
    int written = vsnprintf(line + at, sizeof(line) - (size_t)at - 1, format, arguments);
    va_end(arguments);
    nt_assert(at > 0 && written >= 0);
    uint32_t end = nt_min_u32((uint32_t)(at + written), LINE_BYTES - 2);
    line[end] = '\n';
    append(trace, line, end + 1);
}

void nt_world_trace_free(struct nt_world_trace *trace)
{
    free(trace->text);
    trace->text = NULL;
    trace->bytes = trace->capacity = 0;
}
