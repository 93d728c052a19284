#include "newtos_py/kernel/process.h"

#include <errno.h>
#include <sys/prctl.h>
#include <unistd.h>

int nt_process_die_with_parent(int signal_number, int parent)
{
    if (prctl(PR_SET_PDEATHSIG, (unsigned long)signal_number, 0UL, 0UL, 0UL) != 0)
        return -errno;
    return getppid() == parent ? 0 : -ESRCH;
}

int nt_process_adopt_orphans(void)
{
    return prctl(PR_SET_CHILD_SUBREAPER, 1UL, 0UL, 0UL, 0UL) == 0 ? 0 : -errno;
}
