// status.c: making a status page; everything else about it is plain loads and stores.
#include "newtos_py/kernel/status.h"

void nt_status_format(struct nt_status *status)
{
    status->version = NT_STATUS_VERSION;
    nt_store_release(&status->magic, (uint32_t)NT_STATUS_MAGIC);
}

bool nt_status_valid(const struct nt_status *status)
{
    return nt_load_acquire(&status->magic) == NT_STATUS_MAGIC &&
           status->version == NT_STATUS_VERSION;
}
