"""What the syscall server and its pump say to each other, on a SOCK_SEQPACKET socket.

To the pump: HEAD (kind, number, inode); with CARRY come the two descriptors of a pair, with CALL
follow OPTION (NT_OPTION_GET or _SET, level, name, bytes at most) and the value. Back: ANSWER
(number, errno) and the value.
"""

import struct

CARRY, CALL = 1, 2
HEAD = struct.Struct("=IIQ")
OPTION = struct.Struct("=IiiI")
ANSWER = struct.Struct("=Ii")
MESSAGE_BYTES = 4096
