"""Where CPython's own tests may end otherwise on newtos than on Linux.

The names are those in docs/compatibility.md, under "CPython's tests", which a test holds to it.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Difference:
    """Tests (a pattern of fnmatch) that may end otherwise.

    `races`: they end as on Linux where the servers are fast enough; otherwise an entry that is no
    longer needed is an error.
    """

    name: str
    tests: str
    races: bool = False


# Left out on both sides.
NOT_RUN = {
    "vsock": "*VSOCK*",
    "udplite": "*UDPLITE*",
}

DIFFERENCES = (
    Difference(
        "loopback-takes-time", "test.test_epoll.TestEPoll.test_control_and_wait", races=True
    ),
    Difference(
        "loopback-takes-time",
        "test.test_ssl.TestPreHandshakeClose.test_preauth_data_to_tls_*",
        races=True,
    ),
    Difference("short-sends", "test.test_asyncio.test_sslproto.*.test_start_tls_*_1", races=True),
)
