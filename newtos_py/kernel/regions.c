// regions.c: from a reference to bytes, with every bound checked.
#include "newtos_py/kernel/regions.h"

int nt_regions_set(struct nt_regions *regions, uint32_t number, void *base, uint64_t bytes,
                   const struct nt_pool *pool)
{
    if (number == NT_REGION_NONE || number >= NT_REGIONS_MAX)
        return -1;
    regions->entry[number] = (struct nt_region_entry){.base = base, .bytes = bytes, .pool = pool};
    return 0;
}

void nt_regions_clear(struct nt_regions *regions, uint32_t number)
{
    if (number < NT_REGIONS_MAX)
        regions->entry[number] = (struct nt_region_entry){0};
}

const uint8_t *nt_regions_resolve(const struct nt_regions *regions, const struct nt_ref *ref)
{
    if (ref->region >= NT_REGIONS_MAX)
        return NULL;
    const struct nt_region_entry *entry = &regions->entry[ref->region];
    if (entry->base == NULL)
        return NULL;
    if (entry->pool != NULL)
        return nt_pool_read(entry->pool, ref);
    if (ref->offset > entry->bytes || ref->len > entry->bytes - ref->offset)
        return NULL;
    return entry->base + ref->offset;
}

// Appends a reference's bytes at `at`; the new length, or -1.
static int64_t append(const struct nt_regions *regions, const struct nt_ref *ref, uint8_t *out,
                      uint64_t out_bytes, uint64_t at)
{
    const uint8_t *bytes = nt_regions_resolve(regions, ref);
    if (bytes == NULL || ref->len > out_bytes - at)
        return -1;
    memcpy(out + at, bytes, ref->len);
    const struct nt_pool *pool = regions->entry[ref->region].pool;
    if (pool != NULL && !nt_pool_current(pool, ref))
        return -1;
    return (int64_t)(at + ref->len);
}

int64_t nt_regions_gather(const struct nt_regions *regions, const struct nt_desc *desc,
                          uint32_t inline_from, uint8_t *out, uint64_t out_bytes)
{
    // The descriptor may still be in its channel: each field is read once.
    uint32_t inline_len = nt_load_relaxed(&desc->inline_len);
    uint32_t ref_count = nt_load_relaxed(&desc->ref_count);
    if (inline_len > NT_DESC_INLINE_BYTES || inline_from > inline_len || ref_count > 2 ||
        inline_len - inline_from > out_bytes)
        return -1;
    memcpy(out, desc->data + inline_from, inline_len - inline_from);
    int64_t len = inline_len - inline_from;
    for (uint32_t i = 0; i < ref_count && len >= 0; i++) {
        struct nt_ref ref = desc->ref[i];
        len = append(regions, &ref, out, out_bytes, (uint64_t)len);
    }
    return len;
}
