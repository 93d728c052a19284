// token.h: how the files about shared sockets (share.h) name them to the syscall server.
//
// A process tells of a socket once, before another can hold it (TOKEN, newtos_py/kernel/control.h):
// where it is, under the inode of its placeholder. The socket is NT_FILE_LENT from then on.
#ifndef NT_PRELOAD_TOKEN_H
#define NT_PRELOAD_TOKEN_H

#include "libc_shim/preload/control.h"
#include "libc_shim/preload/file.h"

uint64_t nt_share_inode_of(int fd); // 0: there is none
void nt_share_identify(const struct nt_file *file, struct nt_shared_socket *named);
void nt_share_append(struct nt_control_call *call, const struct nt_shared_socket *named);
// What the next image, or the pump, needs to know of a socket.
void nt_share_put_image(struct nt_control_call *call, const struct nt_file *file);
// Tells of the socket at `fd`, unless the syscall server knows it.
void nt_share_register(int fd, struct nt_file *file);
// In a child of fork(): it has used the one there was.
void nt_share_no_token(void);

#endif
