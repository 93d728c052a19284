// frame_line.h: a frame as one line of a trace. Numbers are as they stand in the frame; a checksum
// is not looked at.
#ifndef NT_WORLD_FRAME_LINE_H
#define NT_WORLD_FRAME_LINE_H

#include "newtos_py/kernel/base.h"

void nt_world_frame_line(const uint8_t *frame, uint64_t len, char *line, uint64_t line_bytes);

#endif
