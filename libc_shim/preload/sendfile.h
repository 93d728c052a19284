// sendfile.h: sendfile and splice with a newtos socket at one end.
//
// File to socket: read straight into the TX ring, one copy. Pipe to socket: the same, once the pipe
// has something. Socket to pipe: through a buffer; what the pipe did not take stays in the socket.
#ifndef NT_PRELOAD_SENDFILE_H
#define NT_PRELOAD_SENDFILE_H

#include <stddef.h>
#include <sys/types.h>

ssize_t nt_sendfile(int out, int in, off_t *at, size_t bytes);
ssize_t nt_splice(int in, off_t *in_at, int out, off_t *out_at, size_t bytes, unsigned flags);

#endif
