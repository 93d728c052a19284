#include "newtos_py/kernel/sched.h"

#include <errno.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The kernel's struct sched_attr in its first version (sched_setattr(2)). Written out, because
 * glibc has it from 2.41 on only, and then in conflict with the kernel's own header. */
struct attributes {
    uint32_t size;
    uint32_t sched_policy;
    uint64_t sched_flags;
    int32_t sched_nice;
    uint32_t sched_priority;
    uint64_t sched_runtime;
    uint64_t sched_deadline;
    uint64_t sched_period;
};
_Static_assert(sizeof(struct attributes) == 48, "SCHED_ATTR_SIZE_VER0");

static int get_attributes(int pid, struct attributes *attributes)
{
    if (syscall(SYS_sched_getattr, pid, attributes, sizeof(*attributes), 0) != 0) {
        return -errno;
    }
    return 0;
}

static int is_fair(const struct attributes *attributes)
{
    return attributes->sched_policy == SCHED_OTHER || attributes->sched_policy == SCHED_BATCH;
}

int nt_sched_set_slice(int pid, uint64_t slice_ns)
{
    struct attributes attributes = {.size = sizeof(attributes)};
    int error = get_attributes(pid, &attributes);
    if (error != 0 || !is_fair(&attributes)) {
        return error;
    }
    attributes.sched_runtime = slice_ns;
    if (syscall(SYS_sched_setattr, pid, &attributes, 0) != 0) {
        return -errno;
    }
    return 0;
}

uint64_t nt_sched_slice(int pid)
{
    struct attributes attributes = {.size = sizeof(attributes)};
    if (get_attributes(pid, &attributes) != 0 || !is_fair(&attributes)) {
        return 0;
    }
    return attributes.sched_runtime;
}
